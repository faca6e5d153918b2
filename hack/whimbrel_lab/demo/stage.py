"""What the demo's story plays on: which hypervisor and why, the lab's topology, the operator as a process of its own."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from whimbrel_lab.clock import LabClock
from whimbrel_lab.demo.data_centre import CHARACTERS, HOSTS, NAMESPACE, SOURCE, STUCK, STUCK_CPU_MODEL
from whimbrel_lab.demo.spectator import Spectator
from whimbrel_lab.hypervisor.libvirt import LibvirtHypervisor, available
from whimbrel_lab.hypervisor.model import ModelHypervisor
from whimbrel_lab.processes import ProcessKeeper, free_ports
from whimbrel_lab.topology import LabGuest, LabHost, Topology

READY_S = 30.0
LAST_WORDS = 15
COMMON_CPU_MODEL = "Haswell"


class DemoFailed(Exception):
    """The demo cannot go on; the text says why."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The hypervisor of this run, and the demo's first line."""

    hypervisor: Spectator
    first_line: str


def choose(wanted: str) -> Choice:
    """`auto`: real QEMU where this machine has it, else the model. Raises DemoFailed where `libvirt` cannot be had."""
    obstacle = available() if wanted != "model" else "it was asked for"
    if obstacle is None:
        real = f"real QEMU virtual machines under libvirt, one libvirtd for each of {len(HOSTS)} hosts"
        return Choice(Spectator(LibvirtHypervisor(HOSTS)), f"Hypervisor: {real}")
    if wanted == "libvirt":
        raise DemoFailed(f"libvirt and QEMU cannot be used here: {obstacle}")
    model = ModelHypervisor(HOSTS, LabClock())
    return Choice(Spectator(model), f"Hypervisor: a MODEL of libvirt and QEMU, nothing of it is real: {obstacle}")


def topology() -> Topology:
    """Three hosts, one of which has a CPU model that the others lack; all virtual machines run on it."""
    hosts = tuple(
        LabHost(
            name=host.name,
            link_bytes_per_second=host.link_bytes_per_second,
            cpu_models=(COMMON_CPU_MODEL, STUCK_CPU_MODEL) if host.name == SOURCE else (COMMON_CPU_MODEL,),
        )
        for host in HOSTS
    )
    return Topology(hosts=hosts, guests=tuple(_guest(character.guest.name) for character in CHARACTERS))


def _guest(name: str) -> LabGuest:
    character = next(each for each in CHARACTERS if each.name == name)
    guest = character.guest
    return LabGuest(
        name=guest.name,
        host=SOURCE,
        namespace=NAMESPACE,
        memory_bytes=guest.memory_bytes,
        touched_bytes=guest.touched_bytes,
        working_set_bytes=guest.working_set_bytes,
        dirty_bytes_per_second=guest.dirty_bytes_per_second,
        cpu_model=STUCK_CPU_MODEL if name == STUCK else "host-model",
        blocker="SharedDisk" if name == STUCK else "",
    )


@asynccontextmanager
async def operator(kubeconfig: Path, namespace: str, log: Path) -> AsyncIterator[None]:
    """The operator as it ships; begins when it says that it is ready. Raises DemoFailed with its last words."""
    port = free_ports(1)[0]
    command = [sys.executable, "-m", "whimbrel", "--kubeconfig", str(kubeconfig), "--namespace", namespace]
    command += ["--health-address", "127.0.0.1", "--health-port", str(port), "--metrics-interval", "1"]
    async with ProcessKeeper() as keeper:
        process = await keeper.spawn(command, log=log)
        try:
            said = "nothing"
            deadline = time.monotonic() + READY_S
            async with aiohttp.ClientSession() as session:
                while True:
                    status, said = await _readiness(session, port, said)
                    if status == 200:
                        break
                    if process.exit_code is not None or time.monotonic() > deadline:
                        raise DemoFailed(f"the operator does not become ready: {said}\n{_last_words(log)}")
                    await asyncio.sleep(0.1)
            yield
        finally:
            await process.end()


async def _readiness(session: aiohttp.ClientSession, port: int, said: str) -> tuple[int, str]:
    try:
        async with session.get(f"http://127.0.0.1:{port}/readyz") as answer:
            return answer.status, (await answer.text()).strip()
    except aiohttp.ClientError:
        return 0, said


def _last_words(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines() if log.is_file() else []
    return "\n".join(lines[-LAST_WORDS:]) or "It said nothing."
