"""Attempts that fail: what is recorded, what follows, and when it is enough."""

from typing import Any

import pytest

from support.stage import DB1, STUN, Stage
from whimbrel.domain.decision import Delete
from whimbrel.domain.records import Key
from whimbrel.domain.resources import INSTANCES, MIGRATION_PLANS, MIGRATIONS, VIRTUAL_MACHINE_MOVES
from whimbrel.simulation.topology import GIB, GuestShape


def a_running_stage(**migration: Any) -> Stage:
    stage = Stage()
    stage.told()
    stage.plan(migration=migration)
    stage.settle()
    return stage


def test_an_attempt_that_does_not_converge_climbs_to_a_stun_where_that_is_permitted() -> None:
    stage = a_running_stage(disruption=STUN)

    stage.not_converged()
    stage.settle()

    status = stage.move()["status"]
    assert [(r["number"], r["rung"], r["reason"]) for r in status["history"]] == [(1, "PreCopy", "NotConverged")]
    assert (status["attempt"]["number"], status["attempt"]["rung"]) == (2, "Stun")
    annotations = stage.unfinished()["metadata"]["annotations"]
    assert annotations["whimbrel.dev/stun"] == "Allowed"
    assert annotations["whimbrel.dev/max-downtime-ms"] == "5000"
    assert annotations["whimbrel.dev/deadline-seconds"] == str(status["attempt"]["deadlineSeconds"])


def test_the_outcome_of_one_attempt_and_the_specification_of_the_next_are_one_write() -> None:
    stage = a_running_stage(disruption=STUN)
    stage.not_converged()

    written = [w for w in stage.settle() if w.resource in (VIRTUAL_MACHINE_MOVES, INSTANCES, MIGRATIONS)]

    assert [w.resource for w in written] == [VIRTUAL_MACHINE_MOVES, INSTANCES, MIGRATIONS, VIRTUAL_MACHINE_MOVES]
    assert "attempt 1 ended" in written[0].why
    assert "attempt 2 has begun" in written[3].why


def test_without_consent_an_attempt_that_does_not_converge_is_repeated_as_it_was() -> None:
    stage = a_running_stage()

    stage.not_converged()
    stage.settle()

    assert stage.move()["status"]["attempt"]["rung"] == "PreCopy"
    assert "whimbrel.dev/stun" not in stage.unfinished()["metadata"]["annotations"]


def test_the_first_attempt_asks_for_no_disruption_although_the_plan_would_permit_it() -> None:
    stage = a_running_stage(disruption=STUN)

    assert stage.move()["spec"]["rungs"] == ["PreCopy", "Stun"]
    assert stage.move()["spec"]["attempt"]["configuration"]["allowWorkloadDisruption"] is False
    assert "whimbrel.dev/stun" not in stage.unfinished()["metadata"]["annotations"]


@pytest.mark.parametrize("attempts", [1, 2, 3])
def test_no_more_migrations_are_begun_than_the_plan_allows(attempts: int) -> None:
    stage = a_running_stage(attempts=attempts)

    for _ in range(attempts):
        stage.not_converged()
        stage.settle()
        stage.seconds += 60
        stage.settle()

    assert len(stage.migrations()) == attempts
    assert stage.outcome() == ("Failed", "NotConverged")
    assert (stage.status_of()["phase"], stage.reason()) == ("Failed", "SomeFailed")
    assert stage.body(MIGRATION_PLANS, Key("default", "plan"))["metadata"]["finalizers"] == []


def test_the_last_word_says_where_the_virtual_machine_still_runs() -> None:
    stage = a_running_stage(attempts=1)

    stage.not_converged()
    stage.settle()

    assert "All 1 attempts are spent; it still runs on node-1." in stage.move()["status"]["message"]


def test_a_target_that_was_not_prepared_is_tried_again_after_a_delay_that_doubles() -> None:
    stage = a_running_stage()
    waits = []

    for _ in range(2):
        stage.lose_target()
        stage.settle()
        assert len([m for m in stage.migrations() if m["status"]["phase"] != "Failed"]) == 0
        wake_s = stage.tick().wake_after_s
        assert wake_s is not None
        waits.append(wake_s)
        stage.seconds += wake_s
        stage.settle()
        stage.seconds += 15

    assert waits == [5.0, 10.0]
    assert [r["reason"] for r in stage.move()["status"]["history"]] == ["TargetNotPrepared"] * 2


