"""Platform: is KubeVirt there, of a release that is known, healthy, and not in the middle of an update?

What fails here holds for every virtual machine, and nothing starts meanwhile: a restarted virt-handler breaks migrations. It
makes virtual machines wait and takes no plan's targets away. Whether our own rights suffice is `permissions`' matter. Called
through `preflight.FAMILIES`, and by the schedule's constraint of KubeVirt's health.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from whimbrel.domain.records import Condition
from whimbrel.domain.release import release_of
from whimbrel.inventory.snapshot import Snapshot
from whimbrel.preflight import where
from whimbrel.preflight.family import Candidate, PreflightReason, PreflightUnknown, PreflightWarning

OF_THE_PLAN = False

OLDEST = (1, 3)
NEWEST = (1, 9)
"""Releases that are known and tried (KubeVirt contract; docs/reference/kubevirt-releases.md)."""
_VERSION = "KubeVirt status.observedKubeVirtVersion"
_KNOWN = f"{OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}"


@dataclass(frozen=True, slots=True)
class Demand:
    """How KubeVirt is; the same for all guests of a cluster."""

    present: bool
    readable: bool = True
    phase: str = ""
    version: str = ""
    updating: bool = False
    deleting: bool = False
    available: Condition | None = None
    """None where virt-operator does not say: then the phase stands alone."""
    degraded: Condition | None = None


class KubeVirtMissing(PreflightReason):
    """There is no KubeVirt object in the cluster, so nothing would carry a migration out."""

    transient = True
    evidence = where.KUBEVIRT
    remedy = "Install KubeVirt, or see who removed its object."


class KubeVirtNotDeployed(PreflightReason):
    """KubeVirt is not in the phase Deployed: parts of it may be missing."""

    transient = True
    evidence = where.KUBEVIRT
    remedy = "Wait until KubeVirt is deployed. If it stays {found}, its conditions and virt-operator's log say why."


class KubeVirtBeingDeleted(PreflightReason):
    """KubeVirt is being taken off the cluster, and nobody would carry a migration through."""

    transient = True
    evidence = where.KUBEVIRT
    remedy = (
        "Nothing can be moved live meanwhile: install KubeVirt again when it is gone, or see who deleted its object."
    )


class KubeVirtUnavailable(PreflightReason):
    """KubeVirt says that it is not available: a component that a migration needs does not run."""

    transient = True
    evidence = where.KUBEVIRT
    remedy = (
        "Wait until it is available. If it stays so ({found}), see the pods of its namespace and virt-operator's log."
    )


class KubeVirtDegraded(PreflightReason):
    """KubeVirt says that it is degraded: it runs with less than all of its components, or is being updated."""

    transient = True
    evidence = where.KUBEVIRT
    remedy = "Wait until all its components are back. If it stays so ({found}), see the pods of its namespace."


class KubeVirtVersionUnknown(PreflightReason):
    """KubeVirt does not say which release it is."""

    transient = True
    evidence = where.KUBEVIRT
    remedy = "Wait until virt-operator has written it. If it does not, see whether virt-operator runs."


class KubeVirtUpdating(PreflightReason):
    """KubeVirt is rolling out another release, and a virt-handler that restarts breaks the migrations of its node."""

    transient = True
    evidence = where.KUBEVIRT
    remedy = "Wait until the update is through."


class KubeVirtTooOld(PreflightReason):
    """This release of KubeVirt is older than all that Whimbrel knows."""

    evidence = where.KUBEVIRT
    remedy = "Update KubeVirt to one of the releases {needed}; it is {found}."


class KubeVirtUntested(PreflightWarning):
    """This release of KubeVirt is newer than all that Whimbrel has been tried with, or none that has a number."""

    evidence = where.KUBEVIRT
    remedy = "Try a single virtual machine first, or update Whimbrel: it knows KubeVirt {needed}, and this is {found}."


class PlatformUnknown(PreflightUnknown):
    """The KubeVirt object may not be read, so whether KubeVirt is well is not known."""

    evidence = where.RIGHTS
    remedy = where.MAY_READ


REASONS = (
    KubeVirtMissing,
    KubeVirtNotDeployed,
    KubeVirtBeingDeleted,
    KubeVirtUnavailable,
    KubeVirtDegraded,
    KubeVirtVersionUnknown,
    KubeVirtUpdating,
    KubeVirtTooOld,
    KubeVirtUntested,
    PlatformUnknown,
)


def demand(candidate: Candidate) -> Demand:
    """How KubeVirt is."""
    return read(candidate.snapshot)


def read(snapshot: Snapshot) -> Demand:
    """How KubeVirt is."""
    kubevirt = snapshot.kubevirt
    if kubevirt is None:
        return Demand(present=False, readable="kubevirts" not in snapshot.unread)
    return Demand(
        present=True,
        phase=kubevirt.phase,
        version=kubevirt.version,
        updating=kubevirt.updating,
        deleting=kubevirt.deleting,
        available=kubevirt.available,
        degraded=kubevirt.degraded,
    )


def judge(demand: Demand) -> Iterator[PreflightReason]:
    """Every reason to leave the platform alone just now."""
    if not demand.readable:
        yield PlatformUnknown(field="kubevirts.kubevirt.io", found="not readable", needed="kubevirts.kubevirt.io")
        return
    if not demand.present:
        yield KubeVirtMissing(field="KubeVirt", found="absent", needed="one")
        return
    if demand.phase != "Deployed":
        yield KubeVirtNotDeployed(field="KubeVirt status.phase", found=demand.phase or "no phase", needed="Deployed")
    if demand.deleting:
        yield KubeVirtBeingDeleted(field="KubeVirt metadata.deletionTimestamp", found="set", needed="absent")
    if demand.available is not None and demand.available.status != "True":
        yield KubeVirtUnavailable(
            field="KubeVirt status.conditions[Available]", found=_said(demand.available), needed="True"
        )
    if demand.degraded is not None and demand.degraded.status == "True":
        yield KubeVirtDegraded(
            field="KubeVirt status.conditions[Degraded]", found=_said(demand.degraded), needed="False"
        )
    if demand.updating:
        yield KubeVirtUpdating(
            field="KubeVirt status.targetKubeVirtVersion", found=f"{demand.version} to another", needed="no update"
        )
    yield from _of_version(demand.version)


def _said(condition: Condition) -> str:
    return ": ".join(part for part in (condition.status, condition.reason, condition.message) if part)


def _of_version(version: str) -> Iterator[PreflightReason]:
    if not version:
        yield KubeVirtVersionUnknown(field=_VERSION, found="absent", needed=_KNOWN)
        return
    release = release_of(version) or (0, 0)
    if (0, 0) < release < OLDEST:
        yield KubeVirtTooOld(field=_VERSION, found=version, needed=_KNOWN)
    elif not OLDEST <= release <= NEWEST:
        yield KubeVirtUntested(field=_VERSION, found=version, needed=_KNOWN)
