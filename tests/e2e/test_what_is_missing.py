"""An operator without CRDs, KubeVirt or permissions says what is missing and how to get it, once, and recovers."""

from collections import Counter
from pathlib import Path

import pytest

from support.chart_roles import grant_chart_roles
from support.lab_scenarios import guests, plan, profile, scene, topology
from support.operator_process import OperatorProcess, operators
from support.raw_objects import a_kubevirt, a_namespace, own_definitions
from whimbrel_lab.controlplane.embedded import EmbeddedControlPlane
from whimbrel_lab.fleet import DEFINITIONS, definitions

pytestmark = pytest.mark.lab


def complaints(operator: OperatorProcess) -> list[str]:
    return [line.partition("Not ready: ")[2] for line in operator.said().splitlines() if "Not ready: " in line]


async def test_an_operator_without_crds_and_without_kubevirt_asks_for_both_and_recovers_when_they_appear(
    tmp_path: Path,
) -> None:
    async with EmbeddedControlPlane() as plane, operators(tmp_path) as replicas:
        kubeconfig = plane.write_kubeconfig(tmp_path / "kubeconfig")
        operator = await replicas.launch(kubeconfig, arguments=("--namespace", "default"))
        missing = await operator.until_it_misses("kubectl apply -f crds/")
        assert "migrationplans.whimbrel.dev" in missing
        assert "Install KubeVirt" in missing
        await operator.until_it_says("Not ready: ")

        await plane.load(own_definitions())
        await plane.load(definitions(DEFINITIONS[:1]))
        missing = await operator.until_it_misses("there is no KubeVirt object")
        assert "installation guide" in missing
        await plane.load([a_namespace("kubevirt"), a_kubevirt()])
        await operator.until_ready()
        await operator.until_it_says("Ready: everything that is needed is there")

        assert max(Counter(complaints(operator)).values()) == 1, "each thing is said once"
        assert len(complaints(operator)) <= 4
        assert await operator.end() == 0


async def test_an_operator_without_permissions_names_them_and_begins_when_they_are_granted(tmp_path: Path) -> None:
    async with scene(topology(guests(1)), tmp_path, granted=False) as stage:
        operator = await stage.operator(ready=False)
        missing = await operator.until_it_misses("may not list and watch")
        assert "ClusterRole" in missing
        await operator.until_it_misses("update migrationplans/status.whimbrel.dev")
        await operator.until_it_says("Not ready: ")
        await stage.apply(profile(), plan())
        assert stage.operator_writes() == Counter()

        await grant_chart_roles(stage.lab)
        await operator.until_ready()
        await stage.until_phase("Succeeded")

        assert stage.lab.node_of("vm-1") != "node-1"
        assert max(Counter(complaints(operator)).values()) == 1, "each thing is said once"
