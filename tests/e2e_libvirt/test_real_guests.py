"""The demo's story in small on real libvirt and QEMU, beside a guest that is not suspended because nothing bounds its pause;
the guests themselves are asked. (A stun that must be cut short: `test_a_stun_is_let_down`.)
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from support.lab_scenarios import MIB, STUN, Scene, landed, plan, profile, scene, topology
from support.machine import until
from whimbrel_lab.hypervisor import BeatReport, GuestState
from whimbrel_lab.topology import LabGuest, LabHost

pytestmark = [pytest.mark.lab, pytest.mark.libvirt]

LINK_BYTES_PER_SECOND = 40_000_000
LINK_MBPS = 320
SMALL_LINKS = {"minMbps": LINK_MBPS // 2}
RARE_CPU = "Cascadelake-Server"
LONG_ENOUGH = {**STUN, "maxDowntimeMs": 12_000, "unattendedDowntimeMs": 20_000}
"""For all of busy's memory, twice: it is quoted before its first dirty rate is known, and too short to be sampled."""
SHORT_BUDGET_MS = 6000
"""Too short for greedy's."""
UNNOTICED_MS = 1000

HOSTS = (
    LabHost("node-1", link_bytes_per_second=LINK_BYTES_PER_SECOND, cpu_models=("Haswell", RARE_CPU)),
    LabHost("node-2", link_bytes_per_second=LINK_BYTES_PER_SECOND, cpu_models=("Haswell",)),
    LabHost("node-3", link_bytes_per_second=LINK_BYTES_PER_SECOND, cpu_models=("Haswell",)),
)


def guest(
    name: str, host: str, memory_mib: int, touched_mib: int, set_mib: int, rate_mib: int, **more: Any
) -> LabGuest:
    """A guest that rewrites `set_mib` of its memory at `rate_mib` per second."""
    return LabGuest(
        name,
        host,
        memory_bytes=memory_mib * MIB,
        touched_bytes=touched_mib * MIB,
        working_set_bytes=set_mib * MIB,
        dirty_bytes_per_second=rate_mib * MIB,
        **more,
    )


CALM = guest("calm", "node-1", 64, 24, 4, 1)
BUSY = guest("busy", "node-1", 64, 28, 20, 60)
STUCK = guest("stuck", "node-1", 64, 16, 4, 1, cpu_model=RARE_CPU, blocker="SharedDisk")
GREEDY = guest("greedy", "node-2", 76, 66, 60, 80)
"""What it rewrites takes three seconds to send: more than its plan permits."""


async def test_real_guests_move_or_stay_as_was_said_and_none_stands_still_for_longer_than_consented(
    tmp_path: Path,
) -> None:
    centre = topology([CALM, BUSY, STUCK, GREEDY], HOSTS)
    async with scene(centre, tmp_path, hypervisor="libvirt") as stage:
        await stage.operator()
        for name in ("calm", "busy", "stuck", "greedy"):
            await stage.lab.hypervisor.reset_beats(name)
        await stage.apply(
            profile(link_mbps=LINK_MBPS),
            plan(
                virtualMachines={"onNodes": {"names": ["node-1"]}, "nonMigratable": "Leave"},
                target={"nodeNames": ["node-2", "node-3"]},
                migration={"bandwidth": SMALL_LINKS, "disruption": LONG_ENOUGH},
            ),
            plan(
                "too-greedy",
                virtualMachines={"names": ["greedy"]},
                target={"nodeNames": ["node-1"]},
                migration={
                    "bandwidth": SMALL_LINKS,
                    "attempts": 2,
                    "disruption": {**STUN, "maxDowntimeMs": SHORT_BUDGET_MS},
                },
            ),
        )
        emptied, refused = await asyncio.gather(
            stage.until_phase("Succeeded", "Failed", within_s=80),
            stage.until_phase("Succeeded", "Failed", name="too-greedy", within_s=80),
        )
        await stage.until_at_rest()
        felt = await questioned(stage)

        assert emptied["phase"] == "Succeeded", stage.report()
        assert all(said == found for said, found in landed(stage).values())
        assert {vm: await whereabouts(stage, vm) for vm in felt} == {
            **{vm: {node: GuestState.RUNNING} for vm, (node, _) in landed(stage).items()},
            "stuck": {"node-1": GuestState.RUNNING},
            "greedy": {"node-2": GuestState.RUNNING},
        }
        assert {vm: (beats.restarts, beats.memory_intact) for vm, beats in felt.items()} == dict.fromkeys(
            felt, (0, True)
        )

        moves = stage.moves()
        assert sorted(landed(stage)) == ["busy", "calm"]
        assert [(old["rung"], old["reason"]) for old in moves["busy"]["status"]["history"]] == [
            ("PreCopy", "NotConverged"),
            ("Stun", "Verified"),
        ]
        assert felt["busy"].longest_gap_ms <= STUN["maxDowntimeMs"]
        assert moves["stuck"]["status"]["phase"] == "Skipped"
        assert len({verdict["code"] for verdict in moves["stuck"]["status"]["verdicts"]}) >= 2

        assert refused["phase"] == "Failed", stage.report()
        greedy = stage.moves("too-greedy")["greedy"]["status"]
        assert (greedy["reason"], [old["rung"] for old in greedy["history"]]) == ("NoRungFits", ["PreCopy"])
        assert felt["greedy"].longest_gap_ms <= UNNOTICED_MS
        print({vm: round(beats.longest_gap_ms) for vm, beats in felt.items()})


async def questioned(stage: Scene) -> Mapping[str, BeatReport]:
    """What each guest says once it has looked at each of its pages after now; by name of its virtual machine."""
    hypervisor = stage.lab.hypervisor
    names = [guest.name for guest in stage.lab.topology.guests]
    before = {name: (await hypervisor.beats(name)).sweeps for name in names}

    async def swept() -> bool:
        return all([(await hypervisor.beats(name)).sweeps >= before[name] + 2 for name in names])

    await until(swept)
    return {name: await hypervisor.beats(name) for name in names}


async def whereabouts(stage: Scene, name: str) -> Mapping[str, GuestState]:
    """The hosts that have the guest in any state."""
    states = {host.name: await stage.lab.hypervisor.guest_state(host.name, name) for host in HOSTS}
    return {host: state for host, state in states.items() if state is not GuestState.ABSENT}
