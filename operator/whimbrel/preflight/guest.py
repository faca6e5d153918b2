"""Guest: is this virtual machine in a state in which KubeVirt moves it at all?

KubeVirt's own verdict is the condition LiveMigratable, which virt-handler keeps up to date (KubeVirt contract §2.1); what
it leaves out after its first cause, StorageLiveMigratable lists (`causes`). Its admission accepts a migration of a guest that
does not run, which then waits for ever (§1.5, §6.1), and so does one without an SELinux context to match (§2.3). Called
through `preflight.FAMILIES`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from whimbrel.api.virtual_machine_move import Judgement
from whimbrel.domain.records import Condition
from whimbrel.preflight import causes, where
from whimbrel.preflight.causes import Cause
from whimbrel.preflight.family import Candidate, PreflightReason, PreflightWarning

OF_THE_PLAN = False

RUNNING = "Running"
RECEIVING = "WaitingForSync"
"""The phase of a guest that comes from another cluster or namespace: `in_flight` says so."""
LONGEST_NAME = 63
"""A migration carries the instance's name as a label value (KubeVirt contract §1.4)."""

PAUSED_REMEDIES: Mapping[str, str] = {
    "PausedByUser": "Somebody paused it: unpause it with virtctl when they agree, then plan again.",
    "PausedIOError": "Its storage failed it: see that its volumes can be written and have room. KubeVirt lets it run on when "
    "they do; then plan again.",
}
"""What to do about KubeVirt's reasons of the condition Paused (KubeVirt contract §2.3)."""


@dataclass(frozen=True, slots=True)
class Demand:
    """The guest's state; equal for all guests that are well."""

    phase: str
    deleting: bool
    paused: Condition | None
    live_migratable: str
    """Status of KubeVirt's verdict, or empty."""
    causes: tuple[Cause, ...]
    """What KubeVirt gives for its verdicts."""
    reserved_luns: tuple[str, ...]
    selinux_missing: bool
    """Whether its target launcher must match an SELinux context that nobody has told."""
    name_length: int
    """0 for every name that is short enough."""


class NotRunning(PreflightReason):
    """The guest does not run, and only what runs can be moved live."""

    evidence = where.INSTANCE
    remedy = "Start the virtual machine, or wait until it runs (it is {found})."


class BeingDeleted(PreflightReason):
    """The guest is being deleted."""

    evidence = where.INSTANCE
    remedy = "Nothing to do: it will be gone."


class GuestPaused(PreflightReason):
    """The guest is paused, so nobody could tell whether it came over well."""

    evidence = where.INSTANCE
    remedy = "Find out why it is paused ({found}), unpause it with virtctl, then plan again."
    remedies = PAUSED_REMEDIES


class NotLiveMigratable(PreflightReason):
    """KubeVirt says that this guest cannot be moved live, for this cause among others."""

    evidence = where.INSTANCE
    remedy = "Mend what KubeVirt names: {found}."
    remedies = causes.REMEDIES


class StorageNotLiveMigratable(PreflightWarning):
    """KubeVirt lets this guest move but not its volumes to other claims, for a cause that its first verdict does not know."""

    evidence = where.INSTANCE
    remedy = "Mind it before its volumes are to be moved, or see why KubeVirt's two verdicts differ: {found}."
    remedies = causes.REMEDIES


class PersistentReservation(PreflightReason):
    """The guest may hold a LUN by SCSI persistent reservation, which does not come along to another host."""

    evidence = where.INSTANCE
    remedy = "Take the persistent reservation off its LUN (reservation: true in its disks), then restart the virtual machine."


class SelinuxContextUnknown(PreflightReason):
    """Nobody has told the guest's SELinux context, and KubeVirt makes no target launcher before it can match it."""

    judgement = Judgement.UNKNOWN
    transient = True
    evidence = where.INSTANCE
    remedy = (
        "Wait for virt-handler to write {field}. If it does not, restart the virtual machine, or set "
        "spec.configuration.migrations.matchSELinuxLevelOnMigration: false in the KubeVirt object."
    )


class LiveMigratableUnknown(PreflightReason):
    """KubeVirt has not said whether this guest can be moved live."""

    judgement = Judgement.UNKNOWN
    transient = True
    evidence = where.INSTANCE
    remedy = "Wait for virt-handler to judge it. If this stays, see whether virt-handler runs on its node."


class NameTooLong(PreflightReason):
    """The guest's name does not fit into the label that every migration carries."""

    evidence = where.INSTANCE
    remedy = "Re-create the virtual machine under a name of at most {needed}."


REASONS = (
    NotRunning,
    BeingDeleted,
    GuestPaused,
    NotLiveMigratable,
    StorageNotLiveMigratable,
    PersistentReservation,
    LiveMigratableUnknown,
    SelinuxContextUnknown,
    NameTooLong,
)


def demand(candidate: Candidate) -> Demand:
    """What of the guest's state matters."""
    instance = candidate.instance
    length = len(instance.key.name)
    live, kubevirt = instance.live_migratable, candidate.snapshot.kubevirt
    return Demand(
        phase=instance.phase,
        deleting=instance.deleting,
        paused=instance.paused,
        live_migratable=live.status if live is not None else "",
        causes=causes.of(live, instance.storage_live_migratable),
        reserved_luns=instance.hardware.reserved_luns,
        selinux_missing=not instance.selinux_told and (kubevirt is None or kubevirt.matches_selinux_level),
        name_length=length if length > LONGEST_NAME else 0,
    )


def judge(demand: Demand) -> Iterator[PreflightReason]:
    """Every reason that lies in the guest itself."""
    if demand.phase not in (RUNNING, RECEIVING):
        yield NotRunning(field="status.phase", found=demand.phase or "not started", needed=RUNNING)
    if demand.deleting:
        yield BeingDeleted(field="metadata.deletionTimestamp", found="set", needed="absent")
    if demand.paused is not None and demand.paused.status == "True":
        yield GuestPaused(
            field="status.conditions[Paused]", found=demand.paused.reason or "Paused", needed="not paused"
        )
    if demand.live_migratable not in ("True", "False"):
        yield LiveMigratableUnknown(field=causes.LIVE, found=demand.live_migratable or "absent", needed="True")
    for cause in demand.causes:
        if cause.reason != causes.RESERVATION:
            said = StorageNotLiveMigratable if demand.live_migratable == "True" else NotLiveMigratable
            yield said(field=cause.field, found=str(cause), needed="True")
    yield from _of_reservations(demand)
    if demand.selinux_missing and demand.phase == RUNNING:
        yield SelinuxContextUnknown(field="status.selinuxContext", found="absent", needed="a context, or none")
    if demand.name_length:
        yield NameTooLong(
            field="metadata.name", found=f"{demand.name_length} characters", needed=f"{LONGEST_NAME} characters"
        )


def _of_reservations(demand: Demand) -> Iterator[PreflightReason]:
    """By the guest's own word; by KubeVirt's where the guest has none."""
    for name in demand.reserved_luns:
        yield PersistentReservation(
            field=f"spec.domain.devices.disks[{name}].lun.reservation", found="true", needed="false"
        )
    for cause in demand.causes:
        if cause.reason == causes.RESERVATION and not demand.reserved_luns:
            yield PersistentReservation(field=cause.field, found=str(cause), needed="no persistent reservation")
