"""Topology spread: does the guest's launcher keep to its spread constraints there, as the scheduler counts?

The scheduler counts only domains that the pod could use. KubeVirt names the target by a node selector, so a constraint that
honours node affinity (the default) then sees that one node alone and hardly ever refuses; what it would say of all nodes is
a warning here. Without that selector (before KubeVirt 1.6) and for constraints that ignore node affinity all domains count.
The launcher that the guest runs in is still there, so it counts. Called through `preflight.FAMILIES`.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from whimbrel.domain.records import Instance, Node, Pod
from whimbrel.domain.scheduling import Scheduling, SpreadConstraint
from whimbrel.inventory.hosts import Host
from whimbrel.inventory.neighbours import Neighbours, labels_to_come
from whimbrel.preflight import where
from whimbrel.preflight.family import Candidate, PreflightReason, PreflightWarning
from whimbrel.preflight.lineup import Lineup, Terms

OF_THE_PLAN = False
OF_THE_MOMENT = True
NEEDS = "place for an even spread"

_FIELD = "spec.topologySpreadConstraints"


@dataclass(frozen=True, slots=True, eq=False)
class Crowded:
    """Domains that have too many already."""

    constraint: SpreadConstraint
    counts: Mapping[str, int]
    """By value of the topology key."""
    values: frozenset[str]
    fewest: int
    blocks: bool
    """Whether the scheduler refuses them; else it does not look."""


@dataclass(frozen=True, slots=True, eq=False)
class Demand:
    """What the constraints of a launcher come to; one object for all launchers that ask the same."""

    keys: tuple[str, ...] = ()
    crowded: tuple[Crowded, ...] = ()
    full: tuple[tuple[SpreadConstraint, Mapping[str, int]], ...] = ()
    """Constraints that look at the target alone, with the nodes that have too many already, and how many."""


NOTHING = Demand()


@dataclass(frozen=True, slots=True, eq=False)
class Supply:
    """The node's name and labels. Every node is a class of its own; `mask` goes by domain instead."""

    name: str
    labels: Mapping[str, str]


class TopologySpread(PreflightReason):
    """The guest's launcher would make its pods spread less evenly than its constraint allows, and is not scheduled."""

    evidence = where.NEIGHBOURS
    remedy = "Choose targets in domains with fewer of its pods, or loosen {field} of the virtual machine."


class TopologySpreadUneven(PreflightWarning):
    """The pods will be spread less evenly than the constraint allows: with a named target the scheduler does not look."""

    evidence = where.NEIGHBOURS
    remedy = "Prefer targets in domains with fewer of its pods ({needed}), or accept it."


REASONS = (TopologySpread, TopologySpreadUneven)


def demand(candidate: Candidate, home: Supply | None) -> Demand:
    """The launcher's constraints, counted."""
    if candidate.template is None:
        return NOTHING
    around = candidate.ledger.neighbours
    return among(candidate.instance, candidate.template, around, named=candidate.names_target)


def among(instance: Instance, launcher: Pod, around: Neighbours, *, named: bool) -> Demand:
    """What the constraints of a launcher come to among certain pods; `named`: whether its migration names a target."""
    rules, namespace = launcher.scheduling, launcher.key.namespace
    if rules is None or not rules.spread:
        return NOTHING
    labels = labels_to_come(instance, launcher)
    itself = tuple(
        int(constraint.selector is not None and constraint.selector.selects(labels)) for constraint in rules.spread
    )
    selector = _selector(instance, rules, named=named)
    asked = (namespace, rules.spread, rules.node_affinity, rules.tolerations, selector, itself, named)
    return around.remembered(
        ("topology spread", *asked), lambda: _demand(_Count(around, namespace, rules, selector), itself, named)
    )


def _selector(instance: Instance, rules: Scheduling, *, named: bool) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(instance.node_selector.items())) if named else rules.node_selector


@dataclass(frozen=True, slots=True)
class Enforced:
    """A constraint by which the scheduler refuses nodes, and what it counts; equal for equal questions."""

    namespace: str
    constraint: SpreadConstraint
    counted: "Counted"
    by_node: bool
    """Whether it looks at the target alone: then each node is a domain, and others that are missing count as empty."""

    def domain(self, node: str) -> str | None:
        """Of a node; None where the constraint does not count it."""
        return (node if node in self.counted.nodes else None) if self.by_node else self.counted.nodes.get(node)


def enforced(instance: Instance, launcher: Pod, around: Neighbours, *, named: bool) -> tuple[Enforced, ...]:
    """The constraints of a launcher by which it may be refused; an empty selector counts nobody, so it never changes."""
    rules, namespace = launcher.scheduling, launcher.key.namespace
    if rules is None or not rules.spread:
        return ()
    count = _Count(around, namespace, rules, _selector(instance, rules, named=named))
    found = []
    for constraint in rules.spread:
        alone = named and constraint.honours_node_affinity
        counts = constraint.selector is not None and constraint.selector.requirements
        if counts and (not alone or constraint.min_domains > 1):
            found.append(Enforced(namespace, constraint, count.counted(constraint, whatever_node=alone), by_node=alone))
    return tuple(found)


