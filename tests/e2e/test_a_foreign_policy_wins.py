"""A policy of somebody else's that wins over ours: what it would permit is never done to a guest whose plan does not."""

from pathlib import Path

import pytest

from support import lab_overruled
from support.lab_history import member
from support.lab_scenarios import landed, scene

pytestmark = pytest.mark.lab


async def test_an_attempt_under_a_foreign_policy_with_post_copy_ends_before_it_can_begin_and_the_next_outbids_it(
    tmp_path: Path,
) -> None:
    async with scene(lab_overruled.centre(), tmp_path) as stage:
        await stage.operator()
        await lab_overruled.overruled(stage)
        await stage.until_phase("Succeeded", "Failed")

        assert stage.status()["phase"] == "Succeeded", stage.report()
        assert "PostCopy" not in lab_overruled.modes(stage)
        assert lab_overruled.aborted_in_time(stage)
        move = stage.moves()[lab_overruled.NAME]["status"]
        ends = [(old["outcome"], old["reason"]) for old in move["history"]]
        assert ends == [("Aborted", "OverruledByForeignPolicy"), ("Succeeded", "Verified")]
        assert (
            f"MigrationPolicy {lab_overruled.THEIRS} KubeVirt could switch to post-copy"
            in move["history"][0]["message"]
        )
        theirs, ours = lab_overruled.rulers(stage)
        assert (theirs, ours) == (lab_overruled.THEIRS, move["attempt"]["policyName"])
        assert move["attempt"]["policyLabels"] == len(lab_overruled.LABELS) + 1
        assert member(stage.lab.state_of(lab_overruled.NAME), "migrationConfiguration", "allowPostCopy") is False
        assert all(said == found != "node-1" for said, found in landed(stage).values())
        assert stage.lab.read("MigrationPolicy", lab_overruled.THEIRS), "what is somebody else's stays as it is"


async def test_where_the_leader_did_not_live_to_see_it_the_follower_ends_the_attempt_before_post_copy_can_begin(
    tmp_path: Path,
) -> None:
    async with scene(lab_overruled.centre(), tmp_path) as stage:
        leader, follower = await stage.operator("whimbrel-a"), await stage.operator("whimbrel-b")
        await lab_overruled.overruled(stage, killed=[leader])
        await stage.until(lambda: stage.lab.state_of(lab_overruled.NAME).get("failed"), "its migration is over")

        assert "role: follower of whimbrel-a" in (await follower.answer())[1], "the lease of the dead has not expired"
        assert f"MigrationPolicy {lab_overruled.THEIRS} the guest" in follower.said()
        assert lab_overruled.rulers(stage) == [lab_overruled.THEIRS]
        assert "PostCopy" not in lab_overruled.modes(stage)
        assert lab_overruled.aborted_in_time(stage)
        assert stage.lab.node_of(lab_overruled.NAME) == "node-1"
