"""Target: does this host take virtual machines, and does the plan want it to?

The scheduler looks at the same facts when it binds the target launcher (KubeVirt contract §6.3, §10), and refuses in
silence. The target launcher tolerates what the source launcher tolerates; where that is not known, a guest is taken to
tolerate what its source node is tainted with, since it runs there. Taints that Kubernetes sets for cordoned and unready
nodes are left to the rules that say so in words, and KubeVirt's drain taint is tolerated by nobody. Called through
`preflight.FAMILIES`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from whimbrel.domain.records import Taint
from whimbrel.domain.scheduling import Toleration
from whimbrel.inventory.hosts import SCHEDULABLE_LABEL, Host
from whimbrel.preflight import heartbeat, where
from whimbrel.preflight.family import Candidate, PreflightReason, PreflightUnknown
from whimbrel.preflight.heartbeat import Heartbeat
from whimbrel.preflight.lineup import Lineup, Terms

OF_THE_PLAN = True
OF_THE_MOMENT = False
NEEDS = ""

DRAIN_TAINT = "kubevirt.io/drain"
_SAID_ELSEWHERE = frozenset(
    {
        "node.kubernetes.io/unschedulable",
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    }
)


@dataclass(frozen=True, slots=True)
class Demand:
    """What the guest brings along."""

    tolerations: tuple[Toleration, ...] | None
    """Its launcher's; None where there is no launcher to tell."""
    tolerated: frozenset[Taint] = frozenset()
    """The taints of its source, where nothing better is known."""

    def tolerates(self, taint: Taint) -> bool:
        """Whether the taint keeps it out or not."""
        if taint.key == DRAIN_TAINT:
            return False
        if self.tolerations is None:
            return taint in self.tolerated
        return any(each.covers(taint.key, taint.value, taint.effect) for each in self.tolerations)


@dataclass(frozen=True, slots=True)
class Supply:
    """How a host stands; equal for all hosts that are well and alike."""

    ready: bool
    cordoned: bool
    schedulable: str
    """Value of the label kubevirt.io/schedulable, or empty."""
    heartbeat: Heartbeat
    """Of its virt-handler."""
    taints: frozenset[Taint]
    """Those that keep pods out and that no other rule names."""
    wanted: bool
    """Whether the plan's target term admits it."""
    profile: str
    enabled: bool
    error: str = ""
    """Which rule its profile breaks, or empty."""


class HostNotReady(PreflightReason):
    """The node is not Ready."""

    evidence = where.NODE
    remedy = "See why the kubelet of {node} does not report; its conditions say more."


class HostCordoned(PreflightReason):
    """The node takes no new pods."""

    evidence = where.NODE
    remedy = "Uncordon {node} (kubectl uncordon {node}), or choose other targets."


class HostNotSchedulable(PreflightReason):
    """KubeVirt takes no virtual machines there: virt-handler does not report, or lacks a device."""

    evidence = where.NODE
    remedy = "See whether virt-handler runs well on {node}; it sets the label {field} to true each minute."


class HeartbeatStale(PreflightReason):
    """The node's virt-handler has not reported lately, and it is the one that must receive the guest."""

    evidence = where.NODE
    remedy = "See whether virt-handler runs on {node}, or choose other targets."


class HeartbeatUnknown(PreflightUnknown):
    """Nothing tells when the node's virt-handler was last heard of; KubeVirt's label kubevirt.io/schedulable stands alone."""

    evidence = where.NODE
    remedy = (
        "See whether virt-handler runs on {node} and writes the annotation kubevirt.io/heartbeat each minute ({found}), and "
        "whether the clocks agree."
    )


class HostTainted(PreflightReason):
    """The node has a taint that the guest's launcher does not tolerate."""

    evidence = where.NODE
    remedy = (
        "Remove the taint {found} from {node}, choose other targets, or add a toleration to the virtual machine and "
        "restart it."
    )


class NotATarget(PreflightReason):
    """The plan does not want it as a target."""

    evidence = where.PLAN
    remedy = "Change spec.target of the plan if {node} should be a target."


