"""A stun whose link lets it down, on the model: the guard on every replica keeps the budget, and KubeVirt alone ends it too."""

from pathlib import Path

import pytest

from support import lab_stuns
from support.lab_scenarios import landed, scene

pytestmark = pytest.mark.lab


async def test_a_stun_that_its_link_lets_down_is_cut_short_and_the_next_rung_moves_the_guest(tmp_path: Path) -> None:
    async with scene(lab_stuns.centre(), tmp_path) as stage:
        quoted = await lab_stuns.begin(stage, await stage.operator(), "PostCopy")
        await lab_stuns.suspended(stage)

        await lab_stuns.set_links(stage, lab_stuns.NO_LINK_BYTES_PER_SECOND)
        felt = await lab_stuns.runs_again_at_home(stage)
        await lab_stuns.set_links(stage, lab_stuns.LINK_BYTES_PER_SECOND)
        await stage.until_phase("Succeeded", "Failed")
        await stage.until_at_rest()

        assert felt.restarts == 0
        assert lab_stuns.CONSENT["maxDowntimeMs"] <= felt.longest_gap_ms <= quoted["attendedDowntimeMs"]
        assert lab_stuns.history(stage) == [("Stun", "StunBudgetExceeded"), ("PostCopy", "Verified")]
        assert stage.status()["phase"] == "Succeeded", stage.report()
        assert all(said == found != "node-1" for said, found in landed(stage).values())
        print(felt, quoted)


async def test_where_the_leader_is_killed_in_a_stun_its_follower_cuts_it_short_before_it_leads(tmp_path: Path) -> None:
    async with scene(lab_stuns.centre(), tmp_path) as stage:
        leader = await stage.operator("whimbrel-a")
        follower = await stage.operator("whimbrel-b")
        quoted = await lab_stuns.begin(stage, leader, attempts=1)
        await lab_stuns.suspended(stage)

        await leader.kill()
        await lab_stuns.set_links(stage, lab_stuns.NO_LINK_BYTES_PER_SECOND)
        felt = await lab_stuns.runs_again_at_home(stage)

        assert "role: follower of whimbrel-a" in (await follower.answer())[1], "the lease of the dead has not expired"
        assert follower.said().count("Ended the migration") == 1
        assert felt.restarts == 0
        assert lab_stuns.CONSENT["maxDowntimeMs"] <= felt.longest_gap_ms <= quoted["attendedDowntimeMs"]


async def test_a_stun_that_nobody_guards_is_ended_by_kubevirt_within_what_was_quoted_for_that(tmp_path: Path) -> None:
    async with scene(lab_stuns.centre(), tmp_path) as stage:
        operator = await stage.operator()
        quoted = await lab_stuns.begin(stage, operator, attempts=1)
        await lab_stuns.suspended(stage)

        await operator.kill()
        await lab_stuns.set_links(stage, lab_stuns.NO_LINK_BYTES_PER_SECOND)
        felt = await lab_stuns.runs_again_at_home(stage)
        await operator.start()
        await stage.until_phase("Succeeded", "Failed")
        await stage.until_at_rest()

        assert felt.restarts == 0
        assert lab_stuns.deadline_s(stage) * 1000 <= felt.longest_gap_ms <= quoted["unattendedDowntimeMs"]
        assert quoted["unattendedDowntimeMs"] <= lab_stuns.CONSENT["unattendedDowntimeMs"]
        assert lab_stuns.history(stage) == [("Stun", "NotConverged")]
        assert "KubeVirt ended the attempt" in stage.moves()[lab_stuns.NAME]["status"]["message"]
        assert not lab_stuns.was_cut_short(stage)
