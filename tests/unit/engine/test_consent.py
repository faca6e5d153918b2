"""Consent is the plan's, as it stands now: whatever was specified, quoted or half written before."""

from typing import Any

import pytest

from support.stage import DB1, STUN, Stage
from whimbrel.domain.decision import Create, JsonPatch
from whimbrel.domain.records import Key
from whimbrel.domain.resources import (
    INSTANCES,
    MIGRATION_PLANS,
    MIGRATION_POLICIES,
    MIGRATIONS,
    VIRTUAL_MACHINE_MOVES,
)
from whimbrel.engine import decide

PLAN = Key("default", "plan")


def a_stage_about_to_stun() -> Stage:
    """Attempt 1 did not converge; the labels of attempt 2, a stun, are set and its migration is not created yet."""
    stage = Stage()
    stage.told()
    stage.plan(migration={"disruption": STUN})
    stage.settle()
    stage.not_converged()
    for _ in range(20):
        decisions = decide(stage.snapshot())
        if any(isinstance(w, Create) and w.resource == MIGRATIONS for w in decisions.writes):
            break
        stage.tick()
    assert len(stage.labels()) > 1
    return stage


def created(stage: Stage) -> list[Any]:
    return [w for w in stage.written if isinstance(w, Create) and w.resource == MIGRATIONS]


def test_a_stun_whose_consent_was_withdrawn_does_not_start_although_only_half_of_a_tick_arrived() -> None:
    stage = a_stage_about_to_stun()
    before = len(created(stage))
    stage.edit(MIGRATION_PLANS, PLAN, "spec", "migration", value={"disruption": {"stun": "Never"}})
    for write in decide(stage.snapshot()).writes:  # everything arrives but the removal of the labels
        if not isinstance(write, JsonPatch):
            stage._send(write)

    stage.settle()

    assert all(w.body["metadata"]["annotations"].get("whimbrel.dev/stun") is None for w in created(stage)[before:])


def test_a_stun_in_flight_whose_consent_was_withdrawn_is_aborted() -> None:
    stage = a_stage_about_to_stun()
    stage.copying()

    stage.edit(MIGRATION_PLANS, PLAN, "spec", "migration", value={"disruption": {"stun": "Never"}})
    stage.settle()

    assert stage.move()["status"]["abort"]["reason"] == "ConsentWithdrawn"
    assert "deletionTimestamp" in stage.unfinished()["metadata"]


def test_a_move_in_flight_whose_owner_forbids_it_is_aborted_and_not_begun_again() -> None:
    stage = Stage()
    stage.plan()
    stage.copying()

    stage.edit(INSTANCES, Key("default", "db1"), "metadata", "annotations", value={"whimbrel.dev/migration": "Never"})
    stage.settle()

    abort = stage.move()["status"]["abort"]
    assert abort["reason"] == "ConsentWithdrawn"
    assert "owner forbids" in abort["message"]
    begun = len(created(stage))
    stage.carry_out_abort()
    stage.seconds += 600
    stage.settle()
    assert len(created(stage)) == begun


@pytest.mark.parametrize(
    ("policy", "reason", "named"),
    [
        ("theirs", "OverruledByForeignPolicy", "MigrationPolicy theirs"),
        ("", "ConfigurationMismatch", "MigrationPolicy whimbrel-"),
    ],
)
def test_an_attempt_that_is_ruled_by_more_than_was_consented_to_ends_by_the_name_of_who_rules_it(
    policy: str, reason: str, named: str
) -> None:
    stage = Stage()
    stage.plan()
    stage.settle()

    stage.hand_off(configuration={"completionTimeoutPerGiB": 1, "allowPostCopy": True}, policy=policy)
    stage.settle()

    abort = stage.move()["status"]["abort"]
    assert abort["reason"] == reason
    assert abort["message"].startswith(f"Under {named}")
    assert "switch to post-copy" in abort["message"]