class TargetNotEnabled(PreflightReason):
    """No HostProfile allows migrations to this host."""

    evidence = where.PROFILES
    remedy = "Set migration.enabled: true in the HostProfile that applies to {node}, or write one that selects it."


class TargetProfileInvalid(PreflightReason):
    """The HostProfile of this host breaks a rule, so nobody knows whether it allows migrations to it."""

    evidence = where.PROFILES
    remedy = "Correct the HostProfile that the message names and apply it again; until then its nodes are not enabled."


class HostMissing(PreflightReason):
    """There is no node of this name."""

    evidence = where.NODE
    remedy = "Choose another target than {node}."


REASONS = (
    HostMissing,
    HostNotReady,
    HostCordoned,
    HostNotSchedulable,
    HeartbeatStale,
    HeartbeatUnknown,
    HostTainted,
    NotATarget,
    TargetNotEnabled,
    TargetProfileInvalid,
)


def demand(candidate: Candidate, home: Supply | None) -> Demand:
    """What the guest's launcher tolerates, or evidently does."""
    launcher = candidate.template
    if launcher is not None and launcher.scheduling is not None:
        return Demand(launcher.scheduling.tolerations)
    return Demand(None, home.taints if home is not None else frozenset())


def supply(host: Host, terms: Terms) -> Supply:
    """How the host stands, under the plan's target term."""
    return replace(itself(host, terms), wanted=terms.admits(host))


def itself(host: Host, terms: Terms) -> Supply:
    """How the host stands where every plan wants it."""
    node = host.node
    return Supply(
        ready=node.ready,
        cordoned=node.unschedulable,
        schedulable=node.labels.get(SCHEDULABLE_LABEL, ""),
        heartbeat=heartbeat.of(node, terms.snapshot.now),
        taints=frozenset(taint for taint in node.taints if taint.keeps_out and taint.key not in _SAID_ELSEWHERE),
        wanted=True,
        profile=host.profile_name,
        enabled=host.enabled,
        error=host.error,
    )


def mask(demand: Demand, lineup: Lineup) -> int:
    """The hosts that take the guest, of those that the plan wants."""
    return lineup.wanted & lineup.common.by_class(demand, itself, judge)


def judge(demand: Demand, supply: Supply) -> Iterator[PreflightReason]:
    """Every reason against the host."""
    if not supply.ready:
        yield HostNotReady(field="status.conditions[Ready]", found="not True", needed="True")
    if supply.cordoned:
        yield HostCordoned(field="spec.unschedulable", found="true", needed="false")
    if supply.schedulable != "true":
        yield HostNotSchedulable(field=SCHEDULABLE_LABEL, found=supply.schedulable or "absent", needed="true")
    if supply.heartbeat is Heartbeat.STALE:
        yield HeartbeatStale(field=heartbeat.FIELD, found=supply.heartbeat.value, needed=heartbeat.NEEDED)
    elif supply.heartbeat.unknown:
        yield HeartbeatUnknown(field=heartbeat.FIELD, found=supply.heartbeat.value, needed=heartbeat.NEEDED)
    for taint in sorted(supply.taints, key=lambda taint: (taint.key, taint.value, taint.effect)):
        if demand.tolerates(taint):
            continue
        value = f"={taint.value}" if taint.value else ""
        yield HostTainted(field="spec.taints", found=f"{taint.key}{value}:{taint.effect}", needed="no such taint")
    if not supply.wanted:
        yield NotATarget(field="spec.target", found="leaves this node out", needed="a term that admits it")
    if supply.error:
        yield TargetProfileInvalid(
            field="HostProfile", found=f"HostProfile {supply.profile}: {supply.error}", needed="a valid one"
        )
    elif not supply.enabled:
        yield TargetNotEnabled(
            field="HostProfile.spec.migration.enabled",
            found=f"HostProfile {supply.profile} says false" if supply.profile else "no HostProfile",
            needed="true",
        )
