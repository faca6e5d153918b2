"""What people and fate do in the middle of a move."""

from typing import Any

from support.stage import DB1, Stage, a_copying_stage
from whimbrel.domain.decision import Create, Delete
from whimbrel.domain.naming import migration_name
from whimbrel.domain.records import Key
from whimbrel.domain.resources import (
    INSTANCES,
    MIGRATION_PLANS,
    MIGRATION_POLICIES,
    MIGRATIONS,
    VIRTUAL_MACHINE_MOVES,
)
from whimbrel.simulation.topology import GuestShape

PLAN = Key("default", "plan")


# The plan is deleted


def test_a_plan_deleted_in_mid_move_records_the_abort_before_it_asks_for_it_and_is_released_last() -> None:
    stage = a_copying_stage()
    stage.delete(MIGRATION_PLANS, PLAN)
    stage.written.clear()

    stage.settle()
    assert stage.status_of()["phase"] == "Cancelling"
    stage.carry_out_abort()
    last = stage.move()
    written = [*stage.written, *stage.settle()]

    steps = [(type(w).__name__, w.resource) for w in written if w.resource in (VIRTUAL_MACHINE_MOVES, MIGRATIONS)]
    assert steps == [
        ("ReplaceStatus", VIRTUAL_MACHINE_MOVES),
        ("Delete", MIGRATIONS),
        ("ReplaceStatus", VIRTUAL_MACHINE_MOVES),
    ]
    assert last["status"]["abort"]["reason"] == "PlanDeleted"
    assert written[-1].resource == MIGRATION_PLANS
    assert stage.world.get(MIGRATION_PLANS, PLAN) is None
    assert not stage.world.objects(VIRTUAL_MACHINE_MOVES)


def test_the_cancelled_move_says_so_before_it_goes_with_its_plan() -> None:
    stage = a_copying_stage()
    stage.delete(MIGRATION_PLANS, PLAN)
    stage.settle()

    stage.carry_out_abort()
    decisions = stage.tick()

    assert ("MigrationCancelled", True) in [(a.reason, a.warning) for a in decisions.announcements]
    (status,) = [w for w in decisions.writes if w.resource == VIRTUAL_MACHINE_MOVES]
    assert "Cancelled" in str(status)


def test_a_deleted_plan_lets_a_guest_that_has_arrived_be_called_moved() -> None:
    stage = a_copying_stage()
    stage.arrive()
    stage.delete(MIGRATION_PLANS, PLAN)

    decisions = stage.tick()

    assert [a.reason for a in decisions.announcements if a.reason.startswith("Migrat")] == ["Migrated"]
    assert not any(isinstance(w, Delete) and w.resource == MIGRATIONS for w in decisions.writes)


def test_a_plan_that_began_nothing_goes_at_once() -> None:
    stage = Stage()
    stage.plan(suspend=True)
    stage.settle()

    stage.delete(MIGRATION_PLANS, PLAN)
    stage.settle()

    assert stage.world.get(MIGRATION_PLANS, PLAN) is None
    assert not stage.world.objects(VIRTUAL_MACHINE_MOVES)


def test_a_plan_deleted_between_labels_and_migration_takes_the_labels_off_and_starts_nothing() -> None:
    stage = Stage()
    stage.plan()
    while not stage.labels():
        stage.tick()

    stage.delete(MIGRATION_PLANS, PLAN)
    stage.settle()

    assert not stage.labels()
    assert not stage.migrations()
    assert stage.world.get(MIGRATION_PLANS, PLAN) is None
    assert not stage.world.objects(MIGRATION_POLICIES)


def test_a_deleted_plan_does_not_abort_a_guest_in_post_copy() -> None:
    stage = a_copying_stage()
    stage.copy(mode="PostCopy")
    stage.delete(MIGRATION_PLANS, PLAN)

    stage.settle()
    stage.seconds += 100
    stage.settle()

    assert not any(isinstance(w, Delete) and w.resource == MIGRATIONS for w in stage.written)
    assert stage.world.get(MIGRATION_PLANS, PLAN) is not None


# The virtual machine goes


