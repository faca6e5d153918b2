"""Neighbours: which pods are where, by namespace and label, as the scheduler counts them for rules between pods.

`Crowds` is made once for a snapshot, when first asked; `Neighbours` adds what is on its way to some node. Pods are looked
up by label, never one by one. Called by the ledger, which hands it to the families of preflight.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar, cast

from whimbrel.domain.records import Instance, Key, Labels, Node, Pod
from whimbrel.domain.scheduling import PodTerm
from whimbrel.domain.selectors import LabelSelector, Requirement
from whimbrel.inventory.snapshot import Snapshot

T = TypeVar("T")

CREATED_BY = "kubevirt.io/created-by"
_BY_NAME = ("vm.kubevirt.io/name", "vmi.kubevirt.io/id")
_NODE_NAME = "kubevirt.io/nodeName"
_MIGRATION = "kubevirt.io/migrationJobUID"
_PERSONAL = frozenset({CREATED_BY, *_BY_NAME, _NODE_NAME, _MIGRATION})
"""Labels of launchers that their records leave out, because they differ from pod to pod. On any other pod they are labels
like all others."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A launcher that is expected on a node and not among the pods there."""

    instance: Instance
    template: Pod
    """The launcher that the guest runs in now."""
    node: str
    made: bool
    """Whether it exists already and only waits to be bound."""


@dataclass(frozen=True, slots=True, eq=False)
class Occupied:
    """The domains of a topology key where pods of interest are; one object for each rule, so that it is its own key."""

    topology_key: str
    values: frozenset[str]
    pods: Mapping[str, str]
    """By value, the first pod there by name."""


def is_about_itself(term: PodTerm) -> bool:
    """Whether it is the rule by which KubeVirt keeps two launchers of one guest apart."""
    own = term.selector.requirements if term.selector is not None else ()
    return len(own) == 1 and own[0].key == CREATED_BY and own[0].operator == "In"


