"""What holds a plan back before anything moves, and how it says so."""

from typing import Any

import pytest

from support.stage import Stage, emptying
from whimbrel.domain.records import Key
from whimbrel.domain.resources import (
    HOST_PROFILES,
    INSTANCES,
    KUBEVIRTS,
    MIGRATION_PLANS,
    MIGRATIONS,
    NODES,
    VIRTUAL_MACHINE_MOVES,
)
from whimbrel.simulation.topology import GuestShape, a_plan, apply

PLAN = Key("default", "plan")
STUCK = GuestShape("stuck", "node-1", live_migratable=False)


def test_a_suspended_plan_quotes_and_starts_nothing() -> None:
    stage = Stage()
    stage.plan(suspend=True)

    stage.settle()

    assert stage.status_of()["phase"] == "Suspended"
    assert stage.status_of()["quote"]["movable"] == 1
    assert not stage.migrations()
    assert not stage.labels()


def test_moves_in_flight_finish_while_a_plan_is_suspended_and_nothing_new_starts() -> None:
    stage = Stage(*(GuestShape(f"db{n}", "node-1") for n in (1, 2, 3)), profile={"outbound": 1})
    stage.plan()
    stage.settle()
    stage.edit(MIGRATION_PLANS, PLAN, "spec", "suspend", value=True)

    stage.hand_off()
    stage.copy()
    stage.settle()
    stage.arrive()
    stage.settle()

    assert stage.outcome() == ("Succeeded", "Verified")
    assert len(stage.world.objects(MIGRATIONS)) == 1
    assert stage.status_of()["phase"] == "Suspended"


def test_labels_that_were_set_come_off_when_the_plan_is_suspended_before_the_migration() -> None:
    stage = Stage()
    stage.plan()
    while not stage.labels():
        stage.tick()

    stage.edit(MIGRATION_PLANS, PLAN, "spec", "suspend", value=True)
    stage.settle()

    assert not stage.labels()
    assert not stage.migrations()


def test_a_resumed_plan_goes_on() -> None:
    stage = Stage()
    stage.plan(suspend=True)
    stage.settle()

    stage.edit(MIGRATION_PLANS, PLAN, "spec", "suspend", value=False)
    stage.settle()

    assert len(stage.migrations()) == 1


def test_a_dry_run_quotes_is_finished_and_touches_no_virtual_machine() -> None:
    stage = Stage()
    stage.plan(dryRun=True)

    stage.settle()

    assert stage.status_of()["phase"] == "Quoted"
    assert stage.reason(condition="Finished") == "DryRun"
    assert stage.move()["spec"]["attempt"]["targetNode"] == "node-2"
    assert stage.kinds(INSTANCES, MIGRATIONS) == []


def test_a_manual_plan_waits_for_the_annotation_that_names_its_quote() -> None:
    stage = Stage()
    stage.plan(approval="Manual")
    stage.settle()
    asked = stage.status_of()
    assert (asked["phase"], stage.reason(condition="Approved")) == ("AwaitingApproval", "AwaitingApproval")
    assert asked["quote"]["hash"] in asked["message"]

    stage.approve(PLAN, asked["quote"]["hash"])
    stage.settle()

    assert stage.reason(condition="Approved") == "Approved"
    assert len(stage.migrations()) == 1


def test_an_approval_of_another_quote_is_none() -> None:
    stage = Stage()
    stage.plan(approval="Manual")
    stage.settle()

    stage.approve(PLAN, "0" * 64)
    stage.settle()

    assert stage.reason(condition="Approved") == "QuoteChanged"
    assert not stage.migrations()


def test_an_approval_does_not_outlive_the_facts_that_it_was_given_for() -> None:
    stage = Stage()
    stage.plan(approval="Manual")
    stage.settle()
    first = stage.status_of()["quote"]["hash"]

    stage.node("node-2", unschedulable=True)
    stage.approve(PLAN, first)
    stage.settle()

    assert stage.status_of()["quote"]["hash"] != first
    assert stage.reason(condition="Approved") == "QuoteChanged"
    assert not stage.migrations()


def test_the_same_facts_give_the_same_hash_over_and_over() -> None:
    stage = Stage()
    stage.plan(dryRun=True)
    stage.settle()
    first = stage.status_of()["quote"]["hash"]

    stage.seconds += 1000

    assert stage.settle() == []
    assert stage.status_of()["quote"]["hash"] == first


