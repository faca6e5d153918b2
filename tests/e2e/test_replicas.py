"""Two replicas: one leads, the other follows warm and goes on where the first has stopped."""

from pathlib import Path

import pytest

from support.lab_history import member
from support.lab_scenarios import Scene, attempts, guests, landed, plan, profile, scene, topology
from whimbrel_lab.controlplane.real.server import Endpoint

pytestmark = pytest.mark.lab

SLOW = {"bandwidth": {"maxMbps": 200}}


def holder(stage: Scene) -> str:
    lease = stage.lab.read("Lease", "whimbrel", "whimbrel-system")
    return str(member(lease, "spec", "holderIdentity") or "")


async def test_a_leader_that_is_asked_to_end_drains_and_its_follower_goes_on_in_the_middle_of_the_plan(
    tmp_path: Path, server: Endpoint | None
) -> None:
    async with scene(topology(guests(4)), tmp_path, server=server) as stage:
        first = await stage.operator("whimbrel-a")
        second = await stage.operator("whimbrel-b")
        assert "role: leader" in (await first.answer())[1]
        assert "role: follower of whimbrel-a" in (await second.answer())[1]
        await stage.apply(profile(), plan(migration=SLOW))
        await stage.until(lambda: len(stage.ours_in_flight()) == 2, "two are in flight")

        assert await first.end() == 0
        assert holder(stage) in ("", "whimbrel-b"), "the lease is released, not left to expire"
        await stage.until(lambda: holder(stage) == "whimbrel-b", "the follower leads", within_s=5)
        await stage.until_phase("Succeeded")
        await stage.until_at_rest()

        assert len(landed(stage)) == 4
        assert set(attempts(stage.all_ours()).values()) == {1}
        assert len(stage.all_ours()) == 4
