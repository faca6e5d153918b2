"""Networks: both ends on one migration network with enough left on it, and the guest's own networks at the target."""

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from support.builders import (
    GIB,
    NOW,
    a_cluster,
    a_migration_state,
    a_move,
    a_node,
    a_plan,
    a_profile,
    an_attempt,
    an_instance,
)
from whimbrel.api.virtual_machine_move import Judgement
from whimbrel.domain import resources
from whimbrel.domain.guests import GuestInterface
from whimbrel.domain.networks import NetworkAttachment
from whimbrel.domain.records import Condition, Instance, Key, Profile
from whimbrel.inventory.hosts import effective_hosts
from whimbrel.inventory.journeys import RECENT
from whimbrel.inventory.ledger import Ledger
from whimbrel.inventory.projections import PROJECTIONS
from whimbrel.preflight import PreflightReason, interfaces, migration_network, networks
from whimbrel.preflight.assessment import candidate, host_demand
from whimbrel.preflight.lineup import Lineup, Terms

UNKNOWN_PATH = "ReachabilityUnknown"


def codes(reasons: Iterable[PreflightReason]) -> list[str]:
    return [reason.code for reason in reasons if reason.code != UNKNOWN_PATH]


def judged(
    *others: Any,
    family: Any = migration_network,
    instance: Instance | None = None,
    to: str = "node-2",
    **bandwidth: Any,
) -> list[PreflightReason]:
    """What a family says of a guest on node-1 that would go to node-2; its mask says the same."""
    instance = instance or an_instance()
    snapshot = a_cluster(instance, a_node("node-1"), a_node("node-2"), *others)
    hosts, ledger = effective_hosts(snapshot), Ledger.of(snapshot)
    plan = a_plan(migration={"bandwidth": bandwidth}).plan
    assert plan is not None
    lineup = Lineup(hosts, Terms(plan.spec.target, ledger, snapshot, plan.spec.migration.bandwidth))
    demand = host_demand(family, candidate(instance, hosts, ledger, snapshot, None), lineup)
    reasons = list(family.judge(demand, lineup.supply(family.supply, hosts[to])))
    blocked = any(reason.blocks for reason in reasons)
    assert bool(family.mask(demand, lineup) & lineup.bit(to)) is not blocked
    return reasons


def declared(here: dict[str, Any], there: dict[str, Any]) -> tuple[Profile, Profile]:
    """What the profiles of source and target say of the migration network."""
    return (
        a_profile("here", node_selector={"kubernetes.io/hostname": "node-1"}, network=here),
        a_profile("there", node_selector={"kubernetes.io/hostname": "node-2"}, network=there),
    )


def test_hosts_that_declare_different_migration_networks_move_no_guests_to_one_another() -> None:
    (reason,) = [each for each in judged(*declared({"name": "red"}, {"name": "blue"})) if each.blocks]

    assert (reason.code, reason.found, reason.needed) == ("MigrationNetworkDiffers", "blue", "red")
    assert codes(judged(*declared({"name": "red"}, {"name": "red"}))) == []


@pytest.mark.parametrize(("here", "there"), [({"name": "red"}, {}), ({}, {"name": "red"})])
def test_a_network_that_one_end_alone_declares_is_unknown_and_blocks_nobody(
    here: dict[str, Any], there: dict[str, Any]
) -> None:
    (reason,) = [each for each in judged(*declared(here, there)) if each.code != UNKNOWN_PATH]

    assert (reason.code, reason.judgement, reason.blocks) == ("MigrationNetworkUnknown", Judgement.UNKNOWN, False)
    assert "spec.migration.network.name" in reason.cure()


