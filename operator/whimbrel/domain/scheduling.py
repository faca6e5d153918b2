"""What a pod asks of the scheduler beside room, and what the API server looks at when it is made.

`Scheduling` and `Admission` are parts of a launcher's `records.Pod`, shared by value: all launchers of one template hold one.
"""

from dataclasses import dataclass

from whimbrel.domain.selectors import LabelSelector, NodeSelectorTerm

Amounts = tuple[tuple[str, int], ...]
"""Sorted pairs of resource name and amount; CPU in millicores, everything else in its base unit."""


@dataclass(frozen=True, slots=True)
class Toleration:
    """A toleration; empty members match everything, as in Kubernetes."""

    key: str
    operator: str
    """Equal or Exists."""
    value: str
    effect: str

    def covers(self, key: str, value: str, effect: str) -> bool:
        """Whether a taint of this key, value and effect is tolerated."""
        if (self.effect and self.effect != effect) or (self.key and self.key != key):
            return False
        return self.operator == "Exists" or (self.operator == "Equal" and self.value == value)


@dataclass(frozen=True, slots=True)
class PodTerm:
    """A required term of a pod affinity or anti-affinity."""

    topology_key: str
    selector: LabelSelector | None
    """None selects no pod."""
    namespaces: tuple[str, ...]
    """Named ones, the pod's own where the term names none and selects none."""
    namespace_selector: LabelSelector | None
    """Of namespaces by label, beside the named ones; None: none."""


@dataclass(frozen=True, slots=True)
class SpreadConstraint:
    """A topology spread constraint that keeps pods out (`whenUnsatisfiable: DoNotSchedule`)."""

    topology_key: str
    max_skew: int
    min_domains: int
    selector: LabelSelector | None
    honours_node_affinity: bool
    honours_taints: bool


@dataclass(frozen=True, slots=True)
class Scheduling:
    """Everything that keeps a pod from a node, apart from room."""

    node_selector: tuple[tuple[str, str], ...] = ()
    node_affinity: tuple[NodeSelectorTerm, ...] | None = None
    """Terms of `nodeAffinity.required`, any of which suffices; None: not stated."""
    tolerations: tuple[Toleration, ...] = ()
    affinity: tuple[PodTerm, ...] = ()
    anti_affinity: tuple[PodTerm, ...] = ()
    spread: tuple[SpreadConstraint, ...] = ()
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Nomination:
    """What the scheduler intends with a pod that fits nowhere and for which it has evicted others."""

    node: str
    priority: int


@dataclass(frozen=True, slots=True)
class Container:
    """What one container of a pod states."""

    requests: Amounts
    limits: Amounts
    starts: bool = False
    """Whether it is an init container."""
    stays: bool = False
    """Whether it is an init container that runs as long as the pod does."""


@dataclass(frozen=True, slots=True)
class Admission:
    """What quotas and limit ranges of a namespace look at when a pod is made."""

    containers: tuple[Container, ...]
    whole: Container | None = None
    """What the pod states for all its containers together."""
    overhead: Amounts = ()
    priority_class: str = ""
    ends: bool = False
    """Whether it has a deadline."""
    looks_across_namespaces: bool = False
    """Whether a term of its affinity, even a preferred one, looks at other namespaces."""
