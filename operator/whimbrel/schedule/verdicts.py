"""Reasons as they stand in a move: bounded, and rewritten only when that tells somebody something new.

Called by `outlook` and `review`.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from whimbrel.api.virtual_machine_move import Verdict
from whimbrel.domain.verdict import Reason
from whimbrel.placement import NoWayThere, PlacementConflict
from whimbrel.preflight import BY_HOST
from whimbrel.schedule.weighing import NoRungFits

MAX_VERDICTS = 64
MAX_NOTES = 16
MAX_REFUSALS = 16
REFUSALS_LENGTH = 1536
"""Characters of texts and names; with what JSON adds a move's refusals stay near 2 KiB, be there 10 000 moves or not."""
OF_THE_MOMENT = frozenset(reason.__name__ for family in BY_HOST if family.OF_THE_MOMENT for reason in family.REASONS)
"""Codes that come and go as machines do."""
FORETOLD = frozenset({NoRungFits.__name__})
"""Codes of what a forecast says: its figures change with every sample of a busy guest, and its remedy has all that would do."""
TOLD_IN_FULL = frozenset({PlacementConflict.__name__, NoWayThere.__name__})
"""Codes of which what is found is the whole of what is told: who, and by which rule."""
_FOUND_LENGTH = 256
_COMPARED_LENGTH = 192
"""Of a conflict's text without amounts: where it was cut off, its end shifts as the amounts get longer or shorter."""
_AMOUNT = re.compile(r"(?<=\bhas )\d\S*(?: GiB)?(?= of )")
"""As in "node-2 has 23.7 GiB of memory free"."""


@lru_cache(maxsize=4096)
def verdict(reason: Reason) -> Verdict:
    """One reason. Equal ones are made once: thousands of machines have them in common."""
    return Verdict(
        judgement=reason.judgement,
        code=reason.code,
        node=reason.node,
        further_nodes=reason.further_nodes,
        node_count=reason.node_count or int(bool(reason.node)),
        field=reason.field[:256],
        found=reason.found[:_FOUND_LENGTH],
        needed="" if reason.code in FORETOLD else reason.needed[:256],
        remedy=reason.cure()[:4096],
    )


@lru_cache(maxsize=4096)
def refusals(reasons: tuple[Reason, ...]) -> tuple[Verdict, ...]:
    """What keeps a machine from other hosts: each with its code and how many they are, with texts as long as there is room."""
    told, length = list[Verdict](), 0
    for each in map(verdict, reasons[:MAX_REFUSALS]):
        texts = len(each.found) + len(each.needed) + len(each.remedy)
        length += 64 + len(each.code) + len(each.field) + sum(map(len, each.nodes)) + texts
        if length > REFUSALS_LENGTH:
            length -= texts
            each = each.model_copy(update={"further_nodes": (), "found": "", "needed": "", "remedy": ""})
        told.append(each)
    return tuple(told)


def verdicts_of(reasons: Sequence[Reason]) -> tuple[Verdict, ...]:
    """The reasons of a machine that cannot move; what is beyond the bound is only counted."""
    return tuple(map(verdict, reasons[:MAX_VERDICTS]))


def same_verdicts(told: Iterable[Verdict], now: Iterable[Verdict]) -> bool:
    """Whether a machine that cannot move is still held by the same, and on as many nodes.

    Somebody who uncordons one node after the other wants to see how many are left. Where machines come and go only the
    code counts: that a host has a little more or less room now is not worth a write. Of a conflict the members count, without
    the amounts.
    """
    return _gist(told) == _gist(now)


def _gist(verdicts: Iterable[Verdict]) -> set[tuple[object, ...]]:
    return {
        (each.judgement, each.code, each.field)
        if each.code in OF_THE_MOMENT or each.code in FORETOLD
        else (
            each.judgement,
            each.code,
            each.field,
            each.needed,
            each.node,
            each.further_nodes,
            each.node_count,
            _members(each),
        )
        for each in verdicts
    }


def _members(told: Verdict) -> str:
    """Who and what stands in a conflict, by its text without the amounts; empty for other codes."""
    if told.code not in TOLD_IN_FULL:
        return ""
    return _AMOUNT.sub("…", told.found)[:_COMPARED_LENGTH]
