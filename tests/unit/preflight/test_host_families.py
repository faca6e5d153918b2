"""Families that look at each target: target, elsewhere, CPU, node selector, capacity."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from support.builders import (
    GIB,
    NOW,
    a_cluster,
    a_kubevirt,
    a_launcher,
    a_node,
    a_plan,
    a_pod,
    a_profile,
    an_instance,
)
from whimbrel.domain.records import Instance, Node, Taint
from whimbrel.domain.scheduling import Scheduling
from whimbrel.inventory.hosts import effective_hosts
from whimbrel.inventory.ledger import Ledger
from whimbrel.preflight import PreflightReason, capacity, cpu, elsewhere, node_selector, target
from whimbrel.preflight.assessment import candidate, host_demand
from whimbrel.preflight.lineup import Lineup, Terms

DEDICATED = Taint("dedicated", "vms", "NoSchedule")
HASWELL = "cpu-model.node.kubevirt.io/Haswell"
CASCADELAKE = "host-model-cpu.node.kubevirt.io/Cascadelake-Server"


def codes(reasons: Iterable[PreflightReason]) -> list[str]:
    return [reason.code for reason in reasons]


def judged(
    family: Any,
    there: Node,
    instance: Instance | None = None,
    *others: Any,
    terms: dict[str, Any] | None = None,
    default_cpu_model: str = "",
    here: Node | None = None,
) -> list[PreflightReason]:
    """What a family says of a guest on node-1 that would go to `there`."""
    instance = instance or an_instance()
    installed = a_kubevirt(cpu_model=default_cpu_model)
    snapshot = a_cluster(instance, here or a_node("node-1"), there, installed, *others)
    hosts, ledger = effective_hosts(snapshot), Ledger.of(snapshot)
    plan = a_plan(target=terms).plan
    assert plan is not None
    lineup = Lineup(hosts, Terms(plan.spec.target, ledger, snapshot))
    demand = host_demand(family, candidate(instance, hosts, ledger, snapshot, None), lineup)
    reasons = list(family.judge(demand, lineup.supply(family.supply, hosts[there.name])))
    assert bool(family.mask(demand, lineup) & lineup.bit(there.name)) is not any(reason.blocks for reason in reasons)
    return reasons


@pytest.mark.parametrize("family", [target, elsewhere, cpu, node_selector, capacity])
def test_nothing_is_said_against_a_host_that_is_well(family: Any) -> None:
    assert judged(family, a_node("node-2")) == []


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        (a_node("node-2", ready=False), ["HostNotReady"]),
        (a_node("node-2", unschedulable=True), ["HostCordoned"]),
        (a_node("node-2", labels={"kubevirt.io/schedulable": "false"}), ["HostNotSchedulable"]),
        (a_node("node-2", without=["kubevirt.io/schedulable"]), ["HostNotSchedulable"]),
        (a_node("node-2", heartbeat_at=NOW - timedelta(minutes=5, seconds=1)), ["HeartbeatStale"]),
        (a_node("node-2", heartbeat_at=NOW - timedelta(minutes=5)), []),
        (a_node("node-2", heartbeat_at=None), ["HeartbeatUnknown"]),
        (a_node("node-2", heartbeat_at=NOW + timedelta(minutes=5)), []),
        (a_node("node-2", heartbeat_at=NOW + timedelta(minutes=5, seconds=1)), ["HeartbeatUnknown"]),
        (a_node("node-2", taints=[DEDICATED]), ["HostTainted"]),
        (a_node("node-2", taints=[Taint("slow", "", "PreferNoSchedule")]), []),
        (a_node("node-2", ready=False, unschedulable=True), ["HostNotReady", "HostCordoned"]),
        (
            a_node("node-2", unschedulable=True, taints=[Taint("node.kubernetes.io/unschedulable", "", "NoSchedule")]),
            ["HostCordoned"],
        ),
    ],
)
def test_a_host_that_takes_no_virtual_machines_is_no_target(there: Node, expected: list[str]) -> None:
    assert codes(judged(target, there)) == expected


def test_a_guest_tolerates_what_its_own_node_is_tainted_with() -> None:
    here = a_node("node-1", taints=[DEDICATED])

    assert judged(target, a_node("node-2", taints=[DEDICATED]), here=here) == []


def test_nobody_tolerates_the_taint_of_a_drain() -> None:
    drain = Taint("kubevirt.io/drain", "draining", "NoSchedule")

    reasons = judged(target, a_node("node-2", taints=[drain]), here=a_node("node-1", taints=[drain]))

    assert codes(reasons) == ["HostTainted"]
    assert reasons[0].found == "kubevirt.io/drain=draining:NoSchedule"


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ({"nodeNames": ["node-3"]}, ["NotATarget"]),
        ({"nodeNames": ["node-2"]}, []),
        ({"nodeNames": ["node-2"], "excludeNodes": ["node-2"]}, ["NotATarget"]),
        ({"nodeSelector": {"zone": "a"}}, ["NotATarget"]),
        ({"nodeSelector": {"kubernetes.io/arch": "amd64"}}, []),
    ],
)
def test_the_plan_says_what_may_be_a_target(terms: dict[str, Any], expected: list[str]) -> None:
    assert codes(judged(target, a_node("node-2"), terms=terms)) == expected


def test_a_guest_goes_only_to_a_host_whose_profile_enables_migration() -> None:
    off = a_profile("off", node_selector={"old": "yes"}, enabled=False)
    there = a_node("node-2", labels={"old": "yes"})

    (reason,) = judged(target, there, None, a_profile(), off)

    assert (reason.code, reason.found) == ("TargetNotEnabled", "HostProfile off says false")


def test_a_guest_does_not_go_to_where_it_is() -> None:
    assert codes(judged(elsewhere, a_node("node-1"), here=a_node("node-1"))) == ["SourceNode"]


def test_a_guest_with_a_named_model_goes_only_where_that_model_is_offered() -> None:
    haswell = an_instance(cpu_model="Haswell")

    (reason,) = judged(cpu, a_node("node-2", without=[HASWELL]), haswell)

    assert (reason.code, reason.field, reason.needed) == ("CpuModelMissing", HASWELL, "Haswell")
    assert reason.found == "Cascadelake-Server"
    assert judged(cpu, a_node("node-2", without=[CASCADELAKE]), haswell) == []


def test_a_guest_with_host_model_goes_only_where_its_own_nodes_model_is_offered_for_migration() -> None:
    older = a_node("node-2", without=["cpu-model-migration.node.kubevirt.io/Cascadelake-Server"])

    (reason,) = judged(cpu, older, an_instance(cpu_model="host-model"))

    assert (reason.code, reason.needed, reason.found) == ("CpuModelMissing", "Cascadelake-Server", "Haswell")


def test_a_guest_with_host_model_stays_where_its_node_does_not_tell_which_that_is() -> None:
    here = a_node("node-1", without=[CASCADELAKE])

    (reason,) = judged(cpu, a_node("node-2"), here=here)

    assert (reason.code, reason.field) == ("HostModelUnlabelled", "host-model-cpu.node.kubevirt.io/…")
    assert judged(cpu, a_node("node-2"), an_instance(cpu_model="Haswell"), here=here) == []


def test_a_guest_with_host_model_that_was_moved_before_brings_along_what_its_node_does_not_tell() -> None:
    asked = (("cpu-model-migration.node.kubevirt.io/Haswell", "true"),)
    launcher = replace(a_launcher(an_instance()), scheduling=Scheduling(node_selector=asked))

    assert judged(cpu, a_node("node-2"), None, launcher, here=a_node("node-1", without=[CASCADELAKE])) == []


def test_a_guest_with_host_model_needs_the_features_that_its_node_requires() -> None:
    reasons = judged(cpu, a_node("node-2", without=["cpu-feature.node.kubevirt.io/vmx"]))

    assert [(reason.code, reason.needed) for reason in reasons] == [("CpuFeatureMissing", "vmx")]


def test_a_guest_with_host_model_needs_the_features_that_it_requires_itself_too() -> None:
    guest = an_instance(cpu_model="host-model", cpu_features=[("avx512", "require")])

    reasons = judged(cpu, a_node("node-2", without=["cpu-feature.node.kubevirt.io/vmx"]), guest)

    assert [reason.needed for reason in reasons] == ["avx512", "vmx"]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("require", ["CpuFeatureMissing"]), ("", ["CpuFeatureMissing"]), ("optional", []), ("forbid", [])],
)
def test_only_features_that_are_required_are_needed(policy: str, expected: list[str]) -> None:
    guest = an_instance(cpu_model="Haswell", cpu_features=[("avx512", policy)])

    assert codes(judged(cpu, a_node("node-2"), guest)) == expected


def test_a_guest_stays_with_the_vendor_and_the_architecture_it_started_on() -> None:
    amd = a_node(
        "node-2",
        labels={"cpu-vendor.node.kubevirt.io/AMD": "true"},
        without=["cpu-vendor.node.kubevirt.io/Intel"],
    )
    arm = a_node("node-2", architecture="arm64")
    guest = an_instance(cpu_model="host-passthrough")

    assert codes(judged(cpu, amd, guest)) == ["CpuVendorMismatch"]
    assert codes(judged(cpu, arm, guest)) == ["ArchitectureMismatch"]


def test_no_guest_with_host_model_goes_to_an_obsolete_one() -> None:
    obsolete = a_node("node-2", labels={"node-labeller.kubevirt.io/obsolete-host-model": "true"})

    assert codes(judged(cpu, obsolete)) == ["HostModelObsolete"]
    assert codes(judged(cpu, obsolete, an_instance(cpu_model="Haswell"))) == []


def test_a_guest_without_a_model_runs_with_the_clusters_default() -> None:
    there = a_node("node-2", without=[HASWELL])
    guest = an_instance(cpu_model="")

    assert codes(judged(cpu, there, guest)) == []
    assert codes(judged(cpu, there, guest, default_cpu_model="Haswell")) == ["CpuModelMissing"]


def test_a_label_that_says_false_offers_nothing() -> None:
    assert codes(judged(cpu, a_node("node-2", labels={HASWELL: "false"}), an_instance(cpu_model="Haswell"))) == [
        "CpuModelMissing"
    ]


def test_the_virtual_machines_own_node_selector_holds() -> None:
    guest = an_instance(node_selector={"zone": "a", "disk": "fast"})

    reasons = judged(node_selector, a_node("node-2", labels={"zone": "b"}), guest)

    assert [(reason.field, reason.found, reason.needed) for reason in reasons] == [
        ("spec.nodeSelector[disk]", "absent", "disk=fast"),
        ("spec.nodeSelector[zone]", "b", "zone=a"),
    ]
    assert judged(node_selector, a_node("node-2", labels={"zone": "a", "disk": "fast"}), guest) == []


def test_a_guest_needs_room_by_requests_with_headroom() -> None:
    guest = an_instance(memory_bytes=4 * GIB)
    there = a_node("node-2", memory_bytes=10 * GIB)
    taken = a_pod("other", node="node-2", memory_bytes=5 * GIB)

    assert judged(capacity, there, guest, taken) == []
    (reason,) = judged(capacity, there, guest, taken, terms={"headroom": {"memoryPercent": 20}})
    assert (reason.code, reason.found, reason.needed) == (
        "InsufficientMemory",
        "3.0 GiB free with 20 % headroom",
        "4.2 GiB",
    )


def test_a_host_that_is_full_says_everything_that_it_lacks() -> None:
    full = a_node("node-2", memory_bytes=GIB, cpu_millicores=50, pods=0)

    assert codes(judged(capacity, full)) == ["InsufficientMemory", "InsufficientCpu", "NoPodSlot"]
