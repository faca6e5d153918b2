"""Waiting for what is meant to happen, without sleeping."""

import asyncio
from collections.abc import Callable

from whimbrel.inventory.projections import PROJECTIONS
from whimbrel.kube.store import Store


class WaitingStore(Store):
    """A store whose changes can be waited for."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        super().__init__(PROJECTIONS, on_change=lambda: self.changed.set())

    async def until(self, condition: Callable[[], bool], within_s: float = 10.0) -> None:
        """Returns once the condition holds; it is looked at after each change."""
        async with asyncio.timeout(within_s):
            while not condition():
                self.changed.clear()
                await self.changed.wait()