def test_a_taken_name_is_left_alone_and_its_number_is_spent() -> None:
    stage = Stage()
    stage.plan()
    while not stage.labels():
        stage.tick()
    name = stage.labels()["whimbrel.dev/vmim"]
    foreign = stage.foreign_migration(name=name)
    stage.settle()

    stage.world.replace_status("kubevirt", MIGRATIONS, Key("default", name), {**foreign, "status": {"phase": "Failed"}})
    stage.seconds += 60
    stage.settle()

    assert [(r["number"], r["outcome"]) for r in stage.move()["status"]["history"]] == [(1, "NameTaken")]
    assert stage.unfinished()["metadata"]["labels"]["whimbrel.dev/attempt"] == "2"
    assert not any(isinstance(w, Delete) and w.resource == MIGRATIONS for w in stage.written)


def test_a_migration_that_an_earlier_life_created_is_adopted_and_not_created_again() -> None:
    stage = Stage()
    stage.plan()
    while not stage.migrations():
        stage.tick()
    assert stage.outcome()[0] in ("", "Waiting")

    stage.settle()
    stage.hand_off()
    stage.settle()

    assert len(stage.migrations()) == 1
    assert stage.outcome() == ("Moving", "Started")


def test_an_effective_configuration_that_could_do_more_than_was_consented_to_is_aborted() -> None:
    stage = a_running_stage()

    stage.hand_off(configuration={"completionTimeoutPerGiB": 150, "allowPostCopy": True})
    written = [w for w in stage.settle() if w.resource in (VIRTUAL_MACHINE_MOVES, MIGRATIONS)]

    assert [type(w).__name__ for w in written] == ["ReplaceStatus", "Delete"]
    assert stage.move()["status"]["abort"]["reason"] == "ConfigurationMismatch"
    assert "post-copy" in stage.move()["status"]["abort"]["message"]


def test_an_aborted_attempt_counts_and_the_next_one_follows() -> None:
    stage = a_running_stage()
    stage.hand_off(configuration={"allowAutoConverge": True})
    stage.settle()

    stage.copy()
    stage.carry_out_abort()
    stage.settle()
    stage.seconds += 60
    stage.settle()

    assert [(r["outcome"], r["reason"]) for r in stage.move()["status"]["history"]] == [
        ("Aborted", "ConfigurationMismatch")
    ]
    assert stage.unfinished()["metadata"]["labels"]["whimbrel.dev/attempt"] == "2"


def test_kubevirt_may_take_twenty_minutes_to_prepare_a_target_and_no_more() -> None:
    stage = a_running_stage()
    stage.seconds += 1199
    assert not [w for w in stage.settle() if w.resource == MIGRATIONS]

    stage.seconds += 1
    stage.settle()

    assert stage.move()["status"]["abort"]["reason"] == "StartTimeout"
    assert "deletionTimestamp" in stage.migrations()[0]["metadata"]


def test_a_target_that_goes_not_ready_before_the_start_is_replaced_by_another() -> None:
    stage = Stage()
    stage.plan(suspend=True)
    stage.settle()
    assert stage.move()["spec"]["attempt"]["targetNode"] == "node-2"

    stage.node("node-2", ready=False)
    stage.settle()
    stage.edit(MIGRATION_PLANS, Key("default", "plan"), "spec", "suspend", value=False)
    stage.settle()

    assert stage.migrations()[0]["spec"]["addedNodeSelector"] == {"kubernetes.io/hostname": "node-3"}


def test_after_a_target_was_lost_in_mid_move_the_next_attempt_goes_elsewhere() -> None:
    stage = a_running_stage()
    stage.hand_off()
    stage.copy()
    stage.settle()

    stage.node("node-2", ready=False)
    stage.fail(failureReason="Target pod is down")
    stage.settle()
    stage.seconds += 60
    stage.settle()

    assert stage.move()["status"]["history"][0]["reason"] == "MigrationFailed"
    assert stage.unfinished()["spec"]["addedNodeSelector"] == {"kubernetes.io/hostname": "node-3"}


