"""The operator's way of a plan under each release of KubeVirt, and that nothing it writes is dropped in silence."""

import ssl
from collections.abc import Iterator, Mapping
from typing import Any

import aiohttp
import pytest

from support.lab_history import is_operator, member
from support.lab_scenarios import STUN, Scene, landed, plan_of
from whimbrel_lab.controlplane.counters import WRITES
from whimbrel_lab.controlplane.real.audit import AuditLog, Request

pytestmark = [pytest.mark.control_plane, pytest.mark.lab, pytest.mark.asyncio(loop_scope="module")]

OURS_AND_KUBEVIRTS = (".kubevirt.io", ".whimbrel.dev")
OF_THE_SERVER = {"resourceVersion", "uid", "creationTimestamp", "generation", "managedFields"}
"""Members of metadata that a server sets for itself."""


def minor(stage: Scene) -> tuple[int, int]:
    """(1, 6) for v1.6.6."""
    major, second = stage.lab.topology.version.removeprefix("v").split(".")[:2]
    return int(major), int(second)


async def test_a_plan_that_allows_every_node_moves_its_machines(stage: Scene) -> None:
    await stage.apply(plan_of("anywhere", "vm-1", "vm-2"))
    status = await stage.until_phase("Succeeded", "Failed", "Blocked", name="anywhere")

    assert status["phase"] == "Succeeded", stage.report()
    assert {vm: receipt for vm, (receipt, _) in landed(stage, "anywhere").items()} == {
        vm: node for vm, (_, node) in landed(stage, "anywhere").items()
    }
    assert set(landed(stage, "anywhere")) == {"vm-1", "vm-2"}
    chosen_by = {line["targetChosenBy"] for line in status["quote"]["moves"]}
    assert chosen_by == ({"Scheduler"} if minor(stage) < (1, 6) else {"Whimbrel"})


async def test_a_plan_that_leaves_a_node_out_moves_where_a_target_can_be_named_and_is_refused_where_not(
    stage: Scene,
) -> None:
    await stage.apply(plan_of("to-node-2", "vm-3", target={"nodeNames": ["node-2"]}))
    await stage.until_phase("Succeeded", "Blocked", name="to-node-2")

    if minor(stage) >= (1, 6):
        assert landed(stage, "to-node-2") == {"vm-3": ("node-2", "node-2")}
    else:
        verdicts = member(stage.moves("to-node-2")["vm-3"], "status", "verdicts")
        refusal = next(each for each in verdicts if each["code"] == "TargetSelectionUnsupported")
        assert "node-3" in refusal["found"]
        assert stage.lab.node_of("vm-3") == "node-1"
        assert not [each for each in stage.all_ours() if each["spec"]["vmiName"] == "vm-3"]


async def test_the_ladder_has_a_stun_where_the_release_can_suspend_and_says_so_where_not(stage: Scene) -> None:
    await stage.apply(plan_of("with-consent", "vm-4", dryRun=True, migration={"disruption": STUN}))
    status = await stage.until_phase("Quoted", name="with-consent")
    (line,) = status["quote"]["moves"]

    ramp, *others = line["withheld"]
    assert "MigrationStallDetection" in ramp
    if minor(stage) >= (1, 5):
        assert line["rungs"] == ["PreCopy", "Stun"]
        assert others == []
    else:
        assert line["rungs"] == ["PreCopy"]
        (stun,) = others
        assert "KubeVirt 1.5" in stun


async def test_virt_handler_shows_dirty_rates_from_1_6_on(stage: Scene) -> None:
    """What a forecast of this release can be made of: told by its metrics, not by its schemas."""
    pod = stage.lab.read("Pod", "virt-handler-node-1", "kubevirt") or {}
    bundle = (await stage.lab.client.get("ConfigMap", "kubevirt-ca", "kubevirt"))["data"]["ca-bundle"]
    (port,) = (each["containerPort"] for each in pod["spec"]["containers"][0]["ports"])
    url, name = f"https://{pod['status']['podIP']}:{port}/metrics", "virt-handler.kubevirt.svc"
    trusted = ssl.create_default_context(cadata=bundle)
    session = aiohttp.ClientSession()
    async with session, session.get(url, ssl=trusted, server_hostname=name) as answer:
        shown = await answer.text()

    assert ("kubevirt_vmi_dirty_rate_bytes_per_second{" in shown) is (minor(stage) >= (1, 6))


async def test_nothing_that_was_written_was_dropped_by_the_server(stage: Scene) -> None:
    log = stage.lab.plane.counters
    assert isinstance(log, AuditLog)
    log.read()
    written = [
        each
        for each in log.requests
        if is_operator(each.user)
        and each.verb in WRITES - {"delete"}
        and f".{each.resource}".endswith(OURS_AND_KUBEVIRTS)
        and each.code < 300
    ]

    dropped = [f"{each.verb} {each.resource}: {what}" for each in written for what in lost(each)]

    assert dropped == []
    kinds = {each.resource for each in written}
    assert {"virtualmachineinstancemigrations.kubevirt.io", "migrationpolicies.migrations.kubevirt.io"} <= kinds
    assert {"virtualmachinemoves.whimbrel.dev", "migrationplans.whimbrel.dev", "hostprofiles.whimbrel.dev"} <= kinds


def lost(request: Request) -> Iterator[str]:
    """What was sent and is not in what was stored."""
    sent, stored = request.sent, request.answer
    assert sent is not None, f"the audit log keeps no body of {request.verb} {request.path}"
    assert stored is not None, f"the audit log keeps no answer to {request.verb} {request.path}"
    if isinstance(sent, list):
        for operation in sent:
            if operation["op"] in ("add", "replace"):
                *parents, last = [
                    part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]
                ]
                holder: Any = stored
                for part in parents:
                    holder = holder.get(part, {})
                if last != "-" and holder.get(last) != operation["value"] and operation["value"] != {}:
                    yield operation["path"]
        return
    if request.subresource == "status":
        yield from _missing(sent.get("status"), stored.get("status"), "status")
        return
    yield from _missing(sent.get("spec"), stored.get("spec"), "spec")
    for part in set(sent["metadata"]) - OF_THE_SERVER:
        yield from _missing(sent["metadata"][part], stored["metadata"].get(part), f"metadata.{part}")


def _missing(sent: Any, stored: Any, path: str) -> Iterator[str]:
    if isinstance(sent, Mapping):
        if not isinstance(stored, Mapping):
            if sent:
                yield path
            return
        for key, value in sent.items():
            yield from _missing(value, stored.get(key), f"{path}.{key}")
    elif isinstance(sent, list):
        if not isinstance(stored, list) or len(stored) < len(sent):
            yield path
            return
        for number, (one, other) in enumerate(zip(sent, stored, strict=False)):
            yield from _missing(one, other, f"{path}[{number}]")
    elif sent is not None and sent != stored:
        yield f"{path}: {sent!r} became {stored!r}"