def test_somebodys_policy_with_a_hundred_pairs_keeps_nobody_from_deciding() -> None:
    stage = Stage()
    selectors = {"virtualMachineInstanceSelector": {f"key-{number}": "on" for number in range(100)}}
    policy = {"metadata": {"name": "endless"}, "spec": {"selectors": selectors, "allowPostCopy": True}}
    stage.world.create("user", MIGRATION_POLICIES, policy)

    stage.plan()
    stage.settle()

    assert stage.unfinished()


def test_an_overruled_attempt_that_a_guard_has_ended_before_the_leader_looked_is_told_as_that() -> None:
    stage = Stage()
    stage.plan(migration={"attempts": 1})
    stage.settle()
    stage.hand_off(configuration={"completionTimeoutPerGiB": 1, "allowPostCopy": True}, policy="theirs")
    stage.delete(MIGRATIONS, Key("default", stage.unfinished()["metadata"]["name"]))

    stage.copy()
    stage.carry_out_abort()
    stage.settle()

    assert stage.outcome() == ("Failed", "OverruledByForeignPolicy")
    assert "MigrationPolicy theirs" in stage.move()["status"]["message"]


def test_a_move_that_was_tampered_with_is_no_consent() -> None:
    stage = Stage()
    stage.plan(suspend=True)
    stage.settle()
    stage.outlook_due = False
    move = stage.move()
    key = Key(move["metadata"]["namespace"], move["metadata"]["name"])
    stage.edit(VIRTUAL_MACHINE_MOVES, key, "spec", "attempt", "configuration", "allowPostCopy", value=True)
    stage.edit(MIGRATION_PLANS, PLAN, "spec", "suspend", value=None)
    stage.outlook_due = True
    stage.settle()
    stage.outlook_due = False
    stage.settle()

    assert not any(
        w.resource.kind == "MigrationPolicy" and w.body["spec"]["allowPostCopy"]
        for w in stage.written
        if isinstance(w, Create)
    )


def test_a_lowered_number_of_attempts_ends_what_is_above_it() -> None:
    stage = a_stage_about_to_stun()
    stage.edit(MIGRATION_PLANS, PLAN, "spec", "migration", value={"attempts": 1, "disruption": STUN})
    begun = len(created(stage))

    stage.settle()

    assert len(created(stage)) == begun
    assert stage.outcome() == ("Failed", "AttemptsSpent")


def test_a_guest_that_is_on_its_target_is_not_moved_again_although_kubevirt_says_failed() -> None:
    stage = Stage()
    stage.plan()
    stage.copying()
    target = stage.move()["spec"]["attempt"]["targetNode"]
    stage.edit(INSTANCES, DB1, "status", "nodeName", value=target)
    stage.fail(failureReason="source pod died")

    stage.settle()

    assert stage.outcome()[0] == "Unverified"
    assert len(stage.migrations()) == 1


def test_a_plan_of_which_nothing_moves_says_what_it_waits_for() -> None:
    stage = Stage()
    stage.plan("older", suspend=True)
    stage.settle()
    stage.seconds += 60
    stage.plan("younger")

    stage.settle()

    assert stage.reason("younger") == "ClaimedByPlan"


def test_a_dry_run_in_mid_run_is_not_called_finished_while_something_is_in_flight() -> None:
    stage = Stage()
    stage.plan()
    stage.copying()

    stage.edit(MIGRATION_PLANS, PLAN, "spec", "dryRun", value=True)
    stage.settle()

    finished = next(c for c in stage.status_of()["conditions"] if c["type"] == "Finished")
    assert finished["status"] == "False"


def test_an_abort_that_kubevirt_does_not_carry_out_is_told_with_where_to_look() -> None:
    stage = Stage()
    stage.plan()
    stage.copying()
    stage.delete(MIGRATION_PLANS, PLAN)
    stage.settle()

    stage.seconds += 301
    stage.settle()

    assert [w["reason"] for w in stage.status_of()["waits"]] == ["AbortNotCarriedOut"]
