"""A stun whose link lets it down, on the model: the guard of any replica keeps the budget, and KubeVirt alone ends it too."""

from pathlib import Path

import pytest

from support import lab_stuns
from support.lab_scenarios import scene

pytestmark = pytest.mark.lab


async def test_a_stun_that_its_link_lets_down_is_cut_short_and_the_next_rung_moves_the_guest(tmp_path: Path) -> None:
    async with scene(lab_stuns.centre(), tmp_path) as stage:
        await lab_stuns.cut_short_and_moved_by_the_next_rung(stage)


@pytest.mark.slow
async def test_where_the_leader_is_killed_in_a_stun_its_follower_cuts_it_short_before_it_leads(tmp_path: Path) -> None:
    async with scene(lab_stuns.centre(), tmp_path) as stage:
        await lab_stuns.cut_short_by_the_follower_of_a_dead_leader(stage)


async def test_a_stun_that_nobody_guards_is_ended_by_kubevirt_within_what_was_quoted_for_that(tmp_path: Path) -> None:
    async with scene(lab_stuns.centre(), tmp_path) as stage:
        await lab_stuns.ended_by_kubevirt_alone(stage)