def test_a_virtual_machine_deleted_in_mid_move_ends_its_move_without_another_attempt() -> None:
    stage = a_copying_stage()

    stage.edit(INSTANCES, DB1, "metadata", "finalizers", value=[])
    stage.delete(INSTANCES, DB1)
    stage.lose_target()
    stage.settle()

    assert stage.outcome() == ("Failed", "VirtualMachineGone")
    assert stage.status_of()["phase"] == "Failed"
    assert len(stage.migrations()) == 1


def test_a_migration_whose_guest_is_gone_holds_up_neither_its_move_nor_its_plan_although_its_finalizer_stays() -> None:
    stage = a_copying_stage()
    stage.delete(MIGRATION_PLANS, PLAN)
    stage.settle()
    stage.edit(INSTANCES, DB1, "metadata", "finalizers", value=[])
    stage.delete(INSTANCES, DB1)

    stage.settle()

    (left,) = stage.migrations()
    assert left["metadata"]["deletionTimestamp"]
    assert left["metadata"]["finalizers"]
    assert stage.world.get(MIGRATION_PLANS, PLAN) is None


def test_a_virtual_machine_restarted_in_mid_move_is_another_guest() -> None:
    stage = a_copying_stage()
    old = stage.body(INSTANCES, DB1)
    stage.edit(INSTANCES, DB1, "metadata", "finalizers", value=[])
    stage.delete(INSTANCES, DB1)
    fresh = {k: v for k, v in old["metadata"].items() if k in ("name", "namespace", "labels", "ownerReferences")}
    status = {k: v for k, v in old["status"].items() if k != "migrationState"}
    stage.world.create("setup", INSTANCES, {"metadata": fresh, "spec": old["spec"], "status": status})

    stage.seconds += 20
    stage.settle()
    aborted = [w for w in stage.written if isinstance(w, Delete) and w.resource == MIGRATIONS]
    stage.lose_target()
    stage.settle()

    assert len(aborted) == 1
    assert stage.outcome() == ("Failed", "VirtualMachineReplaced")


def test_a_virtual_machine_deleted_before_its_turn_takes_its_quoted_move_with_it() -> None:
    stage = Stage(GuestShape("db1", "node-1"), GuestShape("db2", "node-1"))
    stage.plan(suspend=True)
    stage.settle()

    stage.edit(INSTANCES, DB1, "metadata", "finalizers", value=[])
    stage.delete(INSTANCES, DB1)
    stage.settle()

    assert [m["spec"]["instance"]["name"] for m in stage.world.objects(VIRTUAL_MACHINE_MOVES).values()] == ["db2"]


# Others migrate, too


def test_a_foreign_migration_in_the_way_is_waited_for_and_never_touched() -> None:
    stage = Stage()
    foreign = stage.foreign_migration()
    stage.plan()

    stage.settle()
    stage.seconds += 15
    stage.settle()

    assert [m["metadata"]["uid"] for m in stage.migrations()] == [foreign["metadata"]["uid"]]
    assert stage.status_of()["waits"][0]["reason"] == "ForeignMigration"
    assert not stage.labels()


def test_after_a_foreign_migration_failed_the_move_goes_on() -> None:
    stage = Stage()
    stage.foreign_migration()
    stage.plan()
    stage.settle()

    stage.lose_target()
    stage.settle()

    assert stage.unfinished()["metadata"]["labels"]["whimbrel.dev/attempt"] == "1"
    assert stage.move().get("status", {}).get("history", []) == []


def test_a_foreign_migration_to_our_very_target_is_not_taken_for_ours() -> None:
    stage = Stage()
    stage.plan(suspend=True)
    stage.settle()
    stage.foreign_migration()

    stage.hand_off(to="node-2")
    stage.copy()
    stage.settle()
    while_it_runs = stage.status_of()
    stage.fail(abortStatus="Succeeded")
    stage.settle()

    assert while_it_runs["moves"]["active"] == 0
    assert "startedAt" not in stage.status_of()
    assert stage.move().get("status", {}).get("history", []) == []


def test_labels_come_off_at_once_when_somebody_elses_migration_came_first() -> None:
    stage = Stage()
    stage.plan()
    while not stage.labels():
        stage.tick()

    stage.foreign_migration()
    stage.settle()

    assert not stage.labels()
    assert len(stage.migrations()) == 1


