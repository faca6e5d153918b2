"""Child processes that never outlive the lab, daemons among them, not even when the lab is killed.

They are started by a keeper process (`process_keeper.py`), which ends everything that descends from it as soon as its
input closes. Used by the libvirt hypervisor, the real control plane and the demo for whatever they start.
"""

import asyncio
import contextlib
import itertools
import json
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from whimbrel_lab.errors import LabError

KEEPER_SCRIPT = Path(__file__).with_name("process_keeper.py")


class ProcessError(LabError):
    """A process could not be started; the text names the program and says why."""


def free_ports(count: int) -> list[int]:
    """Loopback ports for programs to listen on; free at once, so that they differ."""
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in held]


class ChildProcess:
    """A process started by a keeper, in a session of its own."""

    def __init__(self, keeper: "ProcessKeeper", pid: int) -> None:
        self._keeper = keeper
        self.pid = pid
        self._exit: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @property
    def exit_code(self) -> int | None:
        """Negative for a signal's number, None while it runs."""
        return self._exit.result() if self._exit.done() else None

    async def wait(self) -> int:
        """Until it ended (or its keeper did, which ends it); returns the exit code."""
        return await asyncio.shield(self._exit)

    def send_signal(self, number: int) -> None:
        """Does nothing when the process has ended: the keeper knows which pids are its own."""
        if not self._exit.done():
            self._keeper.order(order="signal", pid=self.pid, number=int(number))

    async def end(self, grace_s: float = 5.0) -> int:
        """SIGTERM, and SIGKILL after the grace; returns the exit code."""
        self.send_signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            return await asyncio.wait_for(self.wait(), grace_s)
        self.send_signal(signal.SIGKILL)
        return await self.wait()

    def ended(self, exit_code: int) -> None:
        """For the keeper: the process is gone."""
        if not self._exit.done():
            self._exit.set_result(exit_code)


class ProcessKeeper:
    """Starts processes and sees to their end: `async with ProcessKeeper() as keeper`."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._listener: asyncio.Task[None] | None = None
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[ChildProcess]] = {}
        self._children: dict[int, ChildProcess] = {}

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        if self._process is None:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-S", str(KEEPER_SCRIPT),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                start_new_session=True,  # Ctrl-C in the terminal is the lab's business
            )  # fmt: skip
            self._listener = asyncio.create_task(self._listen(self._process))

    async def spawn(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        log: Path | None = None,
    ) -> ChildProcess:
        """Start a program; its output is appended to `log`. Without `environment` it gets ours. Raises ProcessError."""
        number = next(self._numbers)
        asked: asyncio.Future[ChildProcess] = asyncio.get_running_loop().create_future()
        self._asked[number] = asked
        self.order(
            order="spawn",
            id=number,
            argv=[os.fspath(word) for word in argv],
            environment=None if environment is None else dict(environment),
            cwd=cwd and str(cwd),
            log=log and str(log),
        )
        return await asked

    def remove_at_end(self, folder: Path) -> None:
        """The keeper deletes this folder after the last process has ended, also when the lab is killed."""
        self.order(order="remove", folder=str(folder.absolute()))

    async def stop(self, grace_s: float = 0.0) -> None:
        """End every descendant: SIGTERM and `grace_s` seconds first, if not zero, then SIGKILL. Safe to call twice."""
        if self._process is None or self._listener is None:
            return
        with contextlib.suppress(ProcessError):
            self.order(order="stop", grace_s=grace_s)
        await self._process.wait()
        await self._listener
        self._process = self._listener = None

    def order(self, **fields: Any) -> None:
        """Send one order to the keeper."""
        if self._process is None or self._process.returncode is not None or self._process.stdin is None:
            raise ProcessError("the keeper of the lab's processes does not run: start it first")
        self._process.stdin.write(json.dumps(fields).encode() + b"\n")

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            answer = json.loads(line)
            if "spawned" in answer:
                child = self._children[answer["pid"]] = ChildProcess(self, answer["pid"])
                asked = self._asked.pop(answer["spawned"])
                if not asked.done():
                    asked.set_result(child)
            elif "failed" in answer:
                asked = self._asked.pop(answer["failed"])
                if not asked.done():
                    asked.set_exception(ProcessError(answer["problem"]))
            else:
                self._children.pop(answer["exited"]).ended(answer["status"])
        for child in self._children.values():
            child.ended(-signal.SIGKILL)
        self._children.clear()
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(ProcessError("the keeper of the lab's processes ended"))
        self._asked.clear()
