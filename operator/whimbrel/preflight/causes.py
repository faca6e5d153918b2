"""Causes: what KubeVirt gives for not moving a guest, one by one, and what to do about each.

LiveMigratable names the first cause alone; StorageLiveMigratable, from KubeVirt 1.4, all that hold whatever is moved, as
`Reason: message, Reason: message` in its message and with the reason NotMigratable (KubeVirt contract §2.1). That form is
the same in every release so far, and messages have commas and colons of their own. Asked by `guest`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from whimbrel.domain.records import Condition

LIVE = "status.conditions[LiveMigratable]"
STORAGE = "status.conditions[StorageLiveMigratable]"

RESERVATION = "PersistentReservationNotLiveMigratable"
"""True of a plain move too, in whichever condition it stands."""

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
    RESERVATION: "Take the persistent reservation off its LUN (reservation: true in its disks), then restart it.",
    "HotplugNotLiveMigratable": "Unplug the hotplugged volumes.",
    "VirtIOFSNotLiveMigratable": "Remove the virtiofs file systems, or update KubeVirt.",
    "DecentralizedNotLiveMigratable": "KubeVirt's synchronization controller cannot carry on a move between clusters or "
    "namespaces: see the migrations at both ends and the controller's log; delete them where nobody wants the move.",
}
"""What to do about KubeVirt's reasons (KubeVirt contract §2.1); for any other KubeVirt's own message has to do."""

_LISTED = re.compile(r"(?:^|, )([A-Z]\w*Migratable)(?:: |$|(?=, ))")
_LISTS = "NotMigratable"


@dataclass(frozen=True, slots=True)
class Cause:
    """One cause."""

    field: str
    """The condition that says so."""
    reason: str
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.reason, self.message) if part) or "no reason given"


def of(live: Condition | None, storage: Condition | None) -> tuple[Cause, ...]:
    """The causes of both conditions, each once: as LiveMigratable puts it, else as StorageLiveMigratable does."""
    found: dict[str, Cause] = {}
    for field, condition in ((LIVE, live), (STORAGE, storage)):
        if condition is not None and condition.status == "False":
            for reason, message in _listed(condition):
                found.setdefault(reason, Cause(field, reason, message))
    return tuple(found.values())


def _listed(condition: Condition) -> Iterator[tuple[str, str]]:
    """The list in a message that holds one; else the condition as it is."""
    message = condition.message
    starts = list(_LISTED.finditer(message)) if condition.reason == _LISTS else []
    if not starts:
        yield condition.reason, message
        return
    if named_otherwise := message[: starts[0].start()]:
        reason, _, words = named_otherwise.partition(": ")
        yield reason, words
    ends = [each.start() for each in starts[1:]] + [len(message)]
    for start, end in zip(starts, ends, strict=True):
        yield start[1], message[start.end() : end]
