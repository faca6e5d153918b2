"""Elsewhere: a move goes to another host than the one where the guest is.

Apart from `target`, because every host is a class of its own here. Called through `preflight.FAMILIES`.
"""

from collections.abc import Iterator

from whimbrel.inventory.hosts import Host
from whimbrel.preflight import where
from whimbrel.preflight.family import Candidate, PreflightReason
from whimbrel.preflight.lineup import Lineup, Terms

OF_THE_PLAN = False
OF_THE_MOMENT = True
NEEDS = ""


class SourceNode(PreflightReason):
    """The guest is already there."""

    evidence = where.INSTANCE
    remedy = "Choose another target than {found}."


REASONS = (SourceNode,)


def demand(candidate: Candidate, home: str | None) -> str:
    """Name of the node that the guest is on."""
    return candidate.instance.node


def supply(host: Host, terms: Terms) -> str:
    """Name of the host."""
    return host.name


def mask(demand: str, lineup: Lineup) -> int:
    """All hosts but one."""
    return lineup.everybody & ~lineup.bit(demand)


def judge(demand: str, supply: str) -> Iterator[PreflightReason]:
    """The one host that is not elsewhere."""
    if demand == supply:
        yield SourceNode(field="status.nodeName", found=supply, needed="another node")
