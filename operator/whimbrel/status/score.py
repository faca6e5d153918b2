"""Forecasts held against what came: per finished plan its receipt, per cluster a running score.

Facts are those of the receipts, by whatever measured them; a move without them counts in neither. Called by `status.plan` and
`engine`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from whimbrel.api.migration_plan import MigrationPlanStatus, PlanReceipt
from whimbrel.api.quote import Quote
from whimbrel.api.virtual_machine_move import IN_VAIN, AttemptOutcome, MovePhase, VirtualMachineMove
from whimbrel.domain.decision import ForecastScore
from whimbrel.domain.records import Move

MOST_SCORED = 200
"""Finished moves that the score is of, the newest."""


@dataclass(frozen=True, slots=True)
class _Held:
    """A successful attempt beside its forecast, in seconds, start-up included."""

    ended_at: datetime
    took_s: float
    p50_s: int
    p90_s: int


def plan_receipt(
    stored: MigrationPlanStatus, quote: Quote | None, moves: Sequence[VirtualMachineMove], ended_at: datetime
) -> PlanReceipt | None:
    """What a plan that ends now came to; None where nothing of it ever began."""
    if stored.started_at is None:
        return None
    moved = [move for move in moves if move.status.phase == MovePhase.SUCCEEDED and move.status.receipt is not None]
    receipts = [move.status.receipt for move in moved if move.status.receipt is not None]
    unmeasured = sum(r.downtime_ms.value is None for r in receipts)
    held = [found for move in moved if (found := _held(move)) is not None]
    in_time = sum(each.took_s <= each.p90_s for each in held)
    history = [record for move in moves for record in move.status.history]
    in_vain = [record for record in history if record.outcome in IN_VAIN]
    pauses = [record.paused_ms for record in history if record.paused_ms is not None]
    return PlanReceipt(
        duration_seconds=max(0, round((ended_at - stored.started_at).total_seconds())),
        quoted_p50_seconds=quote.duration_p50_seconds if quote is not None else None,
        quoted_p90_seconds=quote.duration_p90_seconds if quote is not None else None,
        moved=len(moved),
        bytes=sum(r.bytes.value or 0 for r in receipts),
        wasted_bytes=sum(record.sent_bytes or 0 for record in in_vain),
        wasted_unmeasured=sum(record.started_at is not None and record.sent_bytes is None for record in in_vain),
        bytes_unmeasured=sum(r.bytes.value is None for r in receipts),
        longest_downtime_ms=max(pauses, default=None),
        downtime_unmeasured=unmeasured,
        attempts=len(history),
        p90_held=in_time,
        p90_missed=len(held) - in_time,
    )


def score(moves: Iterable[Move]) -> ForecastScore | None:
    """How well the newest finished moves were foretold; None where none can be judged."""
    held = sorted((found for move in moves if (found := _held(move.move)) is not None), key=lambda each: each.ended_at)[
        -MOST_SCORED:
    ]
    if not held:
        return None
    return ForecastScore(
        moves=len(held),
        median_error=median(abs(each.p50_s / each.took_s - 1) for each in held),
        p90_held=sum(each.took_s <= each.p90_s for each in held) / len(held),
    )


def _held(move: VirtualMachineMove) -> _Held | None:
    """The attempt that moved it, if its forecast had a number and its begin and end were seen."""
    record = move.status.history[-1] if move.status.history else None
    attempt = move.status.attempt or move.spec.attempt
    if record is None or attempt is None or record.number != attempt.number:
        return None
    said = attempt.forecast
    if record.outcome != AttemptOutcome.SUCCEEDED or record.started_at is None or record.ended_at is None:
        return None
    if said.duration_p50_seconds is None or said.duration_p90_seconds is None or record.start_up_seconds is None:
        return None
    took_s = record.start_up_seconds + (record.ended_at - record.started_at).total_seconds()
    if took_s <= 0:
        return None
    return _Held(record.ended_at, took_s, said.duration_p50_seconds, said.duration_p90_seconds)
