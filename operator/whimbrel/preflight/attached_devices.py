"""Attached devices: does the guest hold on to something that stays behind with its host?

KubeVirt names the first such thing in its own verdict, and only until the next is found (KubeVirt contract §2.1); here each
is named, with the field to change. Called through `preflight.FAMILIES`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from whimbrel.preflight import where
from whimbrel.preflight.family import Candidate, PreflightReason, PreflightWarning

OF_THE_PLAN = False
_REENLIGHTENMENT = "reenlightenment"
_GPU_GATE = "VGPULiveMigration"


@dataclass(frozen=True, slots=True)
class Demand:
    """What ties the guest to its host; equal for all guests that nothing ties."""

    host_devices: tuple[str, ...]
    gpus: tuple[str, ...]
    """Empty for a single one."""
    gated_gpu: str
    """A single one that KubeVirt neither lets go nor could; else empty."""
    launch_security: str
    hyperv_passthrough: bool
    client_usb: bool
    clock_unknown: bool
    """Whether it relies on a clock frequency that its node has not told."""


class HostDeviceAttached(PreflightReason):
    """The guest holds a device of its host, PCI or USB, which cannot come along."""

    evidence = where.INSTANCE
    remedy = "Disconnect {found}: remove it from {field} of the virtual machine and restart it, then plan again."


class SeveralGpus(PreflightReason):
    """The guest holds several GPUs, and KubeVirt moves a guest with one mediated GPU at most."""

    evidence = where.INSTANCE
    remedy = (
        "Leave the virtual machine one mediated GPU of {found} and restart it, or shut it down to place it elsewhere."
    )


class GpuMigrationDisabled(PreflightReason):
    """The guest holds a GPU, and KubeVirt's feature gate for moving guests with one is not on."""

    evidence = where.KUBEVIRT
    remedy = (
        "With KubeVirt 1.9 or newer enable the feature gate {needed}, which lets a guest move with one mediated GPU; else "
        "take {found} from the virtual machine and restart it, or shut it down to place it elsewhere."
    )


class EncryptedMemory(PreflightReason):
    """The guest's memory is encrypted with a key that its host alone has."""

    evidence = where.INSTANCE
    remedy = "Shut the virtual machine down to place it elsewhere, or remove {field} ({found}) and restart it."


class HypervPassthrough(PreflightReason):
    """The guest sees every Hyper-V feature of its host, whatever another host has."""

    evidence = where.INSTANCE
    remedy = "Replace {field} by the single features that it needs, in spec.domain.features.hyperv, and restart it."


class TscFrequencyUnknown(PreflightReason):
    """The guest relies on its clock's frequency (Hyper-V re-enlightenment), and its node has not told it to KubeVirt."""

    evidence = where.INSTANCE
    remedy = (
        "Restart it on a node with the label cpu-timer.node.kubevirt.io/tsc-frequency, or switch re-enlightenment off in "
        "spec.domain.features.hyperv and restart it."
    )


class ClientUsbDetached(PreflightWarning):
    """USB devices that a client redirects to the guest are detached when it moves: the client is connected to the source."""

    evidence = where.INSTANCE
    remedy = "Have users of redirected USB devices close them before, and connect again afterwards (virtctl usbredir)."


REASONS = (
    HostDeviceAttached,
    SeveralGpus,
    GpuMigrationDisabled,
    EncryptedMemory,
    HypervPassthrough,
    TscFrequencyUnknown,
    ClientUsbDetached,
)


def demand(candidate: Candidate) -> Demand:
    """What of the guest's hardware stays behind."""
    hardware = candidate.instance.hardware
    return Demand(
        host_devices=hardware.host_devices,
        gpus=hardware.gpus if len(hardware.gpus) > 1 else (),
        gated_gpu=hardware.gpus[0] if len(hardware.gpus) == 1 and _gated(candidate) else "",
        launch_security=hardware.launch_security,
        hyperv_passthrough=hardware.hyperv_passthrough,
        client_usb=hardware.client_usb,
        clock_unknown=_REENLIGHTENMENT in hardware.hyperv and not hardware.tsc_frequency_hz,
    )


def _gated(candidate: Candidate) -> bool:
    """KubeVirt's yes to the guest stands, whatever the gate: a later release may need none."""
    kubevirt, verdict = candidate.snapshot.kubevirt, candidate.instance.live_migratable
    allowed = verdict is not None and verdict.status == "True"
    return not allowed and kubevirt is not None and _GPU_GATE not in kubevirt.feature_gates


def judge(demand: Demand) -> Iterator[PreflightReason]:
    """Everything that ties the guest to its host."""
    for device in demand.host_devices:
        yield HostDeviceAttached(field="spec.domain.devices.hostDevices", found=device or "unnamed", needed="none")
    if demand.gpus:
        yield SeveralGpus(field="spec.domain.devices.gpus", found=", ".join(demand.gpus), needed="one")
    if demand.gated_gpu:
        yield GpuMigrationDisabled(field="spec.domain.devices.gpus", found=demand.gated_gpu, needed=_GPU_GATE)
    if demand.launch_security:
        yield EncryptedMemory(field="spec.domain.launchSecurity", found=demand.launch_security, needed="absent")
    if demand.hyperv_passthrough:
        yield HypervPassthrough(field="spec.domain.features.hypervPassthrough", found="enabled", needed="absent")
    if demand.clock_unknown:
        yield TscFrequencyUnknown(field="status.topologyHints.tscFrequency", found="absent", needed="its frequency")
    if demand.client_usb:
        yield ClientUsbDetached(field="spec.domain.devices.clientPassthrough", found="present", needed="absent")
