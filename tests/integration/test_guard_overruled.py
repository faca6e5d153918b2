"""The guard of any replica ends a migration of ours under a configuration that nobody consented to, unless it is too late."""

import asyncio

import pytest

from support.raw_objects import a_migration, an_instance
from support.waiting import WaitingStore
from whimbrel.domain import naming
from whimbrel.domain.records import Key
from whimbrel.domain.resources import INSTANCES, MIGRATIONS
from whimbrel.kube.api import KubeApi
from whimbrel.kube.telemetry import Telemetry
from whimbrel.lifecycle.guard import overdue_stuns
from whimbrel.runtime.guard import StunGuard
from whimbrel.runtime.queue import CoalescingQueue
from whimbrel_lab.controlplane.embedded import EmbeddedControlPlane

DB = Key("shop", "db1")
OURS = Key("shop", naming.migration_name("uid-of-plan", "db1", "uid-of-db1", 1))


@pytest.fixture
def queue() -> CoalescingQueue:
    return CoalescingQueue(debounce_s=0)


async def an_overruled_migration(cluster: EmbeddedControlPlane, api: KubeApi, store: WaitingStore, mode: str) -> None:
    """A guest whose migration permits no post-copy, handed off under a policy that does. The store does not know its mode."""
    labels = {
        naming.LABEL_MANAGED: "true",
        naming.LABEL_PLAN_UID: "uid-of-plan",
        naming.LABEL_INSTANCE_UID: "uid-of-db1",
        naming.LABEL_ATTEMPT: "1",
    }
    await cluster.load([a_migration(OURS.name, labels=labels, annotations={naming.ANNOTATION_POST_COPY: naming.NEVER})])
    migration = await api.get(MIGRATIONS, OURS)
    store.apply(MIGRATIONS, migration)
    raw = an_instance("db1")
    raw["status"]["migrationState"] = {
        "migrationUid": migration["metadata"]["uid"],
        "migrationPolicyName": "theirs",
        "migrationConfiguration": {"allowPostCopy": True, "completionTimeoutPerGiB": 1},
    }
    await cluster.load([raw])
    store.apply(INSTANCES, await api.get(INSTANCES, DB))
    raw = await api.get(INSTANCES, DB)
    raw["status"]["migrationState"]["mode"] = mode
    await cluster.load([raw])


async def test_a_migration_under_a_policy_that_permits_too_much_is_ended_by_whoever_guards(
    cluster: EmbeddedControlPlane,
    api: KubeApi,
    store: WaitingStore,
    queue: CoalescingQueue,
    telemetry: Telemetry,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await an_overruled_migration(cluster, api, store, mode="PreCopy")
    running = asyncio.create_task(StunGuard(api, store, queue, overdue_stuns, telemetry).run())
    queue.notify()

    await store.until(lambda: OURS not in store.records(MIGRATIONS))

    running.cancel()
    assert "under MigrationPolicy theirs the guest of shop/db1 could be switched to post-copy" in caplog.text
    assert telemetry.registry.get_sample_value("whimbrel_stun_guard_deletes_total") == 1


async def test_a_migration_that_a_live_read_shows_in_post_copy_is_left_alone_however_late_the_watch_is(
    cluster: EmbeddedControlPlane, api: KubeApi, store: WaitingStore, queue: CoalescingQueue, telemetry: Telemetry
) -> None:
    await an_overruled_migration(cluster, api, store, mode="PostCopy")
    running = asyncio.create_task(StunGuard(api, store, queue, overdue_stuns, telemetry).run())
    queue.notify()

    await store.until(lambda: store.records(INSTANCES)[DB].migration.mode == "PostCopy")

    running.cancel()
    assert OURS in store.records(MIGRATIONS)
    assert not (await api.get(MIGRATIONS, OURS))["metadata"].get("deletionTimestamp")
