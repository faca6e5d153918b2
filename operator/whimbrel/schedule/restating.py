"""Stored moves are made to say what the quote says: who is new, who goes elsewhere, who cannot move any more.

Called by `review` at each outlook, for moves that have not begun; nothing is written where they say so already.
"""

from collections.abc import Iterator, Mapping

from whimbrel.api.virtual_machine_move import AttemptSpec, MovePhase, VirtualMachineMoveStatus
from whimbrel.domain.decision import Announcement, Write
from whimbrel.domain.records import Plan
from whimbrel.lifecycle import writes
from whimbrel.lifecycle.evidence import Evidence
from whimbrel.schedule.following import ended_on_its_way
from whimbrel.schedule.move_status import changed
from whimbrel.schedule.outlook import Line, attempt_for, move_spec, still_says
from whimbrel.schedule.quoting import TRIVIAL
from whimbrel.schedule.reasons import NoTarget
from whimbrel.schedule.survey import Survey
from whimbrel.schedule.verdicts import MAX_VERDICTS, same_verdicts, verdicts_of


def specified_attempts(
    lines: tuple[Line, ...], open_moves: Mapping[str, Evidence], survey: Survey
) -> Mapping[str, AttemptSpec]:
    """UID of the instance → how its next attempt is specified; of those without a target that has begun to move, as before."""
    found = {}
    for line in lines:
        evidence = open_moves.get(line.instance.uid)
        stood = evidence.attempt if evidence is not None else None
        stored = evidence.move.move.status if evidence is not None else VirtualMachineMoveStatus()
        number = stored.attempt.number if stored.attempt is not None else 1
        attempt = attempt_for(line, number, stored.history, survey.snapshot, stood)
        if attempt is None and stored.attempt is not None:
            attempt = stored.attempt
        if attempt is not None:
            found[line.instance.uid] = attempt
    return found


def converge(
    plan: Plan,
    lines: tuple[Line, ...],
    specified: Mapping[str, AttemptSpec],
    open_moves: dict[str, Evidence],
    survey: Survey,
) -> Iterator[Write | Announcement]:
    """The writes that make the stored moves say what the quote says; none when they do."""
    for line in lines:
        evidence = open_moves.get(line.instance.uid)
        if evidence is not None and line.ends_here:
            yield from ended_on_its_way(evidence, survey)
            continue
        if evidence is None:
            key = writes.move_key(plan, line.instance)
            yield writes.create_move(plan, key, move_spec(line, specified.get(line.instance.uid)))
            continue
        stored = evidence.move.move.status
        if stored.attempt is not None:
            status = _quoted_status(line, stored).model_copy(update={"attempt": specified[line.instance.uid]})
            yield from changed(evidence.move, status, f"attempt {stored.attempt.number} is specified anew")
            continue
        spec = move_spec(line, specified.get(line.instance.uid))
        if not still_says(evidence.move.move.spec, spec):
            yield writes.requote_move(plan, evidence.move, spec)
        else:
            yield from changed(evidence.move, _quoted_status(line, stored), "quoted")


def _quoted_status(line: Line, stored: VirtualMachineMoveStatus) -> VirtualMachineMoveStatus:
    if line.target is None:
        verdicts = verdicts_of(line.reasons)
        if stored.phase == MovePhase.BLOCKED and same_verdicts(stored.verdicts, verdicts):
            return stored
        codes_of_interest = [code for code in line.codes if code not in TRIVIAL] or line.codes
        reason = codes_of_interest[0] if codes_of_interest else NoTarget.__name__
        codes = ", ".join(codes_of_interest)
        message = f"It cannot move: {codes or 'no host fits'}. Each verdict names the field, the values and the remedy."
        return stored.model_copy(
            update={
                "phase": MovePhase.BLOCKED,
                "reason": reason,
                "message": message,
                "verdicts": verdicts,
                "verdicts_omitted": max(0, len(line.reasons) - MAX_VERDICTS),
            }
        )
    if stored.phase == MovePhase.BLOCKED:
        message = "It can move again." if stored.history else ""
        nothing = {"reason": "", "verdicts": (), "verdicts_omitted": 0}
        return stored.model_copy(update={"phase": MovePhase.WAITING, "message": message, **nothing})
    return stored
