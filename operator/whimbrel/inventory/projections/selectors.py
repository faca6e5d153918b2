"""Selectors of any object, as values that are shared: a cluster repeats few of them."""

from functools import lru_cache

from whimbrel.domain.selectors import LabelSelector, NodeSelectorTerm, Requirement
from whimbrel.inventory.projections import reading
from whimbrel.inventory.projections.reading import Json


@lru_cache(maxsize=4096)
def _requirement(key: str, operator: str, values: tuple[str, ...]) -> Requirement:
    return Requirement(key, operator, values)


def pair(key: str, value: str) -> Requirement:
    """The requirement that a label has this value."""
    return _requirement(key, "In", (value,))


def requirements(term: Json, *path: str) -> tuple[Requirement, ...]:
    """The requirements of a list of expressions."""
    return tuple(
        _requirement(reading.word(item, "key"), reading.word(item, "operator"), reading.strings(item, "values"))
        for item in reading.items(term, *path)
    )


def label_selector(document: Json, *path: str) -> LabelSelector | None:
    """A LabelSelector; None where it is absent. An empty one selects everything."""
    found = reading.find(document, *path)
    if not isinstance(found, dict):
        return None
    pairs = sorted(reading.string_map(found, "matchLabels").items())
    equal = tuple(pair(key, value) for key, value in pairs)
    return LabelSelector((*equal, *requirements(found, "matchExpressions")))


def node_terms(document: Json, *path: str) -> tuple[NodeSelectorTerm, ...] | None:
    """The terms of a node selector, any of which suffices; None where it is absent."""
    found = reading.find(document, *path)
    if not isinstance(found, dict):
        return None
    return tuple(
        NodeSelectorTerm(requirements(term, "matchExpressions"), requirements(term, "matchFields"))
        for term in reading.items(found, "nodeSelectorTerms")
    )