def test_one_virtual_machine_that_cannot_move_blocks_the_whole_plan_by_default() -> None:
    stage = Stage(GuestShape("db1", "node-1"), STUCK)
    stage.plan(**emptying(leave=False))

    stage.settle()

    assert (stage.status_of()["phase"], stage.reason()) == ("Blocked", "NonMigratable")
    assert stage.reason(condition="Stalled") == "NonMigratable"
    assert not stage.world.objects(MIGRATIONS)


def test_a_blocked_move_says_every_reason_with_field_value_and_remedy() -> None:
    stage = Stage(GuestShape("db1", "node-1"), STUCK)
    stage.plan(**emptying(leave=False))

    stage.settle()

    status = stage.move("stuck")["status"]
    assert (status["phase"], status["reason"]) == ("Blocked", "NotLiveMigratable")
    assert all(verdict["field"] and verdict["remedy"] for verdict in status["verdicts"])
    row = next(m for m in stage.status_of()["quote"]["moves"] if m["virtualMachine"] == "default/stuck")
    assert row["targetNode"] == ""
    assert row["reasons"] == ["NotLiveMigratable"]


def test_a_blocked_plan_goes_on_by_itself_when_the_reason_is_mended() -> None:
    stage = Stage(GuestShape("db1", "node-1"), STUCK)
    stage.plan(**emptying(leave=False))
    stage.settle()
    conditions = stage.body(INSTANCES, Key("default", "db1"))["status"]["conditions"]

    stage.edit(INSTANCES, STUCK.key, "status", "conditions", value=conditions)
    stage.settle()

    assert len(stage.world.objects(MIGRATIONS)) == 2


def test_what_cannot_move_is_skipped_where_the_plan_leaves_it_and_the_rest_moves() -> None:
    stage = Stage(GuestShape("db1", "node-1"), STUCK)
    stage.plan()
    stage.settle()

    stage.hand_off()
    stage.copy()
    stage.arrive()
    stage.settle()

    assert stage.outcome("stuck") == ("Skipped", "NotLiveMigratable")
    assert (stage.status_of()["phase"], stage.reason()) == ("Succeeded", "SomeLeft")


def test_a_skipped_move_is_finished_too_so_that_nobody_waits_for_it() -> None:
    stage = Stage(STUCK)
    stage.plan()

    stage.settle()

    conditions = stage.move("stuck")["status"]["conditions"]
    assert [(c["type"], c["status"], c["reason"]) for c in conditions] == [("Finished", "True", "NotLiveMigratable")]
    assert (stage.status_of()["phase"], stage.reason()) == ("Failed", "NothingMoved")


@pytest.mark.parametrize(
    ("spec", "code", "field"),
    [
        ({"virtualMachines": {"onNodes": {"names": ["node-9"]}}}, "UnknownNode", "spec.virtualMachines.onNodes.names"),
        ({"virtualMachines": {"names": ["db9"]}}, "UnknownVirtualMachine", "spec.virtualMachines.names"),
        ({"virtualMachines": {"selector": {"matchLabels": {"a": "b"}}}}, "NoMatch", "spec.virtualMachines.selector"),
        (
            {"virtualMachines": {"names": ["db1"]}, "target": {"nodeNames": ["x"]}},
            "UnknownNode",
            "spec.target.nodeNames",
        ),
        ({"virtualMachines": {"names": ["db1"]}, "target": {"nodeSelector": {"a": "b"}}}, "NoMatch", "nodeSelector"),
    ],
)
def test_a_plan_that_names_what_is_not_there_says_so_and_moves_nothing(
    spec: dict[str, Any], code: str, field: str
) -> None:
    stage = Stage()
    stage.plan(**spec)

    stage.settle()

    assert (stage.status_of()["phase"], stage.reason(), stage.reason(condition="Planned")) == ("Pending", code, code)
    assert field in stage.status_of()["message"]
    assert stage.kinds(VIRTUAL_MACHINE_MOVES, INSTANCES, MIGRATIONS) == []