@pytest.mark.parametrize("character", ["x", "\x1b"])
@pytest.mark.parametrize("length", [4096, 100_000])
def test_a_failure_is_told_and_followed_however_much_is_said_of_it(character: str, length: int) -> None:
    stage = a_running_stage(attempts=2)

    for _ in range(2):
        stage.hand_off()
        stage.copy()
        stage.settle()
        stage.fail(failureReason=character * length)
        stage.settle()
        stage.seconds += 600
        stage.settle()

    assert stage.outcome() == ("Failed", "MigrationFailed")
    assert len(stage.move()["status"]["history"]) == 2
    assert stage.move()["status"]["message"].endswith("All 2 attempts are spent; it still runs on node-1.")


def test_a_stun_that_the_guard_cut_short_is_told_as_that() -> None:
    stage = a_running_stage(disruption=STUN, attempts=2)
    stage.not_converged()
    stage.copying()
    stage.seconds += stage.move()["status"]["attempt"]["deadlineSeconds"] + 1
    stage.copy(mode="Paused")
    stage.delete(MIGRATIONS, _key(stage.unfinished()))
    stage.seconds += 4

    stage.carry_out_abort()
    stage.settle()

    assert stage.outcome() == ("Failed", "StunBudgetExceeded")
    assert "5000 ms" in stage.move()["status"]["message"]
    plain, stun = stage.move()["status"]["history"]
    assert "pausedMs" not in plain
    assert stun["pausedMs"] == 4000


def test_a_migration_that_somebody_deleted_is_told_as_that() -> None:
    stage = a_running_stage(attempts=1)
    stage.hand_off()
    stage.copy()
    stage.settle()

    stage.delete(MIGRATIONS, _key(stage.unfinished()))
    stage.carry_out_abort()
    stage.settle()

    assert stage.outcome() == ("Failed", "AbortedByOther")


def test_a_stun_that_succeeds_has_a_downtime_in_its_receipt() -> None:
    stage = a_running_stage(disruption=STUN)
    stage.not_converged()
    stage.settle()
    deadline_s = stage.move()["status"]["attempt"]["deadlineSeconds"]
    stage.hand_off()
    stage.copy()
    stage.settle()
    stage.seconds += deadline_s + 1
    stage.copy(mode="Paused")
    stage.settle()
    stage.seconds += 3

    stage.arrive()
    stage.settle()

    assert stage.move()["status"]["receipt"]["downtimeMs"] == {
        "value": 3000,
        "tolerance": 1000,
        "source": "PausedMode",
    }
    assert stage.move()["status"]["receipt"]["attempts"] == 2


def test_a_guest_whose_agent_does_not_come_back_is_called_unverified() -> None:
    stage = a_running_stage()
    stage.hand_off()
    stage.copy()
    stage.settle()
    conditions = [c for c in stage.body(INSTANCES, DB1)["status"]["conditions"] if c["type"] != "AgentConnected"]
    stage.edit(INSTANCES, DB1, "status", "conditions", value=conditions)

    stage.arrive()
    stage.settle()
    before = stage.outcome()
    stage.seconds += 60
    stage.settle()

    assert before == ("Moving", "Started")
    assert stage.outcome() == ("Unverified", "Unverified")
    assert "guest agent" in stage.move()["status"]["message"]


BIG = {"memory_bytes": 40 * GIB, "touched_bytes": GIB}
"""Of these a host of the stage takes one."""


def one_at_a_time(*guests: GuestShape, hosts: int) -> Stage:
    """A stage whose cluster runs one migration at a time, so that all but the first wait."""
    return Stage(*guests, hosts=hosts, migrations={"parallelMigrationsPerCluster": 1})


def bring(stage: Stage, vm: str, *targets: str, **spec: Any) -> None:
    stage.plan(vm, virtualMachines={"names": [vm]}, target={"nodeNames": list(targets)}, **spec)
    stage.settle()


def lose(stage: Stage, vm: str, node: str) -> None:
    """The target is lost in mid-move, between two outlooks."""
    stage.outlook_due = False
    stage.hand_off(vm)
    stage.copy(vm)
    stage.settle()
    stage.node(node, ready=False)
    stage.fail(vm, failureReason="Target pod is down")


