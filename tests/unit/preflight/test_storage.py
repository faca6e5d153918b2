"""Storage: disks that two nodes may open at once, on volumes that the target reaches."""

from dataclasses import replace
from typing import Any

import pytest

from support.builders import a_cluster, a_node, a_plan, an_instance
from whimbrel.domain.guests import GuestVolume
from whimbrel.domain.records import Instance, Key
from whimbrel.domain.selectors import NodeSelectorTerm, Requirement
from whimbrel.domain.storage import Claim, CsiNode, Volume
from whimbrel.inventory.hosts import effective_hosts
from whimbrel.inventory.ledger import Ledger
from whimbrel.inventory.projections.volumes import volumes
from whimbrel.preflight import PreflightReason, disks, storage
from whimbrel.preflight.assessment import candidate, host_demand
from whimbrel.preflight.lineup import Lineup, Terms

ZONE = "topology.kubernetes.io/zone"
IN_ZONE_A = NodeSelectorTerm(by_label=(Requirement(ZONE, "In", ("a",)),))
ON_NODE_2 = NodeSelectorTerm(by_field=(Requirement("metadata.name", "In", ("node-2",)),))
NOT_SSD = NodeSelectorTerm(by_label=(Requirement("ssd", "DoesNotExist"),))


def a_guest(kind: str = "persistentVolumeClaim", **volume: Any) -> Instance:
    return replace(an_instance(), volumes=(GuestVolume("root", kind, **{"claim": "data", **volume}),))


def a_claim(*modes: str, volume: str = "pv-1") -> Claim:
    return Claim(Key("default", "data"), "uid-claim", modes or ("ReadWriteMany",), "Block", volume, "fast", 1)


ON_DISK = Volume(Key("", "pv-1"), "uid-pv", ("ReadWriteMany",), "", "nfs", (), "Block")


def a_volume(*terms: NodeSelectorTerm) -> Volume:
    return Volume(Key("", "pv-1"), "uid-pv", ("ReadWriteMany",), "san.example.com", "csi", terms, "Block")


def a_csi_node(name: str, *drivers: str) -> CsiNode:
    return CsiNode(Key("", name), f"uid-csi-{name}", dict.fromkeys(drivers))


def said(instance: Instance, *others: Any, unread: frozenset[str] = frozenset()) -> list[PreflightReason]:
    """What is said of the guest's disks, wherever it would go; the volume of `a_claim` exists unless another is given."""
    known = others if any(isinstance(each, Volume) for each in others) else (*others, ON_DISK)
    snapshot = replace(a_cluster(instance, *known), unread=unread)
    asked = candidate(instance, effective_hosts(snapshot), Ledger.of(snapshot), snapshot, None)
    return list(disks.judge(disks.demand(asked)))


def on_node_2(*others: Any, **labels: str) -> list[PreflightReason]:
    """What is said against node-2 for a guest with a claim; the mask says the same."""
    instance = a_guest()
    there = a_node("node-2", labels={key.replace("zone", ZONE): value for key, value in labels.items()})
    snapshot = a_cluster(instance, a_node("node-1"), there, a_claim(), *others)
    hosts, ledger = effective_hosts(snapshot), Ledger.of(snapshot)
    plan = a_plan().plan
    assert plan is not None
    lineup = Lineup(hosts, Terms(plan.spec.target, ledger, snapshot))
    demand: Any = host_demand(storage, candidate(instance, hosts, ledger, snapshot, None), lineup)
    reasons = list(storage.judge(demand, lineup.supply(storage.supply, hosts["node-2"])))
    assert bool(storage.mask(demand, lineup) & lineup.bit("node-2")) is not bool(reasons)
    return reasons


def codes(reasons: list[PreflightReason]) -> list[str]:
    return [reason.code for reason in reasons]


def test_a_guest_on_shared_storage_moves() -> None:
    assert said(a_guest(), a_claim()) == []
    assert said(a_guest("dataVolume"), a_claim()) == []
    assert said(an_instance()) == []


def test_a_guest_whose_claim_is_gone_does_not_move() -> None:
    assert codes(said(a_guest())) == ["ClaimMissing"]


def test_a_guest_whose_claim_has_no_volume_does_not_move() -> None:
    assert codes(said(a_guest(), a_claim(volume=""))) == ["ClaimNotBound"]


def test_a_claim_that_asks_for_a_volume_and_has_not_got_it_is_not_bound() -> None:
    (reason,) = said(a_guest(), replace(a_claim(), phase="Pending"))

    assert (reason.code, reason.found) == ("ClaimNotBound", "Pending, asks for pv-1")


def test_a_claim_whose_volume_is_gone_is_lost() -> None:
    elsewhere = replace(ON_DISK, key=Key("", "another"))

    assert codes(said(a_guest(), a_claim(), elsewhere)) == ["ClaimLost"]
    assert codes(said(a_guest(), replace(a_claim(), phase="Lost"))) == ["ClaimLost"]
    assert codes(said(a_guest(), a_claim(), elsewhere, unread=frozenset({"volumes"}))) == ["StorageUnknown"]


