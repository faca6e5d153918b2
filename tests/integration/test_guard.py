"""The stun guard ends what is overdue at the right moment, without anybody's leave."""

import asyncio
import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from support.raw_objects import a_migration, an_instance
from support.waiting import WaitingStore
from whimbrel.domain import naming
from whimbrel.domain.decision import Delete
from whimbrel.domain.records import Instance, Key, Migration
from whimbrel.domain.resources import INSTANCES, MIGRATIONS
from whimbrel.domain.samples import MigrationSample
from whimbrel.kube.api import KubeApi
from whimbrel.kube.telemetry import Telemetry
from whimbrel.lifecycle.guard import GuardVerdict, overdue_stuns
from whimbrel.runtime.guard import READ_TIMEOUT_S, RETRY_S, SAMPLE_INTERVAL_S, Judge, Samples, StunGuard
from whimbrel.runtime.queue import CoalescingQueue
from whimbrel_lab.controlplane.embedded import EmbeddedControlPlane, Fault

DB = Key("shop", "db1")
M1 = Key("shop", "m1")
STUN = Key("shop", naming.migration_name("uid-of-plan", "db1", "uid-of-db1", 1))


class Deadline:
    """A judge that ends every migration that it is shown from a given time on."""

    def __init__(self) -> None:
        self.at = datetime.now(UTC)
        self.seen: list[set[str]] = []

    def __call__(
        self, migrations: Mapping[Key, Migration], instances: Mapping[Key, Instance], now: datetime, *_seen: object
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

    def judge(
        migrations: Mapping[Key, Migration], instances: Mapping[Key, Instance], now: datetime, *_seen: object
    ) -> GuardVerdict:
        if verdicts:
            raise verdicts.pop()
        return deadline(migrations, instances, now)

    await shown(cluster, api, store)
    running = asyncio.create_task(StunGuard(api, store, queue, judge, telemetry).run())
    queue.notify()

    await store.until(lambda: M1 not in store.records(MIGRATIONS))
    running.cancel()


async def a_stun(cluster: EmbeddedControlPlane, api: KubeApi, store: WaitingStore) -> None:
    """A guest that has been suspended for long, of which the store only knows that its copy began."""
    labels = {
        naming.LABEL_MANAGED: "true",
        naming.LABEL_PLAN_UID: "uid-of-plan",
        naming.LABEL_INSTANCE_UID: "uid-of-db1",
        naming.LABEL_ATTEMPT: "1",
    }
    consent = {
        naming.ANNOTATION_STUN: "Allowed",
        naming.ANNOTATION_DEADLINE_S: "10",
        naming.ANNOTATION_BUDGET_MS: "5000",
    }
    await cluster.load([a_migration(STUN.name, labels=labels, annotations=consent)])
    migration = await api.get(MIGRATIONS, STUN)
    store.apply(MIGRATIONS, migration)
    began = (datetime.now(UTC) - timedelta(seconds=60)).strftime("%Y-%m-%dT%H:%M:%SZ")
    for mode in ("PreCopy", "Paused"):
        raw = an_instance("db1")
        raw["status"]["migrationState"] = {
            "migrationUid": migration["metadata"]["uid"],
            "startTimestamp": began,
            "mode": mode,
        }
        await cluster.load([raw])
        if mode == "PreCopy":
            store.apply(INSTANCES, await api.get(INSTANCES, DB))


async def test_a_suspension_of_which_the_watch_never_told_is_cut_short_all_the_same(
    cluster: EmbeddedControlPlane, api: KubeApi, store: WaitingStore, queue: CoalescingQueue, telemetry: Telemetry
) -> None:
    await a_stun(cluster, api, store)
    running = asyncio.create_task(StunGuard(api, store, queue, overdue_stuns, telemetry).run())
    queue.notify()

    await store.until(lambda: STUN not in store.records(MIGRATIONS))

    running.cancel()
    assert store.records(INSTANCES)[DB].migration.mode == "Paused"


async def test_a_live_read_that_fails_is_told_once_and_tried_again(
    cluster: EmbeddedControlPlane,
    api: KubeApi,
    store: WaitingStore,
    queue: CoalescingQueue,
    telemetry: Telemetry,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await a_stun(cluster, api, store)
    cluster.faults.add(Fault(verb="get", status=503, times=2))
    running = asyncio.create_task(StunGuard(api, store, queue, overdue_stuns, telemetry).run())
    queue.notify()

    await store.until(lambda: STUN not in store.records(MIGRATIONS))

    running.cancel()
    assert [record.levelno for record in caplog.records if "cannot be read" in record.getMessage()] == [logging.WARNING]


def judge_of_what_is_unseen(
    migrations: Mapping[Key, Migration], instances: Mapping[Key, Instance], now: datetime, *_seen: object
) -> GuardVerdict:
    """Ends every migration, and wants one instance read."""
    due = tuple(Delete(MIGRATIONS, key, held.uid, "overdue") for key, held in migrations.items())
    return GuardVerdict(due, None, reads=(DB,))


def judge_of_one_overruled(migrations: Mapping[Key, Migration], *_seen: object) -> GuardVerdict:
    """Ends every migration; one more only where its instance is not in post-copy, which is read first."""
    due = [Delete(MIGRATIONS, key, held.uid, "overdue") for key, held in migrations.items()]
    return GuardVerdict((*due, Delete(MIGRATIONS, STUN, "uid", "overruled", unless_post_copy=DB)), None)


@pytest.mark.parametrize("judge_that_reads", [judge_of_what_is_unseen, judge_of_one_overruled])
async def test_a_live_read_that_hangs_delays_no_other_guests_end(
    cluster: EmbeddedControlPlane,
    api: KubeApi,
    store: WaitingStore,
    queue: CoalescingQueue,
    telemetry: Telemetry,
    judge_that_reads: Judge,
) -> None:
    await shown(cluster, api, store)
    arrived = asyncio.Event()
    cluster.faults.add(Fault(verb="get", where=lambda _: arrived.set() is None, latency_s=30.0, times=None))
    running = asyncio.create_task(StunGuard(api, store, queue, judge_that_reads, telemetry).run())
    queue.notify()

    async with asyncio.timeout(READ_TIMEOUT_S / 2):
        await arrived.wait()
        await store.until(lambda: M1 not in store.records(MIGRATIONS))

    running.cancel()


async def test_an_instance_is_read_live_once_a_second_at_most(
    cluster: EmbeddedControlPlane, api: KubeApi, store: WaitingStore, queue: CoalescingQueue, telemetry: Telemetry
) -> None:
    await shown(cluster, api, store, finalizers=["kubevirt.io/migrationJobFinalize"])
    read = cluster.faults.add(Fault(verb="get", name="db1", status=503, times=None))
    guard = StunGuard(api, store, queue, judge_of_what_is_unseen, telemetry)

    waits = []
    for _ in range(3):
        waits.append(await guard.look())
        await queue.wait()
        queue.notify()

    assert read.hits == 1
    assert 1.0 >= waits[0] > waits[1] > waits[2] > 0.0, "the next read is not put off by the looks between"


def value(telemetry: Telemetry, name: str) -> float | None:
    return telemetry.registry.get_sample_value(name)


async def test_the_time_until_a_guest_ran_again_is_measured_and_shown(
    cluster: EmbeddedControlPlane, api: KubeApi, store: WaitingStore, queue: CoalescingQueue, telemetry: Telemetry
) -> None:
    await a_stun(cluster, api, store)
    store.apply(INSTANCES, await api.get(INSTANCES, DB))
    guard = StunGuard(api, store, queue, overdue_stuns, telemetry)

    await guard.look()
    assert value(telemetry, "whimbrel_stun_resume_seconds") == 3.0
    await asyncio.sleep(3.1)
    raw = await api.get(INSTANCES, DB)
    raw["status"]["migrationState"] |= {"failed": True, "completed": True, "abortStatus": "Succeeded"}
    await cluster.load([raw])
    store.apply(INSTANCES, await api.get(INSTANCES, DB))
    await guard.look()

    measured = value(telemetry, "whimbrel_stun_resume_seconds")
    assert measured is not None
    assert 3.1 <= measured < 6.0


async def test_a_guest_that_is_left_paused_is_an_alarm_told_once(
    cluster: EmbeddedControlPlane,
    api: KubeApi,
    store: WaitingStore,
    queue: CoalescingQueue,
    telemetry: Telemetry,
    caplog: pytest.LogCaptureFixture,
) -> None:
    raw = an_instance("db1")
    raw["status"]["migrationState"] = {
        "migrationUid": "uid-of-m1",
        "mode": "Paused",
        "failed": True,
        "completed": True,
        "abortStatus": "Succeeded",
        "endTimestamp": "2026-01-05T08:00:00Z",
    }
    raw["status"]["conditions"] = [{"type": "Paused", "status": "True", "reason": "PausedByMigrationMonitor"}]
    await cluster.load([raw])
    store.apply(INSTANCES, await api.get(INSTANCES, DB))
    guard = StunGuard(api, store, queue, overdue_stuns, telemetry)

    await guard.look()
    await guard.look()

    assert value(telemetry, "whimbrel_guests_left_paused") == 1
    (alarm,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert alarm.startswith("GuestLeftPaused: shop/db1 is still paused")
    assert "virsh resume shop_db1" in alarm


async def test_a_suspended_guest_is_looked_at_each_second_with_its_newest_samples(
    cluster: EmbeddedControlPlane, api: KubeApi, store: WaitingStore, queue: CoalescingQueue, telemetry: Telemetry
) -> None:
    await shown(cluster, api, store)
    told: list[list[int | None]] = []

    def judge(
        _migrations: object, _instances: object, _now: object, _seen: object, samples: Samples, _resume_s: float
    ) -> GuardVerdict:
        told.append([sample.processed_bytes for sample in samples.get(DB, ())])
        return GuardVerdict((), 60.0, suspended=("uid",))

    guard = StunGuard(api, store, queue, judge, telemetry)
    began = datetime.now(UTC)

    for count in range(3):
        store.sample({DB: MigrationSample(began + timedelta(seconds=count), processed_bytes=count)})
        assert await guard.look() == SAMPLE_INTERVAL_S

    assert told[-1] == [1, 2]
