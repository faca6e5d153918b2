"""The quote as it stands in a plan's status: bounded, whatever the size of the plan. Called by `review`."""

from collections.abc import Mapping, Sequence
from math import ceil

from whimbrel.api.quote import BlockedSummary, PlacementConflict, Quote, QuotedMove, TargetChoice
from whimbrel.api.virtual_machine_move import AttemptSpec, VirtualMachineMoveSpec
from whimbrel.domain.records import Plan
from whimbrel.inventory.hosts import Host
from whimbrel.inventory.selection import Selection
from whimbrel.schedule.outlook import UNDECIDED, Line, duration_floor_s, expected_s, quote_hash
from whimbrel.schedule.survey import Survey
from whimbrel.schedule.together import Grounds, Quoted

MAX_QUOTED = 100
MAX_CONFLICTS = 16
MAX_CONFLICTING = 16
MAX_CODES = 32
MAX_NAMED = 5
TRIVIAL = frozenset({"NotATarget"})
"""What says least about why nothing fits: that the plan leaves nodes out."""


def quote_of(
    plan: Plan,
    quoted: Quoted,
    attempts: Mapping[str, AttemptSpec],
    settled: int,
    selection: Selection,
    survey: Survey,
) -> Quote:
    """The quote of these lines; `settled` moves have begun or ended and are quoted no more.

    `attempts`: UID of the instance → specification of its next attempt.
    """
    lines = quoted.lines
    rows = [_row(line, attempts.get(line.instance.uid)) for line in lines]
    p50_s, p90_s = _expected_s(lines, attempts, survey.hosts)
    rows += [QuotedMove(virtual_machine=str(key), reasons=("NotRunning",)) for key in selection.not_running]
    return Quote(
        hash=quote_hash(plan.generation, lines),
        virtual_machines=settled + len(rows),
        movable=sum(line.target is not None for line in lines),
        not_running=len(selection.not_running),
        duration_seconds=duration_floor_s(lines, survey.hosts),
        duration_p50_seconds=p50_s,
        duration_p90_seconds=p90_s,
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


def _expected_s(
    lines: Sequence[Line], attempts: Mapping[str, AttemptSpec], hosts: Mapping[str, Host]
) -> tuple[int | None, int | None]:
    """p50 and p90 of the plan; None where a move has no number."""
    ways = list[tuple[str, str, float, float]]()
    for line in lines:
        attempt = attempts.get(line.instance.uid)
        if line.target is None or attempt is None:
            continue
        p50, p90 = attempt.forecast.duration_p50_seconds, attempt.forecast.duration_p90_seconds
        if p50 is None or p90 is None:
            return None, None
        ways.append((line.instance.node, line.target.node.name, p50, p90))
    p50_s, p90_s = expected_s(ways, hosts)
    return ceil(p50_s), ceil(p90_s)


def _row(line: Line, attempt: AttemptSpec | None) -> QuotedMove:
    said = attempt.forecast if attempt is not None and line.target is not None else None
    return QuotedMove(
        virtual_machine=str(line.instance.key),
        instance_uid=line.instance.uid,
        source_node=line.instance.node,
        target_node=(line.final or line.target.node.name) if line.target is not None else "",
        via_node=line.target.node.name if line.target is not None and line.final else "",
        target_chosen_by=_chooser(line),
        duration_seconds=line.duration_s if line.target is not None else None,
        rung=attempt.rung if attempt is not None and said is not None else None,
        convergence=said.convergence if said else None,
        chance_percent=said.chance_percent if said else None,
        duration_p50_seconds=said.duration_p50_seconds if said else None,
        duration_p90_seconds=said.duration_p90_seconds if said else None,
        bytes_p50=said.bytes_p50 if said else None,
        downtime_bound_ms=said.downtime_bound_ms if said else None,
        rungs=line.rungs,
        budget_ms=line.budget_ms,
        attended_downtime_ms=line.attended_downtime_ms,
        unattended_downtime_ms=line.unattended_downtime_ms,
        withheld=tuple(f"{held.rung}: {held.reason}" for held in line.withheld),
        skipped=tuple(f"{each.rung}: {each.reason}" for each in said.skipped) if said else (),
        price=line.price,
        reasons=line.codes[:32],
    )


def says_as_quoted(quote: Quote, waiting: Sequence[VirtualMachineMoveSpec]) -> bool:
    """Whether moves of which none has begun are all that the quote says would move, each as its line says: then who approved
    the quote has approved them. False where that cannot be told: lines are omitted, or the scheduler chooses among nodes that
    no line lists.
    """
    rows = {row.instance_uid: row for row in quote.moves if row.target_node}
    if quote.omitted or rows.keys() != {each.instance.uid for each in waiting}:
        return False
    return all(_says(each, rows[each.instance.uid]) for each in waiting)


def _says(stored: VirtualMachineMoveSpec, row: QuotedMove) -> bool:
    attempt = stored.attempt
    if attempt is None or not attempt.names_target or row.target_chosen_by is not TargetChoice.WHIMBREL:
        return False
    via, target = (attempt.target_node, attempt.final_node) if attempt.final_node else ("", attempt.target_node)
    quoted = row.source_node, row.via_node, row.target_node, row.rungs
    said = attempt.forecast
    return (
        quoted == (attempt.source_node, via, target, stored.rungs)
        and (said.budget_ms or 0) <= (row.budget_ms or 0)
        and (said.unattended_downtime_ms or 0) <= (row.unattended_downtime_ms or 0)
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
