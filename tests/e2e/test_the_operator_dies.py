"""The operator is killed again and again in the middle of a plan, and nobody can tell afterwards."""

import asyncio
import os
import random
from collections import Counter
from pathlib import Path

import pytest

from support.invariants import OPERATOR
from support.lab_scenarios import MIB, LabGuest, Scene, attempts, hosts, landed, plan, profile, scene, topology

pytestmark = pytest.mark.lab

VMS = 10
KILLS = 10
MOST_WRITES_A_LIFE = 3
"""A ten-VM plan takes some seventy writes: so short are lives that each kill hits it in its middle."""
SEED = int(os.environ.get("WHIMBREL_SEED", "20260105"))


def written(stage: Scene) -> int:
    return sum(change.actor == OPERATOR for change in stage.witness.history)


async def test_killed_at_ten_random_instants_it_moves_ten_virtual_machines_as_if_nothing_had_happened(
    tmp_path: Path,
) -> None:
    print(f"seed {SEED}; set WHIMBREL_SEED for another")
    rng = random.Random(SEED)
    machines = [
        LabGuest(f"vm-{n}", "node-1", memory_bytes=64 * MIB, touched_bytes=(8 + 4 * (n % 4)) * MIB)
        for n in range(1, VMS + 1)
    ]
    async with scene(topology(machines, hosts(4)), tmp_path) as stage:
        operator = await stage.operator(ready=False)
        await stage.apply(profile(), plan())
        for life in range(1, KILLS + 1):
            so_far, more = written(stage), rng.randint(0, MOST_WRITES_A_LIFE)
            await stage.until(lambda: written(stage) >= so_far + more, f"life {life} makes {more} writes")  # noqa: B023
            await asyncio.sleep(rng.uniform(0, 0.06))
            await operator.kill()
            assert stage.status().get("phase") not in ("Succeeded", "Failed"), "the plan is to be hit in its middle"
            await operator.start()
        status = await stage.until_phase("Succeeded", "Failed", within_s=60)
        await stage.until_at_rest()

        assert status["phase"] == "Succeeded", stage.report()
        assert (status["moves"]["total"], status["moves"]["succeeded"]) == (VMS, VMS)
        assert len(landed(stage)) == VMS
        assert all(said == found != "node-1" for said, found in landed(stage).values())
        assert max(attempts(stage.all_ours()).values()) == 1
        assert set(Counter(vm for vm, _ in attempts(stage.all_ours())).values()) == {1}, "all at the first attempt"