@pytest.mark.parametrize(
    ("here", "there", "expected"),
    [
        (["10.0.0.0/24"], ["fd00::/64"], ["IpFamilyDiffers"]),
        (["fd00::/64"], ["10.0.0.0/24"], ["IpFamilyDiffers"]),
        (["10.0.0.0/24"], ["10.0.1.0/24"], []),
        (["10.0.0.0/24", "fd00::/64"], ["fd00::/64"], []),
        (["10.0.0.0/24"], None, ["IpFamilyUnknown"]),
        (None, ["fd00::/64"], ["IpFamilyUnknown"]),
        (None, None, []),
    ],
)
def test_a_guest_never_goes_between_ipv4_and_ipv6(
    here: list[str] | None, there: list[str] | None, expected: list[str]
) -> None:
    assert codes(judged(*declared({"subnets": here}, {"subnets": there}))) == expected


@pytest.mark.parametrize(
    ("here", "there", "expected"),
    [
        (9000, 1500, ["MtuDiffers"]),
        (9000, 9000, []),
        (9000, None, ["MtuUnknown"]),
        (None, 1500, ["MtuUnknown"]),
        (None, None, []),
    ],
)
def test_both_ends_have_the_same_mtu_as_far_as_it_is_declared(
    here: int | None, there: int | None, expected: list[str]
) -> None:
    assert codes(judged(*declared({"mtu": here}, {"mtu": there}))) == expected


@pytest.mark.parametrize("member", [{"mtu": 9000}, {"subnets": ["10.0.0.0/24"]}, {"name": "red"}])
def test_what_one_end_alone_declares_names_the_profile_to_complete(member: dict[str, Any]) -> None:
    for here, there, found in (
        (member, {}, "declared at the source by HostProfile here, not at the target by HostProfile there"),
        ({}, member, "declared at the target by HostProfile there, not at the source by HostProfile here"),
    ):
        (reason,) = [each for each in judged(*declared(here, there)) if each.code != UNKNOWN_PATH]

        assert (reason.found, reason.judgement, reason.blocks) == (found, Judgement.UNKNOWN, False)
        assert found in reason.cure()


def test_all_that_keeps_two_links_apart_is_said_at_once() -> None:
    here = {"name": "red", "subnets": ["10.0.0.0/24"], "mtu": 9000}
    there = {"name": "blue", "subnets": ["fd00::/64"], "mtu": 1500, "linkSpeedMbps": 100}

    assert codes(judged(*declared(here, there))) == [
        "MigrationNetworkDiffers",
        "IpFamilyDiffers",
        "MtuDiffers",
        "BandwidthBelowMinimum",
    ]


@pytest.mark.parametrize(
    ("profile", "bandwidth", "expected"),
    [
        ({"link_speed_mbps": 500}, {}, []),
        ({"link_speed_mbps": 499}, {}, ["BandwidthBelowMinimum"]),
        ({"link_speed_mbps": 1000, "outbound": 5}, {}, ["BandwidthBelowMinimum"]),
        ({"link_speed_mbps": 1000, "inbound": 4}, {}, []),
        ({"link_speed_mbps": 1000, "share_percent": 49}, {}, ["BandwidthBelowMinimum"]),
        ({"link_speed_mbps": 1000}, {"minMbps": 500}, []),
        ({"link_speed_mbps": 1000}, {"minMbps": 501}, ["BandwidthBelowMinimum"]),
        ({"link_speed_mbps": 320}, {"minMbps": 160}, []),
        ({"link_speed_mbps": 1000}, {"maxMbps": 100}, []),
    ],
)
def test_the_links_must_leave_one_migration_the_least_rate_while_all_slots_are_taken(
    profile: dict[str, Any], bandwidth: dict[str, Any], expected: list[str]
) -> None:
    assert codes(judged(a_profile(**profile), **bandwidth)) == expected


def test_too_little_is_said_of_the_end_that_leaves_it() -> None:
    (reason,) = [each for each in judged(*declared({}, {"linkSpeedMbps": 100})) if each.blocks]

    assert (reason.found, reason.needed) == ("the target leaves one migration 50 Mbit/s", "250 Mbit/s")


