"""The coalescing queue: "something changed", and "look again at".

However much happens, whoever waits is woken once; a small debounce lets a burst arrive whole.
"""

import asyncio
import time
from collections.abc import Callable

DEBOUNCE_S = 0.01


class CoalescingQueue:
    """One flag and one alarm clock; for one waiter. All calls are made in the event loop's thread."""

    def __init__(self, debounce_s: float = DEBOUNCE_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._debounce_s, self._clock = debounce_s, clock
        self._flag = asyncio.Event()
        self._since: float | None = None
        self._wake_at: float | None = None

    def notify(self) -> None:
        """Something changed."""
        if self._since is None:
            self._since = self._clock()
        self._flag.set()

    def wake_at(self, when: float | None) -> None:
        """Look again at this monotonic time even if nothing changes. The latest call holds; None: only on a change."""
        self._wake_at = when

    async def wait(self) -> float:
        """Returns when there is something to look at, with the seconds for which the first change had to wait."""
        while not self._flag.is_set():
            if self._wake_at is None:
                await self._flag.wait()
                continue
            left_s = self._wake_at - self._clock()
            if left_s <= 0:
                self._wake_at = None
                return 0.0
            try:
                async with asyncio.timeout(left_s):
                    await self._flag.wait()
            except TimeoutError:
                continue
        if self._debounce_s:
            await asyncio.sleep(self._debounce_s)
        self._flag.clear()
        since, self._since = self._since, None
        return self._clock() - since if since is not None else 0.0
