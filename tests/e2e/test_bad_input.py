"""Bad input: refused at apply where the schema can, else a condition that names field and remedy; nothing moves."""

import asyncio
import json
import subprocess

import pytest

from support.lab_scenarios import PROFILE, Object, Scene, plan, profile
from whimbrel_lab.controlplane.real import binaries
from whimbrel_lab.kubevirt.client import RequestRefused

pytestmark = [pytest.mark.lab, pytest.mark.asyncio(loop_scope="module")]


REFUSED: dict[str, tuple[Object, str]] = {
    "a stun of half a second": (
        plan(migration={"disruption": {"stun": "Allowed", "maxDowntimeMs": 500, "unattendedDowntimeMs": 9000}}),
        "spec.migration.disruption.maxDowntimeMs",
    ),
    "an unknown consent": (plan(migration={"disruption": {"stun": "Maybe"}}), "spec.migration.disruption.stun"),
    "no attempt": (plan(migration={"attempts": 0}), "spec.migration.attempts"),
    "no rate worth the name": (plan(migration={"bandwidth": {"maxMbps": 1}}), "spec.migration.bandwidth.maxMbps"),
    "nearly all memory kept free": (
        plan(target={"headroom": {"memoryPercent": 99}}),
        "spec.target.headroom.memoryPercent",
    ),
    "a name that is a list": (plan(virtualMachines={"names": "vm-1"}), "spec.virtualMachines.names"),
    "a word for a boolean": (plan(suspend="yes"), "spec.suspend"),
    "a field that does not exist": (plan(migration={"postCopy": "Allowed"}), "spec.migration.postCopy"),
    "no virtual machines": ({**plan(), "spec": {}}, "spec.virtualMachines"),
    "a link of nothing": (profile(link_mbps=0), "spec.migration.network.linkSpeedMbps"),
    "no slot": (profile(out=0), "spec.migration.limits.parallelOutbound"),
}


@pytest.mark.kubectl
async def test_what_the_schema_can_refuse_is_refused_at_apply_with_the_name_of_the_field(stage: Scene) -> None:
    kubectl = str(binaries.find("kubectl"))
    answers = {}
    for name, (document, _) in REFUSED.items():
        command = [kubectl, "--kubeconfig", str(stage.lab.kubeconfig), "create", "--dry-run=server", "-f", "-"]
        process = await _run(command, json.dumps(document))
        answers[name] = (process.returncode, process.stderr)

    wrong = {name: answer for name, answer in answers.items() if answer[0] == 0 or REFUSED[name][1] not in answer[1]}
    assert wrong == {}


@pytest.mark.parametrize(
    ("terms", "reason", "field"),
    [
        ({"onNodes": {"names": ["node-9"]}}, "UnknownNode", "spec.virtualMachines.onNodes.names"),
        ({"names": ["nobody"]}, "UnknownVirtualMachine", "spec.virtualMachines.names"),
        ({"selector": {"matchLabels": {"no": "such"}}}, "NoMatch", "spec.virtualMachines.selector"),
    ],
)
async def test_what_means_nothing_in_this_cluster_is_told_with_field_and_remedy_and_moves_nothing(
    stage: Scene, terms: dict[str, object], reason: str, field: str
) -> None:
    await stage.apply(plan("means-nothing", virtualMachines=terms))
    ready = await stage.until_reason(reason, "means-nothing")

    assert field in ready["message"]
    assert "Correct" in ready["message"] or "Change" in ready["message"]
    assert stage.condition("Stalled", "means-nothing")["status"] == "True"
    assert stage.condition("Planned", "means-nothing")["status"] == "False"
    assert stage.moves("means-nothing") == {}


async def test_a_rule_that_the_server_does_not_evaluate_is_told_by_the_operator_in_the_same_words(stage: Scene) -> None:
    broken = plan(
        "breaks-a-rule", virtualMachines={"names": ["vm-2"]}, migration={"disruption": {"maxDowntimeMs": 5000}}
    )
    if stage.lab.plane.evaluates_rules:
        with pytest.raises(RequestRefused, match="maxDowntimeMs and unattendedDowntimeMs are both needed"):
            await stage.apply(broken)
        return
    await stage.apply(broken)
    ready = await stage.until_reason("InvalidSpec", "breaks-a-rule")

    (rule,) = [
        rule["message"]
        for rule in _rules(stage, "disruption")
        if "maxDowntimeMs and unattendedDowntimeMs are both needed" in rule["message"]
    ]
    assert rule in ready["message"]
    assert stage.status("breaks-a-rule")["phase"] == "Blocked"
    await stage.change("MigrationPlan", "breaks-a-rule", {"migration": {"disruption": {"maxDowntimeMs": None}}})
    await stage.until(lambda: stage.status("breaks-a-rule")["phase"] in ("Running", "Succeeded"), "mended, it runs")


async def test_without_a_host_profile_nothing_moves_and_the_plan_says_what_to_create(stage: Scene) -> None:
    await stage.lab.client.delete(PROFILE, "all")
    await stage.apply(plan("unprofiled", virtualMachines={"names": ["vm-1"]}))
    ready = await stage.until_reason("NoHostProfile", "unprofiled")

    assert "Create a HostProfile" in ready["message"]
    assert stage.moves("unprofiled") == {}
    await stage.apply(profile())
    await stage.until_phase("Succeeded", name="unprofiled")


def _rules(stage: Scene, field: str) -> list[dict[str, str]]:
    """The CEL rules of a field of the plan's migration, as the served CRD states them."""
    definition = stage.lab.storage.read("customresourcedefinitions.apiextensions.k8s.io", "migrationplans.whimbrel.dev")
    assert definition is not None
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    found: list[dict[str, str]] = schema["properties"]["spec"]["properties"]["migration"]["properties"][field][
        "x-kubernetes-validations"
    ]
    return found


async def _run(command: list[str], given: str) -> subprocess.CompletedProcess[str]:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, error = await process.communicate(given.encode())
    return subprocess.CompletedProcess(command, process.returncode or 0, out.decode(), error.decode())
