"""What KubeVirt moves without a look: consequences, each announced to those whom it concerns, and keeping nobody."""

from dataclasses import replace
from typing import Any

import pytest

from support.builders import a_cluster, a_kubevirt, a_node, an_instance
from whimbrel.domain.guests import GuestHardware
from whimbrel.domain.records import Instance, Node
from whimbrel.inventory.hosts import effective_hosts
from whimbrel.inventory.ledger import Ledger
from whimbrel.inventory.projections.hardware import hardware
from whimbrel.preflight import PreflightReason, unchecked
from whimbrel.preflight.assessment import candidate

SVM = {"cpu-feature.node.kubevirt.io/svm": "true"}
WITHOUT_VMX = a_node("node-1", without=["cpu-feature.node.kubevirt.io/vmx"])


def judged(instance: Instance, node: Node | None = None, default_model: str = "") -> list[PreflightReason]:
    snapshot = a_cluster(instance, node or a_node("node-1"), a_kubevirt(cpu_model=default_model))
    asked = candidate(instance, effective_hosts(snapshot), Ledger.of(snapshot), snapshot, None)
    found = list(unchecked.judge(unchecked.demand(asked)))
    assert not any(reason.blocks for reason in found)
    return found


@pytest.mark.parametrize(
    ("model", "features", "node", "found"),
    [
        ("Haswell", [("vmx", "require")], None, ["vmx"]),
        ("Haswell", [("svm", "")], None, ["svm"]),
        ("Haswell", [("vmx", "force")], None, ["vmx"]),
        ("Haswell", [("vmx", "optional")], None, []),
        ("Haswell", [("vmx", "disable")], None, []),
        ("host-model", [], None, []),
        ("host-passthrough", [], None, ["vmx"]),
        ("host-passthrough", [], a_node("node-1", labels=SVM), ["vmx", "svm"]),
        ("host-passthrough", [], WITHOUT_VMX, []),
        ("host-passthrough", [("vmx", "disable")], None, []),
        ("host-passthrough", [("vmx", "forbid")], None, []),
    ],
)
def test_guests_that_may_run_guests_of_their_own_are_warned_of(
    model: str, features: list[tuple[str, str]], node: Node | None, found: list[str]
) -> None:
    reasons = judged(an_instance(cpu_model=model, cpu_features=features), node)

    assert [reason.found for reason in reasons] == found
    assert {reason.code for reason in reasons} <= {"NestedVirtualization"}


def test_a_guest_that_names_no_model_has_its_hosts_processor_where_the_cluster_says_so() -> None:
    assert len(judged(an_instance(cpu_model=""), default_model="host-passthrough")) == 1
    assert judged(an_instance(cpu_model="")) == []


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"shareable_disks": ("one", "two")}, ["ShareableDisk", "ShareableDisk"]),
        ({"file_systems": ("share",)}, ["VirtiofsAttached"]),
        ({}, []),
    ],
)
def test_what_may_suffer_from_a_pause_is_announced(members: dict[str, Any], expected: list[str]) -> None:
    reasons = judged(replace(an_instance(), hardware=GuestHardware(**members)))

    assert [reason.code for reason in reasons] == expected


def test_what_is_attached_is_read_from_the_domain() -> None:
    devices = {
        "disks": [
            {"name": "root", "disk": {"bus": "virtio"}, "shareable": True},
            {"name": "quorum", "lun": {"bus": "scsi", "reservation": True}},
            {"name": "data", "lun": {"bus": "scsi", "reservation": False}, "shareable": "yes"},
        ],
        "filesystems": [{"name": "share", "virtiofs": {}}],
    }

    found = hardware({"spec": {"domain": {"devices": devices}}})

    assert (found.shareable_disks, found.reserved_luns) == (("root",), ("quorum",))
    assert found.file_systems == ("share",)
