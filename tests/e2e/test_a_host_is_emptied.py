"""The way of one plan, over HTTP: quote, moves, receipts, and not one write more than it takes."""

from pathlib import Path

import pytest

from support.lab_history import member
from support.lab_scenarios import guests, landed, plan, profile, scene, topology
from whimbrel.domain.resources import MIGRATION_PLANS, MIGRATIONS
from whimbrel_lab.controlplane.real.server import Endpoint

pytestmark = pytest.mark.lab

WRITES_PER_VM = 6
WRITES_PER_PLAN = 12
"""A policy or two made and removed, the finalizer set and taken off, the phases of the plan, one report in 15 s."""
SOURCES = {"KubeVirtTimestamps", "LastSample", "PausedMode", "NotMeasured"}


async def test_a_plan_empties_a_host_with_six_writes_for_each_virtual_machine(
    tmp_path: Path, server: Endpoint | None
) -> None:
    count = 6
    async with scene(topology(guests(count)), tmp_path, server=server) as stage:
        await stage.operator()
        await stage.apply(profile())
        await stage.until(
            lambda: member(stage.lab.read("HostProfile", "all"), "status", "evacuation", "hosts") == 3, "profile"
        )
        before = await stage.counted()

        await stage.apply(plan())
        status = await stage.until_phase("Succeeded", "Failed")
        await stage.until_at_rest()
        writes = stage.operator_writes(before)

        assert status["phase"] == "Succeeded", stage.report()
        assert {stage.lab.node_of(f"vm-{n}") for n in range(1, count + 1)} == {"node-2", "node-3"}
        assert len(landed(stage)) == count
        assert all(said == found for said, found in landed(stage).values())
        for move in stage.moves().values():
            receipt = move["status"]["receipt"]
            assert receipt["attempts"] == 1
            assert receipt["durationMs"]["source"] == "KubeVirtTimestamps"
            assert {receipt[name]["source"] for name in ("durationMs", "bytes", "downtimeMs")} <= SOURCES
        assert writes.total() <= WRITES_PER_VM * count + WRITES_PER_PLAN, dict(writes)
        quoted = next(c.version for c in stage.witness.of(MIGRATION_PLANS) if member(c.after, "status", "quote"))
        begun = next(c.version for c in stage.witness.of(MIGRATIONS) if c.verb == "create")
        assert quoted < begun

        at_rest = await stage.counted()
        await stage.remains(lambda: not stage.operator_writes(at_rest), "the operator is silent", for_s=5)
