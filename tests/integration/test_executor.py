"""The executor sends each write once, fenced, and feeds what the server answered into the store."""

import asyncio
import logging
from datetime import UTC, datetime

import pytest

from support.executor_bench import DB, M1, Bench, creation
from support.raw_objects import a_migration, a_plan, an_instance
from whimbrel.domain.decision import (
    Announcement,
    Create,
    Decisions,
    Delete,
    JsonPatch,
    LiveGuard,
    ReplaceSpec,
    ReplaceStatus,
)
from whimbrel.domain.naming import LABEL_MIGRATION, LABEL_POLICY
from whimbrel.domain.records import Key
from whimbrel.domain.resources import INSTANCES, MIGRATION_PLANS, MIGRATIONS, Resource
from whimbrel.runtime.executor import Outcome
from whimbrel_lab.controlplane.embedded import AdmissionRequest, EmbeddedControlPlane, Fault, Refusal

P1 = Key("shop", "p1")
RESERVED = {LABEL_MIGRATION: "m1", LABEL_POLICY.format(1): "slow"}
LABEL_CHANGES: dict[str, dict[str, str | None]] = {
    "migration label": {LABEL_MIGRATION: "other"},
    "policy label": {LABEL_POLICY.format(1): "fast"},
    "policy label missing": {LABEL_POLICY.format(1): None},
    "policy label too many": {LABEL_POLICY.format(2): "slow"},
}
RESOURCE = "virtualmachineinstancemigrations.kubevirt.io"


def writes_of(cluster: EmbeddedControlPlane) -> int:
    return sum(
        count
        for key, count in cluster.counters.snapshot().items()
        if key.verb in {"create", "update", "patch", "delete"}
    )


async def test_an_answered_create_is_in_the_store_before_the_next_decision(bench: Bench) -> None:
    outcome = await bench.send(creation())

    assert outcome == Outcome(done=1)
    assert bench.store.records(MIGRATIONS)[M1].instance_name == "db1"


async def test_nothing_is_sent_when_the_lease_is_shorter_than_a_write_may_take(bench: Bench) -> None:
    bench.lease_s = 9.9

    outcome = await bench.send(creation())

    assert (outcome.done, outcome.failed) == (0, 1)
    assert outcome.retry_after_s is not None
    assert writes_of(bench.cluster) == 0


async def test_nothing_is_sent_after_the_end_was_announced(bench: Bench) -> None:
    bench.executor.close()

    assert (await bench.send(creation())).done == 0
    assert writes_of(bench.cluster) == 0


async def test_a_name_that_is_taken_shows_the_engine_what_is_there(bench: Bench) -> None:
    await bench.cluster.load([a_migration("m1", "somebody")])

    outcome = await bench.send(creation())

    assert outcome.failed == 1
    assert outcome.retry_after_s is None, "the store has changed; nobody need wait"
    assert bench.store.records(MIGRATIONS)[M1].instance_name == "somebody"
    assert not bench.store.snapshot(datetime.now(UTC)).refusals


async def test_a_create_whose_answer_was_lost_is_found_by_its_name(bench: Bench) -> None:
    bench.cluster.faults.add(Fault(verb="create", reset="after"))

    await bench.send(creation())

    assert M1 in bench.store.records(MIGRATIONS)


async def test_a_refused_migration_is_remembered_with_the_servers_words(bench: Bench) -> None:
    def refuse(request: AdmissionRequest) -> None:
        raise Refusal("in-flight migration detected for the virtual machine")

    bench.cluster.admission.validating(RESOURCE, ["CREATE"], refuse, name="virt-api")

    outcome = await bench.send(creation())

    refusal = bench.store.snapshot(datetime.now(UTC)).refusals[M1]
    assert "in-flight migration detected" in refusal.message
    assert outcome.failed == 1


async def test_whether_it_was_created_is_not_guessed_when_nobody_answers(bench: Bench) -> None:
    bench.cluster.faults.add(Fault(status=503, times=None))

    outcome = await bench.send(creation())

    assert not bench.store.snapshot(datetime.now(UTC)).refusals
    assert outcome.retry_after_s == 0.5