class Crowds:
    """The pods of a snapshot that are bound and have not ended."""

    def __init__(self, snapshot: Snapshot) -> None:
        """Looks at nothing yet."""
        self._snapshot = snapshot
        self._selected: dict[tuple[str, LabelSelector], tuple[Pod, ...]] = {}
        self._spaces: dict[LabelSelector, frozenset[str]] = {}
        self._where: dict[PodTerm, Occupied] = {}
        self._where_held: dict[PodTerm, Occupied] = {}

    def without(self, guests: frozenset[str]) -> "Crowds":
        """The same without the launchers of these guests."""
        pods = {
            key: pod
            for key, pod in self._snapshot.pods.items()
            if pod.instance_uid not in guests or self._instance_of(pod) is None
        }
        return Crowds(replace(self._snapshot, pods=pods))

    @cached_property
    def nodes(self) -> Mapping[str, Node]:
        """All nodes by name."""
        return {node.name: node for node in self._snapshot.nodes.values()}

    @cached_property
    def _pods(self) -> tuple[Pod, ...]:
        return tuple(pod for pod in self._snapshot.pods.values() if pod.node in self.nodes and not pod.ended)

    @cached_property
    def _instances(self) -> Mapping[str, Instance]:
        return {instance.uid: instance for instance in self._snapshot.instances.values()}

    def _instance_of(self, pod: Pod) -> Instance | None:
        """Whose launcher it is: an instance's of its own namespace, whatever it says of itself."""
        instance = self._instances.get(pod.instance_uid)
        return instance if instance is not None and instance.key.namespace == pod.key.namespace else None

    @cached_property
    def _by_space(self) -> Mapping[str, list[list[Pod]]]:
        """Groups of pods with one label map, by namespace."""
        groups: dict[tuple[str, int], list[Pod]] = defaultdict(list)
        for pod in self._pods:
            groups[pod.key.namespace, id(pod.labels)].append(pod)
        found: dict[str, list[list[Pod]]] = defaultdict(list)
        for (namespace, _), group in groups.items():
            found[namespace].append(group)
        return found

    @cached_property
    def _by_pair(self) -> Mapping[tuple[str, str, str], list[list[Pod]]]:
        """The same groups by namespace, label and value."""
        found: dict[tuple[str, str, str], list[list[Pod]]] = defaultdict(list)
        for namespace, groups in self._by_space.items():
            for group in groups:
                for label, value in group[0].labels.items():
                    found[namespace, label, value].append(group)
        return found

    @cached_property
    def _by_personal_pair(self) -> Mapping[tuple[str, str, str], list[list[Pod]]]:
        """Launchers, one by one, by namespace and the labels that are theirs alone."""
        found: dict[tuple[str, str, str], list[list[Pod]]] = defaultdict(list)
        for pod in self._pods:
            if pod.instance_uid:
                for label, value in self.labels_of(pod).items():
                    if label in _PERSONAL and label not in pod.labels:
                        found[pod.key.namespace, label, value].append([pod])
        return found

    @cached_property
    def keeping_away(self) -> Mapping[PodTerm, tuple[Pod, ...]]:
        """Required anti-affinity terms of pods, which the scheduler honours towards whoever comes later."""
        found: dict[PodTerm, list[Pod]] = defaultdict(list)
        for pod in self._pods:
            if pod.scheduling is not None:
                for term in pod.scheduling.anti_affinity:
                    if not is_about_itself(term):
                        found[term].append(pod)
        return {term: tuple(pods) for term, pods in found.items()}

    @cached_property
    def keeping_away_by_pair(self) -> Mapping[tuple[str, str] | None, list[PodTerm]]:
        """The same terms by a label and value that they ask for; None: they ask for none."""
        found: dict[tuple[str, str] | None, list[PodTerm]] = defaultdict(list)
        for term in self.keeping_away:
            asked = _first_in(term.selector.requirements) if term.selector is not None else None
            if asked is None:
                found[None].append(term)
                continue
            for value in set(asked.values):
                found[asked.key, value].append(term)
        return found

    def labels_of(self, pod: Pod) -> Labels:
        """All labels of a pod, those included that its record leaves out."""
        return _all_labels(pod, self._instance_of(pod)) if pod.instance_uid else pod.labels

    def selected(self, namespace: str, selector: LabelSelector) -> tuple[Pod, ...]:
        """The pods of a namespace that a selector selects."""
        known = (namespace, selector)
        if known not in self._selected:
            self._selected[known] = tuple(self._select(namespace, selector))
        return self._selected[known]

    def _select(self, namespace: str, selector: LabelSelector) -> Iterator[Pod]:
        asked = _first_in(selector.requirements)
        groups: Iterable[list[Pod]] = self._by_space.get(namespace, ())
        if asked is not None:
            places = [(namespace, asked.key, value) for value in set(asked.values)]
            groups = [group for place in places for group in self._by_pair.get(place, ())]
            if asked.key in _PERSONAL:
                groups += [group for place in places for group in self._by_personal_pair.get(place, ())]
        personal = any(requirement.key in _PERSONAL for requirement in selector.requirements)
        for group in groups:
            if personal:
                yield from (pod for pod in group if selector.selects(self.labels_of(pod)))
            elif selector.selects(group[0].labels):
                yield from group

    def spaces_of(self, term: PodTerm) -> Iterable[str]:
        """The namespaces that a term looks at."""
        if term.namespace_selector is None:
            return term.namespaces
        if term.namespace_selector not in self._spaces:
            self._spaces[term.namespace_selector] = frozenset(self._spaces_selected(term.namespace_selector))
        return self._spaces[term.namespace_selector].union(term.namespaces)

    def _spaces_selected(self, selector: LabelSelector) -> Iterator[str]:
        if not selector.requirements:
            yield from self._by_space
        for space in self._snapshot.namespaces.values():
            if selector.selects(space.labels):
                yield space.key.name

    def looks_at(self, term: PodTerm, namespace: str) -> bool:
        """Whether a term looks at a namespace."""
        if namespace in term.namespaces:
            return True
        if term.namespace_selector is None:
            return False
        space = self._snapshot.namespaces.get(Key("", namespace))
        return term.namespace_selector.selects(space.labels if space is not None else {})

    def matched(self, term: PodTerm) -> Iterator[Pod]:
        """The pods that a term selects."""
        if term.selector is not None:
            for namespace in self.spaces_of(term):
                yield from self.selected(namespace, term.selector)

    def where(self, term: PodTerm) -> Occupied:
        """The domains where pods are that a term selects."""
        if term not in self._where:
            self._where[term] = self._domains_of(term, self.matched(term))
        return self._where[term]

    def where_held(self, term: PodTerm) -> Occupied:
        """The domains where pods are that hold this anti-affinity term themselves."""
        if term not in self._where_held:
            self._where_held[term] = self._domains_of(term, self.keeping_away[term])
        return self._where_held[term]

    def _domains_of(self, term: PodTerm, pods: Iterable[Pod]) -> Occupied:
        return self.domains(term.topology_key, ((pod.node, str(pod.key)) for pod in pods))

    def domains(self, topology_key: str, pods: Iterable[tuple[str, str]]) -> Occupied:
        """The domains of pods that are given by node and name; a node without the label is in none."""
        names: dict[str, str] = {}
        for node, name in pods:
            value = self.nodes[node].labels.get(topology_key) if node in self.nodes else None
            if value is not None and (value not in names or name < names[value]):
                names[value] = name
        return Occupied(topology_key, frozenset(names), names)


