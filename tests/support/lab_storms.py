"""Two stories that end-to-end tests tell with other seeds and other faults: a killed operator, and a sick API server.

Both end as if nothing had happened, which is asserted here.
"""

import asyncio
import random
from collections.abc import Iterable
from pathlib import Path

from support.invariants import OPERATOR
from support.lab_scenarios import (
    MIB,
    OPERATOR_USER,
    Scene,
    attempts,
    guests,
    hosts,
    landed,
    plan,
    profile,
    scene,
    topology,
)
from whimbrel_lab.controlplane.embedded import Fault
from whimbrel_lab.topology import LabGuest

MOST_WRITES_A_LIFE = 3
"""A ten-VM plan takes some seventy writes, one move after the other: each kill hits it in its middle."""


async def killed_again_and_again(folder: Path, seed: int, vms: int = 10, kills: int = 10) -> None:
    """A plan of `vms` while its operator is killed at `kills` random instants: just after some write, or a moment later."""
    print(f"seed {seed}")
    rng = random.Random(seed)
    machines = [
        LabGuest(f"vm-{n}", "node-1", memory_bytes=64 * MIB, touched_bytes=(8 + 4 * (n % 4)) * MIB)
        for n in range(1, vms + 1)
    ]
    async with scene(topology(machines, hosts(4)), folder) as stage:
        operator = await stage.operator(ready=False)
        await stage.apply(profile(out=1), plan())
        for life in range(1, kills + 1):
            wanted = written(stage) + rng.randint(0, MOST_WRITES_A_LIFE)
            await stage.until(lambda: written(stage) >= wanted, f"life {life} writes")  # noqa: B023
            await asyncio.sleep(rng.uniform(0, 0.06))
            await operator.kill()
            assert stage.status().get("phase") not in ("Succeeded", "Failed"), "the plan is to be hit in its middle"
            await operator.start()
        await ends_as_if_nothing_had_happened(stage, vms)


async def sick(folder: Path, faults: Iterable[Fault], vms: int = 6) -> None:
    """A plan of `vms` while the operator's requests suffer these faults, each of which must strike."""
    async with scene(topology(guests(vms)), folder) as stage:
        await stage.operator()
        injected = list(faults)
        for fault in injected:
            fault.client = OPERATOR_USER
            stage.lab.faults.add(fault)
        await stage.apply(profile(), plan())
        await ends_as_if_nothing_had_happened(stage, vms)
        assert [fault for fault in injected if fault.hits == 0] == [], "every fault has struck"


async def ends_as_if_nothing_had_happened(stage: Scene, vms: int) -> None:
    """Every virtual machine has moved at its first attempt by one migration, and nothing is left over."""
    status = await stage.until_phase("Succeeded", "Failed", within_s=60)
    await stage.until_at_rest()

    assert status["phase"] == "Succeeded", stage.report()
    assert (status["moves"]["total"], status["moves"]["succeeded"]) == (vms, vms)
    assert len(landed(stage)) == vms
    assert all(said == found != "node-1" for said, found in landed(stage).values())
    assert attempts(stage.all_ours()) == {(f"vm-{n}", "1"): 1 for n in range(1, vms + 1)}


def written(stage: Scene) -> int:
    """How many revisions the operator has made."""
    return sum(change.actor == OPERATOR for change in stage.witness.history)
