"""May this virtual machine go to that host? One file per family: demand · supply · judge · reasons.

The two tuples below are all that is looked at. A family is a module in the shape of `family.GuestFamily` or
`family.HostFamily`; a new rule is a file, a line here, and a test.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace

from whimbrel.api.migration_plan import MigrationPlanSpec
from whimbrel.domain.records import Instance
from whimbrel.inventory.hosts import Host
from whimbrel.inventory.ledger import Ledger, PodDemand
from whimbrel.inventory.snapshot import Snapshot
from whimbrel.preflight import (
    attach_limits,
    attached_devices,
    capacity,
    changing,
    cpu,
    cpu_compatibility,
    devices,
    disks,
    elsewhere,
    graphics,
    guest,
    in_flight,
    interfaces,
    link_load,
    migration_network,
    namespace_limits,
    networks,
    node_affinity,
    node_features,
    node_selector,
    owner,
    permissions,
    platform,
    pod_affinity,
    preemption,
    source,
    storage,
    target,
    target_choice,
    topology_spread,
    unchecked,
)
from whimbrel.preflight.assessment import Assessment, candidate
from whimbrel.preflight.family import GuestFamily, HostFamily, PreflightReason, PreflightUnknown
from whimbrel.preflight.findings import Findings, host_demand
from whimbrel.preflight.lineup import Lineup, Terms
from whimbrel.preflight.reach import Surroundings

EVERYWHERE: tuple[GuestFamily, ...] = (
    platform,
    permissions,
    guest,
    owner,
    attached_devices,
    unchecked,
    disks,
    interfaces,
    in_flight,
    changing,
    source,
    target_choice,
    namespace_limits,
)
"""Families whose reasons hold for every target."""

BY_HOST: tuple[HostFamily, ...] = (
    target,
    elsewhere,
    cpu,
    cpu_compatibility,
    node_features,
    devices,
    graphics,
    node_selector,
    node_affinity,
    migration_network,
    link_load,
    networks,
    storage,
    attach_limits,
    capacity,
    pod_affinity,
    topology_spread,
    preemption,
)
"""Families that look at each target."""

FAMILIES: tuple[GuestFamily | HostFamily, ...] = EVERYWHERE + BY_HOST

ALL_REASONS: tuple[type[PreflightReason], ...] = tuple(reason for family in FAMILIES for reason in family.REASONS)
"""Every reason of this room, for the reference documentation."""

__all__ = [
    "ALL_REASONS",
    "BY_HOST",
    "EVERYWHERE",
    "FAMILIES",
    "Assessment",
    "Findings",
    "HostFamily",
    "PreflightReason",
    "PreflightUnknown",
    "assess",
    "findings",
    "recheck",
]


def findings(hosts: Mapping[str, Host], ledger: Ledger, snapshot: Snapshot) -> Findings:
    """For several assessments on one ledger, which must not change meanwhile."""
    return Findings(hosts, ledger, snapshot, EVERYWHERE, BY_HOST)


def assess(
    instances: Iterable[Instance],
    plan_spec: MigrationPlanSpec,
    hosts: Mapping[str, Host],
    ledger: Ledger,
    snapshot: Snapshot,
    known: Findings | None = None,
) -> Assessment:
    """Judge a plan's guests against all hosts. Not for guests that a migration of ours already moves: the ledger counts
    those at their targets.

    `known`: what was found out before of the same hosts, ledger and snapshot; of any others nothing is believed.
    """
    if known is None or not known.is_about(hosts, ledger, snapshot):
        known = findings(hosts, ledger, snapshot)
    terms = _terms(plan_spec, hosts, ledger, snapshot)
    lineup = known.lineup.under(terms)
    around = None if snapshot.capabilities and snapshot.capabilities.added_node_selector else Surroundings(lineup)
    guests = (
        candidate(
            instance,
            hosts,
            ledger,
            snapshot,
            around.of(instance) if around is not None else None,
            evacuated=instance.node in terms.emptied,
        )
        for instance in instances
    )
    return Assessment.of(guests, lineup, known)


def recheck(
    instance: Instance,
    target_node: str,
    plan_spec: MigrationPlanSpec,
    hosts: Mapping[str, Host],
    ledger: Ledger,
    snapshot: Snapshot,
    allowed_nodes: Collection[str] = (),
) -> tuple[PreflightReason, ...]:
    """Every blocking reason against one guest on one host, just before a start. The ledger must not hold its reservation.

    `allowed_nodes`: where it may land, given where the scheduler chooses and the host is only the expected one.
    """
    terms = _terms(plan_spec, hosts, ledger, snapshot)
    reach = Surroundings(Lineup(hosts, terms), allowed_nodes).of(instance) if allowed_nodes else None
    asked = candidate(instance, hosts, ledger, snapshot, reach)
    found: list[PreflightReason] = []
    for guest_family in EVERYWHERE:
        found += guest_family.judge(guest_family.demand(asked))
    host = hosts.get(target_node)
    if host is None:
        found.append(target.HostMissing(field="metadata.name", found="absent", needed=target_node, node=target_node))
        return tuple(reason for reason in found if reason.blocks)
    pair = {name: hosts[name] for name in {target_node, instance.node} if name in hosts}
    lineup = Lineup(pair, terms)
    for family in BY_HOST:
        reasons = family.judge(host_demand(family, asked, lineup), lineup.supply(family.supply, host))
        found += [replace(reason, node=target_node) for reason in reasons]
    elsewhere = (hosts[name] for name in allowed_nodes if name != target_node and name in hosts)
    return tuple(reason for reason in (*found, *_headroom_at_risk(asked.requests, elsewhere, terms)) if reason.blocks)


def _terms(plan_spec: MigrationPlanSpec, hosts: Mapping[str, Host], ledger: Ledger, snapshot: Snapshot) -> Terms:
    emptied = source.emptied(plan_spec.virtual_machines.on_nodes, hosts)
    return Terms(plan_spec.target, ledger, snapshot, plan_spec.migration.bandwidth, emptied)


def _headroom_at_risk(demand: PodDemand, hosts: Iterable[Host], terms: Terms) -> Iterator[PreflightReason]:
    """Of hosts that the scheduler may choose, those that it would fill beyond the headroom, of which it knows nothing."""
    for host in hosts:
        if not host.node.unschedulable and terms.ledger.fits(demand, host.name):
            for reason in capacity.judge(demand, capacity.supply(host, terms)):
                yield replace(reason, node=host.name)
