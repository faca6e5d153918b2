"""What others do in the middle of a plan: their migrations, their deletions, their plans."""

from datetime import UTC, datetime

import pytest

from support.lab_history import member
from support.lab_scenarios import MANAGED, MOVE, PLAN, Scene, plan_of
from whimbrel.domain.resources import MIGRATIONS
from whimbrel_lab.lab import INSTANCE, MIGRATION

pytestmark = [pytest.mark.lab, pytest.mark.asyncio(loop_scope="module")]

SLOW = {"bandwidth": {"maxMbps": 100}}
"""About two seconds for each of these guests: long enough to be disturbed."""


def seconds() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def born(stage: Scene, name: str) -> str:
    return str(stage.plan(name)["metadata"]["creationTimestamp"])


async def test_somebody_else_s_migration_is_waited_for_and_never_touched(stage: Scene) -> None:
    stage.lab.stall_pods("node-2")
    foreign = await stage.lab.create_foreign_migration("vm-1", node="node-2")
    await stage.apply(plan_of("after-them", "vm-1", target={"nodeNames": ["node-3"]}))
    await stage.until(lambda: stage.status("after-them").get("waits"), "the plan says why it waits")
    wait = stage.status("after-them")["waits"][0]
    assert wait["reason"] == "ForeignMigration"
    assert foreign["metadata"]["name"] in wait["message"]
    assert stage.in_flight("vm-1") is None

    await stage.lab.delete_migration(foreign)
    stage.lab.resume_pods("node-2")
    await stage.until_phase("Succeeded", name="after-them")

    assert stage.lab.node_of("vm-1") == "node-3"
    deleted = [change for change in stage.witness.of(MIGRATIONS) if change.verb == "delete"]
    assert [change.actor for change in deleted if change.key.name == foreign["metadata"]["name"]][:1] == ["user"]
    await stage.until_at_rest()


async def test_a_virtual_machine_deleted_in_mid_move_fails_with_its_reason_and_the_others_move(stage: Scene) -> None:
    await stage.apply(plan_of("loses-one", "vm-2", "vm-3", migration=SLOW))
    await stage.until(lambda: stage.copying("vm-2"), "vm-2 is being copied")

    await stage.lab.delete_vm("vm-2")
    status = await stage.until_phase("Failed", name="loses-one")

    assert stage.phases("loses-one") == {"vm-2": "Failed", "vm-3": "Succeeded"}
    assert stage.moves("loses-one")["vm-2"]["status"]["reason"] == "VirtualMachineGone"
    assert stage.condition("Finished", "loses-one")["reason"] == "SomeFailed"
    assert (status["moves"]["succeeded"], status["moves"]["failed"]) == (1, 1)
    await stage.until_at_rest()


async def test_a_plan_deleted_in_mid_move_cancels_its_own_moves_and_leaves_nothing_and_nobody_else_s(
    stage: Scene,
) -> None:
    stage.lab.stall_pods("node-3")
    foreign = await stage.lab.create_foreign_migration("vm-4", node="node-3")
    await stage.apply(plan_of("taken-back", "vm-5", "vm-6", migration=SLOW, target={"nodeNames": ["node-2"]}))
    await stage.until(lambda: stage.copying("vm-5"), "vm-5 is being copied")
    uid = stage.plan("taken-back")["metadata"]["uid"]

    await stage.lab.client.delete(PLAN, "taken-back", stage.lab.namespace)
    await stage.until(lambda: not stage.plan("taken-back"), "the plan is gone")
    await stage.until(
        lambda: not [each for each in stage.lab.items(MOVE) if uid in str(each["metadata"]["ownerReferences"])],
        "so are its moves",
    )
    await stage.until_at_rest()

    assert {vm: stage.lab.node_of(vm) for vm in ("vm-5", "vm-6")} == {"vm-5": "node-1", "vm-6": "node-1"}
    assert all(member(stage.lab.read(INSTANCE, vm), "status", "phase") == "Running" for vm in ("vm-5", "vm-6"))
    left = stage.lab.read(MIGRATION, foreign["metadata"]["name"])
    assert left is not None
    assert not member(left, "metadata", "deletionTimestamp")
    stage.lab.resume_pods("node-3")
    assert await stage.lab.ended(foreign) == "Succeeded"
    assert stage.lab.node_of("vm-4") == "node-3"


async def test_of_two_plans_on_one_virtual_machine_the_older_has_it_and_the_other_waits(stage: Scene) -> None:
    await stage.apply(plan_of("older", "vm-7", suspend=True))
    await stage.until_phase("Suspended", name="older")
    await stage.until(lambda: seconds() > born(stage, "older"), "the next plan is younger by its timestamp")
    await stage.apply(plan_of("younger", "vm-7", target={"nodeNames": ["node-3"]}))
    await stage.until(lambda: stage.status("younger").get("waits"), "the younger says why it waits")
    wait = stage.status("younger")["waits"][0]

    assert wait["reason"] == "ClaimedByPlan"
    assert f"{stage.lab.namespace}/older" in wait["message"]
    assert stage.in_flight("vm-7") is None
    await stage.lab.client.delete(PLAN, "older", stage.lab.namespace)
    await stage.until_phase("Succeeded", name="younger")

    assert stage.lab.node_of("vm-7") == "node-3"
    created = [change for change in stage.witness.of(MIGRATIONS) if change.verb == "create"]
    ours = [change for change in created if MANAGED in ((change.after or {})["metadata"].get("labels") or {})]
    assert len([change for change in ours if (change.after or {})["spec"]["vmiName"] == "vm-7"]) == 1
    await stage.until_at_rest()
