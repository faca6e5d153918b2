"""One real API server for a whole test run, in an event loop of its own, so that each test may have another."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from whimbrel_lab import fleet
from whimbrel_lab.controlplane.plane import Object
from whimbrel_lab.controlplane.real.plane import RealControlPlane
from whimbrel_lab.controlplane.real.server import Endpoint
from whimbrel_lab.kubevirt.standin import USERS

START_WITHIN_S = 120.0
END_WITHIN_S = 60.0


@contextmanager
def shared_server(definitions: Sequence[Object] | None = None) -> Iterator[Endpoint]:
    """A server with definitions: the lab's and Whimbrel's, or others. Its processes end with the context, also after Ctrl-C."""
    started: threading.Event = threading.Event()
    running = _Running(started, fleet.definitions() if definitions is None else definitions)
    thread = threading.Thread(target=running.run, name="shared-api-server", daemon=True)
    thread.start()
    try:
        if not started.wait(START_WITHIN_S):
            raise TimeoutError(f"the API server did not start within {START_WITHIN_S:g} s")
        if running.problem is not None:
            raise running.problem
        assert running.endpoint is not None
        yield running.endpoint
    finally:
        running.end()
        thread.join(END_WITHIN_S)
        if thread.is_alive():
            raise TimeoutError(f"the API server did not end within {END_WITHIN_S:g} s")
    if running.problem is not None:
        raise running.problem


class _Running:
    """What runs in the thread."""

    def __init__(self, started: threading.Event, definitions: Sequence[Object]) -> None:
        self._definitions = definitions
        self.endpoint: Endpoint | None = None
        self.problem: BaseException | None = None
        self._started = started
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()

    def run(self) -> None:
        """Until `end`."""
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as problem:
            self.problem = problem
        finally:
            self._started.set()
            self._loop.close()

    def end(self) -> None:
        """From another thread: take the server down."""
        with suppress(RuntimeError):  # the loop is closed: it has ended by itself
            self._loop.call_soon_threadsafe(self._over.set)

    async def _serve(self) -> None:
        plane = RealControlPlane(USERS.values())
        await plane.start()
        try:
            await plane.load(self._definitions)
            self.endpoint = plane.endpoint
            self._started.set()
            await self._over.wait()
        finally:
            await plane.stop()
