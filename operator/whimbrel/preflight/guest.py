"""Guest: is this virtual machine in a state in which KubeVirt moves it at all?

KubeVirt's own verdict is the condition LiveMigratable, which virt-handler keeps up to date (KubeVirt contract §2.1); its
admission accepts a migration of a guest that does not run, which then waits for ever (§1.5, §6.1). Called through
`preflight.FAMILIES`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from whimbrel.api.virtual_machine_move import Judgement
from whimbrel.domain.records import Condition
from whimbrel.preflight import where
from whimbrel.preflight.family import Candidate, PreflightReason

RUNNING = "Running"
RECEIVING = "WaitingForSync"
"""The phase of a guest that comes from another cluster or namespace: `in_flight` says so."""
LONGEST_NAME = 63
"""A migration carries the instance's name as a label value (KubeVirt contract §1.4)."""

REMEDIES: Mapping[str, str] = {
    "InterfaceNotLiveMigratable": "Bind the pod network with masquerade, or allow a bridge with the annotation "
    "kubevirt.io/allow-pod-bridge-network-live-migration, then restart the virtual machine.",
    "CPUModeLiveMigratable": "KubeVirt found no host-model labels on its node: see to virt-handler's node labeller there, "
    "or give the virtual machine a named CPU model.",
    "HostDeviceNotLiveMigratable": "Remove the host devices and GPUs, or keep a single mediated GPU and enable "
    "KubeVirt's feature gate VGPULiveMigration.",
    "SEVNotLiveMigratable": "A guest with encrypted memory (SEV) cannot be moved: shut it down to place it elsewhere.",
    "TDXNotLiveMigratable": "A guest with encrypted memory (TDX) cannot be moved: shut it down to place it elsewhere.",
    "SecureExecutionNotLiveMigratable": "A guest under Secure Execution cannot be moved: shut it down to place it elsewhere.",
    "NoTSCFrequencyNotLiveMigratable": "Its node does not tell its TSC frequency: move it by a restart to a node with the "
    "label cpu-timer.node.kubevirt.io/tsc-frequency, or switch Hyper-V re-enlightenment off.",
    "HypervPassthroughNotLiveMigratable": "Replace features.hypervPassthrough by the single Hyper-V features it needs.",
    "DisksNotLiveMigratable": "Put its disks on volumes with the access mode ReadWriteMany.",
    "PersistentReservationNotLiveMigratable": "Remove the LUN's SCSI persistent reservation.",
    "HotplugNotLiveMigratable": "Unplug the hotplugged volumes.",
    "VirtIOFSNotLiveMigratable": "Remove the virtiofs file systems, or update KubeVirt.",
    "NotMigratable": "Mend each cause that the message lists.",
}
"""What to do about KubeVirt's reasons of the condition LiveMigratable (KubeVirt contract §2.1)."""

PAUSED_REMEDIES: Mapping[str, str] = {
    "PausedByUser": "Somebody paused it: unpause it with virtctl when they agree, then plan again.",
    "PausedIOError": "Its storage failed it: see that its volumes can be written and have room. KubeVirt lets it run on when "
    "they do; then plan again.",
}
"""What to do about KubeVirt's reasons of the condition Paused (KubeVirt contract §2.3)."""

RESERVATION = "PersistentReservationNotLiveMigratable"
"""Said in the message of StorageLiveMigratable alone, and true of a plain move too (KubeVirt contract §2.1)."""


@dataclass(frozen=True, slots=True)
class Demand:
    """The guest's state; equal for all guests that are well."""

    phase: str
    deleting: bool
    paused: Condition | None
    live_migratable: Condition | None
    reservation: bool
    """Whether KubeVirt names a SCSI persistent reservation."""
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
    """KubeVirt says that this guest cannot be moved live."""

    evidence = where.INSTANCE
    remedy = "Mend what KubeVirt names: {found}."
    remedies = REMEDIES


class PersistentReservation(PreflightReason):
    """The guest holds a LUN by SCSI persistent reservation, which does not come along to another host."""

    evidence = where.INSTANCE
    remedy = "Take the persistent reservation off its LUN (reservation: true in its disks), then restart the virtual machine."


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
    PersistentReservation,
    LiveMigratableUnknown,
    NameTooLong,
)


def demand(candidate: Candidate) -> Demand:
    """What of the guest's state matters."""
    instance = candidate.instance
    length = len(instance.key.name)
    storage = instance.storage_live_migratable
    return Demand(
        phase=instance.phase,
        deleting=instance.deleting,
        paused=instance.paused,
        live_migratable=instance.live_migratable,
        reservation=storage is not None and storage.status == "False" and RESERVATION in storage.message,
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
    verdict = demand.live_migratable
    if verdict is None or verdict.status not in ("True", "False"):
        yield LiveMigratableUnknown(
            field="status.conditions[LiveMigratable]", found=verdict.status if verdict else "absent", needed="True"
        )
    elif verdict.status == "False":
        words = ": ".join(part for part in (verdict.reason, verdict.message) if part)
        yield NotLiveMigratable(
            field="status.conditions[LiveMigratable]", found=words or "no reason given", needed="True"
        )
    if demand.reservation:
        yield PersistentReservation(
            field="status.conditions[StorageLiveMigratable]", found=RESERVATION, needed="no persistent reservation"
        )
    if demand.name_length:
        yield NameTooLong(
            field="metadata.name", found=f"{demand.name_length} characters", needed=f"{LONGEST_NAME} characters"
        )
