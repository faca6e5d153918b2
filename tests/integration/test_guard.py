"""The stun guard ends what is overdue at the right moment, without anybody's leave."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from support.raw_objects import a_migration
from support.waiting import WaitingStore
from whimbrel.domain.decision import Delete
from whimbrel.domain.records import Instance, Key, Migration
from whimbrel.domain.resources import MIGRATIONS
from whimbrel.kube.api import KubeApi
from whimbrel.kube.telemetry import Telemetry
from whimbrel.lifecycle.guard import GuardVerdict
from whimbrel.runtime.guard import RETRY_S, StunGuard
from whimbrel.runtime.queue import CoalescingQueue
from whimbrel_lab.controlplane.embedded import EmbeddedControlPlane, Fault

M1 = Key("shop", "m1")


class Deadline:
    """A judge that ends every migration that it is shown from a given time on."""

    def __init__(self) -> None:
        self.at = datetime.now(UTC)
        self.seen: list[set[str]] = []

    def __call__(
        self, migrations: Mapping[Key, Migration], instances: Mapping[Key, Instance], now: datetime
    ) -> GuardVerdict:
        self.seen.append({key.name for key in migrations})
        due = [migration for migration in migrations.values() if not migration.deleting]
        if now < self.at:
            return GuardVerdict((), (self.at - now).total_seconds())
        return GuardVerdict(tuple(Delete(MIGRATIONS, held.key, held.uid, "overdue") for held in due), None)


@pytest.fixture
def judge() -> Deadline:
    return Deadline()


@pytest.fixture
def queue() -> CoalescingQueue:
    return CoalescingQueue(debounce_s=0)


@pytest.fixture
def guard(
    api: KubeApi, store: WaitingStore, queue: CoalescingQueue, judge: Deadline, telemetry: Telemetry
) -> StunGuard:
    return StunGuard(api, store, queue, judge, telemetry)


async def shown(cluster: EmbeddedControlPlane, api: KubeApi, store: WaitingStore, **metadata: object) -> None:
    await cluster.load([a_migration("m1", **metadata)])
    store.apply(MIGRATIONS, await api.get(MIGRATIONS, M1))


async def test_what_is_overdue_is_deleted_and_seen_as_deleting_at_once(
    cluster: EmbeddedControlPlane, api: KubeApi, store: WaitingStore, guard: StunGuard
) -> None:
    await shown(cluster, api, store, finalizers=["kubevirt.io/migrationJobFinalize"])

    await guard.look()

    assert store.records(MIGRATIONS)[M1].deleting


async def test_it_wakes_when_the_deadline_comes_although_nothing_changes(
    cluster: EmbeddedControlPlane,
    api: KubeApi,
    store: WaitingStore,
    queue: CoalescingQueue,
    judge: Deadline,
    guard: StunGuard,
) -> None:
    await shown(cluster, api, store)
    judge.at = datetime.now(UTC) + timedelta(seconds=0.4)
    running = asyncio.create_task(guard.run())
    queue.notify()

    await store.until(lambda: M1 not in store.records(MIGRATIONS))

    late_s = (datetime.now(UTC) - judge.at).total_seconds()
    running.cancel()
    assert 0 <= late_s < 0.3


async def test_what_the_server_did_not_carry_out_is_tried_again_soon(
    cluster: EmbeddedControlPlane, api: KubeApi, store: WaitingStore, guard: StunGuard
) -> None:
    await shown(cluster, api, store)
    cluster.faults.add(Fault(verb="delete", status=503))

    assert await guard.look() == RETRY_S
    await guard.look()

    assert M1 not in store.records(MIGRATIONS)


async def test_two_guards_at_once_do_no_harm(
    cluster: EmbeddedControlPlane, api: KubeApi, store: WaitingStore, guard: StunGuard
) -> None:
    await shown(cluster, api, store)

    await asyncio.gather(guard.look(), guard.look())

    assert M1 not in store.records(MIGRATIONS)


async def test_a_defect_in_judging_does_not_end_the_guard(
    cluster: EmbeddedControlPlane, api: KubeApi, store: WaitingStore, queue: CoalescingQueue, telemetry: Telemetry
) -> None:
    verdicts = [ZeroDivisionError("a defect")]
    deadline = Deadline()

    def judge(migrations: Mapping[Key, Migration], instances: Mapping[Key, Instance], now: datetime) -> GuardVerdict:
        if verdicts:
            raise verdicts.pop()
        return deadline(migrations, instances, now)

    await shown(cluster, api, store)
    running = asyncio.create_task(StunGuard(api, store, queue, judge, telemetry).run())
    queue.notify()

    await store.until(lambda: M1 not in store.records(MIGRATIONS))
    running.cancel()
