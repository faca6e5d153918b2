"""The rungs that the demo's story does not tell, on real QEMU: a guest that is really throttled, and one in real post-copy."""

from dataclasses import replace
from pathlib import Path

import pytest

from support.lab_history import member
from support.lab_scenarios import MIB, hosts, landed, plan, profile, scene, topology
from support.machine import until
from whimbrel_lab.hypervisor import GuestState
from whimbrel_lab.topology import LabGuest

pytestmark = [pytest.mark.lab, pytest.mark.libvirt]

LINK_BYTES_PER_SECOND = 40_000_000
LINK_MBPS = 320
NAME = "busy"


def faster_than_its_link(memory_mib: int) -> LabGuest:
    """It rewrites 60 MiB in a second. What it does not use costs nothing to send, and gives the attempt time by its size."""
    return LabGuest(
        NAME,
        "node-1",
        memory_bytes=memory_mib * MIB,
        touched_bytes=28 * MIB,
        working_set_bytes=20 * MIB,
        dirty_bytes_per_second=60 * MIB,
    )


@pytest.mark.parametrize(
    ("rung", "consent", "field", "mode", "memory_mib"),
    [
        pytest.param("AutoConverge", "throttle", "allowAutoConverge", "PreCopy", 320, marks=pytest.mark.slow),
        pytest.param("PostCopy", "postCopy", "allowPostCopy", "PostCopy", 64, marks=pytest.mark.post_copy),
    ],
)
async def test_a_guest_that_writes_faster_than_its_link_moves_by_the_rung_that_its_plan_permits_and_never_stands_still(
    rung: str, consent: str, field: str, mode: str, memory_mib: int, tmp_path: Path
) -> None:
    centre = topology([faster_than_its_link(memory_mib)], hosts(2, LINK_BYTES_PER_SECOND))
    async with scene(centre, tmp_path, hypervisor="libvirt") as stage:
        hypervisor = stage.lab.hypervisor
        await stage.operator()
        await hypervisor.reset_beats(NAME)
        await stage.apply(profile(LINK_MBPS, out=1, into=1))

        await stage.apply(plan(migration={"ladder": [{"rung": rung}], "disruption": {consent: "Allowed"}}))
        status = await stage.until_phase("Succeeded", "Failed", within_s=60)
        await stage.until_at_rest()
        before = (await hypervisor.beats(NAME)).sweeps

        async def swept() -> bool:
            return (await hypervisor.beats(NAME)).sweeps >= before + 2

        await until(swept)
        felt = await hypervisor.beats(NAME)

        assert status["phase"] == "Succeeded", stage.report()
        assert landed(stage) == {NAME: ("node-2", "node-2")}
        assert await hypervisor.guest_state("node-2", NAME) is GuestState.RUNNING
        move = stage.moves()[NAME]["status"]
        assert [(old["rung"], old["reason"]) for old in move["history"]] == [(rung, "Verified")]
        state = member(stage.lab.read("VirtualMachineInstance", NAME), "status", "migrationState")
        assert state["mode"] == mode
        assert state["migrationConfiguration"][field] is True
        assert (felt.restarts, felt.memory_intact) == (0, True)
        assert felt.longest_gap_ms < 1000


@pytest.mark.slow
async def test_under_stall_detection_a_real_guest_is_moved_by_one_last_step_of_at_most_half_of_its_budget(
    tmp_path: Path,
) -> None:
    gated = replace(
        topology([faster_than_its_link(64)], hosts(2, LINK_BYTES_PER_SECOND)),
        feature_gates=("MigrationStallDetection",),
    )
    async with scene(gated, tmp_path, hypervisor="libvirt") as stage:
        hypervisor = stage.lab.hypervisor
        await stage.operator()
        await hypervisor.reset_beats(NAME)
        await stage.apply(profile(LINK_MBPS, out=1, into=1))
        consent = {"stun": "Allowed", "maxDowntimeMs": 4000, "unattendedDowntimeMs": 60_000}

        await stage.apply(plan(migration={"ladder": [{"rung": "DowntimeRamp"}], "disruption": consent}))
        status = await stage.until_phase("Succeeded", "Failed", within_s=90)
        await stage.until_at_rest()
        felt = await hypervisor.beats(NAME)

        assert status["phase"] == "Succeeded", stage.report()
        assert landed(stage) == {NAME: ("node-2", "node-2")}
        move = stage.moves()[NAME]["status"]
        assert [(old["rung"], old["reason"]) for old in move["history"]] == [("DowntimeRamp", "Verified")]
        assert (felt.restarts, felt.memory_intact) == (0, True)
        assert felt.longest_gap_ms < 2000, "the last step is not capped, so that it takes far less than it may"
        assert stage.moves()[NAME]["status"]["receipt"]["durationMs"]["value"] >= 10_000, (
            "its rounds are looked at first"
        )
