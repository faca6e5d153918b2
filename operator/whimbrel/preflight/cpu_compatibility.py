"""CPU compatibility: does the guest find there the very processor, and the NUMA nodes, that it was started on?

KubeVirt lets a guest with host-passthrough go to any processor of the same vendor, and knows nothing of performance
counters (KubeVirt contract §2.2). Which hosts are alike enough, their HostProfiles declare. Called through
`preflight.FAMILIES`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from whimbrel.domain.naming import ANNOTATION_PERFORMANCE_COUNTERS
from whimbrel.domain.records import Key
from whimbrel.inventory.hosts import Host
from whimbrel.preflight import cpu, where
from whimbrel.preflight.family import Candidate, PreflightReason, PreflightUnknown
from whimbrel.preflight.lineup import Lineup, Terms

OF_THE_PLAN = False
OF_THE_MOMENT = False
NEEDS = "compatible processor"

BASELINE_FIELD = "HostProfile spec.cpu.baseline"
COUNTERS_FIELD = "HostProfile spec.cpu.performanceCounters"
REQUIRED = "Required"
_UNDECLARED = "not declared"


@dataclass(frozen=True, slots=True)
class Supply:
    """What a host's profile declares of its processor; empty where it says nothing."""

    baseline: str
    performance_counters: str


@dataclass(frozen=True, slots=True)
class Demand:
    """What must be at the target as it is at the source; equal for all guests of one class."""

    passthrough: bool
    """Whether the guest sees the host's processor itself."""
    counters: bool
    """Whether the guest counts on performance counters."""
    numa: bool
    """Whether the guest sees the NUMA nodes of its host."""
    home: Supply
    """The source's; empty for guests that need none of it."""


class CpuBaselineMismatch(PreflightReason):
    """The guest has its host's own processor (host-passthrough), and the target has another one."""

    evidence = where.PROFILES
    remedy = (
        "Move to nodes whose HostProfile declares spec.cpu.baseline {needed}, or give the virtual machine a named CPU model "
        "and restart it."
    )


class CpuBaselineUnknown(PreflightUnknown):
    """The guest has its host's own processor (host-passthrough), and nobody declared which hosts have identical ones."""

    blocks = True
    evidence = where.PROFILES
    remedy = (
        "Declare the same name in spec.cpu.baseline of the HostProfiles of all nodes with identical processors ({found}), "
        "or give the virtual machine a named CPU model and restart it."
    )


class PerformanceCountersMismatch(PreflightReason):
    """The guest counts on performance counters, and those of source and target are not declared compatible."""

    evidence = where.PROFILES
    remedy = (
        "Declare the same name in spec.cpu.performanceCounters of the HostProfiles of nodes whose counters are compatible, "
        "move to nodes that declare {needed}, or remove the annotation whimbrel.dev/performance-counters."
    )


class NumaTopologyUnknown(PreflightUnknown):
    """The guest sees the NUMA nodes of its host, and whether the target is divided in the same way is not declared."""

    evidence = where.PROFILES
    remedy = (
        "Declare the same name in spec.cpu.baseline of the HostProfiles of nodes that are identical ({found}); KubeVirt pins "
        "the guest anew in any case, and it may become slower where memory is farther away."
    )


REASONS = (CpuBaselineMismatch, CpuBaselineUnknown, PerformanceCountersMismatch, NumaTopologyUnknown)

_NOTHING = Supply("", "")


def demand(candidate: Candidate, home: Supply | None) -> Demand:
    """What the guest has of its source's processor that it cannot do without."""
    architecture = candidate.instance.architecture
    if not architecture and candidate.source is not None:
        architecture = candidate.source.node.labels.get(cpu.ARCHITECTURE_LABEL, "")
    passthrough = cpu.model_of(candidate, architecture) == cpu.HOST_PASSTHROUGH
    counters = _counts_on_counters(candidate)
    numa = candidate.instance.hardware.numa_passthrough
    asks = home is not None and (passthrough or counters or numa)
    return Demand(passthrough, counters, numa, home if asks and home is not None else _NOTHING)


def _counts_on_counters(candidate: Candidate) -> bool:
    """Whether the instance or its VirtualMachine says so."""
    instance = candidate.instance
    owner = candidate.snapshot.virtual_machines.get(Key(instance.key.namespace, instance.owner_vm))
    said = [instance.annotations] if owner is None else [instance.annotations, owner.annotations]
    return any(annotations.get(ANNOTATION_PERFORMANCE_COUNTERS) == REQUIRED for annotations in said)


def supply(host: Host, terms: Terms) -> Supply:
    """What the host's profile declares."""
    return Supply(host.cpu.baseline or "", host.cpu.performance_counters or "")


def mask(demand: Demand, lineup: Lineup) -> int:
    """The hosts whose processor is alike enough."""
    if not demand.passthrough and not demand.counters:
        return lineup.everybody
    return lineup.by_class(demand, supply, judge)


def judge(demand: Demand, supply: Supply) -> Iterator[PreflightReason]:
    """Every reason against the target's processor. Equal baselines have equal counters too."""
    home = demand.home
    alike = home.baseline != "" and home.baseline == supply.baseline
    if demand.passthrough and not alike:
        if home.baseline and supply.baseline:
            yield CpuBaselineMismatch(field=BASELINE_FIELD, found=supply.baseline, needed=home.baseline)
        else:
            yield CpuBaselineUnknown(
                field=BASELINE_FIELD,
                found=f"source: {home.baseline or _UNDECLARED}, target: {supply.baseline or _UNDECLARED}",
                needed=home.baseline or supply.baseline or "the same name at source and target",
            )
    if demand.numa and not alike and not demand.passthrough:
        yield NumaTopologyUnknown(
            field=BASELINE_FIELD,
            found=f"source: {home.baseline or _UNDECLARED}, target: {supply.baseline or _UNDECLARED}",
            needed=home.baseline or "the same name at source and target",
        )
    same_counters = home.performance_counters != "" and home.performance_counters == supply.performance_counters
    if demand.counters and not alike and not same_counters:
        yield PerformanceCountersMismatch(
            field=COUNTERS_FIELD,
            found=supply.performance_counters or _UNDECLARED,
            needed=home.performance_counters or "what the source declares, which is nothing yet",
        )
