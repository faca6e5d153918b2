"""The operator as it ships, in a process of its own that a test starts, kills and questions over HTTP.

What it says goes to a file that outlives it, one file for all its lives, because a killed operator tells most.
"""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from whimbrel_lab.processes import ChildProcess, ProcessKeeper

SOURCE_ROOT = Path(__file__).resolve().parents[2] / "operator"
START_S = 30.0
LOOK_EVERY_S = 0.02
LAST_WORDS = 60
_LISTENS = re.compile(r"Started as \S+; health on port (\d+)")


class OperatorFailed(Exception):
    """The operator did not do what was waited for; the text holds its last words."""


class OperatorProcess:
    """One replica, through all its lives: `start`, `kill`, `start` again is a container that was restarted."""

    def __init__(
        self,
        keeper: ProcessKeeper,
        session: aiohttp.ClientSession,
        kubeconfig: Path,
        log: Path,
        name: str,
        arguments: Sequence[str],
    ) -> None:
        self.name = name
        self.log = log
        self._keeper, self._session = keeper, session
        self._command = [sys.executable, "-m", "whimbrel", "--kubeconfig", str(kubeconfig)]
        self._command += ["--health-address", "127.0.0.1", "--health-port", "0", "--metrics-interval", "1", *arguments]
        self._environment = {**os.environ, "PYTHONPATH": str(SOURCE_ROOT), "POD_NAME": name}
        self._said_before = 0
        self._process: ChildProcess | None = None

    @property
    def running(self) -> bool:
        """Whether it lives at this instant."""
        return self._process is not None and self._process.exit_code is None

    def said(self) -> str:
        """Everything it has logged in this life."""
        return self.log.read_text(errors="replace")[self._said_before :] if self.log.is_file() else ""

    def last_words(self) -> str:
        """The end of its log, over all its lives."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.is_file() else []
        return "\n".join(lines[-LAST_WORDS:]) or "It said nothing."

    async def start(self) -> None:
        """Begins a life; returns at once."""
        assert not self.running, f"{self.name} runs already"
        self._said_before = len(self.said()) + self._said_before
        self._process = await self._keeper.spawn(self._command, environment=self._environment, log=self.log)

    async def kill(self) -> None:
        """SIGKILL: no last word, no released lease."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        await self._process.wait()

    async def end(self, within_s: float = 20.0) -> int:
        """SIGTERM; answers the exit code. Raises OperatorFailed where it does not go."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return await self.wait(within_s)

    async def wait(self, within_s: float = 20.0) -> int:
        """Until it has ended by itself; answers the exit code."""
        assert self._process is not None
        try:
            return await asyncio.wait_for(self._process.wait(), within_s)
        except TimeoutError:
            raise OperatorFailed(f"{self.name} still runs after {within_s:g} s:\n{self.last_words()}") from None

    async def answer(self, path: str = "/readyz") -> tuple[int, str]:
        """What its health port answers; 0 while nobody listens."""
        listens = _LISTENS.search(self.said())
        if listens is None:
            return 0, "it does not listen yet"
        try:
            async with self._session.get(f"http://127.0.0.1:{listens[1]}{path}") as response:
                return response.status, await response.text()
        except aiohttp.ClientError as error:
            return 0, str(error)

    async def until(self, condition: Callable[[], Awaitable[bool]], what: str, within_s: float = START_S) -> None:
        """Until the condition holds; raises OperatorFailed when it does not in time, or the operator has ended."""
        loop = asyncio.get_running_loop()
        end = loop.time() + within_s
        while not await condition():
            if not self.running or loop.time() > end:
                state = f"after {within_s:g} s" if self.running else "and it has ended"
                ready = await self.answer()
                raise OperatorFailed(f"not so {state}: {what}\nreadyz: {ready}\n{self.last_words()}")
            await asyncio.sleep(LOOK_EVERY_S)

    async def until_ready(self, within_s: float = START_S) -> None:
        """Until /readyz answers 200."""

        async def ready() -> bool:
            return (await self.answer())[0] == 200

        await self.until(ready, f"{self.name} is ready", within_s)

    async def until_it_misses(self, text: str, within_s: float = START_S) -> str:
        """Until /readyz answers 503 with this text in it; the whole answer."""
        heard = ""

        async def misses() -> bool:
            nonlocal heard
            status, heard = await self.answer()
            return status == 503 and text in heard

        await self.until(misses, f"/readyz misses {text!r}", within_s)
        return heard

    async def until_it_says(self, text: str, within_s: float = START_S) -> None:
        """Until its log holds the text."""

        async def says() -> bool:
            return text in self.said()

        await self.until(says, f"the log says {text!r}", within_s)


class Operators:
    """Starts replicas; all of them end with the context, even when the test process is killed."""

    def __init__(self, keeper: ProcessKeeper, session: aiohttp.ClientSession, folder: Path) -> None:
        self._keeper, self._session, self._folder = keeper, session, folder
        self.started: list[OperatorProcess] = []

    async def launch(
        self, kubeconfig: Path, name: str = "whimbrel-0", arguments: Sequence[str] = ()
    ) -> OperatorProcess:
        """A replica in its first life. `name` is its pod's name: its identity in the Lease."""
        log = self._folder / f"{name}.log"
        process = OperatorProcess(self._keeper, self._session, kubeconfig, log, name, arguments)
        self.started.append(process)
        await process.start()
        return process

    def last_words(self) -> str:
        """The end of every replica's log."""
        return "\n".join(f"--- {process.name}\n{process.last_words()}" for process in self.started)


@asynccontextmanager
async def operators(folder: Path) -> AsyncIterator[Operators]:
    """Replicas that keep their logs in this folder. Their last words are printed at the end, for pytest to show."""
    async with ProcessKeeper() as keeper, aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        started = Operators(keeper, session, folder)
        try:
            yield started
        finally:
            print(started.last_words())
