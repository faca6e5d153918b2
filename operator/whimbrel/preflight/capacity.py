"""Capacity: is there room for the guest's launcher, by requests and with headroom?

The scheduler counts the same requests when it binds the target pod; KubeVirt itself counts nothing (contract §6.3). All
counting is the ledger's. Called through `preflight.FAMILIES`, and by `placement` on the planned state.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from whimbrel.domain.quantities import MIB
from whimbrel.inventory.hosts import Host
from whimbrel.inventory.ledger import PodDemand
from whimbrel.preflight import where
from whimbrel.preflight.family import Candidate, PreflightReason
from whimbrel.preflight.lineup import Lineup, Terms

OF_THE_MOMENT = True

_GIB = 1024 * MIB


@dataclass(frozen=True, slots=True)
class Supply:
    """What nobody has asked for yet; negative where a node is overcommitted."""

    memory_bytes: int
    cpu_millicores: int
    pods: int
    headroom_percent: int


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
    """The node runs as many pods as its kubelet allows."""

    evidence = where.ROOM
    remedy = "Move other pods away from {node}, add targets, or raise the kubelet's maxPods."


REASONS = (InsufficientMemory, InsufficientCpu, NoPodSlot)


def demand(candidate: Candidate, home: Supply | None) -> PodDemand:
    """The requests of the guest's launcher."""
    return candidate.requests


def supply(host: Host, terms: Terms) -> Supply:
    """What the ledger has left of the host."""
    return Supply(_memory(host, terms), _cpu(host, terms), _pods(host, terms), terms.headroom_percent)


def _memory(host: Host, terms: Terms) -> int:
    return terms.ledger.free_memory_bytes(host.name, terms.headroom_percent)


def _cpu(host: Host, terms: Terms) -> int:
    return terms.ledger.free_cpu_millicores(host.name)


def _pods(host: Host, terms: Terms) -> int:
    return terms.ledger.free_pods(host.name)


def mask(demand: PodDemand, lineup: Lineup) -> int:
    """The hosts with room."""
    return (
        lineup.at_least(_memory, demand.memory_bytes)
        & lineup.at_least(_cpu, demand.cpu_millicores)
        & lineup.at_least(_pods, 1)
    )


def judge(demand: PodDemand, supply: Supply) -> Iterator[PreflightReason]:
    """Every resource that does not suffice."""
    if supply.memory_bytes < demand.memory_bytes:
        kept = f" with {supply.headroom_percent} % headroom" if supply.headroom_percent else ""
        yield InsufficientMemory(
            field="status.allocatable.memory",
            found=f"{_size(supply.memory_bytes)} free{kept}",
            needed=_size(demand.memory_bytes),
        )
    if supply.cpu_millicores < demand.cpu_millicores:
        yield InsufficientCpu(
            field="status.allocatable.cpu",
            found=f"{max(0, supply.cpu_millicores)}m free",
            needed=f"{demand.cpu_millicores}m",
        )
    if supply.pods < 1:
        yield NoPodSlot(field="status.allocatable.pods", found="none free", needed="1")


def _size(amount: int) -> str:
    """Bytes for people; what is less than nothing is nothing."""
    amount = max(0, amount)
    return f"{amount / _GIB:.1f} GiB" if amount >= _GIB else f"{amount // MIB} MiB"
