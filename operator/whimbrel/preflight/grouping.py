"""Reasons of single hosts put together: one for each code, field and need, with the hosts that it holds on.

A thousand cordoned hosts are one reason and not a thousand. Called by `preflight.assessment`.
"""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, replace

from whimbrel.inventory.hosts import Host
from whimbrel.preflight.family import HostFamily, PreflightReason
from whimbrel.preflight.lineup import Lineup

MOST_NAMED = 5
"""Hosts that a reason names; more are counted."""


@dataclass(frozen=True, slots=True)
class Against:
    """One thing that stands against a guest on some hosts, or is to be known of it there."""

    reason: PreflightReason
    """As it is on the first of the hosts; what is found may differ on the others."""
    hosts: int
    """The hosts, as a mask."""


def against(family: HostFamily, demand: Hashable, lineup: Lineup, among: int, most: int) -> tuple[Against, ...]:
    """Every reason that a demand meets on these hosts, looked at by name.

    It is judged by `most` distinct supplies at the most; further hosts that the family refuses are counted with the
    blocking reason that most hosts have.
    """
    grouped: dict[tuple[str, str, str], Against] = {}
    classes, rest = lineup.classes(family.supply), among & lineup.everybody
    for _ in range(most):
        if not rest:
            break
        offered = lineup.supply(family.supply, _first(rest, lineup))
        mask = classes[offered] & rest
        _add(grouped, family.judge(demand, offered), mask, lineup)
        rest ^= mask
    rest &= ~family.mask(demand, lineup) if rest else 0
    blocking = [key for key, each in grouped.items() if each.reason.blocks]
    if rest and blocking:
        key = max(blocking, key=lambda key: grouped[key].hosts.bit_count())
        grouped[key] = Against(grouped[key].reason, grouped[key].hosts | rest)
    elif rest:
        _add(grouped, family.judge(demand, lineup.supply(family.supply, _first(rest, lineup))), rest, lineup)
    return tuple(grouped.values())


def within(each: Against, among: int, family: HostFamily, demand: Hashable, lineup: Lineup) -> Against:
    """The same on these hosts alone, of which it holds on one at least."""
    hosts = each.hosts & among
    first = _first(hosts, lineup)
    if each.reason.node == first.name:
        return Against(each.reason, hosts)
    found = family.judge(demand, lineup.supply(family.supply, first))
    there = next((reason for reason in found if _key(reason) == _key(each.reason)), each.reason)
    return Against(replace(there, node=first.name), hosts)


def counted(each: Against, lineup: Lineup) -> PreflightReason:
    """The reason itself, with the first of its hosts and their number."""
    first, rest = 0, each.hosts
    for _ in range(MOST_NAMED):
        lowest = rest & -rest
        first |= lowest
        rest ^= lowest
    return replace(each.reason, further_nodes=lineup.names(first)[1:], node_count=each.hosts.bit_count())


def _add(
    grouped: dict[tuple[str, str, str], Against], found: Iterator[PreflightReason], mask: int, lineup: Lineup
) -> None:
    first = _first(mask, lineup).name
    for reason in found:
        held = grouped.get(_key(reason))
        grouped[_key(reason)] = (
            Against(replace(reason, node=first), mask) if held is None else Against(held.reason, held.hosts | mask)
        )


def _key(reason: PreflightReason) -> tuple[str, str, str]:
    return reason.code, reason.field, reason.needed


def _first(mask: int, lineup: Lineup) -> Host:
    return lineup.hosts[(mask & -mask).bit_length() - 1]
