"""When the loop decides, and when it may spend the time to quote anew."""

import asyncio
import threading
import time
from typing import Any

from support.builders import CAPABILITIES
from support.waiting import WaitingStore
from whimbrel.domain.decision import Decisions, HostOutlook
from whimbrel.inventory.snapshot import Snapshot
from whimbrel.kube.telemetry import Telemetry
from whimbrel.runtime.executor import Outcome
from whimbrel.runtime.loop import SLOW_S, DecisionLoop
from whimbrel.runtime.queue import CoalescingQueue


class Idle:
    """An executor with nothing to do."""

    async def execute(self, _decisions: Decisions) -> Outcome:
        return Outcome()

    def prune(self) -> None:
        pass


class Asked(Idle):
    """One that tells when it is asked, which is after the loop has shown what was found out."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[Decisions] = asyncio.Queue()

    async def execute(self, decisions: Decisions) -> Outcome:
        self.asked.put_nowait(decisions)
        return Outcome()


async def test_what_is_known_of_the_hosts_is_shown_until_the_next_look_and_hosts_that_are_gone_are_not() -> None:
    store, queue, telemetry = WaitingStore(), CoalescingQueue(), Telemetry()
    told: asyncio.Queue[tuple[HostOutlook, ...] | None] = asyncio.Queue()
    executor: Any = Asked()
    loop = DecisionLoop(store, queue, lambda _: Decisions(hosts=told.get_nowait()), executor, lambda: True, telemetry)
    running = asyncio.create_task(loop.run())

    async def shown(hosts: tuple[HostOutlook, ...] | None) -> dict[tuple[str, str], float]:
        told.put_nowait(hosts)
        queue.notify()
        await asyncio.wait_for(executor.asked.get(), 10)
        return {
            (sample.name, sample.labels["node"]): sample.value
            for family in telemetry.registry.collect()
            for sample in family.samples
            if sample.name.startswith("whimbrel_host_") and not sample.name.endswith("_created")
        }

    three = ("shop/x", "shop/y", "shop/z")
    first = await shown((HostOutlook("a", True, 40, ()), HostOutlook("b", False, 20, three, enabled=False)))
    between = await shown(None)
    last = await shown((HostOutlook("b", True, 30, ("shop/new",), appeared=1),))

    assert (
        first
        == between
        == {
            ("whimbrel_host_enabled", "a"): 1,
            ("whimbrel_host_blockers_appeared_total", "a"): 0,
            ("whimbrel_host_evacuable", "a"): 1,
            ("whimbrel_host_evacuation_seconds", "a"): 40,
            ("whimbrel_host_blockers", "a"): 0,
            ("whimbrel_host_enabled", "b"): 0,
            ("whimbrel_host_blockers_appeared_total", "b"): 0,
            ("whimbrel_host_evacuable", "b"): 0,
            ("whimbrel_host_evacuation_seconds", "b"): 20,
            ("whimbrel_host_blockers", "b"): 3,
        }
    )
    assert {node for _, node in last} == {"b"}
    assert last["whimbrel_host_blockers_appeared_total", "b"] == 1
    loop.stop()
    await running


async def test_who_blocked_at_the_last_look_is_remembered_until_somebody_else_leads() -> None:
    queue, leading = CoalescingQueue(), [True]
    seen: asyncio.Queue[Snapshot] = asyncio.Queue()
    followed = asyncio.Event()

    def leads() -> bool:
        if not leading[0]:
            followed.set()
        return leading[0]

    def decide(snapshot: Snapshot) -> Decisions:
        seen.put_nowait(snapshot)
        return Decisions(hosts=(HostOutlook("a", False, 0, ("shop/x",)),))

    executor: Any = Idle()
    loop = DecisionLoop(WaitingStore(), queue, decide, executor, leads, Telemetry())
    running = asyncio.create_task(loop.run())

    async def look() -> list[str] | None:
        queue.notify()
        blocked = (await asyncio.wait_for(seen.get(), 10)).blocked
        return None if blocked is None else list(blocked)

    assert await look() is None
    assert await look() == ["shop/x"]
    leading[0] = False
    queue.notify()
    await asyncio.wait_for(followed.wait(), 10)
    leading[0] = True
    assert await look() is None
    loop.stop()
    await running


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


async def test_a_slow_outlook_is_made_beside_the_loop_next_time_however_quick_the_decisions_between_were() -> None:
    store, queue = WaitingStore(), CoalescingQueue()
    beside: list[bool] = []

    def decide(snapshot: Snapshot) -> Decisions:
        if snapshot.outlook_due:
            beside.append(threading.current_thread() is not threading.main_thread())
            time.sleep(2 * SLOW_S)  # the loop goes by how long a decision really takes
        return Decisions()

    executor: Any = Asked()
    loop = DecisionLoop(store, queue, decide, executor, lambda: True, Telemetry())
    running = asyncio.create_task(loop.run())

    for learned in (None, None, CAPABILITIES):
        if learned is not None:
            store.learn(learned)
        queue.notify()
        await asyncio.wait_for(executor.asked.get(), 10)

    assert beside == [False, True]
    loop.stop()
    await running