def test_a_claim_that_is_being_deleted_takes_no_second_launcher() -> None:
    assert codes(said(a_guest(), replace(a_claim(), deleting=True))) == ["ClaimBeingDeleted"]


@pytest.mark.parametrize(
    ("used_as", "claimed", "backed", "found"),
    [
        ("Block", "Block", "Block", []),
        ("", "Filesystem", "Filesystem", []),
        ("Block", "Filesystem", "Filesystem", ["PersistentVolumeClaim data: spec.volumeMode"]),
        ("Filesystem", "Block", "Block", ["PersistentVolumeClaim data: spec.volumeMode"]),
        ("Block", "Block", "Filesystem", ["PersistentVolume pv-1: spec.volumeMode"]),
    ],
)
def test_a_claim_keeps_the_volume_mode_that_the_guest_uses_it_with(
    used_as: str, claimed: str, backed: str, found: list[str]
) -> None:
    claim, volume = replace(a_claim(), volume_mode=claimed), replace(ON_DISK, volume_mode=backed)
    reasons = said(a_guest(used_as=used_as), claim, volume)

    assert [reason.field for reason in reasons] == found
    assert {reason.code for reason in reasons} <= {"VolumeModeDiffers"}
    assert said(a_guest(used_as=used_as, migrated=True), claim, replace(volume, volume_mode=claimed)) == []


def test_the_instance_tells_how_it_uses_its_claims() -> None:
    raw = {
        "spec": {
            "domain": {
                "devices": {"disks": [{"name": "c", "lun": {}}], "filesystems": [{"name": "d", "virtiofs": {}}]}
            },
            "volumes": [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in "abcd"],
        },
        "status": {"volumeStatus": [{"name": "a", "persistentVolumeClaimInfo": {"volumeMode": "Block"}}]},
    }

    assert [(each.name, each.used_as) for each in volumes(raw)] == [
        ("a", "Block"), ("b", ""), ("c", "Block"), ("d", "Filesystem"),
    ]  # fmt: skip


def test_a_disk_that_one_node_alone_may_use_is_named() -> None:
    (reason,) = said(a_guest(), a_claim("ReadWriteOnce"))

    assert (reason.code, reason.found, reason.needed) == ("VolumeNotShared", "ReadWriteOnce", "ReadWriteMany")
    assert "data" in reason.field


def test_a_disk_that_is_copied_along_need_not_be_shared() -> None:
    assert said(a_guest(migrated=True), a_claim("ReadWriteOnce", volume="")) == []


@pytest.mark.parametrize("kind", ["containerDisk", "cloudInitNoCloud", "configMap", "emptyDisk", "ephemeral"])
def test_a_volume_without_a_claim_needs_nothing(kind: str) -> None:
    assert said(a_guest(kind, claim="")) == []


def test_a_file_on_the_node_must_be_declared_shared() -> None:
    assert codes(said(a_guest("hostDisk", claim=""))) == ["HostDiskNotShared"]
    assert said(a_guest("hostDisk", claim="", shared=True)) == []


def test_what_may_not_be_read_is_unknown_and_blocks_nobody() -> None:
    reasons = said(a_guest(), unread=frozenset({"claims", "volumes"}))

    assert codes(reasons) == ["StorageUnknown", "StorageUnknown"]
    assert not any(reason.blocks for reason in reasons)
    assert "persistentvolumeclaims" in reasons[0].cure()


def test_a_node_outside_the_volumes_reach_is_no_target() -> None:
    (reason,) = on_node_2(a_volume(IN_ZONE_A), zone="b")

    assert (reason.code, reason.found, reason.needed) == ("VolumeNotReachable", f"{ZONE}=b", f"{ZONE}=a")
    assert "pv-1" in reason.field
    assert on_node_2(a_volume(IN_ZONE_A), zone="a") == []
    assert on_node_2(a_volume()) == []


def test_one_term_of_several_suffices() -> None:
    assert on_node_2(a_volume(IN_ZONE_A, ON_NODE_2)) == []
    assert on_node_2(a_volume(NOT_SSD)) == []
    assert codes(on_node_2(a_volume(NOT_SSD), ssd="yes")) == ["VolumeNotReachable"]


def test_a_node_without_the_volumes_driver_is_no_target() -> None:
    here = a_csi_node("node-1", "san.example.com")

    assert codes(on_node_2(a_volume(), here, a_csi_node("node-2", "other"))) == ["CsiDriverMissing"]
    assert on_node_2(a_volume(), here, a_csi_node("node-2", "san.example.com")) == []


def test_a_driver_that_no_node_lists_is_not_asked_for() -> None:
    assert on_node_2(a_volume(), a_csi_node("node-2", "other")) == []


def test_the_instance_tells_what_is_copied_along_and_what_is_shared() -> None:
    raw = {
        "spec": {
            "volumes": [
                {"name": "a", "persistentVolumeClaim": {"claimName": "data"}},
                {"name": "b", "hostDisk": {"path": "/disk.img", "shared": True}},
            ]
        },
        "status": {"migratedVolumes": [{"volumeName": "a"}]},
    }

    assert [(each.migrated, each.shared) for each in volumes(raw)] == [(True, False), (False, True)]
