"""Source: may guests leave the host where this one runs? What fails here holds for every target.

Called through `preflight.FAMILIES`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from whimbrel.api.migration_plan import NodeTerm
from whimbrel.inventory.hosts import Host
from whimbrel.inventory.labels import carries
from whimbrel.preflight import heartbeat, where
from whimbrel.preflight.family import Candidate, PreflightReason, PreflightWarning


@dataclass(frozen=True, slots=True)
class Demand:
    """The source host; equal for all guests on it."""

    node: str
    known: bool
    profile: str
    enabled: bool
    stale: bool
    """Whether its virt-handler has not been heard of lately."""
    refilled: bool
    """Whether the plan empties it while it still takes pods."""


class SourceUnknown(PreflightReason):
    """The node that the guest is said to run on is not in the cluster."""

    evidence = where.INSTANCE
    remedy = "See where the virtual machine runs; if its node is gone for good, restart it."


class SourceNotEnabled(PreflightReason):
    """No HostProfile allows migrations from the host where the guest runs."""

    evidence = where.PROFILES
    remedy = "Set migration.enabled: true in the HostProfile that applies there, or write one that selects the node."


class SourceHeartbeatStale(PreflightReason):
    """The virt-handler where the guest runs has not reported lately, and it is the one that must send the guest away."""

    evidence = where.SOURCE_NODE
    remedy = "See whether virt-handler runs there ({found}); if the node itself is lost, see to the guest there first."


class SourceNotCordoned(PreflightWarning):
    """The plan empties the host where the guest runs, and the host still takes new pods: it may not stay empty."""

    evidence = where.SOURCE_NODE
    remedy = "Cordon it first (kubectl cordon {found}); Whimbrel has no right to."


REASONS = (SourceUnknown, SourceNotEnabled, SourceHeartbeatStale, SourceNotCordoned)


def emptied(term: NodeTerm | None, hosts: Mapping[str, Host]) -> frozenset[str]:
    """Names of the hosts that a plan with this `onNodes` empties."""
    if term is None:
        return frozenset()
    selector = term.node_selector
    selected = (name for name, host in hosts.items() if selector is not None and carries(host.node.labels, selector))
    return frozenset(selected).union(term.names or ())


def demand(candidate: Candidate) -> Demand:
    """Where the guest is."""
    host = candidate.source
    return Demand(
        node=candidate.instance.node,
        known=host is not None,
        profile=host.profile_name if host is not None else "",
        enabled=host is not None and host.enabled,
        stale=host is not None and heartbeat.stale(host.node, candidate.snapshot.now),
        refilled=candidate.evacuated and host is not None and not host.node.unschedulable,
    )


def judge(demand: Demand) -> Iterator[PreflightReason]:
    """Every reason against leaving this host. Nothing is said of a guest that has no node: it does not run."""
    if not demand.node:
        return
    if not demand.known:
        yield SourceUnknown(field="status.nodeName", found=demand.node, needed="a node of this cluster")
        return
    if not demand.enabled:
        yield SourceNotEnabled(
            field="HostProfile.spec.migration.enabled",
            found=f"{demand.node}: {f'HostProfile {demand.profile} says false' if demand.profile else 'no HostProfile'}",
            needed="true",
        )
    if demand.stale:
        yield SourceHeartbeatStale(
            field=heartbeat.FIELD, found=f"{demand.node}: {heartbeat.FOUND}", needed=heartbeat.NEEDED
        )
    if demand.refilled:
        yield SourceNotCordoned(field="spec.unschedulable", found=demand.node, needed="true")
