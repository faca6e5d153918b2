"""The operator as it ships, in a process of its own: started, asked whether it is ready, weighed, and ended.

Used by the benches, which read its memory from outside.
"""

import asyncio
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from whimbrel_lab.processes import ProcessKeeper, free_ports

READY_S = 90.0
MIB = 1024**2
_LOOK_EVERY_S = 0.1
_RECORDS = re.compile(r'^whimbrel_records\{kind="(\w+)"\} (\S+)$', re.MULTILINE)


class BenchFailed(Exception):
    """A bench could not be carried out; the text says why."""


@dataclass(frozen=True, slots=True)
class Resident:
    """Memory of a process, in bytes: now, and at its highest."""

    now_bytes: int
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class OperatorProcess:
    """A running operator that has said that it is ready."""

    pid: int
    url: str
    session: aiohttp.ClientSession

    async def records(self) -> Mapping[str, int]:
        """How many objects it holds, by kind."""
        async with self.session.get(f"{self.url}/metrics") as answer:
            return {kind: int(float(count)) for kind, count in _RECORDS.findall(await answer.text())}

    async def ticks(self) -> float:
        """How often it has decided."""
        async with self.session.get(f"{self.url}/metrics") as answer:
            found = re.search(r'^whimbrel_ticks_total\{result="ok"\} (\S+)$', await answer.text(), re.MULTILINE)
        return float(found[1]) if found else 0.0

    def resident(self) -> Resident:
        """What it takes of this machine's memory."""
        fields = dict(
            line.split(":", 1) for line in Path(f"/proc/{self.pid}/status").read_text().splitlines() if ":" in line
        )
        now, peak = (int(fields[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))
        return Resident(now, peak)

    def cpu_s(self) -> float:
        """Processor time that it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@asynccontextmanager
async def operator(kubeconfig: Path, log: Path, namespace: str = "default") -> AsyncIterator[OperatorProcess]:
    """From its readiness to its end. Raises BenchFailed with its last words where it does not get ready."""
    port = free_ports(1)[0]
    command = [sys.executable, "-m", "whimbrel", "--kubeconfig", str(kubeconfig), "--namespace", namespace]
    command += ["--health-address", "127.0.0.1", "--health-port", str(port), "--metrics-interval", "1"]
    async with ProcessKeeper() as keeper, aiohttp.ClientSession() as session:
        process = await keeper.spawn(command, log=log)
        try:
            running = OperatorProcess(process.pid, f"http://127.0.0.1:{port}", session)
            said = "nothing"
            deadline = time.monotonic() + READY_S
            while True:
                ready, said = await _readiness(running, said)
                if ready:
                    break
                if process.exit_code is not None or time.monotonic() > deadline:
                    raise BenchFailed(f"the operator does not become ready; it says: {said}\n{_last_words(log)}")
                await asyncio.sleep(_LOOK_EVERY_S)
            yield running
        finally:
            await process.end()


async def _readiness(running: OperatorProcess, said: str) -> tuple[bool, str]:
    try:
        async with running.session.get(f"{running.url}/readyz") as answer:
            return answer.status == 200, (await answer.text()).strip()
    except aiohttp.ClientError:
        return False, said


def _last_words(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines() if log.is_file() else []
    return "\n".join(lines[-15:]) or "Its log is empty."
