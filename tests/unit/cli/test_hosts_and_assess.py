"""`hosts` and `assess`: a whole cluster judged from a laptop, with whatever rights there are and nothing of ours installed."""

import copy
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from support.plugin_server import Server
from whimbrel.cli.main import main
from whimbrel.domain.resources import (
    HOST_PROFILES,
    INSTANCES,
    KUBEVIRTS,
    MIGRATION_PLANS,
    NAMESPACES,
    NETWORK_ATTACHMENTS,
    NODES,
    PODS,
    QUOTAS,
    VIRTUAL_MACHINE_MOVES,
    VIRTUAL_MACHINES,
    VOLUMES,
    Resource,
)
from whimbrel.inventory.projections import PROJECTIONS
from whimbrel.inventory.snapshot import FIELDS
from whimbrel.simulation.topology import GuestShape, HostShape, Topology, a_profile, apply, populate
from whimbrel.simulation.world import World

GUESTS = (
    GuestShape("web", "node-1"),
    GuestShape("stuck", "node-1", live_migratable=False),
    GuestShape("mail", "node-2"),
)
OPENAPI = "/openapi/v3/apis"
Serve = Callable[[Mapping[str, Any]], Server]
Kubeconfig = Callable[[Server], list[str]]


def path(resource: Resource) -> str:
    root = f"/apis/{resource.group}" if resource.group else "/api"
    return f"{root}/{resource.version}/{resource.plural}"


def schemas() -> dict[str, Any]:
    """What KubeVirt 1.9 serves of what is looked at."""

    def document(group: str, version: str, kind: str, *fields: str) -> dict[str, Any]:
        identity = [{"group": group, "version": version, "kind": kind}]
        spec = {"properties": {field: {} for field in fields}}
        schema = {"x-kubernetes-group-version-kind": identity, "properties": {"spec": spec}}
        return {"components": {"schemas": {kind: schema}}}

    return {
        f"{OPENAPI}/kubevirt.io/v1": document(
            "kubevirt.io", "v1", "VirtualMachineInstanceMigration", "vmiName", "addedNodeSelector"
        ),
        f"{OPENAPI}/migrations.kubevirt.io/v1alpha1": document(
            "migrations.kubevirt.io", "v1alpha1", "MigrationPolicy", "allowPostCopy"
        ),
    }


def a_cluster(*guests: GuestShape, hosts: int = 3, ours: bool = True) -> dict[str, Any]:
    """Every kind's list by path; without `ours` none of our kinds is served."""
    world = World(lambda: 0.0)
    shapes = [HostShape(f"node-{number}") for number in range(1, hosts + 1)]
    populate(world, Topology(shapes, guests or GUESTS))
    if ours:
        apply(world, a_profile())
    served = {path(kind): list(world.objects(kind).values()) for kind in FIELDS if kind in PROJECTIONS}
    if not ours:
        for kind in (HOST_PROFILES, MIGRATION_PLANS, VIRTUAL_MACHINE_MOVES, NETWORK_ATTACHMENTS):
            del served[path(kind)]
    return served | schemas()