def test_a_slow_pass_over_memory_is_announced_with_the_rate_that_would_do() -> None:
    (reason,) = [each for each in judged(instance=an_instance(memory_bytes=64 * GIB)) if each.code != UNKNOWN_PATH]

    assert (reason.code, reason.judgement) == ("SlowPass", Judgement.WARN)
    assert (reason.found, reason.needed) == ("19 min at 494 Mbit/s", "923 Mbit/s")
    assert codes(judged(a_profile(link_speed_mbps=2 * 923), instance=an_instance(memory_bytes=64 * GIB))) == []


def test_a_plan_that_asks_for_a_slower_migration_is_told_what_it_takes() -> None:
    large = an_instance(memory_bytes=16 * GIB)

    assert codes(judged(instance=large, maxMbps=100)) == ["SlowPass"]
    assert codes(judged(instance=large)) == []


def test_local_disks_that_are_copied_too_are_counted_in_bytes_and_time() -> None:
    (reason,) = [
        each
        for each in judged(instance=replace(an_instance(), local_disk_bytes=20 * 10**9))
        if each.code != UNKNOWN_PATH
    ]

    assert (reason.code, reason.judgement) == ("DisksCopied", Judgement.WARN)
    assert reason.found == "up to 20.0 GB of disks, 6 min at 494 Mbit/s"
    assert codes(judged(instance=replace(an_instance(), local_disk_bytes=4 * 1024**2))) == []


def test_where_some_sizes_are_not_told_the_copy_takes_at_least_what_the_others_need() -> None:
    def said_of(told: int) -> str:
        guest = replace(an_instance(), local_disk_bytes=None, told_disk_bytes=told)
        (reason,) = [each for each in judged(instance=guest) if each.code != UNKNOWN_PATH]
        assert (reason.code, reason.blocks) == ("DiskSizeUnknown", False)
        return reason.found

    assert said_of(20 * 10**9) == "BlockMigration: at least 20.0 GB of disks, 6 min at 494 Mbit/s"
    assert said_of(70 * 10**6) == "BlockMigration: at least 70 MB of disks, 2 s at 494 Mbit/s"
    assert said_of(0) == "BlockMigration"


def test_only_a_finished_move_shows_that_a_host_is_reached() -> None:
    (reason,) = judged()

    assert (reason.code, reason.judgement, reason.blocks) == (UNKNOWN_PATH, Judgement.UNKNOWN, False)
    assert "node-1" in reason.found


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        ({"completed": True}, True),
        ({"completed": True, "failed": True}, False),
        ({}, False),
        ({"completed": True, "source": "node-3"}, False),
    ],
)
def test_what_an_instance_shows_of_its_last_migration_is_evidence_if_that_succeeded(
    state: dict[str, Any], shown: bool
) -> None:
    arrived = a_migration_state("uid-migration", ended_at=NOW, **state)
    other = an_instance("other", node="node-2", migration=arrived)

    assert (judged(other) == []) is shown


@pytest.mark.parametrize(("age", "shown"), [(RECENT, True), (RECENT + timedelta(seconds=1), False)])
def test_a_move_of_long_ago_is_evidence_no_more(age: timedelta, shown: bool) -> None:
    arrived = a_migration_state("uid-migration", completed=True, ended_at=NOW - age)

    assert (judged(an_instance("other", node="node-2", migration=arrived)) == []) is shown


@pytest.mark.parametrize(("phase", "shown"), [("Succeeded", True), ("Failed", False), ("Waiting", False)])
def test_a_finished_move_is_evidence_for_its_path(phase: str, shown: bool) -> None:
    other = an_instance("other", node="node-2")
    unmeasured = {"source": "NotMeasured"}
    receipt = {
        "node": "node-2",
        "attempts": 1,
        "durationMs": unmeasured,
        "bytes": unmeasured,
        "downtimeMs": unmeasured,
    }
    move = a_move(a_plan(), other, phase=phase, attempt=an_attempt(), status={"receipt": receipt, "finishedAt": NOW})
    old = a_move(
        a_plan(), other, phase=phase, attempt=an_attempt(), status={"receipt": receipt, "finishedAt": NOW - 2 * RECENT}
    )

    assert (judged(other, move) == []) is shown
    assert judged(other, old) != []


