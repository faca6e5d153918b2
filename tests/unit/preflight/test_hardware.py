"""Families that look at a guest's hardware: CPU compatibility, node features, attached devices."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from support.builders import (
    CAPABILITIES,
    a_cluster,
    a_kubevirt,
    a_node,
    a_plan,
    a_profile,
    a_virtual_machine,
    an_instance,
)
from whimbrel.api.virtual_machine_move import Judgement
from whimbrel.domain.guests import GuestHardware, GuestInterface
from whimbrel.domain.records import Condition, Instance, Node, Profile
from whimbrel.inventory.hosts import effective_hosts
from whimbrel.inventory.ledger import Ledger
from whimbrel.inventory.projections.hardware import hardware
from whimbrel.preflight import PreflightReason, attached_devices, cpu_compatibility, node_features
from whimbrel.preflight.assessment import candidate, host_demand
from whimbrel.preflight.lineup import Lineup, Terms

COUNTERS = {"whimbrel.dev/performance-counters": "Required"}
PASSTHROUGH = an_instance(cpu_model="host-passthrough")
COUNTING = an_instance(annotations=COUNTERS)


def codes(reasons: Iterable[PreflightReason]) -> list[str]:
    return [reason.code for reason in reasons]


def with_hardware(**members: Any) -> Instance:
    return replace(an_instance(), hardware=GuestHardware(**members))


def judged(
    family: Any,
    instance: Instance,
    *others: Any,
    here: Node | None = None,
    there: Node | None = None,
    default_cpu_model: str = "",
) -> list[PreflightReason]:
    """What a family says of a guest on node-1 that would go to node-2; its mask says the same."""
    nodes = (here or a_node("node-1"), there or a_node("node-2"))
    snapshot = a_cluster(instance, *nodes, a_kubevirt(cpu_model=default_cpu_model), *others)
    hosts, ledger = effective_hosts(snapshot), Ledger.of(snapshot)
    plan = a_plan().plan
    assert plan is not None
    lineup = Lineup(hosts, Terms(plan.spec.target, ledger, snapshot))
    demand = host_demand(family, candidate(instance, hosts, ledger, snapshot, None), lineup)
    reasons = list(family.judge(demand, lineup.supply(family.supply, hosts["node-2"])))
    assert bool(family.mask(demand, lineup) & lineup.bit("node-2")) is not bool(reasons)
    return reasons


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"hyperv": ("reenlightenment",)}, ["TscFrequencyUnknown"]),
        ({"hyperv": ("reenlightenment",), "tsc_frequency_hz": 2_500_000_000}, []),
        ({"hyperv": ("vpindex",)}, []),
    ],
)
def test_a_guest_that_relies_on_its_clock_stays_where_nobody_told_the_frequency(
    members: dict[str, Any], expected: list[str]
) -> None:
    instance = with_hardware(**members)
    snapshot = a_cluster(instance)
    asked = candidate(instance, effective_hosts(snapshot), Ledger.of(snapshot), snapshot, None)

    assert codes(attached_devices.judge(attached_devices.demand(asked))) == expected


@pytest.mark.parametrize(
    ("verdict", "gates", "expected"),
    [
        (Condition("False", "InterfaceNotLiveMigratable"), (), ["GpuMigrationDisabled"]),
        (Condition("False", "InterfaceNotLiveMigratable"), ("VGPULiveMigration",), []),
        (None, (), ["GpuMigrationDisabled"]),
        (Condition("True"), (), []),
    ],
)
def test_a_single_gpu_stays_unless_kubevirt_lets_it_go(
    verdict: Condition | None, gates: tuple[str, ...], expected: list[str]
) -> None:
    instance = replace(with_hardware(gpus=("gpu1",)), live_migratable=verdict)
    snapshot = a_cluster(instance, a_kubevirt(feature_gates=gates))
    asked = candidate(instance, effective_hosts(snapshot), Ledger.of(snapshot), snapshot, None)

    assert codes(attached_devices.judge(attached_devices.demand(asked))) == expected


def profiles(here: dict[str, Any], there: dict[str, Any]) -> tuple[Profile, Profile]:
    """What the nodes of source and target declare of their processors."""
    return (
        a_profile("here", node_selector={"kubernetes.io/hostname": "node-1"}, **here),
        a_profile("there", node_selector={"kubernetes.io/hostname": "node-2"}, **there),
    )


def test_a_guest_with_its_hosts_own_processor_goes_only_to_an_identical_one() -> None:
    alike = profiles({"baseline": "gold"}, {"baseline": "gold"})
    other = profiles({"baseline": "gold"}, {"baseline": "silver"})

    (reason,) = judged(cpu_compatibility, PASSTHROUGH, *other)

    assert (reason.code, reason.found, reason.needed) == ("CpuBaselineMismatch", "silver", "gold")
    assert judged(cpu_compatibility, PASSTHROUGH, *alike) == []


@pytest.mark.parametrize(("here", "there"), [({}, {}), ({"baseline": "gold"}, {}), ({}, {"baseline": "gold"})])
def test_where_nobody_declared_identical_processors_a_guest_with_its_hosts_own_stays(
    here: dict[str, Any], there: dict[str, Any]
) -> None:
    (reason,) = judged(cpu_compatibility, PASSTHROUGH, *profiles(here, there))

    assert (reason.code, reason.judgement, reason.blocks) == ("CpuBaselineUnknown", Judgement.UNKNOWN, True)


def test_the_clusters_default_model_can_be_the_hosts_own_processor() -> None:
    guest = an_instance(cpu_model="")

    assert codes(judged(cpu_compatibility, guest, default_cpu_model="host-passthrough")) == ["CpuBaselineUnknown"]
    assert judged(cpu_compatibility, guest, default_cpu_model="Haswell") == []


def test_a_guest_with_a_named_model_asks_for_no_declaration() -> None:
    other = profiles({"baseline": "gold"}, {"baseline": "silver"})

    assert judged(cpu_compatibility, an_instance(cpu_model="Haswell"), *other) == []


def test_a_guest_that_needs_performance_counters_goes_only_where_they_are_declared_compatible() -> None:
    counters = {"performance_counters": "lake"}

    assert judged(cpu_compatibility, COUNTING, *profiles(counters, counters)) == []
    for here, there in ((counters, {"performance_counters": "well"}), (counters, {}), ({}, counters), ({}, {})):
        assert codes(judged(cpu_compatibility, COUNTING, *profiles(here, there))) == ["PerformanceCountersMismatch"]


def test_identical_processors_have_compatible_performance_counters() -> None:
    assert judged(cpu_compatibility, COUNTING, *profiles({"baseline": "gold"}, {"baseline": "gold"})) == []


@pytest.mark.parametrize("guest", [COUNTING, PASSTHROUGH], ids=["counts on them", "sees its host's"])
def test_counters_that_are_declared_different_are_different_whatever_the_baseline(guest: Any) -> None:
    lake, well = ({"baseline": "gold", "performance_counters": name} for name in ("lake", "well"))

    (reason,) = judged(cpu_compatibility, guest, *profiles(lake, well))

    assert (reason.code, reason.found, reason.needed) == ("PerformanceCountersMismatch", "well", "lake")
    for here, there in ((lake, lake), (lake, {"baseline": "gold"}), ({"baseline": "gold"}, well)):
        assert judged(cpu_compatibility, guest, *profiles(here, there)) == []


def test_counters_that_are_declared_different_do_not_matter_to_a_guest_with_a_named_model() -> None:
    other = profiles({"performance_counters": "lake"}, {"performance_counters": "well"})

    assert judged(cpu_compatibility, an_instance(cpu_model="Haswell"), *other) == []


def test_the_virtual_machine_can_say_that_its_guest_needs_performance_counters() -> None:
    owner = a_virtual_machine("db1", annotations=COUNTERS)

    assert codes(judged(cpu_compatibility, an_instance(), owner)) == ["PerformanceCountersMismatch"]
    assert judged(cpu_compatibility, an_instance()) == []


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({}, ["TscFrequencyMismatch"]),
        ({"cpu-timer.node.kubevirt.io/tsc-frequency": "2600000000"}, ["TscFrequencyMismatch"]),
        ({"cpu-timer.node.kubevirt.io/tsc-frequency": "fast"}, ["TscFrequencyMismatch"]),
        ({"cpu-timer.node.kubevirt.io/tsc-frequency": "9" * 5000}, ["TscFrequencyMismatch"]),
        ({"cpu-timer.node.kubevirt.io/tsc-frequency": "2500625000"}, []),
        ({"cpu-timer.node.kubevirt.io/tsc-frequency": "2500625001"}, ["TscFrequencyMismatch"]),
        ({"scheduling.node.kubevirt.io/tsc-frequency-2500000000": "true"}, []),
        ({"scheduling.node.kubevirt.io/tsc-frequency-2500000000": "false"}, ["TscFrequencyMismatch"]),
        (
            {
                "cpu-timer.node.kubevirt.io/tsc-frequency": "2100000000",
                "cpu-timer.node.kubevirt.io/tsc-scalable": "true",
            },
            [],
        ),
    ],
)
def test_a_guest_that_relies_on_its_clock_goes_only_where_it_keeps_time(
    labels: dict[str, str], expected: list[str]
) -> None:
    guest = with_hardware(tsc_frequency_hz=2_500_000_000)

    assert codes(judged(node_features, guest, there=a_node("node-2", labels=labels))) == expected
    assert judged(node_features, an_instance(), there=a_node("node-2", labels=labels)) == []


def test_a_guest_with_hyperv_enlightenments_goes_only_where_each_is_offered() -> None:
    guest = with_hardware(hyperv=("ipi", "vpindex"))
    both = {"hyperv.node.kubevirt.io/ipi": "true", "hyperv.node.kubevirt.io/vpindex": "true"}
    here = a_node("node-1", labels=both)

    lacking = judged(node_features, guest, here=here, there=a_node("node-2"))

    assert [(reason.code, reason.needed) for reason in lacking] == [
        ("HypervFeatureMissing", "ipi"),
        ("HypervFeatureMissing", "vpindex"),
    ]
    assert judged(node_features, guest, here=here, there=a_node("node-2", labels=both)) == []
    assert judged(node_features, guest) == [], "nobody is labelled: nothing can be told"


def test_a_guest_keeps_its_machine_type_where_nodes_tell_theirs() -> None:
    guest = with_hardware(machine_type="pc-q35-rhel9.4.0")
    fits = a_node("node-2", labels={"machine-type.node.kubevirt.io/pc-q35-rhel9.4.0": "true"})
    newer = a_node("node-2", labels={"machine-type.node.kubevirt.io/pc-q35-rhel9.6.0": "true"})
    here = a_node("node-1", labels={"machine-type.node.kubevirt.io/pc-q35-rhel9.4.0": "true"})

    assert judged(node_features, guest, there=fits) == []
    assert codes(judged(node_features, guest, there=newer)) == ["MachineTypeMissing"]
    assert codes(judged(node_features, guest, here=here)) == ["MachineTypeMissing"]
    assert judged(node_features, guest) == [], "before KubeVirt 1.5.1 no node tells"


def test_a_realtime_guest_goes_only_where_realtime_is_set_up() -> None:
    guest = with_hardware(realtime=True)

    assert codes(judged(node_features, guest)) == ["RealtimeMissing"]
    assert judged(node_features, guest, there=a_node("node-2", labels={"kubevirt.io/realtime": "true"})) == []


@pytest.mark.parametrize("label", ["cpumanager", "kubevirt.io/cpumanager"])
def test_a_guest_with_cpus_of_its_own_goes_only_where_the_cpu_manager_gives_some(label: str) -> None:
    guest = with_hardware(dedicated_cpus=True)

    assert codes(judged(node_features, guest)) == ["CpuManagerMissing"]
    assert judged(node_features, guest, there=a_node("node-2", labels={label: "true"})) == []


def test_hardware_is_read_off_the_instance() -> None:
    raw = {
        "spec": {
            "domain": {
                "cpu": {"realtime": {}, "dedicatedCpuPlacement": True},
                "features": {
                    "hyperv": {
                        "vpindex": {},
                        "ipi": {"enabled": False},
                        "reenlightenment": {"enabled": True},
                        "vapic": {},
                    }
                },
            }
        },
        "status": {"topologyHints": {"tscFrequency": 2_500_000_000}, "machine": {"type": "pc-q35-rhel9.4.0"}},
    }

    assert hardware(raw) == GuestHardware(
        machine_type="pc-q35-rhel9.4.0",
        dedicated_cpus=True,
        realtime=True,
        tsc_frequency_hz=2_500_000_000,
        hyperv=("reenlightenment", "vpindex"),
    )


@pytest.mark.parametrize(
    ("policy", "expected"), [("require", 2_500_000_000), ("", 2_500_000_000), ("optional", 0), ("forbid", 0)]
)
def test_the_clock_matters_to_a_guest_that_requires_an_invariant_one(policy: str, expected: int) -> None:
    raw = {
        "spec": {"domain": {"cpu": {"features": [{"name": "invtsc", "policy": policy}]}}},
        "status": {"topologyHints": {"tscFrequency": 2_500_000_000}},
    }

    assert hardware(raw).tsc_frequency_hz == expected


def held(instance: Instance) -> list[PreflightReason]:
    """What is said of the devices that a guest holds."""
    snapshot = a_cluster(instance)
    asked = candidate(instance, effective_hosts(snapshot), Ledger.of(snapshot), snapshot, None)
    return list(attached_devices.judge(attached_devices.demand(asked)))


@pytest.mark.parametrize(
    ("guest", "expected"),
    [
        (an_instance(), []),
        (
            with_hardware(host_devices=("nic", "dongle")),
            [("HostDeviceAttached", "nic"), ("HostDeviceAttached", "dongle")],
        ),
        (with_hardware(gpus=("a", "b")), [("SeveralGpus", "a, b")]),
        (with_hardware(gpus=("a",)), []),
        (with_hardware(launch_security="TDX"), [("EncryptedMemory", "TDX")]),
        (with_hardware(hyperv_passthrough=True), [("HypervPassthrough", "enabled")]),
    ],
)
def test_a_guest_stays_with_what_cannot_leave_its_host(guest: Instance, expected: list[tuple[str, str]]) -> None:
    reasons = held(guest)

    assert [(reason.code, reason.found) for reason in reasons] == expected
    assert all(reason.blocks for reason in reasons)


def test_a_guest_with_redirected_usb_devices_moves_and_loses_them() -> None:
    (reason,) = held(with_hardware(client_usb=True))

    assert (reason.code, reason.judgement, reason.blocks) == ("ClientUsbDetached", Judgement.WARN, False)


@pytest.mark.parametrize(
    ("architecture", "security", "expected"),
    [
        ("amd64", {"sev": {}}, "SEV"),
        ("amd64", {"snp": {}}, "SEV-SNP"),
        ("amd64", {"tdx": {}}, "TDX"),
        ("s390x", {}, "Secure Execution"),
        ("amd64", {}, ""),
        ("s390x", None, ""),
    ],
)
def test_what_encrypts_a_guests_memory_is_known(architecture: str, security: Any, expected: str) -> None:
    raw = {"spec": {"architecture": architecture, "domain": {"launchSecurity": security}}}

    assert hardware(raw).launch_security == expected


def test_devices_are_read_off_the_instance() -> None:
    raw = {
        "spec": {
            "domain": {
                "features": {"hypervPassthrough": {"enabled": True}},
                "devices": {
                    "hostDevices": [{"name": "dongle", "deviceName": "kubevirt.io/usb"}],
                    "gpus": [{"name": "a"}, {"name": "b"}],
                    "clientPassthrough": {},
                },
            }
        }
    }

    assert hardware(raw) == GuestHardware(
        hyperv_passthrough=True, host_devices=("dongle",), gpus=("a", "b"), client_usb=True
    )


@pytest.mark.parametrize(("asked", "expected"), [("4", 4), ("", 0), ("many", 0), ("-1", 0), ("9999", 0)])
def test_the_streams_that_an_annotation_asks_for_are_read(asked: str, expected: int) -> None:
    raw = {"metadata": {"annotations": {"kubevirt.io/multiThreadedQemuMigration": asked}}}

    assert hardware(raw).migration_threads == expected


@pytest.mark.parametrize(
    "guest",
    [
        replace(an_instance(), hardware=GuestHardware(gpus=("a",))),
        replace(an_instance(), hardware=GuestHardware(host_devices=("a",))),
        replace(an_instance(), interfaces=(GuestInterface("fast", "sriov", "prod/lan"),)),
    ],
)
def test_from_1_9_on_kubevirt_suspends_no_guest_with_vfio_devices(guest: Instance) -> None:
    newest = replace(CAPABILITIES, policy_fields=CAPABILITIES.policy_fields | {"maxDowntimeMs"})

    assert newest.spares(guest)
    assert not CAPABILITIES.spares(guest)
    assert not newest.spares(an_instance())
