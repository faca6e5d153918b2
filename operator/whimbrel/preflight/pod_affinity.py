"""Pod affinity: do the rules between pods admit the guest's launcher there, its own and those of the pods around it?

Judged as the scheduler judges (a pod's anti-affinity keeps later pods away, too), on what is there and what arrives. The
launcher that the guest runs in is still there while its target is chosen, so it counts. The rule by which KubeVirt keeps
two launchers of one guest apart is left to `elsewhere`. Called through `preflight.FAMILIES`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from whimbrel.domain.records import Instance, Pod
from whimbrel.domain.scheduling import PodTerm
from whimbrel.inventory.hosts import Host
from whimbrel.inventory.neighbours import Neighbours, Occupied, is_about_itself, labels_to_come
from whimbrel.preflight import where
from whimbrel.preflight.family import ANOTHER_POD, Candidate, PreflightReason
from whimbrel.preflight.lineup import Lineup, Terms

OF_THE_PLAN = False
OF_THE_MOMENT = True
NEEDS = "neighbourhood of pods"


@dataclass(frozen=True, slots=True, eq=False)
class Apart:
    """Domains that the launcher must keep out of."""

    occupied: Occupied
    term: PodTerm
    theirs: bool
    """Whether it is the rule of the pods there, not the launcher's."""


@dataclass(frozen=True, slots=True, eq=False)
class Near:
    """Domains of which the launcher must be in one."""

    topology_key: str
    values: frozenset[str] | None
    """None: any, because the launcher is the first of its group."""
    term: PodTerm


@dataclass(frozen=True, slots=True, eq=False)
class Demand:
    """What the surroundings mean for a launcher; one object for all launchers with the same rules and labels that matter."""

    apart: tuple[Apart, ...] = ()
    near: tuple[Near, ...] = ()
    namespace: str = ""
    """The launchers', where somebody is to be kept apart; pods of others are not named to their owner."""


NOTHING = Demand()


@dataclass(frozen=True, slots=True, eq=False)
class Supply:
    """The node's labels. Every node is a class of its own; `mask` goes by domain instead."""

    labels: Mapping[str, str]


class PodAntiAffinity(PreflightReason):
    """A pod is there that the guest's launcher must keep away from, or that keeps the launcher away from itself."""

    evidence = where.NEIGHBOURS
    remedy = "Move {found} elsewhere, choose targets in other domains, or loosen the rule in {field}."


class PodAffinity(PreflightReason):
    """The guest's launcher must be near certain pods, and none of them is in the node's domain."""

    evidence = where.NEIGHBOURS
    remedy = "Choose targets with {needed}, or loosen the rule in {field} of the virtual machine."


REASONS = (PodAntiAffinity, PodAffinity)


def demand(candidate: Candidate, home: Supply | None) -> Demand:
    """The launcher's rules, and those of others that are about it."""
    if candidate.template is None:
        return NOTHING
    return among(candidate.instance, candidate.template, candidate.ledger.neighbours)


def among(instance: Instance, launcher: Pod, around: Neighbours) -> Demand:
    """What certain pods mean for the target launcher of a guest."""
    rules = launcher.scheduling
    apart = tuple(term for term in rules.anti_affinity if not is_about_itself(term)) if rules is not None else ()
    near = rules.affinity if rules is not None else ()
    if not apart and not near and not around.anybody_keeps_away:
        return NOTHING
    namespace, labels = launcher.key.namespace, labels_to_come(instance, launcher)
    against = around.against(namespace, labels)
    if not apart and not near and not against:
        return NOTHING
    is_one_of_them = bool(near) and around.matches_itself(near, namespace, labels)
    reader = namespace if apart or against else ""

    def made() -> Demand:
        own = [Apart(around.occupied(term), term, theirs=False) for term in apart]
        theirs = [Apart(occupied, term, theirs=True) for term, occupied in against]
        return Demand((*own, *theirs), tuple(_near(near, around, is_one_of_them)), reader)

    return around.remembered(("pod affinity", apart, near, is_one_of_them, against, reader), made)


def _near(terms: tuple[PodTerm, ...], around: Neighbours, is_one_of_them: bool) -> Iterator[Near]:
    """By the scheduler's rule only pods count that all terms select, and the first of a group may go anywhere."""
    if not terms:
        return
    pods = around.holding_all(terms)
    domains = [around.crowds.domains(term.topology_key, pods) for term in terms]
    is_first = is_one_of_them and not any(domain.values for domain in domains)
    for term, domain in zip(terms, domains, strict=True):
        yield Near(term.topology_key, None if is_first else domain.values, term)


def supply(host: Host, terms: Terms) -> Supply:
    """The node's labels."""
    return Supply(host.node.labels)


def mask(demand: Demand, lineup: Lineup) -> int:
    """The hosts in domains that all rules admit."""
    admitted = lineup.everybody
    for near in demand.near:
        admitted &= lineup.within(near.topology_key, near.values)
    for apart in demand.apart:
        admitted &= ~lineup.within(apart.occupied.topology_key, apart.occupied.values)
    return admitted


def judge(demand: Demand, supply: Supply) -> Iterator[PreflightReason]:
    """One reason for each rule, with a pod in the way where there is one."""
    for near in demand.near:
        value = supply.labels.get(near.topology_key)
        if value is None or (near.values is not None and value not in near.values):
            yield PodAffinity(
                field="spec.affinity.podAffinity",
                found=_domain(near.topology_key, value),
                needed=f"a pod with {near.term.selector or 'nothing'} in the same {near.topology_key}",
            )
    told = set()
    for apart in demand.apart:
        key = apart.occupied.topology_key
        value = supply.labels.get(key)
        if value is None or value not in apart.occupied.values:
            continue
        pod, field = apart.occupied.pods[value], "spec.affinity.podAntiAffinity"
        if not pod.startswith(f"{demand.namespace}/"):
            pod = ANOTHER_POD
        if apart.theirs:
            field = f"{field} of {pod}" if pod == ANOTHER_POD else f"Pod {pod}: {field}"
        reason = PodAntiAffinity(
            field=field,
            found=f"{pod} in {_domain(key, value)}",
            needed=f"no pod with {apart.term.selector or 'nothing'} in the same {key}",
        )
        if reason not in told:
            told.add(reason)
            yield reason


def _domain(topology_key: str, value: str | None) -> str:
    return f"no label {topology_key}" if value is None else f"{topology_key}={value}"
