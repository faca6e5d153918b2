"""Migration network: do both hosts meet on one, and does it leave enough for this migration?

KubeVirt has one migration network for the whole cluster and checks nothing of it (KubeVirt contract §5): launchers that do
not reach each other fail after the target pod is up. What the hosts' links are, their HostProfiles declare; that one host
reaches another, only a finished move proves. Called through `preflight.FAMILIES`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from math import ceil

from whimbrel.api.ladder import Bandwidth
from whimbrel.domain.quantities import GB, MBPS, MIB, bytes_per_second_of_mbps
from whimbrel.inventory.hosts import Host
from whimbrel.inventory.journeys import RECENT, Journeys
from whimbrel.inventory.rates import capped, inbound_share, outbound_share, pass_seconds
from whimbrel.preflight import where
from whimbrel.preflight.family import Candidate, PreflightReason, PreflightUnknown, PreflightWarning
from whimbrel.preflight.lineup import Lineup, Terms

OF_THE_PLAN = True
OF_THE_MOMENT = False
NEEDS = "migration network"

SLOW_PASS_S = 600
"""A pass over memory that takes longer is announced."""
SMALL_COPY_S = 1
"""Disks that are copied within this are not worth a word: cloud-init and the like."""
_FIELD = "HostProfile spec.migration.network"


@dataclass(frozen=True, slots=True)
class Link:
    """A host's migration link; equal for all hosts of one profile."""

    profile: str
    """Name of the HostProfile."""
    name: str
    families: tuple[int, ...]
    """IP versions of the declared subnets, sorted; empty: not declared."""
    mtu: int
    """0: not declared."""
    outbound_bytes_per_second: int
    """What it leaves to each migration that leaves the host."""
    inbound_bytes_per_second: int


@dataclass(frozen=True, slots=True)
class Demand:
    """Where the guest comes from, and what is to be copied."""

    node: str
    link: Link | None
    """The source's; None where the source has no profile, which is said elsewhere."""
    least_mbps: int
    """The plan's least rate."""
    memory_bytes: int
    disk_bytes: int
    """Upper bound of those disks to copy of which the API tells the size."""
    disks_complete: bool
    """Whether there are no others."""


@dataclass(frozen=True, slots=True, eq=False)
class Supply:
    """A host with its link. Every host is a class of its own, by who has reached it; `mask` goes by link instead."""

    node: str
    link: Link | None
    """None where the host has no profile, which is said elsewhere."""
    bandwidth: Bandwidth
    """The plan's bounds."""
    journeys: Journeys


class MigrationNetworkDiffers(PreflightReason):
    """The two hosts declare different migration networks."""

    evidence = where.PROFILES
    remedy = (
        "Choose targets on the network {needed}, or, if it is one network, declare the same spec.migration.network.name in "
        "both HostProfiles."
    )


class MigrationNetworkUnknown(PreflightUnknown):
    """Only one of the two hosts declares its migration network."""

    evidence = where.PROFILES
    remedy = "Declare spec.migration.network.name in the other profile too ({found})."


class IpFamilyDiffers(PreflightReason):
    """One host has only IPv4 addresses on the migration network, the other only IPv6."""

    evidence = where.PROFILES
    remedy = "Give both nodes addresses of one IP family on the migration network, and declare their subnets."


class MtuDiffers(PreflightReason):
    """The two hosts declare different MTUs: large packets get lost, and a migration stalls once it is under way."""

    evidence = where.PROFILES
    remedy = (
        "Set the same MTU on the migration links of both nodes, or correct the declared mtu (the source has {needed})."
    )


class IpFamilyUnknown(PreflightUnknown):
    """Only one of the two hosts declares its subnets, so whether both have addresses of one IP family is not known."""

    evidence = where.PROFILES
    remedy = "Declare spec.migration.network.subnets in the other profile too ({found})."