def test_where_a_guest_is_it_needs_no_network() -> None:
    assert judged(a_profile(link_speed_mbps=100), to="node-1") == []


def test_what_hosts_without_a_profile_are_on_is_not_asked() -> None:
    alone = a_profile("here", node_selector={"kubernetes.io/hostname": "node-1"})

    assert judged(alone) == []


RESOURCE = "openshift.io/uplink"


def a_guest(binding: str = "bridge", network: str = "prod/lan") -> Instance:
    return replace(an_instance(), interfaces=(GuestInterface("net0", binding, network),))


def a_network(segment: str = "br0", *, spans: bool = False, resource_name: str = "") -> NetworkAttachment:
    return NetworkAttachment(Key("prod", "lan"), "uid-lan", "bridge", segment, spans, resource_name)


def of_interfaces(guest: Instance, *others: Any, unread: frozenset[str] = frozenset()) -> list[PreflightReason]:
    """What is said of the guest's interfaces, wherever it would go."""
    snapshot = replace(a_cluster(guest, *others), unread=unread)
    asked = candidate(guest, effective_hosts(snapshot), Ledger.of(snapshot), snapshot, None)
    return list(interfaces.judge(interfaces.demand(asked)))


def on_segments(
    here: list[str] | None, there: list[str] | None, network: NetworkAttachment | None = None
) -> list[PreflightReason]:
    """What is said against node-2 for a guest on a secondary network, by the segments that both ends declare."""
    profiles = declared({"segments": here}, {"segments": there})
    return judged(*profiles, network or a_network(), family=networks, instance=a_guest())


def test_a_guest_whose_network_is_gone_does_not_move() -> None:
    (reason,) = of_interfaces(a_guest())

    assert (reason.code, reason.needed, reason.blocks) == ("NetworkAttachmentMissing", "prod/lan", True)
    assert of_interfaces(a_guest(), a_network()) == []


def test_networks_that_may_not_be_read_are_unknown_and_block_nobody() -> None:
    (reason,) = of_interfaces(a_guest(), unread=frozenset({"networks"}))

    assert (reason.code, reason.judgement, reason.blocks) == ("NetworkAttachmentsUnknown", Judgement.UNKNOWN, False)
    assert of_interfaces(a_guest("masquerade", network=""), unread=frozenset({"networks"}))[0].code == "AddressChanges"
    assert of_interfaces(an_instance(), unread=frozenset({"networks"})) == []


@pytest.mark.parametrize(
    ("binding", "expected"),
    [("masquerade", "AddressChanges"), ("passt", "AddressChanges"), ("bridge", "GuestAddressChanges")],
)
def test_that_the_address_on_the_pod_network_changes_is_said_beforehand(binding: str, expected: str) -> None:
    (reason,) = of_interfaces(a_guest(binding, network=""))

    assert (reason.code, reason.judgement, reason.blocks) == (expected, Judgement.WARN, False)


def test_user_mode_networking_does_not_come_along() -> None:
    assert [each.code for each in of_interfaces(a_guest("slirp", network=""))] == ["BindingNotMigratable"]


def test_what_kubevirt_says_of_interfaces_itself_is_not_said_twice() -> None:
    said = replace(a_guest("slirp", network=""), live_migratable=Condition("False", "InterfaceNotLiveMigratable"))

    assert of_interfaces(said) == []


def test_a_plugin_on_a_secondary_network_is_unknown_and_one_on_the_pod_network_is_kubevirts_to_judge() -> None:
    (reason,) = of_interfaces(a_guest("vdpa"), a_network())

    assert (reason.code, reason.found, reason.blocks) == ("BindingUnknown", "vdpa", False)
    assert of_interfaces(a_guest("l2bridge", network="")) == []


def test_a_guest_with_a_network_device_is_told_that_its_link_goes() -> None:
    assert [each.code for each in of_interfaces(a_guest("sriov"), a_network())] == ["LinkLoss"]


