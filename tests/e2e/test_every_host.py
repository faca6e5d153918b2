"""Every host, always: the operator says who blocks which host without any plan, and the plugin says the same from a laptop."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from support.lab_scenarios import PROFILE, Object, Scene, guests, plan, profile, scene, topology
from whimbrel.cli.main import main
from whimbrel_lab.controlplane.embedded.access import Question
from whimbrel_lab.controlplane.embedded.rbac import rbac_authorizer
from whimbrel_lab.controlplane.real.server import Endpoint
from whimbrel_lab.topology import LabGuest

pytestmark = pytest.mark.lab

STUCK = LabGuest("stuck", "node-1", blocker="HostDevice")
RBAC = "rbac.authorization.k8s.io"
LAPTOP = "laptop"
MORE_THAN_AN_OUTLOOK_S = 12.0


def evacuation(stage: Scene) -> Object:
    """What the profile says."""
    (found,) = stage.lab.items(PROFILE)
    return dict((found.get("status") or {}).get("evacuation") or {})


def blocking(stage: Scene) -> list[str]:
    """Names of the virtual machines that the profile names."""
    return [row["virtualMachine"].partition("/")[2] for row in evacuation(stage).get("blocked") or ()]


async def events(stage: Scene) -> list[Object]:
    found, _ = await stage.lab.client.list("Event", stage.lab.namespace)
    return [each for each in found if each.get("reason") == "BlocksEvacuation"]


async def plugin(kubeconfig: Path, capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    """What the plugin answers, as a document."""
    capsys.readouterr()
    code = await asyncio.to_thread(main, [*words, "--kubeconfig", str(kubeconfig), "-o", "json"])
    shown = capsys.readouterr()
    assert code == 0, shown.err
    return json.loads(shown.out)


async def test_without_a_plan_blockers_are_named_once_a_new_one_is_announced_and_nothing_else_is_written(
    tmp_path: Path, server: Endpoint | None, capsys: pytest.CaptureFixture[str]
) -> None:
    async with scene(topology((*guests(2), STUCK)), tmp_path, server=server) as stage:
        operator = await stage.operator()
        await stage.apply(profile())
        await stage.until(lambda: blocking(stage) == ["stuck"], "the profile names the blocker")

        before = await stage.counted()
        await stage.remains(
            lambda: not stage.operator_writes(before),
            "nothing is written while nothing changes",
            MORE_THAN_AN_OUTLOOK_S,
        )
        assert await events(stage) == []

        await stage.lab.client.patch(
            "VirtualMachine",
            "vm-1",
            stage.lab.namespace,
            {"metadata": {"annotations": {"whimbrel.dev/migration": "Never"}}},
        )
        await stage.until(lambda: blocking(stage) == ["stuck", "vm-1"], "the profile names the new blocker")

        async def announced() -> bool:
            return bool(await events(stage))

        await operator.until(announced, "the new blocker is announced")
        (event,) = await events(stage)
        about = event.get("regarding") or event["involvedObject"]
        assert (event["type"], about["kind"], about["name"]) == ("Warning", "VirtualMachine", "vm-1")
        assert stage.operator_writes(before) == {"update hostprofiles.whimbrel.dev/status": 1}
        _, metrics = await operator.answer("/metrics")
        assert re.search(r'whimbrel_host_evacuable\{node="node-1"\} 0', metrics)
        assert re.search(r'whimbrel_host_blockers\{node="node-1"\} 2', metrics)
        assert re.search(r'whimbrel_host_evacuable\{node="node-2"\} 1', metrics)

        told = await plugin(stage.lab.kubeconfig, capsys, "hosts")
        rows = {host["host"]: host for host in told["hosts"]}
        assert [each["virtualMachine"].partition("/")[2] for each in rows["node-1"]["blockers"]] == ["stuck", "vm-1"]
        assert rows["node-2"]["canBeEmptied"] == "yes"


async def test_a_plan_is_explained_from_what_is_written(
    tmp_path: Path, server: Endpoint | None, capsys: pytest.CaptureFixture[str]
) -> None:
    async with scene(topology((*guests(1), STUCK)), tmp_path, server=server) as stage:
        await stage.operator()
        await stage.apply(profile(), plan("empty", dryRun=True))
        await stage.until_phase("Quoted", name="empty")

        whole = await plugin(stage.lab.kubeconfig, capsys, "explain", "plan/empty", "-n", stage.lab.namespace)
        one = await plugin(stage.lab.kubeconfig, capsys, "explain", "plan/empty", "stuck", "-n", stage.lab.namespace)

        cells = {each["virtualMachine"].partition("/")[2]: each for each in whole["virtualMachines"]}
        assert cells["vm-1"]["byHost"]["node-1"] == ["here"]
        assert ["target"] in cells["vm-1"]["byHost"].values()
        assert "NotLiveMigratable" in cells["stuck"]["anywhere"]
        assert any(verdict["remedy"] for verdict in one["verdicts"])


async def test_a_laptop_that_may_see_virtual_machines_and_pods_alone_gets_what_can_be_known_and_what_cannot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with scene(topology((*guests(1), STUCK)), tmp_path) as stage:
        await stage.lab.plane.load(_viewer("kubevirt.io", "virtualmachines", "virtualmachineinstances"))
        obeys, others = rbac_authorizer(stage.lab.storage), stage.lab.embedded.authorizer

        def authorize(question: Question) -> bool:
            return obeys(question) if question.user.name.endswith(f":{LAPTOP}") else others(question)

        stage.lab.embedded.authorizer = authorize
        kubeconfig = await stage.lab.kubeconfig_for(LAPTOP)

        found = await plugin(kubeconfig, capsys, "assess")

        machines = {each["virtualMachine"].partition("/")[2]: each for each in found["virtualMachines"]}
        unread = {each["kind"]: each["why"] for each in found["unread"]}
        assert unread["nodes"] == unread["persistentvolumes"] == "may not be listed (403)"
        assert machines["vm-1"]["movable"] == "unknown"
        assert machines["stuck"]["movable"] == "no"
        assert {host["canBeEmptied"] for host in found["hosts"]} <= {"unknown", "no"}
        assert found["profilesAssumed"] is True


def _viewer(group: str, *resources: str) -> list[Object]:
    metadata = {"name": LAPTOP}
    rules = [{"apiGroups": [group], "resources": list(resources), "verbs": ["list"]}]
    subject = {"kind": "ServiceAccount", "name": LAPTOP, "namespace": "whimbrel"}
    role = {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRole", "metadata": metadata, "rules": rules}
    binding = {
        "apiVersion": f"{RBAC}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": LAPTOP},
        "subjects": [subject],
    }
    return [role, binding]
