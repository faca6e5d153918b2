"""Rungs above pre-copy, over HTTP: what a plan permits reaches KubeVirt, moves its guest, and is told in the receipt."""

from dataclasses import replace
from pathlib import Path

import pytest

from support.lab_history import member
from support.lab_scenarios import guests, plan, profile, scene, topology
from whimbrel_lab.controlplane.real.server import Endpoint

pytestmark = pytest.mark.lab

EVERYTHING = {
    "throttle": "Allowed",
    "stun": "Allowed",
    "postCopy": "Allowed",
    "maxDowntimeMs": 5000,
    "unattendedDowntimeMs": 60000,
}


@pytest.mark.parametrize(
    ("rung", "field", "mode"),
    [
        ("PreCopy", "", "PreCopy"),
        ("AutoConverge", "allowAutoConverge", "PreCopy"),
        ("Stun", "allowWorkloadDisruption", "Paused"),
        ("PostCopy", "allowPostCopy", "PostCopy"),
    ],
)
async def test_each_rung_moves_a_guest_and_is_told_beside_what_was_expected(
    rung: str, field: str, mode: str, tmp_path: Path, server: Endpoint | None
) -> None:
    busy = rung in ("Stun", "PostCopy")
    shape = {"dirty_bytes_per_second": 400 << 20, "working_set_bytes": 64 << 20} if busy else {}
    async with scene(topology(guests(1, **shape)), tmp_path, server=server) as stage:
        await stage.operator()
        await stage.apply(profile())
        migration = {"ladder": [{"rung": rung}], "disruption": EVERYTHING, "bandwidth": {"maxMbps": 400}}

        await stage.apply(plan(migration=migration))
        await stage.until_phase("Succeeded", "Failed")
        await stage.until_at_rest()

        (move,) = stage.moves().values()
        assert stage.status()["phase"] == "Succeeded", stage.report()
        assert move["status"]["receipt"]["rung"] == rung
        assert move["spec"]["attempt"]["forecast"]["chancePercent"] >= 25
        instance = stage.lab.read("VirtualMachineInstance", "vm-1")
        state = member(instance, "status", "migrationState")
        assert state["mode"] == mode
        if field:
            assert state["migrationConfiguration"][field] is True
        assert stage.status()["receipt"]["moved"] == 1


async def test_under_stall_detection_a_guest_whose_rounds_shrink_no_more_is_moved_by_one_longer_last_step(
    tmp_path: Path,
) -> None:
    busy = guests(1, dirty_bytes_per_second=400 << 20, working_set_bytes=64 << 20)
    centre = replace(topology(busy), feature_gates=("MigrationStallDetection",))
    async with scene(centre, tmp_path) as stage:
        await stage.operator()
        await stage.apply(profile())
        migration = {"ladder": [{"rung": "DowntimeRamp"}], "disruption": EVERYTHING, "bandwidth": {"maxMbps": 400}}

        await stage.apply(plan(migration=migration))
        await stage.until_phase("Succeeded", "Failed")
        await stage.until_at_rest()

        assert stage.status()["phase"] == "Succeeded", stage.report()
        (move,) = stage.moves().values()
        assert [(old["rung"], old["reason"]) for old in move["status"]["history"]] == [("DowntimeRamp", "Verified")]
        state = member(stage.lab.read("VirtualMachineInstance", "vm-1"), "status", "migrationState")
        assert state["migrationConfiguration"]["maxDowntimeMs"] == EVERYTHING["maxDowntimeMs"] // 2
        assert not state["migrationConfiguration"]["allowWorkloadDisruption"]
        assert move["status"]["receipt"]["durationMs"]["value"] >= 10_000, "so long its rounds are looked at first"
        assert (await stage.lab.hypervisor.beats("vm-1")).longest_gap_ms < EVERYTHING["maxDowntimeMs"] // 2
