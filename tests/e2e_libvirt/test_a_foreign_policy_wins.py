"""A policy of somebody else's that would have a real guest switched to post-copy, and that wins over ours."""

from pathlib import Path

import pytest

from support import lab_overruled
from support.lab_scenarios import scene
from whimbrel_lab.hypervisor import GuestState

pytestmark = [pytest.mark.lab, pytest.mark.libvirt]


async def test_an_attempt_under_a_foreign_policy_ends_before_post_copy_can_begin_and_the_move_says_whose_doing_it_was(
    tmp_path: Path,
) -> None:
    async with scene(lab_overruled.centre(), tmp_path, hypervisor="libvirt") as stage:
        await stage.operator()
        await lab_overruled.overruled(stage, attempts=1)
        await stage.until_phase("Succeeded", "Failed")
        await stage.until(lambda: stage.left_over() == [f"policy {lab_overruled.THEIRS}"], "only theirs is left")

        move = stage.moves()[lab_overruled.NAME]["status"]
        assert (move["phase"], move["reason"]) == ("Failed", "OverruledByForeignPolicy")
        assert f"MigrationPolicy {lab_overruled.THEIRS} KubeVirt could switch to post-copy" in move["message"]
        assert "it still runs on node-1" in move["message"]
        assert lab_overruled.rulers(stage) == [lab_overruled.THEIRS]
        assert "PostCopy" not in lab_overruled.modes(stage)
        assert lab_overruled.aborted_in_time(stage)
        assert await stage.lab.hypervisor.guest_state("node-1", lab_overruled.NAME) is GuestState.RUNNING
        felt = await stage.lab.hypervisor.beats(lab_overruled.NAME)
        assert (felt.restarts, felt.memory_intact) == (0, True)
