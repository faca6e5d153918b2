"""What `kubectl get mplan,vmove,hprof` shows while nobody explains it."""

import asyncio
import re

import pytest

from support.lab_scenarios import Scene, plan
from whimbrel_lab.controlplane.real import binaries

pytestmark = [pytest.mark.lab, pytest.mark.kubectl, pytest.mark.asyncio(loop_scope="module")]

HASH = r"[0-9a-f]{10}"
EXPECTED = rf"""
NAME +PHASE +PROGRESS +PERCENT +ETA +MESSAGE +AGE
migrationplan\.whimbrel\.dev/tidy +Succeeded +3/3 +100 +2 moved; .+ +\d+s

NAME +VM +PHASE +FROM +TO +QUOTED-S +DURATION-MS +DOWNTIME-MS +ATTEMPTS +REASON +AGE
virtualmachinemove\.whimbrel\.dev/tidy-stuck-{HASH} +stuck +Skipped +HostDeviceAttached +\d+s
virtualmachinemove\.whimbrel\.dev/tidy-vm-1-{HASH} +vm-1 +Succeeded +node-1 +node-[23] +\d+ +\d+ +1 +Verified +\d+s
virtualmachinemove\.whimbrel\.dev/tidy-vm-2-{HASH} +vm-2 +Succeeded +node-1 +node-[23] +\d+ +\d+ +1 +Verified +\d+s

NAME +ENABLED +MBPS +OUT +IN +NODES +READY +AGE
hostprofile\.whimbrel\.dev/all +true +1000 +2 +2 +3 +True +\d+s
""".strip()


async def test_plans_moves_and_profiles_read_well_in_kubectl(stage: Scene) -> None:
    await stage.apply(
        plan("tidy", virtualMachines={"names": ["vm-1", "vm-2", "stuck"], "nonMigratable": "Leave"}),
    )
    await stage.until_phase("Succeeded", name="tidy")
    await stage.until_at_rest()

    shown = await kubectl(stage, "get", "mplan,vmove,hprof")

    for line, expected in zip(shown.strip().splitlines(), EXPECTED.splitlines(), strict=True):
        assert re.fullmatch(expected, line.rstrip()), f"{line!r} is not like {expected!r} in\n{shown}"


async def kubectl(stage: Scene, *words: str) -> str:
    process = await asyncio.create_subprocess_exec(
        binaries.find("kubectl"),
        "--kubeconfig",
        str(stage.lab.kubeconfig),
        *words,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    return said.decode()
