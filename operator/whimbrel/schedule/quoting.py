"""The quote as it stands in a plan's status: bounded, whatever the size of the plan. Called by `review`."""

from collections.abc import Sequence

from whimbrel.api.quote import BlockedSummary, PlacementConflict, Quote, QuotedMove, TargetChoice
from whimbrel.domain.records import Plan
from whimbrel.inventory.selection import Selection
from whimbrel.schedule.outlook import UNDECIDED, Line, duration_floor_s, quote_hash
from whimbrel.schedule.survey import Survey
from whimbrel.schedule.together import Grounds, Quoted

MAX_QUOTED = 100
MAX_CONFLICTS = 16
MAX_CONFLICTING = 16
MAX_CODES = 32
MAX_NAMED = 5
TRIVIAL = frozenset({"NotATarget"})
"""What says least about why nothing fits: that the plan leaves nodes out."""


def quote_of(plan: Plan, quoted: Quoted, settled: int, selection: Selection, survey: Survey) -> Quote:
    """The quote of these lines; `settled` moves have begun or ended and are quoted no more."""
    lines = quoted.lines
    rows = [_row(line) for line in lines]
    rows += [QuotedMove(virtual_machine=str(key), reasons=("NotRunning",)) for key in selection.not_running]
    return Quote(
        hash=quote_hash(plan.generation, lines),
        virtual_machines=settled + len(rows),
        movable=sum(line.target is not None for line in lines),
        not_running=len(selection.not_running),
        duration_seconds=duration_floor_s(lines, survey.hosts),
        moves=tuple(rows[:MAX_QUOTED]),
        omitted=max(0, len(rows) - MAX_QUOTED),
        blocked=_blocked(rows),
        conflicts=tuple(_conflict(grounds) for grounds in quoted.conflicts[:MAX_CONFLICTS]),
        conflicts_omitted=max(0, len(quoted.conflicts) - MAX_CONFLICTS),
        undecided=sum(any(reason.code == UNDECIDED for reason in line.reasons) for line in lines),
    )


def _conflict(grounds: Grounds) -> PlacementConflict:
    shown = grounds.virtual_machines[:MAX_CONFLICTING]
    omitted = len(grounds.virtual_machines) - len(shown) + grounds.unnamed
    return PlacementConflict(virtual_machines=shown, omitted=omitted, message=grounds.words[:4096])


def _row(line: Line) -> QuotedMove:
    return QuotedMove(
        virtual_machine=str(line.instance.key),
        source_node=line.instance.node,
        target_node=line.final or (line.target.node.name if line.target is not None else ""),
        via_node=line.target.node.name if line.target is not None and line.final else "",
        target_chosen_by=_chooser(line),
        duration_seconds=line.duration_s if line.target is not None else None,
        rungs=line.rungs,
        budget_ms=line.budget_ms,
        unattended_downtime_ms=line.unattended_downtime_ms,
        withheld=tuple(f"{held.rung}: {held.reason}" for held in line.withheld),
        reasons=line.codes[:32],
    )


def _chooser(line: Line) -> TargetChoice | None:
    if line.target is None:
        return None
    return TargetChoice.SCHEDULER if line.allowed_nodes else TargetChoice.WHIMBREL


def _blocked(rows: Sequence[QuotedMove]) -> tuple[BlockedSummary, ...]:
    """How many cannot move for each reason, the most frequent first; one with several reasons counts for each."""
    found: dict[str, list[str]] = {}
    for row in rows:
        telling = [code for code in row.reasons if code not in TRIVIAL] or row.reasons
        for code in telling if not row.target_node else ():
            found.setdefault(code, []).append(row.virtual_machine)
    ranked = sorted(found.items(), key=lambda entry: (-len(entry[1]), entry[0]))
    return tuple(
        BlockedSummary(reason=code, count=len(names), virtual_machines=tuple(names[:MAX_NAMED]))
        for code, names in ranked[:MAX_CODES]
    )