def test_a_further_attempt_does_not_go_where_another_plan_has_yet_to_bring_somebody() -> None:
    stage = one_at_a_time(GuestShape("db1", "node-1", **BIG), GuestShape("db2", "node-4", **BIG), hosts=5)
    bring(stage, "db1", "node-2", "node-3", "node-5")
    bring(stage, "db2", "node-3")

    lose(stage, "db1", "node-2")
    (record,) = [write for write in stage.settle() if "attempt 1 ended" in write.why]

    assert record.body["status"]["attempt"]["targetNode"] == "node-5"
    assert stage.move("db2", "db2")["spec"]["attempt"]["targetNode"] == "node-3"


def test_where_no_target_is_left_beside_what_is_to_come_the_last_one_stands_until_the_next_outlook() -> None:
    stage = one_at_a_time(GuestShape("db1", "node-1", **BIG), GuestShape("db2", "node-4", **BIG), hosts=4)
    bring(stage, "db1", "node-2", "node-3")
    bring(stage, "db2", "node-3")
    lose(stage, "db1", "node-2")

    stage.tick()
    assert stage.move("db1", "db1")["status"]["attempt"]["targetNode"] == "node-2"
    stage.seconds += 60
    stage.settle()
    assert stage.migrations("db2")  # it had its turn meanwhile
    stage.node("node-2", ready=True)
    stage.outlook_due = True
    stage.settle()

    assert stage.move("db1", "db1")["status"]["attempt"]["targetNode"] == "node-2"


def test_an_outlook_of_the_very_tick_at_which_an_attempt_ends_counts_the_next_one() -> None:
    stage = one_at_a_time(GuestShape("db1", "node-1", **BIG), GuestShape("db2", "node-4", **BIG), hosts=5)
    bring(stage, "db1", "node-2")
    bring(stage, "db2", "node-5")
    stage.hand_off()
    stage.copy()
    stage.settle()

    stage.fail(failureReason="Target pod is down")
    stage.edit(MIGRATION_PLANS, Key("default", "db2"), "spec", "target", value={"nodeNames": ["node-2", "node-3"]})
    stage.tick()

    assert stage.move("db1", "db1")["status"]["attempt"]["targetNode"] == "node-2"
    assert stage.move("db2", "db2")["spec"]["attempt"]["targetNode"] == "node-3"


def test_an_outlook_counts_an_attempt_that_is_just_about_to_begin() -> None:
    stage = Stage(GuestShape("db1", "node-1", **BIG), GuestShape("db2", "node-4", **BIG), hosts=5)
    bring(stage, "db2", "node-5", suspend=True)
    stage.plan("db1", virtualMachines={"names": ["db1"]}, target={"nodeNames": ["node-2"]})
    while not stage.labels():
        stage.tick()
    assert not stage.migrations()

    spec = {"virtualMachines": {"names": ["db2"]}, "target": {"nodeNames": ["node-2", "node-3"]}}
    stage.edit(MIGRATION_PLANS, Key("default", "db2"), "spec", value=spec)
    stage.tick()

    assert stage.move("db2", "db2")["spec"]["attempt"]["targetNode"] == "node-3"


def test_a_stop_on_the_way_that_fails_is_repeated_as_one_in_the_same_write() -> None:
    stage = one_at_a_time(
        GuestShape("db1", "node-1", **BIG),
        GuestShape("db2", "node-2", **BIG),
        GuestShape("db3", "node-4", memory_bytes=30 * GIB, touched_bytes=GIB),
        hosts=4,
    )
    for vm, targets in {"db1": ["node-2", "node-3"], "db2": ["node-1", "node-3"], "db3": ["node-3"]}.items():
        stage.plan(vm, virtualMachines={"names": [vm]}, target={"nodeNames": targets})
    while not stage.labels():
        stage.tick()
    stage.outlook_due = False
    stage.settle()
    first = stage.move("db1", "db1")["spec"]["attempt"]
    assert (first["targetNode"], first["detour"]) == ("node-3", True)
    assert stage.move("db3", "db3")["spec"]["attempt"]["targetNode"] == "node-3"  # it waits for that room

    stage.hand_off()
    stage.copy()
    stage.settle()
    stage.fail(failureReason="Target pod is down")
    stage.settle()
    again = stage.move("db1", "db1")["status"]["attempt"]
    stage.outlook_due = True
    stage.settle()

    assert (again["number"], again["targetNode"], again["detour"]) == (2, "node-3", True)
    assert stage.move("db1", "db1")["status"]["attempt"] == again


def _key(body: Any) -> Key:
    return Key(body["metadata"]["namespace"], body["metadata"]["name"])
