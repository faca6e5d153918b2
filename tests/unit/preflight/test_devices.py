"""Families that look at devices, huge pages and graphics; state of vTPM and EFI, and NUMA nodes, as far as hosts differ."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from support.builders import a_cluster, a_launcher, a_node, a_plan, a_profile, a_virtual_machine, an_instance
from whimbrel.api import HostProfile
from whimbrel.domain.guests import PERSISTENT_STATE, GuestHardware, GuestVolume
from whimbrel.domain.records import Instance, Key, Node, Profile
from whimbrel.domain.selectors import NodeSelectorTerm, Requirement
from whimbrel.domain.storage import Claim, Volume
from whimbrel.inventory.hosts import effective_hosts
from whimbrel.inventory.ledger import Ledger
from whimbrel.inventory.projections.hardware import hardware
from whimbrel.inventory.projections.volumes import volumes
from whimbrel.preflight import PreflightReason, cpu_compatibility, devices, disks, graphics, storage
from whimbrel.preflight.assessment import candidate, host_demand
from whimbrel.preflight.lineup import Lineup, Terms

GPU = "nvidia.com/GRID_T4-8Q"
PLUGINS = ("devices.kubevirt.io/kvm", "devices.kubevirt.io/tun", "devices.kubevirt.io/vhost-net")


def codes(reasons: Iterable[PreflightReason]) -> list[str]:
    return [reason.code for reason in reasons]


def with_hardware(**members: Any) -> Instance:
    return replace(an_instance(), hardware=GuestHardware(**members))


def a_host(name: str, **allocatable: int) -> Node:
    return replace(a_node(name), allocatable=tuple(sorted(allocatable.items())))


def declared(node: str, *, link_mbps: int = 1000, **parts: Any) -> Profile:
    """The profile of one node with these further parts of its spec, as a user writes them."""
    base = a_profile(node, node_selector={"kubernetes.io/hostname": node}, link_speed_mbps=link_mbps)
    assert base.profile is not None
    spec = base.profile.to_json()["spec"] | parts
    return replace(base, profile=HostProfile.model_validate({"spec": spec}))


def judged(family: Any, instance: Instance, *others: Any, there: Node | None = None) -> list[PreflightReason]:
    """What a family says of a guest on node-1 that would go to node-2; its mask says the same."""
    snapshot = a_cluster(instance, a_node("node-1"), there or a_node("node-2"), *others)
    hosts, ledger = effective_hosts(snapshot), Ledger.of(snapshot)
    plan = a_plan().plan
    assert plan is not None
    lineup = Lineup(hosts, Terms(plan.spec.target, ledger, snapshot))
    demand = host_demand(family, candidate(instance, hosts, ledger, snapshot, None), lineup)
    reasons = list(family.judge(demand, lineup.supply(family.supply, hosts["node-2"])))
    assert bool(family.mask(demand, lineup) & lineup.bit("node-2")) is not any(reason.blocks for reason in reasons)
    return reasons


def test_a_device_that_the_target_does_not_offer_at_all_is_named() -> None:
    instance = an_instance()
    launcher = replace(a_launcher(instance), requests=tuple((name, 1) for name in PLUGINS))

    found = judged(devices, instance, launcher, there=a_host("node-2", **{PLUGINS[0]: 1000, PLUGINS[1]: 0}))

    assert [(reason.code, reason.needed) for reason in found] == [
        ("DevicePluginMissing", "devices.kubevirt.io/tun"),
        ("DevicePluginMissing", "devices.kubevirt.io/vhost-net"),
    ]
    assert judged(devices, instance, launcher, there=a_host("node-2", **dict.fromkeys(PLUGINS, 1000))) == []


def test_of_other_resources_and_of_other_pods_nothing_is_said() -> None:
    instance = an_instance()
    arriving = replace(a_launcher(instance, node="node-2", migration_uid="m"), requests=((PLUGINS[0], 1),))
    plain = replace(a_launcher(instance), requests=(("example.com/fpga", 1),))

    assert judged(devices, instance, plain, arriving) == []


@pytest.mark.parametrize(
    ("offered", "expected"),
    [({}, ["HugePagesMissing"]), ({"hugepages-1Gi": 0}, ["HugePagesMissing"]), ({"hugepages-1Gi": 1 << 34}, [])],
)
def test_huge_pages_are_needed_in_the_guests_size(offered: Mapping[str, int], expected: list[str]) -> None:
    guest = with_hardware(huge_page_size="1Gi")

    assert codes(judged(devices, guest, there=a_host("node-2", **{"hugepages-2Mi": 1 << 34, **offered}))) == expected


def test_a_gpu_of_a_kind_that_the_target_does_not_offer_keeps_the_guest_away() -> None:
    guest = with_hardware(gpu_resources=(GPU,))
    fast = [declared(node, link_mbps=10_000) for node in ("node-1", "node-2")]

    assert codes(judged(devices, guest, *fast)) == ["GpuProfileMissing"]
    assert judged(devices, guest, *fast, there=a_host("node-2", **{GPU: 1})) == []


@pytest.mark.parametrize(
    ("here_mbps", "there_mbps", "mebibytes", "expected"),
    [
        (10_000, 9_999, 1025, ["GpuLinkTooSlow"]),
        (1_000, 25_000, 1025, ["GpuLinkTooSlow"]),
        (1_000, 1_000, 1024, []),
        (10_000, 10_000, 49_152, []),
        (10_000, 1_000, None, ["FrameBufferUnknown"]),
        (10_000, 10_000, None, []),
    ],
)
@pytest.mark.parametrize("said_at", ["node-1", "node-2"])
def test_a_large_frame_buffer_moves_over_fast_links_only(
    here_mbps: int, there_mbps: int, mebibytes: int | None, expected: list[str], said_at: str
) -> None:
    size = {"devices": {"frameBuffers": [{"resource": GPU, "mebibytes": mebibytes}]}} if mebibytes else {}
    profiles = [
        declared(node, link_mbps=mbps, **(size if node == said_at else {}))
        for node, mbps in (("node-1", here_mbps), ("node-2", there_mbps))
    ]

    found = judged(devices, with_hardware(gpu_resources=(GPU,)), *profiles, there=a_host("node-2", **{GPU: 1}))

    assert codes(found) == expected


@pytest.mark.parametrize(("here", "there", "expected"), [(24_576, 512, True), (512, 24_576, True), (512, 1024, False)])
def test_of_two_declarations_of_a_frame_buffer_the_larger_one_holds(here: int, there: int, expected: bool) -> None:
    profiles = [
        declared(node, link_mbps=1000, devices={"frameBuffers": [{"resource": GPU, "mebibytes": size}]})
        for node, size in (("node-1", here), ("node-2", there))
    ]

    found = judged(devices, with_hardware(gpu_resources=(GPU,)), *profiles, there=a_host("node-2", **{GPU: 1}))

    assert codes(found) == (["GpuLinkTooSlow"] if expected else [])


@pytest.mark.parametrize(
    ("machine", "instance", "here", "there", "expected"),
    [
        ("Hardware", None, True, False, ["RenderGpuMissing"]),
        (None, "Hardware", False, False, ["RenderGpuMissing"]),
        ("Software", "Hardware", False, False, ["RenderGpuMissing"]),
        ("Hardware", None, False, True, []),
        ("Automatic", None, True, False, ["GraphicsAdapt"]),
        (None, None, True, False, ["GraphicsAdapt"]),
        ("Lavish", None, True, False, ["GraphicsAdapt"]),
        (None, None, True, True, []),
        (None, None, False, False, []),
        ("Software", None, True, False, []),
    ],
)
def test_graphics_are_rendered_as_the_owner_says(
    machine: str | None, instance: str | None, here: bool, there: bool, expected: list[str]
) -> None:
    said = [{} if word is None else {"whimbrel.dev/graphics-3d": word} for word in (machine, instance)]
    profiles = [declared(node, graphics={"renderGpu": gpu}) for node, gpu in (("node-1", here), ("node-2", there))]

    found = judged(graphics, an_instance(annotations=said[1]), a_virtual_machine(annotations=said[0]), *profiles)

    assert codes(found) == expected


@pytest.mark.parametrize("members", [{"headless": True}, {"gpus": ("gpu1",)}])
def test_a_guest_without_a_display_or_with_a_gpu_of_its_own_needs_none_of_the_hosts(members: dict[str, Any]) -> None:
    guest = replace(with_hardware(**members), annotations={"whimbrel.dev/graphics-3d": "Hardware"})

    assert judged(graphics, guest, declared("node-1", graphics={"renderGpu": True}), declared("node-2")) == []


def test_hosts_that_are_declared_identical_have_the_same_numa_nodes() -> None:
    guest = with_hardware(numa_passthrough=True)
    alike = [declared(node, cpu={"baseline": "gold"}) for node in ("node-1", "node-2")]

    (unknown,) = judged(cpu_compatibility, guest)

    assert (unknown.code, unknown.blocks) == ("NumaTopologyUnknown", False)
    assert judged(cpu_compatibility, guest, *alike) == []


STATE = "persistent-state-for-db1-x8d2f"


def state_on(mode: str) -> tuple[Instance, Claim, Volume]:
    """A guest with a vTPM whose state is on a claim of this access mode, bound to a disk of its node."""
    guest = replace(with_hardware(persistent_state=True), volumes=(GuestVolume(STATE, PERSISTENT_STATE, claim=STATE),))
    here = NodeSelectorTerm(by_label=(Requirement("kubernetes.io/hostname", "In", ("node-1",)),))
    claim = Claim(Key("default", STATE), "uid-claim", (mode,), "Filesystem", "pv-state", "local", 1)
    return guest, claim, Volume(Key("", "pv-state"), "uid-volume", (mode,), "", "local", (here,))


def said_of_disks(instance: Instance, *others: Any) -> list[PreflightReason]:
    snapshot = a_cluster(instance, *others)
    asked = candidate(instance, effective_hosts(snapshot), Ledger.of(snapshot), snapshot, None)
    return list(disks.judge(disks.demand(asked)))


def test_state_that_one_node_alone_may_use_is_copied_to_a_claim_of_the_targets_own() -> None:
    guest, *records = state_on("ReadWriteOnce")

    (warning,) = said_of_disks(guest, *records)

    assert (warning.code, warning.blocks) == ("PersistentStateCopied", False)
    assert judged(storage, guest, *records) == []


def test_state_that_two_nodes_may_use_stays_where_it_is_and_must_be_reached() -> None:
    guest, *records = state_on("ReadWriteMany")

    assert said_of_disks(guest, *records) == []
    assert codes(judged(storage, guest, *records)) == ["VolumeNotReachable"]


def test_state_on_a_claim_that_nobody_names_is_unknown_and_on_one_that_is_gone_missing() -> None:
    assert codes(said_of_disks(with_hardware(persistent_state=True))) == ["PersistentStateUnknown"]
    assert codes(said_of_disks(state_on("ReadWriteMany")[0])) == ["ClaimMissing"]


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        ({}, {}),
        ({"devices": {"tpm": {}}}, {}),
        ({"devices": {"tpm": {"persistent": True}}}, {"persistent_state": True}),
        ({"devices": {"tpm": {"persistent": True, "enabled": False}}}, {}),
        ({"firmware": {"bootloader": {"efi": {"persistent": True}}}}, {"persistent_state": True}),
        ({"cpu": {"numa": {"guestMappingPassthrough": {}}}}, {"numa_passthrough": True}),
        ({"devices": {"autoattachGraphicsDevice": False}}, {"headless": True}),
        ({"resources": {"limits": {"cpu": "2"}}}, {"cpu_limited": True}),
        ({"resources": {"limits": {"cpu": "0"}}}, {}),
        ({"resources": {"requests": {"cpu": "2"}}}, {}),
        ({"devices": {"autoattachGraphicsDevice": True}}, {}),
        (
            {"devices": {"gpus": [{"name": "b", "deviceName": GPU}, {"name": "a", "claimName": "dra"}]}},
            {"gpus": ("b", "a"), "gpu_resources": (GPU,)},
        ),
    ],
)
def test_what_the_instance_says_of_its_devices_is_read(domain: dict[str, Any], expected: dict[str, Any]) -> None:
    assert hardware({"spec": {"domain": domain}}) == GuestHardware(**expected)


def test_the_claim_with_the_state_is_read_from_the_status() -> None:
    raw = {
        "status": {
            "volumeStatus": [
                {"name": "root", "persistentVolumeClaimInfo": {"claimName": "db1-root"}},
                {"name": STATE, "persistentVolumeClaimInfo": {"claimName": STATE}},
                {"name": "broken", "persistentVolumeClaimInfo": 7},
            ]
        }
    }

    assert volumes(raw) == (GuestVolume(STATE, PERSISTENT_STATE, claim=STATE),)
