"""Matching of labels: Kubernetes' LabelSelector and plain maps, as the API server does it. Pure."""

from collections.abc import Mapping

from whimbrel.api.scalars import LabelSelector, LabelSelectorRequirement, SelectorOperator


def carries(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Whether all wanted pairs are among the labels; an empty map is carried by everything."""
    return all(labels.get(name) == value for name, value in wanted.items())


def matches(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Whether every term of the selector holds. NotIn holds, too, where the label is absent."""
    return carries(labels, selector.match_labels or {}) and all(
        _holds(requirement, labels) for requirement in selector.match_expressions or ()
    )


def _holds(requirement: LabelSelectorRequirement, labels: Mapping[str, str]) -> bool:
    value = labels.get(requirement.key)
    match requirement.operator:
        case SelectorOperator.EXISTS:
            return value is not None
        case SelectorOperator.DOES_NOT_EXIST:
            return value is None
        case SelectorOperator.IN:
            return value in (requirement.values or ())
        case SelectorOperator.NOT_IN:
            return value not in (requirement.values or ())
