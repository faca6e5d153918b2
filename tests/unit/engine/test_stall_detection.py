"""KubeVirt's stall detection is switched on or off under a plan that waits, and somebody's policy rules under it."""

from dataclasses import replace

import pytest

from support.builders import CAPABILITIES
from support.stage import DB1, STUN, Stage
from whimbrel.api.virtual_machine_move import MOST_LABEL_PAIRS
from whimbrel.domain.records import Key
from whimbrel.domain.resources import INSTANCES, KUBEVIRTS, MIGRATION_PLANS, MIGRATION_POLICIES
from whimbrel.domain.samples import GuestReadings, Reading

MIB = 1 << 20
KUBEVIRT = Key("kubevirt", "kubevirt")
NEWEST = {"maxDowntimeMs", "experimental", "experimental.stallDetector", "experimental.compression"}


def switch(stage: Stage, on: bool) -> None:
    gates = ["MigrationStallDetection"] if on else []
    stage.edit(KUBEVIRTS, KUBEVIRT, "spec", "configuration", value={"developerConfiguration": {"featureGates": gates}})


def a_stage_that_waits(*, on: bool) -> Stage:
    """A plan for a calm guest, suspended."""
    stage = Stage(capabilities=replace(CAPABILITIES, policy_fields=CAPABILITIES.policy_fields | NEWEST))
    switch(stage, on)
    stage.readings[DB1] = GuestReadings(
        "node-1", Reading(2.0 * MIB, stage.world.now), Reading(600.0 * MIB, stage.world.now)
    )
    stage.plan(suspend=True, migration={"disruption": STUN})
    stage.settle()
    return stage


def last_step_ms(stage: Stage) -> int | None:
    value = stage.move()["spec"]["attempt"]["configuration"].get("maxDowntimeMs")
    return None if value is None else int(value)


@pytest.mark.parametrize("on", [True, False])
def test_what_waits_is_specified_anew_when_it_is_switched(on: bool) -> None:
    stage = a_stage_that_waits(on=not on)
    before = last_step_ms(stage)

    switch(stage, on)
    stage.seconds += 11
    stage.settle()

    assert (before, last_step_ms(stage)) == ((None, 300) if on else (300, None))


def test_an_attempt_that_began_before_it_was_switched_on_ends_if_it_could_let_the_guest_stand_still_for_longer() -> (
    None
):
    stage = a_stage_that_waits(on=False)
    stage.edit(MIGRATION_PLANS, Key("default", "plan"), "spec", "suspend", value=False)
    stage.settle()
    switch(stage, True)

    stage.hand_off(configuration={"maxDowntimeMs": 900})
    stage.settle()

    assert "stand still for 900 ms" in stage.move()["status"]["abort"]["message"]


def test_an_attempt_that_a_policy_of_more_pairs_than_can_be_outbid_has_overruled_is_not_tried_again() -> None:
    stage = Stage()
    selectors = {"virtualMachineInstanceSelector": {f"key-{number}": "on" for number in range(MOST_LABEL_PAIRS + 5)}}
    policy = {"metadata": {"name": "endless"}, "spec": {"selectors": selectors, "allowPostCopy": True}}
    stage.world.create("user", MIGRATION_POLICIES, policy)
    stage.plan(migration={"attempts": 3})
    stage.settle()
    stage.hand_off(configuration={"completionTimeoutPerGiB": 1, "allowPostCopy": True}, policy="endless")
    stage.settle()
    stage.carry_out_abort()

    stage.settle()

    assert stage.outcome() == ("Failed", "OverruledByForeignPolicy")
    assert len(stage.move()["status"]["history"]) == 1
    assert stage.body(INSTANCES, DB1)["status"]["nodeName"] == "node-1"
