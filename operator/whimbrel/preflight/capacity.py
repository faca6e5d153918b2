"""Capacity: is there room for the guest's launcher, by requests and with headroom?

The scheduler counts the same requests when it binds the target pod; KubeVirt itself counts nothing (contract §6.3). All
counting is the ledger's. Called through `preflight.FAMILIES`, and by `placement` on the planned state.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from whimbrel.domain.quantities import MIB
from whimbrel.domain.scheduling import Amounts
from whimbrel.inventory.hosts import Host
from whimbrel.inventory.ledger import PodDemand
from whimbrel.preflight import where
from whimbrel.preflight.family import Candidate, PreflightReason
from whimbrel.preflight.lineup import Lineup, Terms

OF_THE_PLAN = True
OF_THE_MOMENT = True
NEEDS = "room"

_GIB = 1024 * MIB


@dataclass(frozen=True, slots=True)
class Supply:
    """What nobody has asked for yet; negative where a node is overcommitted."""

    memory_bytes: int
    cpu_millicores: int
    pods: int
    headroom_percent: int
    others: Amounts = ()
    """What the node lists beside."""


@dataclass(frozen=True, slots=True)
class _Memory:
    """Measures memory above a headroom; equal for equal headrooms."""

    headroom_percent: int

    def __call__(self, host: Host, terms: Terms) -> int:
        """What the host has left of it."""
        return terms.ledger.free_memory_bytes(host.name, self.headroom_percent)


@dataclass(frozen=True, slots=True)
class _Free:
    """Measures one resource by name; equal for equal names, so that a lineup measures each resource once."""

    resource: str

    def __call__(self, host: Host, terms: Terms) -> int:
        """What the host has left of it."""
        return terms.ledger.free(host.name, self.resource)


class InsufficientMemory(PreflightReason):
    """The node has not enough memory that nobody requests and that the plan does not keep as headroom."""

    evidence = where.ROOM
    remedy = (
        "Free memory on {node}, add targets, or lower spec.target.headroom.memoryPercent (needed {needed}: {found})."
    )


class InsufficientCpu(PreflightReason):
    """The node has not enough CPU that nobody requests."""

    evidence = where.ROOM
    remedy = "Free CPU on {node}, or add targets (needed {needed}: {found})."


class NoPodSlot(PreflightReason):
    """The node runs as many pods as its kubelet allows, or would with the guest's launcher and what is beside it."""

    evidence = where.ROOM
    remedy = "Move other pods away from {node}, add targets, or raise the kubelet's maxPods."


class InsufficientResource(PreflightReason):
    """The node has not enough of a resource that the launcher asks for: ephemeral storage, huge pages, devices."""

    evidence = where.ROOM
    remedy = "Free some of it on {node}, add targets that have it ({field}), or have the node offer more of it."


REASONS = (InsufficientMemory, InsufficientCpu, NoPodSlot, InsufficientResource)


def demand(candidate: Candidate, home: Supply | None) -> PodDemand:
    """The requests of the guest's launcher, and of the pod beside it that holds hotplugged volumes."""
    return candidate.requests


def supply(host: Host, terms: Terms) -> Supply:
    """What the ledger has left of the host."""
    others = tuple((name, terms.ledger.free(host.name, name)) for name, _ in host.node.allocatable)
    memory_bytes = terms.ledger.free_memory_bytes(host.name, terms.headroom_percent)
    return Supply(memory_bytes, _cpu(host, terms), _pods(host, terms), terms.headroom_percent, others)


def _cpu(host: Host, terms: Terms) -> int:
    return terms.ledger.free_cpu_millicores(host.name)


def _pods(host: Host, terms: Terms) -> int:
    return terms.ledger.free_pods(host.name)


def mask(demand: PodDemand, lineup: Lineup) -> int:
    """The hosts with room."""
    room = lineup.at_least(_pods, demand.pods)
    if demand.memory_bytes:
        room &= lineup.at_least(_Memory(lineup.terms.headroom_percent), demand.memory_bytes)
    if demand.cpu_millicores:
        room &= lineup.at_least(_cpu, demand.cpu_millicores)
    for name, amount in demand.others:
        room &= lineup.at_least(_Free(name), amount)
    return room


def judge(demand: PodDemand, supply: Supply) -> Iterator[PreflightReason]:
    """Every resource that does not suffice. As for the scheduler, what is not asked for may be overdrawn."""
    if demand.memory_bytes and supply.memory_bytes < demand.memory_bytes:
        kept = f" with {supply.headroom_percent} % headroom" if supply.headroom_percent else ""
        yield InsufficientMemory(
            field="status.allocatable.memory",
            found=f"{_size(supply.memory_bytes)} free{kept}",
            needed=_size(demand.memory_bytes),
        )
    if demand.cpu_millicores and supply.cpu_millicores < demand.cpu_millicores:
        yield InsufficientCpu(
            field="status.allocatable.cpu",
            found=f"{max(0, supply.cpu_millicores)}m free",
            needed=f"{demand.cpu_millicores}m",
        )
    if supply.pods < demand.pods:
        found = f"{supply.pods} free" if supply.pods > 0 else "none free"
        yield NoPodSlot(field="status.allocatable.pods", found=found, needed=str(demand.pods))
    free = dict(supply.others)
    for name, amount in demand.others:
        if free.get(name, 0) < amount:
            found = f"{_counted(name, free[name])} free" if name in free else "absent"
            yield InsufficientResource(field=f"status.allocatable[{name}]", found=found, needed=_counted(name, amount))


def _counted(name: str, amount: int) -> str:
    """Storage and huge pages in bytes, devices by number."""
    in_bytes = name == "ephemeral-storage" or name.startswith("hugepages-")
    return _size(amount) if in_bytes else str(max(0, amount))


def _size(amount: int) -> str:
    """Bytes for people; what is less than nothing is nothing."""
    amount = max(0, amount)
    return f"{amount / _GIB:.1f} GiB" if amount >= _GIB else f"{amount // MIB} MiB"
