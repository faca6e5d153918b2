"""Disks: can every disk of the guest be opened by two launchers at once, as a live migration needs?

KubeVirt says DisksNotLiveMigratable about the guest as a whole and in one message (KubeVirt contract §2.1, §8); here each
claim is named. What is copied along (`migrated`) need not be shared. Called through `preflight.FAMILIES`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from whimbrel.domain.guests import PERSISTENT_STATE, GuestVolume
from whimbrel.domain.records import Key
from whimbrel.preflight import where
from whimbrel.preflight.family import Candidate, PreflightReason, PreflightUnknown, PreflightWarning

OF_THE_PLAN = False

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
    unbound: tuple[tuple[str, str], ...] = ()
    """Claims that have no volume yet, with the one that they ask for, if any."""
    lost: tuple[tuple[str, str], ...] = ()
    """Claims whose volume is gone, with its name."""
    going: tuple[str, ...] = ()
    """Claims that are being deleted."""
    modes: tuple[tuple[str, str, str], ...] = ()
    """Claims of another volume mode than they are used or backed with: field, what it is, what it should be."""
    unshared: tuple[tuple[str, str], ...] = ()
    """Claims that only one node may use, with their access modes."""
    local: tuple[str, ...] = ()
    """Names of host disks that are not declared shared."""
    copied: tuple[tuple[str, str], ...] = ()
    """Claims with the state of vTPM or EFI that only one node may use, with their storage classes."""
    stateless: bool = False
    """Whether it keeps such state on a claim that KubeVirt does not name."""
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


class ClaimLost(PreflightReason):
    """The PersistentVolume of a claim of the guest does not exist any more: the guest runs on what only its launcher holds."""

    evidence = where.CLAIMS
    remedy = (
        "Do not stop the guest. Restore the PersistentVolume {needed} over the same storage, or copy the data to a claim of "
        "its own while the guest runs, for which KubeVirt offers volume migration."
    )


class ClaimBeingDeleted(PreflightReason):
    """A PersistentVolumeClaim of the guest is being deleted, and the scheduler places no further pod that uses it."""

    evidence = where.CLAIMS
    remedy = (
        "Find out who deleted {field}: it goes for good once the guest stops. Move its disk to another claim, for which "
        "KubeVirt offers volume migration."
    )


class VolumeModeDiffers(PreflightReason):
    """A claim is not of the volume mode, block device or file system, that the guest uses it with: it was made anew."""

    evidence = where.CLAIMS
    remedy = "Restore the claim with volumeMode {needed} ({field}: {found}), or restart the virtual machine with it as it is."


class VolumeNotShared(PreflightReason):
    """A disk of the guest is on a claim that only one node may use at a time."""

    evidence = where.CLAIMS
    remedy = "Move the disk to a claim with the access mode {needed}, for which KubeVirt offers volume migration."


class HostDiskNotShared(PreflightReason):
    """A disk of the guest is a file on its node that no other node has."""

    evidence = where.INSTANCE
    remedy = "Move the disk to a claim with the access mode ReadWriteMany; declare it shared only if every node has the file."


class PersistentStateCopied(PreflightWarning):
    """The state of the guest's vTPM or EFI is on a claim for one node, so KubeVirt makes a second one and copies the state."""

    evidence = where.CLAIMS
    remedy = (
        "See that the storage class {found} can make one more claim, reachable from the target, and that the namespace's "
        "quota allows it; with ReadWriteMany (vmStateStorageClass of the KubeVirt object) none is made."
    )


class PersistentStateUnknown(PreflightUnknown):
    """The guest keeps state of its vTPM or EFI, and KubeVirt does not name the claim that it is on."""

    evidence = where.INSTANCE
    remedy = (
        "See which claim persistent-state-for-… the guest uses, and whether two nodes may use it (kubectl get pvc)."
    )


class StorageUnknown(PreflightUnknown):
    """What the guest's disks are on may not be read, so nothing can be said of them."""

    evidence = where.RIGHTS
    remedy = where.MAY_READ


REASONS = (
    ClaimMissing,
    ClaimNotBound,
    ClaimLost,
    ClaimBeingDeleted,
    VolumeModeDiffers,
    VolumeNotShared,
    HostDiskNotShared,
    PersistentStateCopied,
    PersistentStateUnknown,
    StorageUnknown,
)


