"""Selectors as Kubernetes' scheduler evaluates them: frozen values, so that equal ones are judged once.

Made by the projections of pods and volumes; evaluated here, for whoever asks.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Requirement:
    """One requirement: In, NotIn, Exists, DoesNotExist, and for nodes Gt and Lt."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether these labels satisfy it. An unknown operator is satisfied by nothing."""
        found = labels.get(self.key)
        match self.operator:
            case "In":
                return found is not None and found in self.values
            case "NotIn":
                return found is None or found not in self.values
            case "Exists":
                return found is not None
            case "DoesNotExist":
                return found is None
            case "Gt" | "Lt":
                return found is not None and self._compares(found)
            case _:
                return False

    def __str__(self) -> str:
        values = ", ".join(self.values)
        if self.operator == "In" and len(self.values) == 1:
            return f"{self.key}={values}"
        return f"{self.key} {self.operator}" + (f" ({values})" if values else "")

    def _compares(self, found: str) -> bool:
        try:
            have, bound = int(found), int(self.values[0])
        except (ValueError, IndexError):
            return False
        return have > bound if self.operator == "Gt" else have < bound


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """`matchLabels` and `matchExpressions` together. Without requirements it selects everything."""

    requirements: tuple[Requirement, ...] = ()

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Whether these labels satisfy all requirements."""
        return all(requirement.holds(labels) for requirement in self.requirements)

    def __str__(self) -> str:
        return " and ".join(str(requirement) for requirement in self.requirements) or "any label"


@dataclass(frozen=True, slots=True)
class NodeSelectorTerm:
    """A term of a node affinity: by labels and by fields (only `metadata.name`). An empty term selects no node."""

    by_label: tuple[Requirement, ...] = ()
    by_field: tuple[Requirement, ...] = ()

    def selects(self, name: str, labels: Mapping[str, str]) -> bool:
        """Whether a node of this name and these labels satisfies the term."""
        if not self.by_label and not self.by_field:
            return False
        fields = {"metadata.name": name}
        return all(each.holds(labels) for each in self.by_label) and all(each.holds(fields) for each in self.by_field)

    def __str__(self) -> str:
        return " and ".join(str(each) for each in (*self.by_label, *self.by_field)) or "nothing"


def told(terms: Iterable[NodeSelectorTerm]) -> str:
    """What the terms ask for, in words."""
    return " or ".join(str(term) for term in terms) or "nothing"


def found_of(terms: Iterable[NodeSelectorTerm], name: str, labels: Mapping[str, str]) -> str:
    """What a node has of the labels that the terms ask about, in words."""
    keys = sorted({each.key for term in terms for each in term.by_label})
    return ", ".join(f"{key}={labels[key]}" if key in labels else f"no label {key}" for key in keys) or f"node {name}"
