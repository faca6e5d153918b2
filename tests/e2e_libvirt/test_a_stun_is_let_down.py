"""A stun whose link lets it down, on real QEMU: how long the guest stood still is what it says itself."""

from pathlib import Path

import pytest

from support import lab_stuns
from support.lab_scenarios import scene

pytestmark = [pytest.mark.lab, pytest.mark.libvirt, pytest.mark.slow]

LEASE_S = 15
NOTICED_S = 5


@pytest.mark.post_copy
async def test_a_stun_that_its_link_lets_down_is_cut_short_and_the_next_rung_moves_the_guest(tmp_path: Path) -> None:
    async with scene(lab_stuns.centre(), tmp_path, hypervisor="libvirt") as stage:
        await lab_stuns.cut_short_and_moved_by_the_next_rung(stage)


async def test_a_follower_that_cut_a_stun_short_for_its_dead_leader_leads_later_and_says_how_it_ended(
    tmp_path: Path,
) -> None:
    async with scene(lab_stuns.centre(), tmp_path, hypervisor="libvirt") as stage:
        await lab_stuns.cut_short_by_the_follower_of_a_dead_leader(stage)

        status = await stage.until_phase("Succeeded", "Failed", within_s=LEASE_S + NOTICED_S)
        await stage.until_at_rest()

        assert status["phase"] == "Failed"
        move = stage.moves()[lab_stuns.NAME]["status"]
        assert move["reason"] == "StunBudgetExceeded"
        assert f"budget of {lab_stuns.CONSENT['maxDowntimeMs']} ms; it was cut short" in move["message"]
        assert "it still runs on node-1" in move["message"]


async def test_a_stun_that_nobody_guards_is_ended_by_kubevirt_within_what_was_quoted_for_that(tmp_path: Path) -> None:
    async with scene(lab_stuns.centre(), tmp_path, hypervisor="libvirt") as stage:
        await lab_stuns.ended_by_kubevirt_alone(stage)
