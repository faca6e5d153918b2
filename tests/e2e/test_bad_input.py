"""Bad input: refused at apply where the schema can, else a condition that names field and remedy; nothing moves."""

import json
import shutil
import subprocess

import pytest

from support.lab_scenarios import PROFILE, Object, Scene, plan, profile

pytestmark = [pytest.mark.lab, pytest.mark.asyncio(loop_scope="module")]


def vms(**terms: object) -> dict[str, object]:
    return {"virtualMachines": terms}


REFUSED: dict[str, tuple[Object, str]] = {
    "a stun of half a second": (
        plan(migration={"disruption": {"stun": "Allowed", "maxDowntimeMs": 500, "unattendedDowntimeMs": 9000}}),
        "spec.migration.disruption.maxDowntimeMs",
    ),
    "an unknown consent": (plan(migration={"disruption": {"stun": "Maybe"}}), "spec.migration.disruption.stun"),
    "no attempt": (plan(migration={"attempts": 0}), "spec.migration.attempts"),
    "no rate worth the name": (plan(migration={"bandwidth": {"maxMbps": 1}}), "spec.migration.bandwidth.maxMbps"),
    "nearly all memory kept free": (plan(target={"headroom": {"memoryPercent": 99}}), "spec.target.headroom.memoryPercent"),
    "a name that is a list": (plan(**vms(names="vm-1")), "spec.virtualMachines.names"),
    "a word for a boolean": (plan(suspend="yes"), "spec.suspend"),
    "a field that does not exist": (plan(migration={"postCopy": "Allowed"}), "spec.migration.postCopy"),
    "no virtual machines": ({**plan(), "spec": {}}, "spec.virtualMachines"),
    "a link of nothing": (profile(link_mbps=0), "spec.migration.network.linkSpeedMbps"),
    "no slot": (profile(out=0), "spec.migration.limits.parallelOutbound"),
}


@pytest.mark.kubectl
async def test_what_the_schema_can_refuse_is_refused_at_apply_with_the_name_of_the_field(stage: Scene) -> None:
    kubectl = shutil.which("kubectl")
    assert kubectl is not None
    answers = {}
    for name, (document, _) in REFUSED.items():
        command = [kubectl, "--kubeconfig", str(stage.lab.kubeconfig), "create", "--dry-run=server", "-f", "-"]
        process = await _run(command, json.dumps(document))
        answers[name] = (process.returncode, process.stderr)

    wrong = {name: answer for name, answer in answers.items() if answer[0] == 0 or REFUSED[name][1] not in answer[1]}
    assert wrong == {}


async def _run(command: list[str], given: str) -> subprocess.CompletedProcess[str]:
    import asyncio

    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, error = await process.communicate(given.encode())
    return subprocess.CompletedProcess(command, process.returncode or 0, out.decode(), error.decode())
