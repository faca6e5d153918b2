"""An operator beside a KubeVirt that cannot be told where to migrate to, with the schemas that it serves."""

from pathlib import Path

import pytest

from support.lab_history import member
from support.lab_scenarios import STUN, guests, landed, plan, profile, scene, topology

pytestmark = pytest.mark.lab


async def test_a_host_is_emptied_to_wherever_the_scheduler_likes_if_all_of_it_is_allowed(tmp_path: Path) -> None:
    async with scene(topology(guests(4), version="v1.5.3"), tmp_path) as stage:
        await stage.operator()
        await stage.apply(profile(), plan())

        status = await stage.until_phase("Succeeded")

        assert {line["targetChosenBy"] for line in status["quote"]["moves"]} == {"Scheduler"}
        assert {receipt == node for receipt, node in landed(stage).values()} == {True}
        assert len(landed(stage)) == 4
        assert all(each["spec"].keys() == {"vmiName"} for each in stage.all_ours())
        await stage.until_at_rest()


async def test_a_plan_is_blocked_by_a_node_that_it_leaves_out_until_that_is_cordoned(tmp_path: Path) -> None:
    async with scene(topology(guests(1), version="v1.4.1"), tmp_path) as stage:
        await stage.operator()
        consent = {"disruption": STUN}
        await stage.apply(profile(), plan(target={"nodeNames": ["node-2"]}, migration=consent))
        await stage.until_phase("Blocked")
        (verdict,) = [
            each
            for each in member(stage.moves()["vm-1"], "status", "verdicts")
            if each["code"] == "TargetSelectionUnsupported"
        ]
        assert verdict["found"] == "the scheduler could pick node-3"

        await stage.lab.client.patch("Node", "node-3", "", {"spec": {"unschedulable": True}})
        status = await stage.until_phase("Succeeded", within_s=90)  # three outlooks, ten seconds apart

        assert landed(stage) == {"vm-1": ("node-2", "node-2")}
        assert member(stage.moves()["vm-1"], "spec", "rungs") == ["PreCopy"]
        ramp, stun = status["quote"]["moves"][0]["withheld"]
        assert "MigrationStallDetection" in ramp
        assert "KubeVirt 1.5 and later can" in stun
        await stage.until_at_rest()
