"""Source: may guests leave the host where this one runs, and can it send them? What fails here holds for every target.

The source's virt-handler and launcher carry a migration out, so a host that is not well cannot be emptied live.
Called through `preflight.FAMILIES`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from whimbrel.api.migration_plan import NodeTerm
from whimbrel.inventory.hosts import SCHEDULABLE_LABEL, Host
from whimbrel.inventory.labels import carries
from whimbrel.preflight import heartbeat, where
from whimbrel.preflight.family import Candidate, PreflightReason, PreflightUnknown, PreflightWarning
from whimbrel.preflight.heartbeat import Heartbeat

OF_THE_PLAN = True


@dataclass(frozen=True, slots=True)
class Demand:
    """The source host; equal for all guests on it."""

    node: str
    known: bool
    profile: str
    enabled: bool
    ready: bool
    schedulable: str
    """Value of the label kubevirt.io/schedulable, or empty."""
    heartbeat: Heartbeat
    """Of its virt-handler."""
    refilled: bool
    """Whether the plan empties it while it still takes pods."""
    alone: bool
    """Whether the cluster has no other node."""
    error: str = ""
    """Which rule its profile breaks, or empty."""


class SourceUnknown(PreflightReason):
    """The node that the guest is said to run on is not in the cluster."""

    evidence = where.INSTANCE
    remedy = "See where the virtual machine runs; if its node is gone for good, restart it."


class NoOtherHost(PreflightReason):
    """The cluster has no other host than the one where the guest runs."""

    evidence = where.SOURCE_NODE
    remedy = "Add a host that the virtual machine could go to."


class SourceNotEnabled(PreflightReason):
    """No HostProfile allows migrations from the host where the guest runs."""

    evidence = where.PROFILES
    remedy = "Set migration.enabled: true in the HostProfile that applies there, or write one that selects the node."


class SourceProfileInvalid(PreflightReason):
    """The HostProfile of the host where the guest runs breaks a rule, so nobody knows whether it allows migrations from it."""

    evidence = where.PROFILES
    remedy = "Correct the HostProfile that the message names and apply it again; until then its nodes are not enabled."


class SourceNotReady(PreflightReason):
    """The node where the guest runs is not Ready: nobody there would carry the migration out, or say how it went."""

    evidence = where.SOURCE_NODE
    remedy = "See why the kubelet there does not report ({found}); if the node is lost, see to the guest there first."


class SourceNotSchedulable(PreflightReason):
    """KubeVirt takes no guests at the node where this one runs: its virt-handler, which must send the guest, is not well."""

    evidence = where.SOURCE_NODE
    remedy = "See whether virt-handler runs well there ({found}); it sets the label {field} to true each minute."


class SourceHeartbeatStale(PreflightReason):
    """The virt-handler where the guest runs has not reported lately, and it is the one that must send the guest away."""

    evidence = where.SOURCE_NODE
    remedy = "See whether virt-handler runs there ({found}); if the node itself is lost, see to the guest there first."


class SourceHeartbeatUnknown(PreflightUnknown):
    """Nothing tells when the guest's virt-handler was last heard of; KubeVirt's label kubevirt.io/schedulable stands alone."""

    evidence = where.SOURCE_NODE
    remedy = (
        "See whether virt-handler runs there and writes the annotation kubevirt.io/heartbeat each minute ({found}), and "
        "whether the clocks agree."
    )


class SourceNotCordoned(PreflightWarning):
    """The plan empties the host where the guest runs, and the host still takes new pods: it may not stay empty."""

    evidence = where.SOURCE_NODE
    remedy = "Cordon it first (kubectl cordon {found}); Whimbrel has no right to."


REASONS = (
    SourceUnknown,
    NoOtherHost,
    SourceNotEnabled,
    SourceProfileInvalid,
    SourceNotReady,
    SourceNotSchedulable,
    SourceHeartbeatStale,
    SourceHeartbeatUnknown,
    SourceNotCordoned,
)


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
        ready=host is not None and host.node.ready,
        schedulable=host.node.labels.get(SCHEDULABLE_LABEL, "") if host is not None else "",
        heartbeat=heartbeat.of(host.node, candidate.snapshot.now) if host is not None else Heartbeat.ABSENT,
        error=host.error if host is not None else "",
        refilled=candidate.evacuated and host is not None and not host.node.unschedulable,
        alone=not any(key.name != candidate.instance.node for key in islice(candidate.snapshot.nodes, 2)),
    )


def judge(demand: Demand) -> Iterator[PreflightReason]:
    """Every reason against leaving this host. Nothing is said of a guest that has no node: it does not run."""
    if not demand.node:
        return
    if demand.alone:
        yield NoOtherHost(field="Node", found="no other node", needed="one other node")
    if not demand.known:
        yield SourceUnknown(field="status.nodeName", found=demand.node, needed="a node of this cluster")
        return
    if demand.error:
        yield SourceProfileInvalid(
            field="HostProfile", found=f"HostProfile {demand.profile}: {demand.error}", needed="a valid one"
        )
    elif not demand.enabled:
        yield SourceNotEnabled(
            field="HostProfile.spec.migration.enabled",
            found=f"{demand.node}: {f'HostProfile {demand.profile} says false' if demand.profile else 'no HostProfile'}",
            needed="true",
        )
    if not demand.ready:
        yield SourceNotReady(field="status.conditions[Ready]", found=f"{demand.node}: not True", needed="True")
    if demand.schedulable != "true":
        yield SourceNotSchedulable(
            field=SCHEDULABLE_LABEL, found=f"{demand.node}: {demand.schedulable or 'absent'}", needed="true"
        )
    found = f"{demand.node}: {demand.heartbeat.value}"
    if demand.heartbeat is Heartbeat.STALE:
        yield SourceHeartbeatStale(field=heartbeat.FIELD, found=found, needed=heartbeat.NEEDED)
    elif demand.heartbeat.unknown:
        yield SourceHeartbeatUnknown(field=heartbeat.FIELD, found=found, needed=heartbeat.NEEDED)
    if demand.refilled:
        yield SourceNotCordoned(field="spec.unschedulable", found=demand.node, needed="true")
