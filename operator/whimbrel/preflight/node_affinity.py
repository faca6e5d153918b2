"""Node affinity: does what the guest's launcher requires of nodes admit that node?

The launcher's own node selector is not asked: after a move it carries the name of the node that the guest was sent to
(`node_selector` asks the virtual machine's). Called through `preflight.FAMILIES`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from whimbrel.domain.selectors import NodeSelectorTerm, Requirement, found_of, told
from whimbrel.inventory.hosts import Host
from whimbrel.preflight import where
from whimbrel.preflight.family import Candidate, PreflightReason
from whimbrel.preflight.lineup import Lineup, Terms

OF_THE_PLAN = False
OF_THE_MOMENT = False
NEEDS = "node-affinity labels"

_SAID_ELSEWHERE = "node-labeller.kubevirt.io/obsolete-host-model"
"""KubeVirt adds it for guests with host-model, and `cpu` says in words what it means."""

Demand = tuple[NodeSelectorTerm, ...] | None
"""Terms any of which suffices; None: any node does."""


@dataclass(frozen=True, slots=True, eq=False)
class Supply:
    """The node's name and labels. Every node is a class of its own; `mask` goes by term instead."""

    name: str
    labels: Mapping[str, str]


class NodeAffinityMismatch(PreflightReason):
    """The guest's launcher requires something of nodes that this one has not."""

    evidence = where.LAUNCHERS
    remedy = "Choose targets with {needed}, or change spec.affinity.nodeAffinity of the virtual machine."


REASONS = (NodeAffinityMismatch,)


def demand(candidate: Candidate, home: Supply | None) -> Demand:
    """The terms of the launcher, without what KubeVirt adds to each."""
    launcher = candidate.template
    terms = launcher.scheduling.node_affinity if launcher is not None and launcher.scheduling is not None else None
    if terms is None or not any(requirement.key == _SAID_ELSEWHERE for term in terms for requirement in term.by_label):
        return terms
    own = tuple(NodeSelectorTerm(tuple(_own(term)), term.by_field) for term in terms)
    return own if all(term.by_label or term.by_field for term in own) else None


def supply(host: Host, terms: Terms) -> Supply:
    """The node's name and labels."""
    return Supply(host.name, host.node.labels)


def mask(demand: Demand, lineup: Lineup) -> int:
    """The hosts that a term selects."""
    return lineup.everybody if demand is None else lineup.selected(demand)


def judge(demand: Demand, supply: Supply) -> Iterator[PreflightReason]:
    """A reason where no term selects the node."""
    if demand is None or any(term.selects(supply.name, supply.labels) for term in demand):
        return
    yield NodeAffinityMismatch(
        field="spec.affinity.nodeAffinity",
        found=found_of(demand, supply.name, supply.labels),
        needed=told(demand),
    )


def _own(term: NodeSelectorTerm) -> Iterator[Requirement]:
    return (requirement for requirement in term.by_label if requirement.key != _SAID_ELSEWHERE)