@dataclass(frozen=True, slots=True, eq=False)
class Counted:
    """Nodes that a constraint counts; one object for equal questions, so that it is its own key."""

    nodes: Mapping[str, str]
    """The domain of each."""
    values: tuple[str, ...]
    """All domains."""


class _Count:
    """Counts the pods of constraints in the domains of the nodes that a launcher could use."""

    def __init__(
        self, around: Neighbours, namespace: str, rules: Scheduling, selector: tuple[tuple[str, str], ...]
    ) -> None:
        self._around = around
        self._namespace = namespace
        self._rules = rules
        self._selector = selector
        self.keys = tuple(dict.fromkeys(constraint.topology_key for constraint in rules.spread))
        self.constraints = rules.spread

    def by_node(self, constraint: SpreadConstraint) -> Counter[str]:
        """Pods of the constraint by node; an empty selector counts none, as in the scheduler."""
        if constraint.selector is None or not constraint.selector.requirements:
            return Counter()
        return self._around.counts(self._namespace, constraint.selector)

    def by_domain(self, constraint: SpreadConstraint) -> dict[str, int]:
        """Pods of the constraint by domain, of the nodes that it counts; with empty ones."""
        counted = self.counted(constraint, whatever_node=False)
        found = dict.fromkeys(counted.values, 0)
        for node, pods in self.by_node(constraint).items():
            if node in counted.nodes:
                found[counted.nodes[node]] += pods
        return found

    def counted(self, constraint: SpreadConstraint, *, whatever_node: bool) -> Counted:
        """The nodes that a constraint counts; with `whatever_node` as if any node were admitted."""
        asks = constraint.honours_node_affinity and not whatever_node
        admitted = (self._selector, self._rules.node_affinity) if asks else None
        tolerated = self._rules.tolerations if constraint.honours_taints else None
        key = constraint.topology_key

        def made() -> Counted:
            nodes = {
                node.name: node.labels[key]
                for node in self._around.nodes.values()
                if all(each in node.labels for each in self.keys)
                and (admitted is None or self._admits(node))
                and (tolerated is None or self._tolerates(node))
            }
            return Counted(nodes, tuple(dict.fromkeys(nodes.values())))

        return self._around.remembered(("counted nodes", self.keys, key, admitted, tolerated), made)

    def _admits(self, node: Node) -> bool:
        terms = self._rules.node_affinity
        return all(node.labels.get(key) == value for key, value in self._selector) and (
            terms is None or any(term.selects(node.name, node.labels) for term in terms)
        )

    def _tolerates(self, node: Node) -> bool:
        return all(
            any(each.covers(taint.key, taint.value, taint.effect) for each in self._rules.tolerations)
            for taint in node.taints
            if taint.keeps_out
        )


def _demand(count: _Count, itself: tuple[int, ...], named: bool) -> Demand:
    crowded, full = [], []
    for constraint, one in zip(count.constraints, itself, strict=True):
        alone = named and constraint.honours_node_affinity
        domains = count.by_domain(constraint)
        fewest = 0 if len(domains) < constraint.min_domains else min(domains.values(), default=0)
        values = frozenset(value for value, pods in domains.items() if pods + one - fewest > constraint.max_skew)
        if values:
            crowded.append(Crowded(constraint, domains, values, fewest, not alone))
        if alone and constraint.min_domains > 1:
            counted = count.counted(constraint, whatever_node=True).nodes
            too_many = {
                node: pods
                for node, pods in count.by_node(constraint).items()
                if node in counted and pods + one > constraint.max_skew
            }
            full.append((constraint, too_many))
    return Demand(count.keys, tuple(crowded), tuple(full))


def supply(host: Host, terms: Terms) -> Supply:
    """The node's name and labels."""
    return Supply(host.name, host.node.labels)


def mask(demand: Demand, lineup: Lineup) -> int:
    """The hosts in domains that have few enough."""
    admitted = lineup.everybody
    for key in demand.keys:
        admitted &= lineup.within(key, None)
    for crowded in demand.crowded:
        if crowded.blocks:
            admitted &= ~lineup.within(crowded.constraint.topology_key, crowded.values)
    for _, nodes in demand.full:
        for node in nodes:
            admitted &= ~lineup.bit(node)
    return admitted


def judge(demand: Demand, supply: Supply) -> Iterator[PreflightReason]:
    """A reason for each domain that the node is not in, and for each that has too many."""
    for key in demand.keys:
        if key not in supply.labels:
            yield TopologySpread(field=_FIELD, found=f"no label {key}", needed=f"a label {key}")
    for constraint, nodes in demand.full:
        if supply.name in nodes:
            yield TopologySpread(
                field=_FIELD,
                found=f"{nodes[supply.name]} pods with {constraint.selector} on the node",
                needed=f"at most {constraint.max_skew - 1}, since it is one domain of {constraint.min_domains} needed",
            )
    for crowded in demand.crowded:
        key = crowded.constraint.topology_key
        value = supply.labels.get(key)
        if value in crowded.values:
            kind = TopologySpread if crowded.blocks else TopologySpreadUneven
            yield kind(
                field=_FIELD,
                found=f"{crowded.counts[value]} pods with {crowded.constraint.selector} in {key}={value}",
                needed=f"at most {crowded.fewest + crowded.constraint.max_skew - 1}",
            )