def a_projected(config: str, resource_name: str = "") -> NetworkAttachment:
    annotations = {"k8s.v1.cni.cncf.io/resourceName": resource_name} if resource_name else {}
    metadata = {"name": "lan", "namespace": "prod", "uid": "uid-lan", "annotations": annotations}
    network = PROJECTIONS[resources.NETWORK_ATTACHMENTS]({"metadata": metadata, "spec": {"config": config}})
    assert isinstance(network, NetworkAttachment)
    return network


@pytest.mark.parametrize(
    "configuration",
    [{"type": "ovn-k8s-cni-overlay", "topology": "layer2"}, {"type": "kube-ovn"}, {"plugins": [{"type": "calico"}]}],
)
def test_overlays_span_all_nodes(configuration: dict[str, Any]) -> None:
    network = a_projected(json.dumps(configuration))

    assert (network.segment, network.spans) == ("", True)
    assert on_segments(None, None, network) == []


@pytest.mark.parametrize("config", ["", "{", "[]", '{"type": "macvlan"}', '{"type": "ovn-k8s-cni-overlay"}'])
def test_a_network_that_names_no_segment_is_unknown_until_both_ends_list_the_network_itself(config: str) -> None:
    network = a_projected(config)
    (reason,) = on_segments(["br0", "prod/lan"], ["br0"], network)

    assert (reason.code, reason.blocks, reason.needed) == ("SegmentUnknown", False, "prod/lan")
    assert reason.found == "its configuration names none, the network itself is not declared at target"
    assert "List prod/lan in spec.migration.network.segments" in reason.cure()
    assert codes(on_segments(None, None, network)) == ["SegmentUnknown"]
    assert on_segments(["prod/lan"], ["prod/lan"], network) == []


def test_a_target_without_the_guests_segment_is_refused() -> None:
    (reason,) = on_segments(["br0/120"], ["br0", "br1"], a_network("br0/120"))

    assert (reason.code, reason.found, reason.needed) == ("SegmentNotReached", "target: br0, br1", "segment br0/120")
    assert "prod/lan" in reason.field
    assert on_segments(["br0/120"], ["br0/120"], a_network("br0/120")) == []


def test_a_source_that_does_not_declare_the_segment_its_guest_is_on_is_told_too() -> None:
    (reason,) = on_segments(["br1"], ["br0"])

    assert (reason.code, reason.found) == ("SegmentNotReached", "source: br1")


@pytest.mark.parametrize(
    ("here", "there", "where"),
    [(None, None, "source and target"), (["br0"], None, "target"), (None, ["br0"], "source")],
)
def test_segments_that_nobody_declared_are_unknown_and_block_nobody(
    here: list[str] | None, there: list[str] | None, where: str
) -> None:
    (reason,) = on_segments(here, there)

    assert (reason.code, reason.judgement, reason.blocks) == ("SegmentUnknown", Judgement.UNKNOWN, False)
    assert reason.found == f"not declared at {where}"
    assert "spec.migration.network.segments" in reason.cure()


def test_a_network_that_spans_all_nodes_and_a_guest_without_one_need_no_segment() -> None:
    assert on_segments(["br1"], ["br1"], a_network("", spans=True)) == []
    assert judged(*declared({"segments": ["br1"]}, {"segments": ["br2"]}), family=networks) == []


@pytest.mark.parametrize(
    ("allocatable", "expected"),
    [({RESOURCE: 8}, []), ({RESOURCE: 0}, ["NetworkDeviceMissing"]), ({}, ["NetworkDeviceMissing"])],
)
def test_a_target_must_offer_the_devices_that_the_guests_network_takes(
    allocatable: dict[str, int], expected: list[str]
) -> None:
    there = replace(a_node("node-2"), allocatable=tuple(sorted(allocatable.items())))
    network = a_network(RESOURCE, resource_name=RESOURCE)

    reasons = judged(there, network, family=networks, instance=a_guest("sriov"))

    assert [reason.code for reason in reasons if reason.blocks] == expected