class Neighbours:
    """The pods of a snapshot and what arrives. What it finds out it finds out once."""

    def __init__(self, crowds: Crowds, arrivals: Iterable[Arrival]) -> None:
        """Finds out nothing yet."""
        self.crowds = crowds
        self._arrivals = tuple(arrivals)
        self._remembered: dict[Hashable, object] = {}

    @property
    def nodes(self) -> Mapping[str, Node]:
        """All nodes by name."""
        return self.crowds.nodes

    def without(self, guests: frozenset[str]) -> "Neighbours":
        """The same without the launchers of these guests, given by UID of the instance: all others stay where they are."""
        staying = (arrival for arrival in self._arrivals if arrival.instance.uid not in guests)
        return Neighbours(self.crowds.without(guests), staying)

    def remembered(self, key: Hashable, make: Callable[[], T]) -> T:
        """What was made for this key before, else what is made now: equal questions get the same object."""
        if key not in self._remembered:
            self._remembered[key] = make()
        return cast(T, self._remembered[key])

    def occupied(self, term: PodTerm) -> Occupied:
        """Where pods are that a term selects."""
        return self.remembered(("occupied", term), lambda: self._occupied(term))

    def _occupied(self, term: PodTerm) -> Occupied:
        coming = [arrival for arrival in self._arrivals if self._matches(term, arrival)]
        if not coming:
            return self.crowds.where(term)
        standing = [(pod.node, str(pod.key)) for pod in self.crowds.matched(term)]
        return self.crowds.domains(term.topology_key, [*standing, *map(_expected, coming)])

    @cached_property
    def anybody_keeps_away(self) -> bool:
        """Whether any pod here or on its way has anti-affinity of its own."""
        return bool(self.crowds.keeping_away or self._coming_with_terms)

    def against(self, namespace: str, labels: Labels) -> tuple[tuple[PodTerm, Occupied], ...]:
        """Where pods are whose own anti-affinity keeps a pod of this namespace and these labels away, by their term."""
        by_pair = self.crowds.keeping_away_by_pair
        found = [
            (term, self.crowds.where_held(term))
            for pair in ((None, *labels.items()) if by_pair else ())
            for term in by_pair.get(pair, ())
            if self._holds(term, namespace, labels)
        ]
        found += [held for held in self._coming_with_terms if self._holds(held[0], namespace, labels)]
        return tuple(found)

    @cached_property
    def _coming_with_terms(self) -> tuple[tuple[PodTerm, Occupied], ...]:
        """The anti-affinity of what arrives."""
        return tuple(
            (term, self.crowds.domains(term.topology_key, [_expected(arrival)]))
            for arrival in self._arrivals
            if arrival.template.scheduling is not None
            for term in arrival.template.scheduling.anti_affinity
            if not is_about_itself(term)
        )

    def holding_all(self, terms: tuple[PodTerm, ...]) -> tuple[tuple[str, str], ...]:
        """Node and name of each pod that all terms select."""
        return self.remembered(("all", terms), lambda: tuple(self._holding_all(terms)))

    def _holding_all(self, terms: tuple[PodTerm, ...]) -> Iterator[tuple[str, str]]:
        others = terms[1:]
        for pod in self.crowds.matched(terms[0]):
            if not others or all(self._holds(term, pod.key.namespace, self.crowds.labels_of(pod)) for term in others):
                yield pod.node, str(pod.key)
        for arrival in self._arrivals:
            if all(self._matches(term, arrival) for term in terms):
                yield _expected(arrival)

    def counts(self, namespace: str, selector: LabelSelector) -> Counter[str]:
        """By node, how many pods a selector selects that are not on their way out."""
        return self.remembered(("counts", namespace, selector), lambda: self._counts(namespace, selector))

    def _counts(self, namespace: str, selector: LabelSelector) -> Counter[str]:
        found = Counter(pod.node for pod in self.crowds.selected(namespace, selector) if not pod.deleting)
        found.update(
            arrival.node
            for arrival in self._arrivals
            if arrival.template.key.namespace == namespace and selector.selects(_labels_of(arrival))
        )
        return found

    def matches_itself(self, terms: Iterable[PodTerm], namespace: str, labels: Labels) -> bool:
        """Whether all terms select a pod of this namespace and these labels."""
        return all(self._holds(term, namespace, labels) for term in terms)

    def _matches(self, term: PodTerm, arrival: Arrival) -> bool:
        return self._holds(term, arrival.template.key.namespace, _labels_of(arrival))

    def _holds(self, term: PodTerm, namespace: str, labels: Labels) -> bool:
        selected = term.selector is not None and term.selector.selects(labels)
        return selected and self.crowds.looks_at(term, namespace)


def labels_to_come(instance: Instance, template: Pod) -> Labels:
    """The labels that the target launcher of a guest will have, but for its migration's."""
    return _all_labels(template, instance, arriving=True)


def _all_labels(pod: Pod, instance: Instance | None, *, arriving: bool = False) -> Labels:
    left_out = {CREATED_BY: pod.instance_uid}
    if instance is not None:
        left_out |= dict.fromkeys(_BY_NAME, instance.key.name)
        if instance.node:
            left_out[_NODE_NAME] = instance.node
    if pod.migration_uid and not arriving:
        left_out[_MIGRATION] = pod.migration_uid
    return {**left_out, **pod.labels}


def _labels_of(arrival: Arrival) -> Labels:
    return labels_to_come(arrival.instance, arrival.template)


def _expected(arrival: Arrival) -> tuple[str, str]:
    return arrival.node, f"{arrival.instance.key} (on its way)"


def _first_in(requirements: Iterable[Requirement]) -> Requirement | None:
    """A requirement that names values, to look up by."""
    return next((requirement for requirement in requirements if requirement.operator == "In"), None)