def test_without_any_host_profile_nothing_moves_and_the_condition_says_what_to_create() -> None:
    stage = Stage(profile={})
    stage.plan()

    stage.settle()

    assert stage.reason() == "NoHostProfile"
    assert "HostProfile" in stage.status_of()["message"]
    assert not stage.migrations()


def test_a_plan_goes_on_when_what_it_names_appears() -> None:
    stage = Stage(GuestShape("db1", "node-1"))
    stage.plan(virtualMachines={"onNodes": {"nodeSelector": {"rack": "r1"}}})
    stage.settle()

    stage.edit(HOST_PROFILES, Key("", "all"), "metadata", "labels", value={"unrelated": "x"})
    before = len(stage.migrations())
    stage.edit(NODES, Key("", "node-1"), "metadata", "labels", "rack", value="r1")
    stage.settle()

    assert (before, len(stage.migrations())) == (0, 1)


def test_a_plan_that_breaks_a_rule_is_reported_once_in_the_schemas_words() -> None:
    stage = Stage()
    stage.plan(virtualMachines={"names": ["db1"]}, target={"nodeNames": ["node-2"], "nodeSelector": {"a": "b"}})

    stage.settle()

    assert (stage.status_of()["phase"], stage.reason()) == ("Blocked", "InvalidSpec")
    assert "target takes nodeNames or nodeSelector, not both" in stage.status_of()["message"]
    assert stage.kinds(MIGRATION_PLANS) == ["ReplaceStatus MigrationPlan"]


def test_a_profile_that_breaks_a_rule_is_reported_once_and_applies_nowhere() -> None:
    stage = Stage()
    stage.edit(HOST_PROFILES, Key("", "all"), "spec", "migration", "limits", "parallelInbound", value=0)
    stage.plan()

    stage.settle()

    assert stage.kinds(HOST_PROFILES) == ["ReplaceStatus HostProfile"]
    (ready,) = stage.body(HOST_PROFILES, Key("", "all"))["status"]["conditions"]
    assert (ready["type"], ready["status"], ready["reason"]) == ("Ready", "False", "InvalidSpec")
    assert "spec.migration.limits.parallelInbound" in ready["message"]
    assert stage.reason() == "NoHostProfile"


def test_a_profile_that_was_mended_says_where_it_is_in_effect() -> None:
    stage = Stage()
    stage.edit(HOST_PROFILES, Key("", "all"), "spec", "migration", "limits", "parallelInbound", value=0)
    stage.settle()

    stage.edit(HOST_PROFILES, Key("", "all"), "spec", "migration", "limits", "parallelInbound", value=1)
    stage.settle()

    (ready,) = stage.body(HOST_PROFILES, Key("", "all"))["status"]["conditions"]
    assert ready["reason"] == "InEffect"


def test_nothing_starts_while_kubevirt_is_not_deployed_and_the_plan_says_what_it_waits_for() -> None:
    stage = Stage()
    stage.edit(KUBEVIRTS, Key("kubevirt", "kubevirt"), "status", "phase", value="Deploying")
    stage.plan()

    stage.settle()
    stage.seconds += 15
    stage.settle()

    assert not stage.migrations()
    assert [(w["reason"], w["count"]) for w in stage.status_of()["waits"]] == [("KubeVirtNotDeployed", 1)]


@pytest.mark.parametrize(
    ("profile", "migrations", "reason"),
    [
        ({"outbound": 1, "inbound": 9}, {}, "OutboundLimit"),
        ({"outbound": 9, "inbound": 1}, {"parallelOutboundMigrationsPerNode": 9}, "InboundLimit"),
        ({"outbound": 9, "inbound": 9}, {"parallelOutboundMigrationsPerNode": 1}, "KubeVirtOutboundLimit"),
        ({"outbound": 9, "inbound": 9}, {"parallelMigrationsPerCluster": 1}, "ClusterLimit"),
    ],
)
def test_no_more_migrations_are_in_flight_than_every_limit_allows(
    profile: dict[str, int], migrations: dict[str, int], reason: str
) -> None:
    stage = Stage(*(GuestShape(f"db{n}", "node-1") for n in range(6)), hosts=2, profile=profile, migrations=migrations)
    stage.plan()

    stage.settle()
    stage.seconds += 15
    stage.settle()

    assert len(stage.world.objects(MIGRATIONS)) == 1
    assert stage.status_of()["waits"][0]["reason"] == reason
    assert stage.status_of()["waits"][0]["count"] == 5


