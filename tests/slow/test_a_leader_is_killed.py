"""A leader that is killed releases nothing: its follower has to wait until the lease has expired."""

from pathlib import Path

import pytest

from support.lab_history import member
from support.lab_scenarios import attempts, guests, landed, plan, profile, scene, topology

pytestmark = [pytest.mark.lab, pytest.mark.slow]

LEASE_S = 15
NOTICED_S = 5


async def test_the_follower_of_a_killed_leader_takes_over_when_the_lease_has_expired(tmp_path: Path) -> None:
    async with scene(topology(guests(4)), tmp_path) as stage:
        first = await stage.operator("whimbrel-a")
        await stage.operator("whimbrel-b")
        await stage.apply(profile(), plan(migration={"bandwidth": {"maxMbps": 200}}))
        await stage.until(lambda: len(stage.ours_in_flight()) == 2, "two are in flight")

        await first.kill()
        await stage.until(
            lambda: (
                member(
                    stage.lab.storage.read("leases.coordination.k8s.io", "whimbrel", "whimbrel-system"),
                    "spec",
                    "holderIdentity",
                )
                == "whimbrel-b"
            ),
            "the follower leads",
            within_s=LEASE_S + NOTICED_S,
        )
        await stage.until_phase("Succeeded")
        await stage.until_at_rest()

        assert len(landed(stage)) == 4
        assert set(attempts(stage.all_ours()).values()) == {1}
