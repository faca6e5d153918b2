"""The coalescing queue wakes its waiter once for a burst, and at the agreed time without any."""

import asyncio

from whimbrel.runtime.queue import CoalescingQueue


async def test_a_burst_of_changes_wakes_once() -> None:
    queue = CoalescingQueue(debounce_s=0.001)
    for _ in range(100):
        queue.notify()
    await queue.wait()

    second = asyncio.ensure_future(queue.wait())
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert not second.done()
    second.cancel()


async def test_a_change_during_the_debounce_belongs_to_the_same_wake() -> None:
    queue = CoalescingQueue(debounce_s=0.01)
    queue.notify()
    waiting = asyncio.ensure_future(queue.wait())
    await asyncio.sleep(0)
    queue.notify()
    await waiting

    second = asyncio.ensure_future(queue.wait())
    await asyncio.sleep(0)

    assert not second.done()
    second.cancel()


async def test_the_alarm_wakes_without_a_change_and_only_once() -> None:
    now = [100.0]
    queue = CoalescingQueue(clock=lambda: now[0])
    queue.wake_at(100.0)

    assert await queue.wait() == 0.0

    second = asyncio.ensure_future(queue.wait())
    await asyncio.sleep(0)
    assert not second.done()
    second.cancel()


async def test_the_wait_tells_for_how_long_the_first_change_was_not_seen() -> None:
    now = [100.0]
    queue = CoalescingQueue(debounce_s=0.0, clock=lambda: now[0])
    queue.notify()
    now[0] = 103.0
    queue.notify()

    assert await queue.wait() == 3.0