def test_a_refused_create_takes_the_labels_off_and_is_not_repeated_at_once() -> None:
    stage = Stage()
    stage.plan()
    while not stage.labels():
        stage.tick()
    from datetime import timedelta

    from whimbrel.inventory.snapshot import Refusal

    refused = Key("default", stage.labels()["whimbrel.dev/vmim"])
    stage.refusals[refused] = Refusal("in-flight migration detected", stage.world.now + timedelta(seconds=15))

    stage.settle()
    waits_s = stage.tick().wake_after_s
    stage.seconds += 15
    stage.settle()

    assert waits_s == 15.0
    assert [w.resource for w in stage.written if isinstance(w, Create) and w.resource == MIGRATIONS] == [MIGRATIONS]
    assert len(stage.migrations()) == 1


# What lies about


def a_migration_of_ours(stage: Stage, **annotations: str) -> Any:
    labels = {
        "whimbrel.dev/managed": "true",
        "whimbrel.dev/plan-uid": "gone",
        "whimbrel.dev/instance-uid": "lost",
        "whimbrel.dev/attempt": "1",
    }
    name = migration_name("gone", "db1", "lost", 1)
    metadata = {"name": name, "namespace": "default", "labels": labels, "annotations": annotations}
    return stage.world.create("whimbrel", MIGRATIONS, {"metadata": metadata, "spec": {"vmiName": "db1"}})


def test_a_migration_of_ours_without_a_move_is_aborted_after_a_moments_grace() -> None:
    stage = Stage()
    orphan = a_migration_of_ours(stage, **{"whimbrel.dev/plan": "default/plan", "whimbrel.dev/move": "lost"})
    stage.settle()
    assert not any(isinstance(w, Delete) for w in stage.written)

    stage.seconds += 10
    stage.settle()

    (delete,) = [w for w in stage.written if isinstance(w, Delete)]
    assert delete.uid == orphan["metadata"]["uid"]
    assert delete.unless_exists == (VIRTUAL_MACHINE_MOVES, Key("default", "lost"))


def test_an_orphan_in_post_copy_is_left_to_arrive() -> None:
    stage = Stage()
    a_migration_of_ours(stage)
    stage.hand_off(to="node-2")
    stage.copy(mode="PostCopy")

    stage.seconds += 60
    stage.settle()

    assert not any(isinstance(w, Delete) for w in stage.written)


def test_somebody_elses_migration_is_no_orphan() -> None:
    stage = Stage()
    stage.foreign_migration()

    stage.seconds += 60

    assert all(w.resource != MIGRATIONS for w in stage.settle())


def test_labels_without_an_attempt_are_swept() -> None:
    stage = Stage()
    labels = {"whimbrel.dev/policy-0": "whimbrel-old", "whimbrel.dev/vmim": "whimbrel-old-1", "app": "db"}
    stage.edit(INSTANCES, DB1, "metadata", "labels", value=labels)

    stage.settle()

    assert stage.body(INSTANCES, DB1)["metadata"]["labels"] == {"app": "db"}


def test_a_policy_of_ours_that_nothing_needs_is_deleted_and_other_peoples_are_not() -> None:
    stage = Stage()
    for name, labels in (("whimbrel-old", {"whimbrel.dev/managed": "true"}), ("theirs", {})):
        stage.world.create("user", MIGRATION_POLICIES, {"metadata": {"name": name, "labels": labels}, "spec": {}})

    stage.settle()

    assert [key.name for key in stage.world.objects(MIGRATION_POLICIES)] == ["theirs"]


def test_a_policy_of_ours_that_was_edited_is_made_anew_before_anything_uses_it() -> None:
    stage = Stage()
    stage.plan()
    while not stage.world.objects(MIGRATION_POLICIES):
        stage.tick()
    (key,) = stage.world.objects(MIGRATION_POLICIES)
    stage.edit(MIGRATION_POLICIES, key, "spec", "allowPostCopy", value=True)

    stage.settle()

    assert stage.body(MIGRATION_POLICIES, key)["spec"]["allowPostCopy"] is False
    assert len(stage.migrations()) == 1


# The plan is edited


