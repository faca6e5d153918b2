"""Node selector: does the virtual machine's own `nodeSelector` admit that node?

The selectors of the rendered target pod win over the migration's own (KubeVirt contract §1.1), so what the virtual machine
asks for always holds. Called through `preflight.FAMILIES`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from whimbrel.inventory.hosts import Host
from whimbrel.preflight import where
from whimbrel.preflight.family import Candidate, PreflightReason
from whimbrel.preflight.lineup import Lineup, Terms

OF_THE_PLAN = False
OF_THE_MOMENT = False
NEEDS = "node labels"

Demand = tuple[tuple[str, str], ...]
"""Sorted pairs of label and value."""


@dataclass(frozen=True, slots=True, eq=False)
class Supply:
    """The node's labels. Every node is a class of its own; `mask` goes by label instead."""

    labels: Mapping[str, str]


class NodeSelectorMismatch(PreflightReason):
    """The virtual machine's node selector does not admit the node."""

    evidence = where.NODE
    remedy = "Label {node} with {needed}, or change spec.nodeSelector of the virtual machine."


REASONS = (NodeSelectorMismatch,)


def demand(candidate: Candidate, home: Supply | None) -> Demand:
    """The pairs that the virtual machine asks for."""
    return tuple(sorted(candidate.instance.node_selector.items()))


def supply(host: Host, terms: Terms) -> Supply:
    """The node's labels."""
    return Supply(host.node.labels)


def mask(demand: Demand, lineup: Lineup) -> int:
    """The hosts that carry all pairs."""
    admitted = lineup.everybody
    for label, value in demand:
        admitted &= lineup.carrying(label, value)
    return admitted


def judge(demand: Demand, supply: Supply) -> Iterator[PreflightReason]:
    """One reason for each pair that the node does not carry."""
    for label, value in demand:
        found = supply.labels.get(label)
        if found != value:
            yield NodeSelectorMismatch(
                field=f"spec.nodeSelector[{label}]",
                found="absent" if found is None else found,
                needed=f"{label}={value}",
            )
