"""Storage: does that node reach the guest's volumes?

The node affinity of a PersistentVolume binds every pod that uses it, and a node mounts a CSI volume only if it runs the
driver; the scheduler and the kubelet refuse in silence what is refused here in words. Called through `preflight.FAMILIES`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from whimbrel.domain.guests import PERSISTENT_STATE, GuestVolume
from whimbrel.domain.records import Key
from whimbrel.domain.selectors import NodeSelectorTerm, found_of, told
from whimbrel.domain.storage import Claim, Volume
from whimbrel.inventory.hosts import Host
from whimbrel.preflight import where
from whimbrel.preflight.disks import SHARED_MODE
from whimbrel.preflight.family import Candidate, PreflightReason
from whimbrel.preflight.lineup import Lineup, Terms

OF_THE_PLAN = False
OF_THE_MOMENT = False
NEEDS = "way to the volumes"


@dataclass(frozen=True, slots=True)
class Pinned:
    """A volume that only some nodes reach."""

    claim: str
    volume: str
    terms: tuple[NodeSelectorTerm, ...]


@dataclass(frozen=True, slots=True)
class Demand:
    """What the guest's volumes need of a host; equal for all guests on the same drivers that every node reaches."""

    pinned: tuple[Pinned, ...] = ()
    drivers: tuple[str, ...] = ()


NOTHING = Demand()


@dataclass(frozen=True, slots=True, eq=False)
class Supply:
    """A node's name, labels and drivers. Every node is a class of its own; `mask` goes by term and driver instead."""

    name: str
    labels: Mapping[str, str]
    absent: frozenset[str]
    """CSI drivers that run on some other node and not here."""


class VolumeNotReachable(PreflightReason):
    """The node affinity of a volume of the guest does not admit the node."""

    evidence = where.VOLUME
    remedy = "Choose targets with {needed}, or move the data to storage that {node} reaches."


class CsiDriverMissing(PreflightReason):
    """A volume of the guest needs a CSI driver that does not run on the node."""

    evidence = where.CSI_NODE
    remedy = "Run the node plugin of {needed} on {node}, or choose targets that have it."


REASONS = (VolumeNotReachable, CsiDriverMissing)


def demand(candidate: Candidate, home: Supply | None) -> Demand:
    """Node affinities and drivers of the volumes that the guest's claims are bound to."""
    instance, snapshot = candidate.instance, candidate.snapshot
    pinned: list[Pinned] = []
    drivers: set[str] = set()
    for each in instance.volumes:
        claim = snapshot.claims.get(Key(instance.key.namespace, each.claim)) if each.claim else None
        volume: Volume | None = snapshot.volumes.get(Key("", claim.volume_name)) if claim is not None else None
        if claim is None or volume is None:
            continue
        if volume.node_affinity and not _made_anew(each, claim):
            pinned.append(Pinned(each.claim, volume.key.name, volume.node_affinity))
        if volume.driver:
            drivers.add(volume.driver)
    return Demand(tuple(pinned), tuple(sorted(drivers))) if pinned or drivers else NOTHING


def _made_anew(volume: GuestVolume, claim: Claim) -> bool:
    """Whether the target gets a claim of its own for it: state of vTPM or EFI that one node alone may use (§6.6)."""
    return volume.kind == PERSISTENT_STATE and SHARED_MODE not in claim.access_modes


def supply(host: Host, terms: Terms) -> Supply:
    """What the node has."""
    return Supply(host.name, host.node.labels, absent(host, terms))


def absent(host: Host, terms: Terms) -> frozenset[str]:
    """Drivers that only other nodes run; a driver that no CSINode lists may work without one."""
    node = terms.snapshot.csi_nodes.get(Key("", host.name))
    return terms.csi.anywhere.difference(node.attach_limits if node is not None else ())


def mask(demand: Demand, lineup: Lineup) -> int:
    """The hosts that reach all volumes."""
    reached = lineup.everybody
    for volume in demand.pinned:
        reached &= lineup.selected(volume.terms)
    return reached & lineup.by_class(demand.drivers, absent, _without) if demand.drivers else reached


def judge(demand: Demand, supply: Supply) -> Iterator[PreflightReason]:
    """One reason for each volume out of reach and each driver that is not there."""
    for volume in demand.pinned:
        if not any(term.selects(supply.name, supply.labels) for term in volume.terms):
            yield VolumeNotReachable(
                field=f"PersistentVolume {volume.volume} of claim {volume.claim}: spec.nodeAffinity",
                found=found_of(volume.terms, supply.name, supply.labels),
                needed=told(volume.terms),
            )
    yield from _without(demand.drivers, supply.absent)


def _without(drivers: Iterable[str], absent: frozenset[str]) -> Iterator[PreflightReason]:
    for driver in drivers:
        if driver in absent:
            yield CsiDriverMissing(field="CSINode: spec.drivers", found="absent", needed=driver)