def test_somebody_elses_migrations_take_their_slots_too() -> None:
    stage = Stage(GuestShape("db1", "node-1"), GuestShape("theirs", "node-1"), profile={"outbound": 1})
    stage.foreign_migration("theirs")
    stage.plan(virtualMachines={"names": ["db1"]})
    stage.settle()
    before = len(stage.migrations())

    stage.lose_target("theirs")
    stage.settle()

    assert (before, len(stage.migrations())) == (0, 1)


def test_a_free_slot_is_taken_by_the_next_at_once() -> None:
    stage = Stage(*(GuestShape(f"db{n}", "node-1") for n in (1, 2)), profile={"outbound": 1})
    stage.plan()
    stage.settle()
    (first,) = (m["spec"]["vmiName"] for m in stage.world.objects(MIGRATIONS).values())
    second = "db2" if first == "db1" else "db1"
    stage.hand_off(first)
    stage.copy(first)
    stage.settle()

    stage.arrive(first)
    stage.settle()

    assert len(stage.migrations(second)) == 1


def test_two_plans_on_one_virtual_machine_the_older_has_it_and_the_other_says_that_it_waits() -> None:
    stage = Stage()
    stage.plan("older")
    stage.seconds += 5
    stage.plan("younger", virtualMachines={"names": ["db1"]})

    stage.settle()
    stage.seconds += 15
    stage.settle()

    assert [m["metadata"]["annotations"]["whimbrel.dev/plan"] for m in stage.migrations()] == ["default/older"]
    (wait,) = stage.status_of("younger")["waits"]
    assert wait["reason"] == "ClaimedByPlan"
    assert "default/older" in wait["message"]


def test_a_plan_says_before_anything_moves_which_of_its_machines_an_older_plan_has() -> None:
    stage = Stage()
    stage.plan("older", suspend=True)
    stage.seconds += 5
    stage.plan("younger", suspend=True)

    stage.settle()

    older, younger = stage.move(plan="older"), stage.move(plan="younger")
    assert "ClaimedByPlan" not in [note["code"] for note in older["spec"]["notes"]]
    note = younger["spec"]["notes"][0]
    assert (note["code"], note["judgement"], note["found"]) == ("ClaimedByPlan", "Warn", "default/older")
    assert younger["spec"]["attempt"]["targetNode"]


def test_a_plan_of_another_namespace_that_has_a_machine_is_not_named() -> None:
    stage = Stage(GuestShape("db1", "node-1"))
    stage.plan("older", suspend=True)
    stage.seconds += 5
    spec = {"virtualMachines": {"names": ["db1"], "namespaces": {"names": ["default"]}}, "suspend": True}
    apply(stage.world, a_plan("younger", spec, "shop"))

    stage.settle()

    (younger,) = (b for key, b in stage.world.objects(VIRTUAL_MACHINE_MOVES).items() if key.namespace == "shop")
    assert younger["spec"]["notes"][0]["found"] == "a plan of another namespace"
    assert "default/older" not in str(younger)


def test_a_plan_says_it_too_of_a_machine_that_cannot_move() -> None:
    stage = Stage(STUCK)
    stage.plan("older", suspend=True)
    stage.seconds += 5
    stage.plan("younger", suspend=True)

    stage.settle()

    verdicts = {each["code"]: each["judgement"] for each in stage.move("stuck", "younger")["status"]["verdicts"]}
    assert verdicts["ClaimedByPlan"] == "Warn"
    assert verdicts["NotLiveMigratable"] == "Block"


def test_the_younger_plan_does_not_take_the_older_ones_migration_for_its_own() -> None:
    stage = Stage()
    stage.plan("older", target={"nodeNames": ["node-2"]})
    stage.seconds += 5
    stage.plan("younger", virtualMachines={"names": ["db1"]}, target={"nodeNames": ["node-2"]})
    stage.settle()

    stage.hand_off()
    stage.copy()
    stage.settle()

    assert stage.move(plan="younger").get("status", {}).get("phase", "Waiting") in ("Waiting", "Blocked")
    assert "startedAt" not in stage.status_of("younger")
