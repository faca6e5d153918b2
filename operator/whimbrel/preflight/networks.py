"""Networks: is the target on the layer-2 segments that the guest's interfaces need, with the devices to get at them?

KubeVirt leaves both to administrators (KubeVirt contract §2.2): a guest arrives on a bridge of the same name and finds nobody
there. Which segments hosts reach, their HostProfiles declare; which device plugins they run, their nodes tell. How many
devices are free counts as capacity. Called through `preflight.FAMILIES`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from whimbrel.api.text import listed
from whimbrel.inventory.hosts import Host
from whimbrel.preflight import where
from whimbrel.preflight.family import Candidate, PreflightReason, PreflightUnknown
from whimbrel.preflight.interfaces import key_of, secondary
from whimbrel.preflight.lineup import Lineup, Terms

OF_THE_PLAN = False
OF_THE_MOMENT = False
NEEDS = "networks"

FIELD = "HostProfile spec.migration.network.segments"
_MOST_SHOWN = 4


@dataclass(frozen=True, slots=True)
class Supply:
    """What a host has of networks; equal for all hosts of one kind."""

    segments: frozenset[str] | None
    """None: not declared."""
    resources: frozenset[str]
    """Extended resources that its kubelet offers."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What the guest's networks need of a host; equal for all guests on the same networks."""

    segments: tuple[tuple[str, str], ...] = ()
    """(network, segment), sorted."""
    unnamed: tuple[str, ...] = ()
    """Networks whose configuration does not tell which segment they are on, sorted."""
    resources: tuple[tuple[str, str], ...] = ()
    """(network, resource), sorted."""
    home: frozenset[str] | None = None
    """The segments of its source; None: not declared, or the guest needs none."""


NOTHING = Demand()


class SegmentNotReached(PreflightReason):
    """A network of the guest is on a layer-2 segment that one of the two nodes does not have."""

    evidence = where.PROFILES
    remedy = "Choose targets with {needed}, or add it to spec.migration.network.segments of the HostProfile if the node has it."


class SegmentUnknown(PreflightUnknown):
    """Whether both nodes are on the layer-2 segment of a network of the guest, nobody declared, or which segment that is."""

    evidence = where.PROFILES
    remedy = "List {needed} in spec.migration.network.segments of the HostProfiles whose nodes have it ({found})."


class NetworkDeviceMissing(PreflightReason):
    """A network of the guest takes a device of the node, and the node offers none of them."""

    evidence = where.NODE
    remedy = "See to the device plugin for {needed} on {node}, or choose targets that offer it."


REASONS = (SegmentNotReached, SegmentUnknown, NetworkDeviceMissing)


def demand(candidate: Candidate, home: Supply | None) -> Demand:
    """Segments and devices of the guest's secondary networks. A network that does not exist is said elsewhere."""
    networks = secondary(candidate.instance.interfaces)
    if not networks:
        return NOTHING
    found = [(name, candidate.snapshot.networks.get(key_of(name))) for name in networks]
    there = [(name, attachment) for name, attachment in found if attachment is not None]
    segments = tuple((name, attachment.segment) for name, attachment in there if attachment.segment)
    unnamed = tuple(name for name, attachment in there if not attachment.segment and not attachment.spans)
    resources = tuple((name, attachment.resource_name) for name, attachment in there if attachment.resource_name)
    if not segments and not unnamed and not resources:
        return NOTHING
    declared = home.segments if home is not None and (segments or unnamed) else None
    return Demand(segments, unnamed, resources, declared)


def supply(host: Host, terms: Terms) -> Supply:
    """What the host's profile declares, and what its node offers."""
    declared = host.migration.network.segments if host.migration is not None else None
    return Supply(
        segments=frozenset(declared) if declared is not None else None,
        resources=frozenset(name for name, amount in host.node.allocatable if amount > 0),
    )


def mask(demand: Demand, lineup: Lineup) -> int:
    """The hosts that nothing keeps from the guest's networks."""
    return lineup.everybody if demand == NOTHING else lineup.by_class(demand, supply, judge)


def judge(demand: Demand, supply: Supply) -> Iterator[PreflightReason]:
    """One reason for each segment and device that is not there, and for each segment that nobody declared."""
    for network, segment in demand.segments:
        lacking = [
            f"{end}: {listed(sorted(declared), _MOST_SHOWN)}"
            for end, declared in (("source", demand.home), ("target", supply.segments))
            if declared is not None and segment not in declared
        ]
        undeclared = [
            end for end, declared in (("source", demand.home), ("target", supply.segments)) if declared is None
        ]
        if lacking:
            yield SegmentNotReached(
                field=f"{FIELD} (network {network})", found="; ".join(lacking), needed=f"segment {segment}"
            )
        elif undeclared:
            yield SegmentUnknown(
                field=f"{FIELD} (network {network})",
                found=f"not declared at {' and '.join(undeclared)}",
                needed=f"segment {segment}",
            )
    for network in demand.unnamed:
        lacking = [
            end
            for end, declared in (("source", demand.home), ("target", supply.segments))
            if declared is None or network not in declared
        ]
        if lacking:
            yield SegmentUnknown(
                field=f"{FIELD} (network {network})",
                found=f"its configuration names none, the network itself is not declared at {' and '.join(lacking)}",
                needed=network,
            )
    for network, resource in demand.resources:
        if resource not in supply.resources:
            yield NetworkDeviceMissing(
                field=f"status.allocatable (network {network})", found="none offered", needed=resource
            )