class MtuUnknown(PreflightUnknown):
    """Only one of the two hosts declares its MTU, so whether both have the same is not known."""

    evidence = where.PROFILES
    remedy = "Declare spec.migration.network.mtu in the other profile too ({found}; needed {needed})."


class BandwidthBelowMinimum(PreflightReason):
    """While all slots are taken, the links leave one migration less than the plan's least rate."""

    evidence = where.PROFILES
    remedy = (
        "Allow fewer migrations at once in spec.migration.limits of the HostProfile, so that there is more for each, use a "
        "faster link, or accept less in spec.migration.bandwidth.minMbps of the plan ({found}, needed {needed})."
    )


class ReachabilityUnknown(PreflightUnknown):
    """No move finished within the last 30 days shows that the source reaches the target over the migration network."""

    evidence = where.MOVES
    remedy = "The first move that succeeds shows it; move a guest that matters little first."


class SlowPass(PreflightWarning):
    """One pass over the guest's memory takes longer than ten minutes."""

    evidence = where.PROFILES
    remedy = "Leave one migration at least {needed} (a faster link, fewer slots, a higher maxMbps), or expect {found}."


class DisksCopied(PreflightWarning):
    """Local disks of the guest are copied over the migration network too, before its memory."""

    evidence = where.INSTANCE
    remedy = "Expect up to that much more ({found}), or put its disks on shared claims."


class DiskSizeUnknown(PreflightUnknown):
    """Local disks of the guest are copied over the migration network too, and the API does not tell how large all are."""

    evidence = where.INSTANCE
    remedy = "Put its disks on shared claims, or see on a quiet day how long one move of it takes."


REASONS = (
    MigrationNetworkDiffers,
    MigrationNetworkUnknown,
    IpFamilyDiffers,
    IpFamilyUnknown,
    MtuDiffers,
    MtuUnknown,
    BandwidthBelowMinimum,
    ReachabilityUnknown,
    SlowPass,
    DisksCopied,
    DiskSizeUnknown,
)


def demand(candidate: Candidate, home: Supply | None) -> Demand:
    """The guest's bytes, from where it is."""
    instance = candidate.instance
    link, least_mbps = (home.link, home.bandwidth.min_mbps) if home is not None else (None, 0)
    disk_bytes, complete = instance.copied_bytes - instance.memory_bytes, instance.local_disk_bytes is not None
    return Demand(instance.node, link, least_mbps, instance.memory_bytes, disk_bytes, complete)


def supply(host: Host, terms: Terms) -> Supply:
    """The host, its link, the plan's bounds on it, and who has reached it."""
    return Supply(host.name, link(host, terms), terms.bandwidth, terms.ledger.journeys)


def link(host: Host, terms: Terms) -> Link | None:
    """What the host's profile declares of its link."""
    declared = host.migration
    if declared is None:
        return None
    return Link(
        profile=host.profile_name,
        name=declared.network.name or "",
        families=tuple(sorted({ip_network(each, strict=False).version for each in declared.network.subnets or ()})),
        mtu=declared.network.mtu or 0,
        outbound_bytes_per_second=outbound_share(declared),
        inbound_bytes_per_second=inbound_share(declared),
    )


def mask(demand: Demand, lineup: Lineup) -> int:
    """The hosts on the guest's migration network, with room for it. Where it is, it needs none."""
    if demand.link is None:
        return lineup.everybody
    return lineup.common.by_class(demand, link, _apart) | lineup.bit(demand.node)


