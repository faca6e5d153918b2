"""When the loop decides, and when it may spend the time to quote anew."""

import asyncio
from typing import Any

from support.builders import CAPABILITIES
from support.waiting import WaitingStore
from whimbrel.domain.decision import Decisions
from whimbrel.inventory.snapshot import Snapshot
from whimbrel.kube.telemetry import Telemetry
from whimbrel.runtime.executor import Outcome
from whimbrel.runtime.loop import DecisionLoop
from whimbrel.runtime.queue import CoalescingQueue


class Idle:
    """An executor with nothing to do."""

    async def execute(self, _decisions: Decisions) -> Outcome:
        return Outcome()

    def prune(self) -> None:
        pass


async def test_an_outlook_is_due_at_once_when_it_becomes_known_what_kubevirt_can_be_told() -> None:
    store, queue = WaitingStore(), CoalescingQueue()
    seen: asyncio.Queue[Snapshot] = asyncio.Queue()

    def decide(snapshot: Snapshot) -> Decisions:
        seen.put_nowait(snapshot)
        return Decisions()

    executor: Any = Idle()
    loop = DecisionLoop(store, queue, decide, executor, lambda: True, Telemetry())
    running = asyncio.create_task(loop.run())

    async def next_is_due() -> bool:
        queue.notify()
        return (await asyncio.wait_for(seen.get(), 10)).outlook_due

    assert await next_is_due()
    assert not await next_is_due()
    store.learn(CAPABILITIES)
    assert await next_is_due()
    assert not await next_is_due()
    loop.stop()
    await running
