"""Shared rules: which guests hold a rule between pods, and which guests and other pods it is about.

One value for each rule, not for each pair of guests; placement makes its own rules of them, with the domains of the topology
key. Pods that are no launcher of a guest here do not move: they are `fixed`.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from whimbrel.domain.records import Instance, Pod
from whimbrel.domain.scheduling import PodTerm, SpreadConstraint
from whimbrel.inventory.ledger import Ledger
from whimbrel.inventory.neighbours import Neighbours, is_about_itself

Rule = tuple[PodTerm, ...] | PodTerm | SpreadConstraint
"""Terms of affinity, which hold together; a term of anti-affinity; a constraint."""


@dataclass(frozen=True, slots=True)
class SharedRule:
    """A rule with everybody whom it concerns."""

    rule: Rule
    holders: frozenset[str]
    """UIDs of the guests that ask for it."""
    about: frozenset[str]
    """UIDs of the guests that it looks at, holders among them where they match themselves."""
    fixed: tuple[tuple[str, int], ...]
    """Sorted pairs of node and number of other pods there that it looks at."""


def shared_rules(instances: Iterable[Instance], ledger: Ledger) -> tuple[SharedRule, ...]:
    """All rules between pods that these guests hold, and the anti-affinity of other pods that is about some of them."""
    around = ledger.neighbours
    guests: dict[str, Pod] = {}
    holders: dict[tuple[str, Rule], set[str]] = defaultdict(set)
    for instance in instances:
        launcher = ledger.source_launcher(instance)
        if launcher is None:
            continue
        guests[launcher.uid] = launcher
        for rule in _rules(launcher):
            space = launcher.key.namespace if isinstance(rule, SpreadConstraint) else ""
            holders[space, rule].add(instance.uid)
    for term in around.crowds.keeping_away:
        holders.setdefault(("", term), set())
    found = []
    for (space, rule), held in holders.items():
        pods = list(_looked_at(rule, space, around))
        about = frozenset(pod.instance_uid for pod in pods if pod.uid in guests)
        fixed = Counter(pod.node for pod in pods if pod.uid not in guests)
        if held:
            found.append(SharedRule(rule, frozenset(held), about, tuple(sorted(fixed.items()))))
        elif about and isinstance(rule, PodTerm):
            keepers = Counter(pod.node for pod in around.crowds.keeping_away[rule])
            found.append(SharedRule(rule, frozenset(), about, tuple(sorted(keepers.items()))))
    return tuple(sorted(found, key=lambda each: (repr(each.rule), sorted(each.holders), sorted(each.about))))


def _rules(launcher: Pod) -> Iterator[Rule]:
    rules = launcher.scheduling
    if rules is None:
        return
    yield from (term for term in rules.anti_affinity if not is_about_itself(term))
    if rules.affinity:
        yield rules.affinity
    yield from rules.spread


def _looked_at(rule: Rule, namespace: str, around: Neighbours) -> Iterator[Pod]:
    """The pods that a rule looks at."""
    if isinstance(rule, SpreadConstraint):
        if rule.selector is not None and rule.selector.requirements:
            yield from (pod for pod in around.crowds.selected(namespace, rule.selector) if not pod.deleting)
        return
    terms = (rule,) if isinstance(rule, PodTerm) else rule
    for pod in around.crowds.matched(terms[0]):
        if len(terms) == 1 or around.matches_itself(terms, pod.key.namespace, around.crowds.labels_of(pod)):
            yield pod
