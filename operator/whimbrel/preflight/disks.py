"""Disks: can every disk of the guest be opened by two launchers at once, as a live migration needs?

KubeVirt says DisksNotLiveMigratable about the guest as a whole and in one message (KubeVirt contract §2.1, §8); here each
claim is named. What is copied along (`migrated`) need not be shared. Called through `preflight.FAMILIES`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from whimbrel.domain.guests import GuestVolume
from whimbrel.domain.records import Key
from whimbrel.preflight import where
from whimbrel.preflight.family import Candidate, PreflightReason, PreflightUnknown

SHARED_MODE = "ReadWriteMany"
WRITTEN = frozenset({"persistentVolumeClaim", "dataVolume"})
"""Kinds of volumes whose claim the guest itself writes to."""
_DECISIVE = {"claims": "persistentvolumeclaims", "volumes": "persistentvolumes"}
"""Fields of the snapshot without which a guest with claims cannot be judged, and their resources."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What is wrong with the guest's disks; equal for all guests whose disks are well."""

    missing: tuple[str, ...] = ()
    """Claims that do not exist."""
    unbound: tuple[str, ...] = ()
    """Claims without a volume."""
    unshared: tuple[tuple[str, str], ...] = ()
    """Claims that only one node may use, with their access modes."""
    local: tuple[str, ...] = ()
    """Names of host disks that are not declared shared."""
    unread: tuple[str, ...] = ()
    """Resources that would have to be read."""


class ClaimMissing(PreflightReason):
    """A PersistentVolumeClaim of the guest does not exist, so no second launcher can start."""

    evidence = where.CLAIMS
    remedy = "Restore the claim ({needed}), or remove the volume from the virtual machine and restart it."


class ClaimNotBound(PreflightReason):
    """A PersistentVolumeClaim of the guest has no volume, so a second launcher would wait for it."""

    evidence = where.CLAIMS
    remedy = "See with kubectl describe why the claim is not bound, and bind it."


class VolumeNotShared(PreflightReason):
    """A disk of the guest is on a claim that only one node may use at a time."""

    evidence = where.CLAIMS
    remedy = "Move the disk to a claim with the access mode {needed}, for which KubeVirt offers volume migration."


class HostDiskNotShared(PreflightReason):
    """A disk of the guest is a file on its node that no other node has."""

    evidence = where.INSTANCE
    remedy = "Move the disk to a claim with the access mode ReadWriteMany; declare it shared only if every node has the file."


class StorageUnknown(PreflightUnknown):
    """What the guest's disks are on may not be read, so nothing can be said of them."""

    evidence = where.RIGHTS
    remedy = "Grant Whimbrel's ClusterRole get, list and watch on {needed}."


REASONS = (ClaimMissing, ClaimNotBound, VolumeNotShared, HostDiskNotShared, StorageUnknown)


def demand(candidate: Candidate) -> Demand:
    """What of the guest's disks is not as it should be."""
    volumes = candidate.instance.volumes
    local = tuple(each.name for each in volumes if each.kind == "hostDisk" and not each.shared and not each.migrated)
    claimed = [each for each in volumes if each.claim]
    if not claimed:
        return Demand(local=local)
    snapshot, namespace = candidate.snapshot, candidate.instance.key.namespace
    unread = tuple(resource for kind, resource in _DECISIVE.items() if kind in snapshot.unread)
    if "claims" in snapshot.unread:
        return Demand(local=local, unread=unread)
    missing, unbound, unshared = [], [], []
    for each in claimed:
        claim = snapshot.claims.get(Key(namespace, each.claim))
        if claim is None:
            missing.append(each.claim)
            continue
        if not claim.volume_name and not each.migrated:
            unbound.append(each.claim)
        if _must_be_shared(each) and SHARED_MODE not in claim.access_modes:
            unshared.append((each.claim, ", ".join(claim.access_modes)))
    return Demand(tuple(missing), tuple(unbound), tuple(unshared), local, unread)


def _must_be_shared(volume: GuestVolume) -> bool:
    return volume.kind in WRITTEN and not volume.migrated


def judge(demand: Demand) -> Iterator[PreflightReason]:
    """Every reason that lies in the guest's disks."""
    for claim in demand.missing:
        yield ClaimMissing(field=f"PersistentVolumeClaim {claim}", found="absent", needed=claim)
    for claim in demand.unbound:
        yield ClaimNotBound(
            field=f"PersistentVolumeClaim {claim}: spec.volumeName", found="empty", needed="a PersistentVolume"
        )
    for claim, modes in demand.unshared:
        yield VolumeNotShared(
            field=f"PersistentVolumeClaim {claim}: accessModes", found=modes or "none", needed=SHARED_MODE
        )
    for name in demand.local:
        yield HostDiskNotShared(field=f"spec.volumes[{name}].hostDisk.shared", found="false", needed="true")
    for resource in demand.unread:
        yield StorageUnknown(field=resource, found="not readable", needed=resource)
