"""Node features: does the host have what the guest's virtual hardware is built on?

Clock, Hyper-V enlightenments, machine type, realtime and dedicated CPUs, all by the labels that KubeVirt's node labeller
writes and the scheduler then goes by (KubeVirt contract §6.3, §10). Called through `preflight.FAMILIES`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from whimbrel.inventory.hosts import Host
from whimbrel.preflight import where
from whimbrel.preflight.family import Candidate, PreflightReason
from whimbrel.preflight.lineup import Lineup, Terms

OF_THE_PLAN = False
OF_THE_MOMENT = False
NEEDS = "node features"

TSC_FREQUENCY = "cpu-timer.node.kubevirt.io/tsc-frequency"
TSC_SCALABLE = "cpu-timer.node.kubevirt.io/tsc-scalable"
TSC_SCHEDULABLE = "scheduling.node.kubevirt.io/tsc-frequency-"
TSC_TOLERANCE_PPM = 250
HYPERV = "hyperv.node.kubevirt.io/"
MACHINE_TYPE = "machine-type.node.kubevirt.io/"
REALTIME = "kubevirt.io/realtime"
CPU_MANAGER = ("cpumanager", "kubevirt.io/cpumanager")
_NOT_SAID = "no label"
_MOST_DIGITS = 15
"""Of a frequency in Hz; more than any clock ticks with."""


@dataclass(frozen=True, slots=True)
class Supply:
    """What a node's labels say of these features; equal for all nodes of one class of hardware."""

    tsc_frequency_hz: int
    """0 where the node does not tell."""
    tsc_scalable: bool
    """Whether it runs guests at any frequency."""
    tsc_frequencies_hz: frozenset[str]
    """Frequencies in use that KubeVirt found it able to serve."""
    hyperv: frozenset[str]
    machine_types: frozenset[str]
    realtime: bool
    cpu_manager: bool


@dataclass(frozen=True, slots=True)
class Demand:
    """What the guest's hardware needs of a host; equal for all guests of one class."""

    tsc_frequency_hz: int
    hyperv: tuple[str, ...]
    machine_type: str
    realtime: bool
    dedicated_cpus: bool
    labelled_hyperv: bool
    """Whether the source tells its Hyper-V features."""
    labelled_machine_types: bool
    """Whether the source tells its machine types; releases before 1.5.1 label no node with them."""


class TscFrequencyMismatch(PreflightReason):
    """The guest relies on its clock's frequency, and the target's processor neither ticks with it nor can be scaled to it."""

    evidence = where.NODE
    remedy = (
        "Move to a node with the label scheduling.node.kubevirt.io/tsc-frequency-{needed} or with a scalable TSC, or switch "
        "re-enlightenment and invtsc off and restart the virtual machine."
    )


class HypervFeatureMissing(PreflightReason):
    """The guest uses a Hyper-V enlightenment that the target does not offer."""

    evidence = where.NODE
    remedy = "Move to a node with the label {field}, or switch {needed} off in spec.domain.features.hyperv and restart."


class MachineTypeMissing(PreflightReason):
    """The guest was started with a machine type that the target does not offer."""

    evidence = where.NODE
    remedy = "Move to a node with the label {field}, or give the virtual machine a newer machine type and restart it."


class RealtimeMissing(PreflightReason):
    """The guest runs in real time, and the target is not set up for that."""

    evidence = where.NODE
    remedy = "Move to a node with the label {field}=true, or set that node up for realtime guests."


class CpuManagerMissing(PreflightReason):
    """The guest has CPUs of its own, and the target gives none away."""

    evidence = where.NODE
    remedy = "Move to a node with the label {field}=true, or switch the static CPU manager on in the target's kubelet."


REASONS = (TscFrequencyMismatch, HypervFeatureMissing, MachineTypeMissing, RealtimeMissing, CpuManagerMissing)


def demand(candidate: Candidate, home: Supply | None) -> Demand:
    """What the guest's hardware is built on."""
    hardware = candidate.instance.hardware
    return Demand(
        tsc_frequency_hz=hardware.tsc_frequency_hz,
        hyperv=hardware.hyperv,
        machine_type=hardware.machine_type,
        realtime=hardware.realtime,
        dedicated_cpus=hardware.dedicated_cpus,
        labelled_hyperv=home is not None and bool(home.hyperv),
        labelled_machine_types=home is not None and bool(home.machine_types),
    )


def supply(host: Host, terms: Terms) -> Supply:
    """What the node's labels say."""
    labels = host.node.labels
    true = [label for label, value in labels.items() if value == "true"]
    return Supply(
        tsc_frequency_hz=_frequency_hz(labels.get(TSC_FREQUENCY, "")),
        tsc_scalable=labels.get(TSC_SCALABLE) == "true",
        tsc_frequencies_hz=_under(TSC_SCHEDULABLE, true),
        hyperv=_under(HYPERV, true),
        machine_types=_under(MACHINE_TYPE, true),
        realtime=REALTIME in true,
        cpu_manager=any(label in true for label in CPU_MANAGER),
    )


def _frequency_hz(label: str) -> int:
    """0 for what is no frequency: a node may write what it likes, and Python reads only so many digits."""
    return int(label) if len(label) <= _MOST_DIGITS and label.isascii() and label.isdigit() else 0


def _under(prefix: str, labels: list[str]) -> frozenset[str]:
    return frozenset(label.removeprefix(prefix) for label in labels if label.startswith(prefix))


def mask(demand: Demand, lineup: Lineup) -> int:
    """The hosts that have all of it."""
    return lineup.by_class(demand, supply, judge)


def judge(demand: Demand, supply: Supply) -> Iterator[PreflightReason]:
    """Every reason against these features. Where neither end is labelled with a kind of them, KubeVirt does not ask."""
    if demand.tsc_frequency_hz and not _keeps_time(demand.tsc_frequency_hz, supply):
        yield TscFrequencyMismatch(
            field=TSC_FREQUENCY,
            found=str(supply.tsc_frequency_hz) if supply.tsc_frequency_hz else _NOT_SAID,
            needed=str(demand.tsc_frequency_hz),
        )
    if demand.labelled_hyperv or supply.hyperv:
        for feature in demand.hyperv:
            if feature not in supply.hyperv:
                yield HypervFeatureMissing(field=HYPERV + feature, found="absent", needed=feature)
    told = demand.labelled_machine_types or bool(supply.machine_types)
    if told and demand.machine_type and demand.machine_type not in supply.machine_types:
        yield MachineTypeMissing(field=MACHINE_TYPE + demand.machine_type, found="absent", needed=demand.machine_type)
    if demand.realtime and not supply.realtime:
        yield RealtimeMissing(field=REALTIME, found="absent", needed="true")
    if demand.dedicated_cpus and not supply.cpu_manager:
        yield CpuManagerMissing(field=CPU_MANAGER[0], found="absent", needed="true")


def _keeps_time(frequency_hz: int, supply: Supply) -> bool:
    """Whether a guest's clock goes on there as it did; KubeVirt labels such nodes within half a minute."""
    if str(frequency_hz) in supply.tsc_frequencies_hz:
        return True
    if not supply.tsc_frequency_hz:
        return False
    drift_hz = abs(supply.tsc_frequency_hz - frequency_hz)
    return supply.tsc_scalable or drift_hz * 1_000_000 <= TSC_TOLERANCE_PPM * frequency_hz
