"""CPU compatibility: does the guest find there the very processor, and the NUMA nodes, that it was started on?

KubeVirt lets a guest with host-passthrough go to any processor of the same vendor, and knows nothing of performance
counters (KubeVirt contract §2.2). Which hosts are alike enough, their HostProfiles declare; what KubeVirt finds out about the
processors may only contradict it. Called through `preflight.FAMILIES`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from whimbrel.domain.naming import ANNOTATION_PERFORMANCE_COUNTERS
from whimbrel.domain.records import Instance, Key
from whimbrel.inventory.hosts import Host
from whimbrel.inventory.snapshot import Snapshot
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
    host_models: frozenset[str] = frozenset()
    """What KubeVirt calls the processor of a host that declares a baseline; empty where it does not tell."""

    def contradicts(self, other: "Supply") -> bool:
        """Whether KubeVirt found different processors where the same is declared."""
        return bool(self.host_models and other.host_models) and self.host_models.isdisjoint(other.host_models)


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


class CpuBaselineContradicted(PreflightReason):
    """The guest has its host's own processor (host-passthrough), and KubeVirt finds another in a host declared identical."""

    evidence = where.NODE
    remedy = (
        "Correct spec.cpu.baseline of the HostProfiles: the source is a {needed}, {node} a {found}. Where they are the same "
        "hardware, see what differs (microcode, firmware settings): virt-handler labels what it finds."
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
    """The guest counts on performance counters, or sees its host's, and those of the target are not declared compatible."""

    evidence = where.PROFILES
    remedy = (
        "Declare the same name in spec.cpu.performanceCounters of the HostProfiles of nodes whose counters are compatible, "
        "move to nodes that declare {needed}, or do without: remove the annotation whimbrel.dev/performance-counters, and give "
        "a virtual machine with host-passthrough a named CPU model."
    )


class NumaTopologyUnknown(PreflightUnknown):
    """The guest sees the NUMA nodes of its host, and whether the target is divided in the same way is not declared."""

    evidence = where.PROFILES
    remedy = (
        "Declare the same name in spec.cpu.baseline of the HostProfiles of nodes that are identical ({found}); KubeVirt pins "
        "the guest anew in any case, and it may become slower where memory is farther away."
    )


REASONS = (
    CpuBaselineMismatch,
    CpuBaselineContradicted,
    CpuBaselineUnknown,
    PerformanceCountersMismatch,
    NumaTopologyUnknown,
)

_NOTHING = Supply("", "")


def demand(candidate: Candidate, home: Supply | None) -> Demand:
    """What the guest has of its source's processor that it cannot do without."""
    architecture = candidate.instance.architecture
    if not architecture and candidate.source is not None:
        architecture = candidate.source.node.labels.get(cpu.ARCHITECTURE_LABEL, "")
    passthrough = cpu.model_of(candidate.instance, candidate.snapshot, architecture) == cpu.HOST_PASSTHROUGH
    counters = counts_on_counters(candidate.instance, candidate.snapshot)
    numa = candidate.instance.hardware.numa_passthrough
    asks = home is not None and (passthrough or counters or numa)
    return Demand(passthrough, counters, numa, home if asks and home is not None else _NOTHING)


def counts_on_counters(instance: Instance, snapshot: Snapshot) -> bool:
    """Whether the instance or its VirtualMachine says so."""
    owner = snapshot.virtual_machines.get(Key(instance.key.namespace, instance.owner_vm))
    said = [instance.annotations] if owner is None else [instance.annotations, owner.annotations]
    return any(annotations.get(ANNOTATION_PERFORMANCE_COUNTERS) == REQUIRED for annotations in said)


def supply(host: Host, terms: Terms) -> Supply:
    """What the host's profile declares."""
    baseline = host.cpu.baseline or ""
    models = cpu.host_models(host) if baseline else frozenset[str]()
    return Supply(baseline, host.cpu.performance_counters or "", models)


def mask(demand: Demand, lineup: Lineup) -> int:
    """The hosts whose processor is alike enough."""
    if not demand.passthrough and not demand.counters:
        return lineup.everybody
    return lineup.by_class(demand, supply, judge)


def judge(demand: Demand, supply: Supply) -> Iterator[PreflightReason]:
    """Every reason against the target's processor. Equal baselines have equal counters too, unless both ends declare others.

    A host-passthrough guest sees the counters whether it counts on them or not, so other ones are kept from it as well.
    """
    home = demand.home
    declared_alike = home.baseline != "" and home.baseline == supply.baseline
    alike = declared_alike and not home.contradicts(supply)
    if demand.passthrough and not alike:
        if declared_alike:
            yield CpuBaselineContradicted(
                field=cpu.HOST_MODEL, found=_listed(supply.host_models), needed=_listed(home.host_models)
            )
        elif home.baseline and supply.baseline:
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
    here, there = home.performance_counters, supply.performance_counters
    differ = here != "" and there != "" and here != there
    unproven = not alike and (here == "" or here != there)
    if (differ and (demand.counters or demand.passthrough)) or (unproven and demand.counters):
        yield PerformanceCountersMismatch(
            field=COUNTERS_FIELD,
            found=there or _UNDECLARED,
            needed=here or "what the source declares, which is nothing yet",
        )


def _listed(models: frozenset[str]) -> str:
    return ", ".join(sorted(models))
