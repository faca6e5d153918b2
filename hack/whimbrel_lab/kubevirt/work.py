"""A work queue with priorities and delays, and the workers that serve it: the loop of every controller of the stand-in.

A key is served by one worker at a time; adding it again meanwhile serves it once more. Delays are lab seconds.
"""

import asyncio
import heapq
import itertools
import logging
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

import aiohttp

from whimbrel_lab.clock import LabClock
from whimbrel_lab.kubevirt.client import RequestRefused

LOG = logging.getLogger(__name__)
Key = TypeVar("Key", bound=Hashable)
CONFLICT_PAUSE_S = 0.02
FAILURE_PAUSE_S = 0.5


class WorkQueue(Generic[Key]):
    """Keys to look at, the highest priority first, then in the order of their arrival."""

    def __init__(self, clock: LabClock) -> None:
        self._clock = clock
        self._heap: list[tuple[int, int, Key]] = []
        self._waiting: dict[Key, int] = {}
        self._served: dict[Key, bool] = {}
        self._timers: dict[Key, tuple[float, asyncio.TimerHandle]] = {}
        self._numbers = itertools.count()
        self._filled = asyncio.Event()

    def add(self, key: Key, priority: int = 0) -> None:
        """Look at a key as soon as its turn comes."""
        if key in self._served:
            self._served[key] = True
            return
        known = self._waiting.get(key)
        if known is not None and known >= priority:
            return
        self._waiting[key] = priority
        heapq.heappush(self._heap, (-priority, next(self._numbers), key))
        self._filled.set()

    def add_after(self, key: Key, lab_seconds: float, priority: int = 0) -> None:
        """Look at a key later; the earliest wish counts."""
        self.add_after_real(key, lab_seconds / self._clock.scale, priority)

    def add_after_real(self, key: Key, seconds: float, priority: int = 0) -> None:
        """The same in real seconds."""
        loop = asyncio.get_running_loop()
        due = loop.time() + max(0.0, seconds)
        if (timer := self._timers.get(key)) is not None:
            if timer[0] <= due:
                return
            timer[1].cancel()
        self._timers[key] = due, loop.call_at(due, self._due, key, priority)

    def _due(self, key: Key, priority: int) -> None:
        self._timers.pop(key, None)
        self.add(key, priority)

    async def take(self) -> Key:
        """The next key; call `done` with it afterwards."""
        while True:
            while self._heap:
                priority, _, key = heapq.heappop(self._heap)
                if self._waiting.get(key) == -priority:
                    del self._waiting[key]
                    self._served[key] = False
                    return key
            self._filled.clear()
            await self._filled.wait()

    def done(self, key: Key) -> None:
        """A key was looked at."""
        if self._served.pop(key, False):
            self.add(key)

    def close(self) -> None:
        """Forget all delays."""
        for _, timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    async def serve(self, reconcile: Callable[[Key], Awaitable[None]]) -> None:
        """Serve for ever; what fails is looked at again."""
        while True:
            key = await self.take()
            try:
                await reconcile(key)
            except RequestRefused as refused:
                if not refused.conflict:
                    LOG.warning("%s: %s", key, refused)
                self.add_after_real(key, CONFLICT_PAUSE_S if refused.conflict else FAILURE_PAUSE_S)
            except (aiohttp.ClientError, TimeoutError, ConnectionError) as problem:
                LOG.debug("%s: %s", key, problem)
                self.add_after_real(key, FAILURE_PAUSE_S)
            except Exception:
                LOG.exception("%s", key)
                self.add_after_real(key, FAILURE_PAUSE_S)
            finally:
                self.done(key)