@pytest.mark.parametrize("difference", ["uid", "node", "deleting", "gone", *LABEL_CHANGES])
async def test_a_migration_is_not_created_for_an_instance_that_is_not_as_decided(bench: Bench, difference: str) -> None:
    changed = RESERVED | LABEL_CHANGES.get(difference, {})
    labels = {name: value for name, value in changed.items() if value is not None}
    raw = an_instance("db1", node="node-2" if difference == "node" else "node-1", labels=labels, finalizers=["x/y"])
    live = await bench.loaded(INSTANCES, raw)
    uid = live["metadata"]["uid"]
    if difference == "deleting":
        await bench.api.delete(INSTANCES, DB, uid)
    if difference == "gone":
        remove = [{"op": "remove", "path": "/metadata/finalizers"}]
        await bench.api.patch(INSTANCES, DB, remove)
        await bench.api.delete(INSTANCES, DB, uid)

    guard = LiveGuard(DB, "another" if difference == "uid" else uid, "node-1", RESERVED)
    await bench.send(creation(guard=guard))

    assert M1 not in bench.store.records(MIGRATIONS)
    held = bench.store.records(INSTANCES).get(DB)
    if difference == "gone":
        assert held is None
    else:
        assert held.deleting is (difference == "deleting"), "the live read is in the store"


async def test_a_migration_is_created_for_an_instance_that_is_as_decided(bench: Bench) -> None:
    live = await bench.loaded(INSTANCES, an_instance("db1", labels={**RESERVED, "app": "database"}))

    outcome = await bench.send(creation(guard=LiveGuard(DB, live["metadata"]["uid"], "node-1", RESERVED)))

    assert outcome == Outcome(done=1)


async def test_a_status_of_an_older_version_is_refused_and_the_newer_object_read(bench: Bench) -> None:
    old = await bench.loaded(MIGRATION_PLANS, a_plan("p1"))
    newer = old | {"metadata": old["metadata"] | {"annotations": {"whimbrel.dev/approve": "abc"}}}
    await bench.api.replace(MIGRATION_PLANS, P1, newer)

    outcome = await bench.send(
        ReplaceStatus(MIGRATION_PLANS, P1, old | {"status": {"observedGeneration": 1}}, "progress")
    )

    assert outcome == Outcome(failed=1), "to be decided anew at once"
    assert bench.store.records(MIGRATION_PLANS)[P1].approved_hash == "abc"


async def test_a_spec_is_replaced_and_the_answer_kept(bench: Bench) -> None:
    old = await bench.loaded(MIGRATION_PLANS, a_plan("p1"))
    body = old | {"metadata": old["metadata"] | {"finalizers": ["whimbrel.dev/moves"]}}

    await bench.send(ReplaceSpec(MIGRATION_PLANS, P1, body, "finalizer"))

    assert bench.store.records(MIGRATION_PLANS)[P1].finalizers == ("whimbrel.dev/moves",)


async def test_a_patch_whose_test_fails_changes_nothing_and_shows_what_is_there(bench: Bench) -> None:
    await bench.loaded(INSTANCES, an_instance("db1"))
    await bench.cluster.load([an_instance("db1", node="node-3")])

    outcome = await bench.send(
        JsonPatch(
            INSTANCES,
            DB,
            (
                {"op": "test", "path": "/metadata/uid", "value": "another"},
                {"op": "add", "path": "/metadata/labels", "value": {"a": "b"}},
            ),
            "labels",
        )
    )

    assert outcome.failed == 1
    assert bench.store.records(INSTANCES)[DB].node == "node-3"
    assert bench.store.records(INSTANCES)[DB].labels == {}


@pytest.mark.parametrize("finalizers", [[], ["kubevirt.io/migrationJobFinalize"]], ids=["plain", "with finalizer"])
async def test_a_deleted_migration_is_deleting_or_gone_at_once(bench: Bench, finalizers: list[str]) -> None:
    live = await bench.loaded(MIGRATIONS, a_migration("m1", finalizers=finalizers))

    outcome = await bench.send(Delete(MIGRATIONS, M1, live["metadata"]["uid"], "cancelled"))

    assert outcome == Outcome(done=1)
    held = bench.store.records(MIGRATIONS).get(M1)
    assert held.deleting if finalizers else held is None


async def test_deleting_what_is_gone_is_success(bench: Bench) -> None:
    live = await bench.loaded(MIGRATIONS, a_migration("m1"))
    await bench.api.delete(MIGRATIONS, M1, live["metadata"]["uid"])

    assert await bench.send(Delete(MIGRATIONS, M1, live["metadata"]["uid"], "cancelled")) == Outcome(done=1)
    assert M1 not in bench.store.records(MIGRATIONS)


async def test_a_successor_under_the_same_name_is_not_deleted(bench: Bench) -> None:
    await bench.loaded(MIGRATIONS, a_migration("m1"))

    await bench.send(Delete(MIGRATIONS, M1, "uid-of-yesterday", "cancelled"))

    assert (await bench.api.get(MIGRATIONS, M1))["metadata"]["name"] == "m1"


