"""What people do to a plan: suspend and resume it, try it dry, approve it, edit it while it runs."""

import pytest

from support.lab_history import member
from support.lab_scenarios import Scene, plan_of

pytestmark = [pytest.mark.lab, pytest.mark.asyncio(loop_scope="module")]

APPROVE = "whimbrel.dev/approve"
SLOW = {"bandwidth": {"maxMbps": 200}}
"""About a second for each of these guests."""


async def test_a_suspended_plan_finishes_what_is_in_flight_and_goes_on_when_it_is_resumed(stage: Scene) -> None:
    await stage.apply(plan_of("pauses", "vm-1", "vm-2", "vm-3", migration=SLOW))
    await stage.until(lambda: stage.copying("vm-1") and stage.copying("vm-2"), "two are being copied")

    await stage.change("MigrationPlan", "pauses", {"suspend": True})
    await stage.until_phase("Suspended", name="pauses")
    await stage.until(
        lambda: sorted(stage.phases("pauses").values()) == ["Succeeded", "Succeeded", "Waiting"], "two have ended"
    )
    await stage.until(lambda: not stage.ours_in_flight(), "and nothing else has begun")
    assert stage.lab.node_of("vm-3") == "node-1"
    await stage.change("MigrationPlan", "pauses", {"suspend": False})
    await stage.until_phase("Succeeded", name="pauses")
    assert stage.lab.node_of("vm-3") != "node-1"
    await stage.until_at_rest()


async def test_a_dry_run_quotes_and_moves_nothing_until_it_is_meant(stage: Scene) -> None:
    await stage.apply(plan_of("rehearsal", "vm-4", "vm-5", dryRun=True))
    status = await stage.until_phase("Quoted", name="rehearsal")

    assert [line["virtualMachine"] for line in status["quote"]["moves"]] == [
        f"{stage.lab.namespace}/vm-4",
        f"{stage.lab.namespace}/vm-5",
    ]
    assert all(line["targetNode"] in ("node-2", "node-3") for line in status["quote"]["moves"])
    assert all(line["durationSeconds"] >= 1 for line in status["quote"]["moves"])
    assert stage.condition("Ready", "rehearsal")["reason"] == "DryRun"
    assert stage.lab.migrations_of("vm-4") == []
    await stage.change("MigrationPlan", "rehearsal", {"dryRun": False})
    await stage.until_phase("Succeeded", name="rehearsal")
    assert {vm: stage.lab.node_of(vm) for vm in ("vm-4", "vm-5")} == {
        line["virtualMachine"].removeprefix(f"{stage.lab.namespace}/"): line["targetNode"]
        for line in status["quote"]["moves"]
    }
    await stage.until_at_rest()


async def test_only_the_hash_of_the_present_quote_approves_a_plan(stage: Scene) -> None:
    await stage.apply(plan_of("asks-first", "vm-6", approval="Manual"))
    status = await stage.until_phase("AwaitingApproval", name="asks-first")
    assert status["quote"]["hash"] in status["message"]

    await stage.annotate("asks-first", {APPROVE: "0" * 64})
    await stage.until(lambda: stage.condition("Approved", "asks-first").get("reason") == "QuoteChanged", "refused")
    assert stage.lab.migrations_of("vm-6") == []
    await stage.annotate("asks-first", {APPROVE: status["quote"]["hash"]})
    await stage.until_phase("Succeeded", name="asks-first")

    assert stage.condition("Approved", "asks-first")["reason"] == "Approved"
    await stage.until_at_rest()


async def test_an_edit_in_mid_run_holds_for_what_has_not_begun(stage: Scene) -> None:
    await stage.apply(plan_of("changes-its-mind", "vm-7", "vm-8", "vm-9", "vm-10", migration=SLOW))
    await stage.until(lambda: len(stage.ours_in_flight()) == 2, "two have begun")
    begun = {each["spec"]["vmiName"] for each in stage.ours_in_flight()}
    first, second = sorted({"vm-7", "vm-8", "vm-9", "vm-10"} - begun)

    await stage.change(
        "MigrationPlan",
        "changes-its-mind",
        {"virtualMachines": {"names": [*begun, second]}, "target": {"nodeNames": ["node-3"]}},
    )
    status = await stage.until_phase("Succeeded", "Failed", name="changes-its-mind")

    assert status["observedGeneration"] == member(stage.plan("changes-its-mind"), "metadata", "generation") == 2
    moves = stage.moves("changes-its-mind")
    assert moves[first]["status"]["phase"] == "Skipped"
    assert moves[first]["status"]["reason"] == "NoLongerSelected"
    assert stage.lab.node_of(first) == "node-1"
    assert stage.lab.node_of(second) == "node-3"
    assert all(moves[vm]["status"]["phase"] == "Succeeded" for vm in begun)
    assert status["phase"] == "Succeeded"
    await stage.until_at_rest()