def demand(candidate: Candidate) -> Demand:
    """What of the guest's disks is not as it should be."""
    volumes = candidate.instance.volumes
    local = tuple(each.name for each in volumes if each.kind == "hostDisk" and not each.shared and not each.migrated)
    claimed = [each for each in volumes if each.claim]
    keeps_state = candidate.instance.hardware.persistent_state
    stateless = keeps_state and not any(each.kind == PERSISTENT_STATE for each in claimed)
    if not claimed:
        return Demand(local=local, stateless=stateless)
    snapshot, namespace = candidate.snapshot, candidate.instance.key.namespace
    unread = tuple(resource for kind, resource in _DECISIVE.items() if kind in snapshot.unread)
    if "claims" in snapshot.unread:
        return Demand(local=local, stateless=stateless, unread=unread)
    missing, unshared, copied = [], [], []
    unbound, lost, going, modes = [], [], [], []
    for each in claimed:
        claim = snapshot.claims.get(Key(namespace, each.claim))
        if claim is None:
            missing.append(each.claim)
            continue
        volume = snapshot.volumes.get(Key("", claim.volume_name)) if claim.volume_name else None
        if claim.phase == "Lost" or (claim.volume_name and volume is None and "volumes" not in snapshot.unread):
            lost.append((each.claim, claim.volume_name))
        elif (not claim.volume_name or claim.phase == "Pending") and not each.migrated:
            unbound.append((each.claim, claim.volume_name))
        if claim.deleting:
            going.append(each.claim)
        if claim.volume_mode != (each.used_as or claim.volume_mode) and not each.migrated:
            modes.append((f"PersistentVolumeClaim {each.claim}", claim.volume_mode, each.used_as))
        if volume is not None and volume.volume_mode != claim.volume_mode:
            modes.append((f"PersistentVolume {claim.volume_name}", volume.volume_mode, claim.volume_mode))
        if _must_be_shared(each) and SHARED_MODE not in claim.access_modes:
            unshared.append((each.claim, ", ".join(claim.access_modes)))
        elif each.kind == PERSISTENT_STATE and SHARED_MODE not in claim.access_modes:
            copied.append((each.claim, claim.storage_class))
    return Demand(
        tuple(missing), tuple(unbound), tuple(lost), tuple(going), tuple(modes), tuple(unshared), local, tuple(copied),
        stateless, unread,
    )  # fmt: skip


def _must_be_shared(volume: GuestVolume) -> bool:
    return volume.kind in WRITTEN and not volume.migrated


def judge(demand: Demand) -> Iterator[PreflightReason]:
    """Every reason that lies in the guest's disks."""
    for claim in demand.missing:
        yield ClaimMissing(field=f"PersistentVolumeClaim {claim}", found="absent", needed=claim)
    for claim, asked in demand.unbound:
        found = f"Pending, asks for {asked}" if asked else "empty"
        yield ClaimNotBound(
            field=f"PersistentVolumeClaim {claim}: spec.volumeName", found=found, needed="a PersistentVolume"
        )
    for claim, volume in demand.lost:
        yield ClaimLost(field=f"PersistentVolumeClaim {claim}: spec.volumeName", found="no such volume", needed=volume)
    for claim in demand.going:
        yield ClaimBeingDeleted(
            field=f"PersistentVolumeClaim {claim}", found="being deleted", needed="a claim that stays"
        )
    for field, found, needed in demand.modes:
        yield VolumeModeDiffers(field=f"{field}: spec.volumeMode", found=found, needed=needed)
    for claim, modes in demand.unshared:
        yield VolumeNotShared(
            field=f"PersistentVolumeClaim {claim}: accessModes", found=modes or "none", needed=SHARED_MODE
        )
    for name in demand.local:
        yield HostDiskNotShared(field=f"spec.volumes[{name}].hostDisk.shared", found="false", needed="true")
    for claim, storage_class in demand.copied:
        yield PersistentStateCopied(
            field=f"PersistentVolumeClaim {claim}: accessModes",
            found=storage_class or "of the default",
            needed=SHARED_MODE,
        )
    if demand.stateless:
        yield PersistentStateUnknown(field="status.volumeStatus", found="no claim of that kind", needed="its claim")
    for resource in demand.unread:
        yield StorageUnknown(field=resource, found="not readable", needed=resource)