@pytest.mark.parametrize("exists", [True, False], ids=["it is there", "it is gone"])
async def test_what_is_deleted_because_something_is_gone_is_kept_when_that_is_there_after_all(
    bench: Bench, exists: bool
) -> None:
    live = await bench.loaded(MIGRATIONS, a_migration("m1"))
    if exists:
        await bench.cluster.load([a_plan("p1")])

    await bench.send(Delete(MIGRATIONS, M1, live["metadata"]["uid"], "its plan is gone", (MIGRATION_PLANS, P1)))

    assert (M1 in bench.store.records(MIGRATIONS)) is exists
    assert (P1 in bench.store.records(MIGRATION_PLANS)) is exists


async def test_a_kind_that_is_not_served_for_a_moment_does_not_count_as_absence(bench: Bench) -> None:
    live = await bench.loaded(MIGRATIONS, a_migration("m1"))
    delete = Delete(MIGRATIONS, M1, live["metadata"]["uid"], "gone", (Resource("whimbrel.dev", "v9", "x", "X"), P1))

    assert (await bench.send(delete)).failed == 1

    assert (await bench.api.get(MIGRATIONS, M1))["metadata"]["uid"] == live["metadata"]["uid"]


async def test_what_keeps_failing_waits_longer_each_time_and_holds_up_nothing_else(bench: Bench) -> None:
    bench.cluster.faults.add(Fault(verb="create", resource=RESOURCE, status=500, times=None))
    waits = []
    for _ in range(3):
        outcome = await bench.send(creation("m1"))
        assert outcome.retry_after_s is not None
        waits.append(outcome.retry_after_s)
        bench.now += outcome.retry_after_s

    bench.now -= 0.1
    outcome = await bench.send(creation("m1"), Create(MIGRATION_PLANS, P1, a_plan("p1"), "another object"))

    assert waits == [0.5, 1.0, 2.0]
    assert (outcome.done, outcome.held_back) == (1, 1)


async def test_throttling_holds_back_everything_until_the_server_permits(bench: Bench) -> None:
    bench.cluster.faults.add(Fault(verb="create", status=429, retry_after_s=5))
    first = await bench.send(creation("m1"))

    second = await bench.send(creation("m2"))
    bench.now += 5.1
    third = await bench.send(creation("m2"))

    assert first.retry_after_s == 5
    assert second.held_back == 1
    assert third.done == 1


async def test_what_failed_is_not_announced(bench: Bench) -> None:
    bench.cluster.faults.add(Fault(verb="create", resource=RESOURCE, status=500))
    plan = Create(MIGRATION_PLANS, P1, a_plan("p1"), "another object")
    announcements = tuple(
        Announcement(resource, key, "uid", "Created", "created")
        for resource, key in ((MIGRATIONS, M1), (MIGRATION_PLANS, P1))
    )

    await bench.executor.execute(Decisions((creation("m1"), plan), announcements))

    assert [announcement.key for announcement in bench.said] == [P1]


async def test_what_another_object_shall_remember_is_not_announced_before_it_does(bench: Bench) -> None:
    bench.cluster.faults.add(Fault(verb="create", resource=RESOURCE, status=500))
    announcements = tuple(
        Announcement(MIGRATION_PLANS, P1, "uid", reason, "said", behind=behind)
        for reason, behind in (("Remembered", None), ("Forgotten", M1))
    )

    await bench.executor.execute(Decisions((creation("m1"),), announcements))

    assert [announcement.reason for announcement in bench.said] == ["Remembered"]


async def test_every_write_is_one_log_line_with_its_reason(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "whimbrel.executor"):
        await bench.send(creation())

    assert [record.getMessage() for record in caplog.records] == [
        "create VirtualMachineInstanceMigration shop/m1: attempt 1"
    ]


async def test_a_status_that_the_served_definition_lacks_a_field_of_is_refused_with_the_remedy_in_the_log(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    stored = await bench.loaded(MIGRATION_PLANS, a_plan("p1"))
    body = stored | {"status": {"observedGeneration": 1, "ofANewerRelease": 1}}

    outcome = await bench.send(ReplaceStatus(MIGRATION_PLANS, P1, body, "progress"))

    assert outcome == Outcome(failed=1, retry_after_s=0.5)
    (record,) = [each.getMessage() for each in caplog.records if each.name == "whimbrel.executor"]
    assert 'unknown field "status.ofANewerRelease"' in record
    assert record.endswith("; the CRDs are older than the operator: apply the crds/ of its release")
    assert "status" not in await bench.api.get(MIGRATION_PLANS, P1)


async def test_at_most_sixteen_writes_are_under_way(bench: Bench) -> None:
    bench.cluster.faults.add(Fault(verb="create", latency_s=0.1, times=None))
    began = asyncio.get_running_loop().time()

    outcome = await bench.send(*(creation(f"m{number}") for number in range(33)))

    assert outcome.done == 33
    assert asyncio.get_running_loop().time() - began >= 0.3