def judge(demand: Demand, supply: Supply) -> Iterator[PreflightReason]:
    """Every reason against the path, what is not known of it, and what the copy will take on it."""
    here, there = demand.link, supply.link
    if here is None or there is None or demand.node == supply.node:
        return
    yield from _apart(demand, there)
    if bool(here.name) != bool(there.name):
        yield MigrationNetworkUnknown(
            field=f"{_FIELD}.name", found=_declared_once(here, there, bool(here.name)), needed=here.name or there.name
        )
    if bool(here.families) != bool(there.families):
        versions = " and ".join(f"IPv{version}" for version in here.families or there.families)
        yield IpFamilyUnknown(
            field=f"{_FIELD}.subnets", found=_declared_once(here, there, bool(here.families)), needed=versions
        )
    if bool(here.mtu) != bool(there.mtu):
        yield MtuUnknown(
            field=f"{_FIELD}.mtu", found=_declared_once(here, there, bool(here.mtu)), needed=str(here.mtu or there.mtu)
        )
    if not supply.journeys.made(demand.node, supply.node):
        yield ReachabilityUnknown(
            field="migration network",
            found=f"no move from {demand.node} in the last {RECENT.days} days",
            needed="a finished move",
        )
    rate = capped(_share(here, there), supply.bandwidth.max_mbps)
    seconds = pass_seconds(demand.memory_bytes, rate)
    if seconds > SLOW_PASS_S:
        needed = ceil(ceil(demand.memory_bytes / SLOW_PASS_S / MIB) * MIB / MBPS)
        yield SlowPass(field="memory", found=f"{_minutes(seconds)} at {rate // MBPS} Mbit/s", needed=f"{needed} Mbit/s")
    taken = f"{_minutes(pass_seconds(demand.disk_bytes, rate))} at {rate // MBPS} Mbit/s"
    if not demand.disks_complete:
        told = f": at least {_size(demand.disk_bytes)} of disks, {taken}" if demand.disk_bytes else ""
        yield DiskSizeUnknown(
            field="status.migrationMethod", found=f"BlockMigration{told}", needed="disks that both hosts reach"
        )
    elif demand.disk_bytes > rate * SMALL_COPY_S:
        yield DisksCopied(
            field="status.migrationMethod",
            found=f"up to {_size(demand.disk_bytes)} of disks, {taken}",
            needed="shared disks",
        )


def _apart(demand: Demand, there: Link | None) -> Iterator[PreflightReason]:
    """What keeps two links apart."""
    here = demand.link
    if here is None or there is None:
        return
    if here.name and there.name and here.name != there.name:
        yield MigrationNetworkDiffers(field=f"{_FIELD}.name", found=there.name, needed=here.name)
    if here.families and there.families and not set(here.families) & set(there.families):
        yield IpFamilyDiffers(
            field=f"{_FIELD}.subnets", found=f"only IPv{there.families[0]}", needed=f"IPv{here.families[0]}"
        )
    if here.mtu and there.mtu and here.mtu != there.mtu:
        yield MtuDiffers(field=f"{_FIELD}.mtu", found=str(there.mtu), needed=str(here.mtu))
    if _share(here, there) < bytes_per_second_of_mbps(demand.least_mbps):
        end = "source" if here.outbound_bytes_per_second <= there.inbound_bytes_per_second else "target"
        yield BandwidthBelowMinimum(
            field=f"{_FIELD}.linkSpeedMbps ÷ limits",
            found=f"the {end} leaves one migration {_share(here, there) // MBPS} Mbit/s",
            needed=f"{demand.least_mbps} Mbit/s",
        )


def _share(here: Link, there: Link) -> int:
    return min(here.outbound_bytes_per_second, there.inbound_bytes_per_second)


def _declared_once(here: Link, there: Link, by_source: bool) -> str:
    """Which profile declares it, and which is to be completed."""
    ends = (f"at the source by HostProfile {here.profile}", f"at the target by HostProfile {there.profile}")
    does, does_not = ends if by_source else ends[::-1]
    return f"declared {does}, not {does_not}"


def _size(amount: int) -> str:
    return f"{amount / GB:.1f} GB" if amount >= GB else f"{max(1, amount * 1000 // GB)} MB"


def _minutes(seconds: int) -> str:
    return f"{seconds} s" if seconds < 120 else f"{ceil(seconds / 60)} min"
