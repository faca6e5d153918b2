"""Each host of a real data centre is really emptied, and what `hosts` said beforehand is held against what it took."""

import asyncio
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from support.lab_scenarios import MIB, landed, plan, profile, scene, topology
from whimbrel.cli.main import main
from whimbrel_lab.topology import LabGuest, LabHost

pytestmark = [pytest.mark.lab, pytest.mark.libvirt, pytest.mark.slow, pytest.mark.timeout(400)]

LINK_BYTES_PER_SECOND = 40_000_000
LINK_MBPS = 320
NODES = ("node-1", "node-2", "node-3")
IN_USE = {
    "memory_bytes": 64 * MIB,
    "touched_bytes": 60 * MIB,
    "working_set_bytes": 4 * MIB,
    "dirty_bytes_per_second": MIB,
}


async def asked(kubeconfig: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What `kubectl whimbrel hosts` says now, by host."""
    capsys.readouterr()
    assert await asyncio.to_thread(main, ["hosts", "-o", "json", "--kubeconfig", str(kubeconfig)]) == 0
    return {host["host"]: host for host in json.loads(capsys.readouterr().out)["hosts"]}


async def test_every_host_is_emptied_as_was_said_and_in_no_less_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machines = [LabGuest(f"vm-{number}", NODES[number % 3], **IN_USE) for number in range(6)]
    links = [LabHost(name, link_bytes_per_second=LINK_BYTES_PER_SECOND) for name in NODES]
    async with scene(topology(machines, links), tmp_path, hypervisor="libvirt") as stage:
        await stage.operator()
        await stage.apply(profile(LINK_MBPS, out=1, into=1))
        for node in NODES:
            said = (await asked(stage.lab.kubeconfig, capsys))[node]
            assert (said["canBeEmptied"], said["blockers"]) == ("yes", []), said

            name = f"drain-{node}"
            await stage.apply(plan(name, virtualMachines={"onNodes": {"names": [node]}}))
            status = await stage.until_phase("Succeeded", "Failed", name=name, within_s=100)
            await stage.until_at_rest()

            assert status["phase"] == "Succeeded", stage.report()
            assert status["moves"]["succeeded"] == said["guests"] >= 1
            assert all(told == found for told, found in landed(stage, name).values())
            took_s = (at(status["finishedAt"]) - at(status["startedAt"])).total_seconds()
            with capsys.disabled():
                print(f"\n{node}: {said['guests']} guests, said ≥ {said['seconds']} s, took {took_s:.0f} s")
            # Each pass is said in whole seconds, rounded up; so are the two times, rounded down.
            assert took_s + 1 + said["guests"] >= said["seconds"]
            assert (await asked(stage.lab.kubeconfig, capsys))[node]["guests"] == 0


def at(stamp: str) -> datetime:
    """A time of the API."""
    return datetime.fromisoformat(stamp)