def test_an_edit_in_mid_run_lets_what_is_in_flight_finish_and_quotes_the_rest_anew() -> None:
    stage = Stage(*(GuestShape(f"db{n}", "node-1") for n in (1, 2)), profile={"outbound": 1})
    stage.plan()
    stage.settle()
    (first,) = (m["spec"]["vmiName"] for m in stage.world.objects(MIGRATIONS).values())
    second = "db2" if first == "db1" else "db1"
    stage.hand_off(first)
    stage.copy(first)
    stage.settle()

    stage.edit(MIGRATION_PLANS, PLAN, "spec", "target", value={"nodeNames": ["node-3"]})
    stage.settle()
    stage.arrive(first)
    stage.settle()

    assert stage.outcome(first) == ("Succeeded", "Verified")
    assert stage.unfinished(second)["spec"]["addedNodeSelector"] == {"kubernetes.io/hostname": "node-3"}


def test_a_virtual_machine_taken_out_of_a_running_plan_is_skipped_and_stays() -> None:
    stage = Stage(*(GuestShape(f"db{n}", "node-1") for n in (1, 2)), profile={"outbound": 1})
    stage.plan(virtualMachines={"names": ["db1", "db2"]})
    stage.settle()
    (first,) = (m["spec"]["vmiName"] for m in stage.world.objects(MIGRATIONS).values())
    second = "db2" if first == "db1" else "db1"

    stage.edit(MIGRATION_PLANS, PLAN, "spec", "virtualMachines", "names", value=[first])
    stage.settle()

    assert stage.outcome(second) == ("Skipped", "NoLongerSelected")
    assert stage.migrations(second) == []


def test_the_spec_of_a_finished_plan_is_frozen_and_says_so_once() -> None:
    stage = a_copying_stage()
    stage.arrive()
    stage.settle()

    stage.edit(MIGRATION_PLANS, PLAN, "spec", "virtualMachines", "onNodes", "names", value=["node-2"])
    written = stage.settle()

    assert [w.resource for w in written] == [MIGRATION_PLANS]
    assert stage.reason(condition="Stalled") == "SpecFrozen"
    assert (stage.status_of()["phase"], stage.reason(condition="Finished")) == ("Succeeded", "AllMoved")
    assert len(stage.migrations()) == 1


def test_an_edit_that_breaks_a_rule_makes_nothing_untrue_that_has_happened() -> None:
    stage = a_copying_stage()
    before = stage.status_of()

    stage.edit(MIGRATION_PLANS, PLAN, "spec", "target", value={"nodeNames": ["node-2"], "nodeSelector": {"a": "b"}})
    stage.settle()

    after = stage.status_of()
    assert (after["phase"], stage.reason()) == ("Blocked", "InvalidSpec")
    assert (after["startedAt"], after["quote"]) == (before["startedAt"], before["quote"])
    assert not any(isinstance(w, Delete) and w.resource == MIGRATIONS for w in stage.written)


def test_a_plan_that_was_broken_and_mended_goes_on_where_it_was() -> None:
    stage = a_copying_stage()
    stage.edit(MIGRATION_PLANS, PLAN, "spec", "target", value={"nodeNames": ["node-2"], "nodeSelector": {"a": "b"}})
    stage.settle()
    stage.arrive()
    stage.settle()

    stage.edit(MIGRATION_PLANS, PLAN, "spec", "target", value={"nodeNames": ["node-2"]})
    stage.settle()

    assert (stage.status_of()["phase"], stage.reason()) == ("Succeeded", "AllMoved")
    assert len(stage.migrations()) == 1


def test_a_finished_plan_stays_finished_whatever_is_done_to_its_spec() -> None:
    stage = a_copying_stage()
    stage.arrive()
    stage.settle()
    before = stage.status_of()

    stage.edit(MIGRATION_PLANS, PLAN, "spec", "target", value={"nodeNames": ["node-2"], "nodeSelector": {"a": "b"}})
    written = stage.settle()

    assert len(written) == 1
    assert (stage.status_of()["phase"], stage.status_of()["finishedAt"]) == ("Succeeded", before["finishedAt"])
    assert stage.reason(condition="Stalled") == "SpecFrozen"