def document(verb: list[str], options: list[str], capsys: pytest.CaptureFixture[str]) -> Any:
    assert main([*verb, *options, "-o", "json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_all_hosts_are_told_of_in_one_table(
    serve: Serve, kubeconfig: Kubeconfig, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["hosts", *kubeconfig(serve(a_cluster()))]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "2 of 3 hosts can be emptied now."
    assert re.fullmatch(r"HOST +GUESTS +CAN BE EMPTIED +IN +BLOCKED BY", lines[2])
    assert re.fullmatch(r"node-1 +2 +no +- +default/stuck \(NotLiveMigratable\)", lines[3])
    assert re.fullmatch(r"node-2 +1 +yes +≥ 4 s", lines[4])
    assert re.fullmatch(r"node-3 +0 +yes +0 s", lines[5])


def test_one_host_is_told_of_with_all_reasons_in_full(
    serve: Serve, kubeconfig: Kubeconfig, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["hosts", "node-1", *kubeconfig(serve(a_cluster()))]) == 0

    out = capsys.readouterr().out
    assert "node-1: 2 virtual machines; it cannot be emptied: 1 of them blocks it." in out
    assert "default/stuck:\n  NotLiveMigratable  status.conditions[LiveMigratable]: found DisksNotLiveMigratable" in out
    assert "Put its disks on volumes with the access mode ReadWriteMany." in out
    assert "default/web" not in out


def test_a_host_that_is_not_there_is_told_with_what_there_is(
    serve: Serve, kubeconfig: Kubeconfig, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["hosts", "nowhere", *kubeconfig(serve(a_cluster()))]) == 1

    assert "there is no host nowhere (there are: node-1, node-2, node-3)" in capsys.readouterr().err


def test_what_fits_one_by_one_and_not_together_is_told_in_the_words_of_the_conflict(
    serve: Serve, kubeconfig: Kubeconfig, capsys: pytest.CaptureFixture[str]
) -> None:
    big = [GuestShape(f"big-{number}", "node-1", memory_bytes=30 * 2**30) for number in (1, 2)]
    there = GuestShape("there", "node-2", memory_bytes=20 * 2**30)

    assert main(["hosts", "node-1", *kubeconfig(serve(a_cluster(*big, there, hosts=2)))]) == 0

    assert "default/big-1 and default/big-2 cannot all be placed" in capsys.readouterr().out


def test_every_virtual_machine_is_judged_with_where_to_and_why_not(
    serve: Serve, kubeconfig: Kubeconfig, capsys: pytest.CaptureFixture[str]
) -> None:
    found = document(["assess"], kubeconfig(serve(a_cluster())), capsys)

    machines = {each["virtualMachine"]: each for each in found["virtualMachines"]}
    assert found["summary"] == {
        "virtualMachines": 3,
        "movable": 2,
        "waiting": 0,
        "notMovable": 1,
        "unknown": 0,
        "notRunning": 0,
        "hosts": 3,
        "hostsThatCanBeEmptied": 2,
    }
    assert machines["default/web"]["targets"] == {"count": 2, "hosts": ["node-2", "node-3"], "omitted": 0}
    (reason,) = (each for each in machines["default/stuck"]["reasons"] if each["judgement"] == "Block")
    assert reason["code"] == "NotLiveMigratable"
    assert {"field", "found", "needed", "remedy"} <= {key for key, value in reason.items() if value}
    assert (found["unread"], found["profilesAssumed"]) == ([], False)


def test_where_there_is_one_host_a_virtual_machine_says_that_it_has_nowhere_to_go(
    serve: Serve, kubeconfig: Kubeconfig, capsys: pytest.CaptureFixture[str]
) -> None:
    found = document(["assess"], kubeconfig(serve(a_cluster(GuestShape("web", "node-1"), hosts=1))), capsys)

    (machine,) = found["virtualMachines"]
    assert machine["movable"] == "no"
    assert "NoOtherHost" in [reason["code"] for reason in machine["reasons"] if reason["blocks"]]


def test_on_the_terminal_the_report_is_a_summary_and_progress_goes_elsewhere(
    serve: Serve, kubeconfig: Kubeconfig, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["assess", *kubeconfig(serve(a_cluster()))]) == 0

    shown = capsys.readouterr()
    assert "Of 3 virtual machines 2 can move now, 1 cannot move." in shown.out
    assert re.search(r"NotLiveMigratable +1 +default/stuck +Put its disks", shown.out)
    assert "  node-1: default/stuck (NotLiveMigratable)" in shown.out
    assert "virtualmachineinstances: 3" in shown.err
    assert "virtualmachineinstances" not in shown.out


def test_the_same_cluster_gives_the_same_document_whatever_the_order_of_its_lists(
    serve: Serve, kubeconfig: Kubeconfig, capsys: pytest.CaptureFixture[str]
) -> None:
    objects = a_cluster()
    turned = {key: value[::-1] if isinstance(value, list) else value for key, value in objects.items()}

    first = document(["assess"], kubeconfig(serve(objects)), capsys)

    assert json.dumps(document(["assess"], kubeconfig(serve(turned)), capsys)) == json.dumps(first)


def test_with_nothing_of_ours_in_the_cluster_schedulable_nodes_count_as_enabled_and_that_is_said(
    serve: Serve, kubeconfig: Kubeconfig, capsys: pytest.CaptureFixture[str]
) -> None:
    options = kubeconfig(serve(a_cluster(ours=False)))

    found = document(["assess"], options, capsys)
    assert main(["hosts", *options]) == 0

    assert found["profilesAssumed"] is True
    assert found["unread"] == []
    assert found["summary"]["movable"] == 2
    assert "No HostProfile was found" in capsys.readouterr().out.splitlines()[0]


def test_long_lists_are_read_page_by_page(
    serve: Serve, kubeconfig: Kubeconfig, capsys: pytest.CaptureFixture[str]
) -> None:
    many = [GuestShape(f"vm-{number:04}", f"node-{number % 3 + 1}", memory_bytes=2**24) for number in range(501)]
    server = serve(a_cluster(*many))

    found = document(["assess"], kubeconfig(server), capsys)

    assert found["summary"]["virtualMachines"] == 501
    assert server.asked.count(path(INSTANCES)) == 2
    assert server.asked.count(path(NODES)) == 1


@pytest.mark.parametrize(
    ("kind", "rule"),
    [(PODS, "room on the hosts"), (QUOTAS, "quota"), (VIRTUAL_MACHINES, "whether its owner forbids moving it")],
)
def test_what_may_not_be_read_is_named_at_the_top_and_makes_no_certain_yes(
    kind: Resource, rule: str, serve: Serve, kubeconfig: Kubeconfig, capsys: pytest.CaptureFixture[str]
) -> None:
    options = kubeconfig(serve(a_cluster() | {path(kind): 403}))

    found = document(["assess"], options, capsys)
    assert main(["hosts", *options]) == 0

    machines = {each["virtualMachine"]: each for each in found["virtualMachines"]}
    assert machines["default/web"]["movable"] == "unknown"
    assert any(rule in each for each in machines["default/web"]["unknown"])
    assert machines["default/stuck"]["movable"] == "no"
    out = capsys.readouterr().out
    assert out.startswith(f"{found['unread'][0]['kind']} may not be listed (403): what depends on it is unknown.")
    assert re.search(r"node-1 +2 +no", out)
    assert re.search(r"node-2 +1 +unknown", out)
    assert re.search(r"node-3 +0 +yes", out)


def test_namespaces_that_may_not_be_read_matter_where_a_rule_between_pods_looks_at_their_labels(
    serve: Serve, kubeconfig: Kubeconfig, capsys: pytest.CaptureFixture[str]
) -> None:
    objects = a_cluster() | {path(NAMESPACES): 403}
    without = document(["assess"], kubeconfig(serve(objects)), capsys)
    term = {
        "topologyKey": "kubernetes.io/hostname",
        "labelSelector": {},
        "namespaceSelector": {"matchLabels": {"a": "b"}},
    }
    pods = copy.deepcopy(objects[path(PODS)])
    pods[0]["spec"]["affinity"] = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    found = document(["assess"], kubeconfig(serve(objects | {path(PODS): pods})), capsys)

    assert without["summary"]["movable"] == 2
    assert {each["movable"] for each in found["virtualMachines"]} == {"no", "unknown"}


def test_profiles_that_may_not_be_read_are_not_said_to_be_absent(
    serve: Serve, kubeconfig: Kubeconfig, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["hosts", *kubeconfig(serve(a_cluster() | {path(HOST_PROFILES): 403}))]) == 0

    out = capsys.readouterr().out
    assert "No HostProfile could be read: every node" in out
    assert "No HostProfile was found" not in out


def test_volumes_that_may_not_be_read_matter_only_to_guests_with_claims(
    serve: Serve, kubeconfig: Kubeconfig, capsys: pytest.CaptureFixture[str]
) -> None:
    found = document(["assess"], kubeconfig(serve(a_cluster() | {path(VOLUMES): 403})), capsys)

    assert [each["kind"] for each in found["unread"]] == ["persistentvolumes"]
    assert found["summary"]["movable"] == 2


def test_without_nodes_the_hosts_that_guests_name_are_unknown_and_what_is_known_of_guests_is_still_told(
    serve: Serve, kubeconfig: Kubeconfig, capsys: pytest.CaptureFixture[str]
) -> None:
    options = kubeconfig(serve(a_cluster() | {path(NODES): 403}))

    found = document(["assess"], options, capsys)
    assert main(["hosts", *options]) == 0

    machines = {each["virtualMachine"]: each for each in found["virtualMachines"]}
    assert machines["default/web"]["movable"] == "unknown"
    assert machines["default/web"]["reasons"] == []
    assert [reason["code"] for reason in machines["default/stuck"]["reasons"]] == ["NotLiveMigratable"]
    assert [(each["host"], each["canBeEmptied"]) for each in found["hosts"]] == [
        ("node-1", "unknown"),
        ("node-2", "unknown"),
    ]
    assert re.search(r"node-1 +2 +unknown +- +\(unknown: everything about hosts\)", capsys.readouterr().out)


def test_kinds_that_are_not_served_are_named_as_such(
    serve: Serve, kubeconfig: Kubeconfig, capsys: pytest.CaptureFixture[str]
) -> None:
    objects = a_cluster()
    del objects[path(KUBEVIRTS)]

    found = document(["assess"], kubeconfig(serve(objects)), capsys)

    assert found["unread"] == [{"kind": "kubevirts.kubevirt.io", "why": "not served (404)"}]


def test_without_kubevirts_schemas_it_is_said_what_is_assumed(
    serve: Serve, kubeconfig: Kubeconfig, capsys: pytest.CaptureFixture[str]
) -> None:
    objects = {key: value for key, value in a_cluster().items() if not key.startswith(OPENAPI)}

    assert main(["hosts", *kubeconfig(serve(objects))]) == 0

    assert "KubeVirt's schemas could not be read" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("code", "said"),
    [(403, "virtualmachineinstances.kubevirt.io cannot be listed"), (401, "Log in again"), (500, "answered 500")],
)
def test_where_nothing_can_be_said_the_reason_and_the_way_out_are(
    code: int, said: str, serve: Serve, kubeconfig: Kubeconfig, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["assess", *kubeconfig(serve(a_cluster() | {path(INSTANCES): code}))]) == 1

    assert said in capsys.readouterr().err


def test_the_page_needs_nothing_else_and_shows_names_as_they_are_written(
    serve: Serve, kubeconfig: Kubeconfig, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    objects = a_cluster()
    (first, *_) = objects[path(INSTANCES)]
    evil = {**first, "metadata": {**first["metadata"], "name": "<script>alert(1)</script>"}}
    objects[path(INSTANCES)] = [evil, *objects[path(INSTANCES)][1:]]
    file = tmp_path / "report.html"

    assert main(["assess", "--html", str(file), *kubeconfig(serve(objects))]) == 0

    page = file.read_text()
    assert page.startswith("<!doctype html>")
    assert not re.search(r"https?:|src=|href=|<script|<link|@import|url\(", page)
    assert "&lt;script&gt;alert(1)" in page
    assert "Put its disks on volumes with the access mode ReadWriteMany." in page
    assert {"node-1", "node-2", "node-3"} <= set(re.findall(r"<tr><td>(node-\d)", page))
    assert f"{file} written" in capsys.readouterr().err


@pytest.mark.parametrize("verb", [["hosts"], ["hosts", "node-1"], ["assess"]])
def test_what_tenants_and_kubevirt_wrote_does_not_command_the_terminal(
    verb: list[str], serve: Serve, kubeconfig: Kubeconfig, capsys: pytest.CaptureFixture[str]
) -> None:
    objects = a_cluster()
    for machine in objects[path(VIRTUAL_MACHINES)]:
        machine["metadata"]["annotations"] = {"whimbrel.dev/migration": "\x1b[2J\x1b]0;x\x07Ne\nver\u202e"}
    for instance in objects[path(INSTANCES)]:
        for condition in instance["status"]["conditions"]:
            condition |= {"status": "False", "reason": "X\x1b[31mred", "message": "a\nstuck: movable\x9b\u202e"}

    assert main([*verb, *kubeconfig(serve(objects))]) == 0

    out = capsys.readouterr().out
    assert all(line.isprintable() for line in out.split("\n"))
    assert "\nstuck: movable" not in out


def test_a_file_that_cannot_be_written_is_told(
    serve: Serve, kubeconfig: Kubeconfig, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["assess", "--html", str(tmp_path / "no" / "x.html"), *kubeconfig(serve(a_cluster()))]) == 1

    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "change", "code"),
    [
        (KUBEVIRTS, [], "KubeVirtMissing"),
        (KUBEVIRTS, {"status": {"phase": "Deploying"}}, "KubeVirtNotDeployed"),
        (INSTANCES, {"status": {"conditions": []}}, "LiveMigratableUnknown"),
    ],
)
def test_a_host_whose_guests_only_wait_cannot_be_emptied_now_and_says_what_for(
    kind: Resource,
    change: Any,
    code: str,
    serve: Serve,
    kubeconfig: Kubeconfig,
    capsys: pytest.CaptureFixture[str],
) -> None:
    objects = a_cluster()
    if change:
        changed = copy.deepcopy(objects[path(kind)])
        for each in changed:
            each["status"].update(change["status"])
        objects[path(kind)] = changed
    else:
        objects[path(kind)] = change
    options = kubeconfig(serve(objects))

    found = document(["hosts"], options, capsys)
    assert main(["hosts", *options]) == 0
    assert main(["hosts", "node-2", *options]) == 0

    by_name = {each["host"]: each for each in found["hosts"]}
    assert by_name["node-2"]["canBeEmptied"] == "waits"
    assert code in by_name["node-2"]["waitingFor"]
    assert by_name["node-3"]["canBeEmptied"] == "yes"
    out = capsys.readouterr().out
    assert re.search(rf"node-2 +1 +waits .*waits for: {code}", out)
    assert f"it can be emptied once this has passed: {code}" in out
