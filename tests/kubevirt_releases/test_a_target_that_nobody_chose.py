"""Where a target cannot be named, the cluster may change between the last look and the binding of the target pod."""

from dataclasses import replace
from pathlib import Path

import pytest

from support.kubevirt_releases import definitions_of
from support.lab_history import member
from support.lab_scenarios import QUICK, guests, plan, profile, scene, topology
from whimbrel_lab import fleet
from whimbrel_lab.controlplane.admission import AdmissionRequest, Webhook
from whimbrel_lab.controlplane.real.server import Endpoint

pytestmark = [pytest.mark.control_plane, pytest.mark.lab]


async def test_a_target_pod_bound_outside_of_the_plan_ends_the_attempt_before_the_hand_off(
    tmp_path: Path, api_server: Endpoint
) -> None:
    release = "v1.5.3"
    served = [*definitions_of(release), *fleet.definitions(fleet.DEFINITIONS[1:])]
    slow_pods = replace(topology(guests(1), version=release), timing=replace(QUICK, pod_start_s=2.0))
    async with scene(slow_pods, tmp_path, server=api_server, definitions=served) as stage:
        swapped: list[str] = []

        async def swap_cordons(request: AdmissionRequest) -> None:
            """Between the operator's last look and the scheduler's choice: only node-3 takes pods now."""
            if not swapped and not request.dry_run:
                swapped.append(request.name)
                await stage.lab.cordon("node-2")
                await stage.lab.cordon("node-3", False)

        resource = "virtualmachineinstancemigrations.kubevirt.io"
        close = await stage.lab.plane.register([Webhook("swap.lab.whimbrel.dev", resource, ("CREATE",), swap_cordons)])
        try:
            await stage.lab.cordon("node-3")
            await stage.operator()
            await stage.apply(profile(), plan(target={"nodeNames": ["node-2"]}, migration={"attempts": 1}))
            await stage.until_phase("Failed", "Succeeded", "PartlySucceeded")
        finally:
            await close()

        (ended,) = member(stage.moves()["vm-1"], "status", "history")
        assert swapped
        assert ended["reason"] == "TargetNotAllowed", stage.report()
        assert stage.lab.node_of("vm-1") == "node-1"
        assert not stage.lab.state_of("vm-1").get("migrationUid"), "it was never handed off"
        await stage.until_at_rest()
