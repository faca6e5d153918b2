"""Forecasts held against what came: the receipt of a plan and the score of the cluster."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from support.builders import MIB, a_move, a_plan, an_attempt, an_instance
from whimbrel.api.migration_plan import MigrationPlanStatus
from whimbrel.api.quote import Quote
from whimbrel.api.scalars import format_timestamp
from whimbrel.api.virtual_machine_move import AttemptOutcome
from whimbrel.domain.records import Move
from whimbrel.status.score import plan_receipt, score

BEGAN = datetime(2026, 3, 1, 10, tzinfo=UTC)
PLAN = a_plan()
QUOTE = Quote(
    hash="x", virtual_machines=2, movable=2, duration_seconds=20, duration_p50_seconds=50, duration_p90_seconds=70
)


def moved(name: str, took_s: int, *, p50: int | None = 40, p90: int | None = 60, sent_mib: int | None = 100) -> Move:
    """A move that took so long: five seconds to start up, the rest to copy."""
    attempt = an_attempt()
    if p50 is not None:
        attempt["forecast"] |= {"durationP50Seconds": p50, "durationP90Seconds": p90}
    ended_at = BEGAN + timedelta(seconds=took_s)
    record = {
        "number": 1,
        "rung": "PreCopy",
        "outcome": "Succeeded",
        "startUpSeconds": 5,
        "startedAt": format_timestamp(BEGAN + timedelta(seconds=5)),
        "endedAt": format_timestamp(ended_at),
    }
    measured: dict[str, Any] = {"source": "NotMeasured"}
    if sent_mib is not None:
        measured = {"value": sent_mib * MIB, "source": "LastSample"}
    receipt = {
        "durationMs": {"value": 1000 * (took_s - 5), "source": "KubeVirtTimestamps"},
        "bytes": measured,
        "downtimeMs": {"source": "NotMeasured"},
        "attempts": 1,
    }
    status = {"history": [record], "receipt": receipt}
    return a_move(PLAN, an_instance(name), attempt=attempt, phase="Succeeded", status=status)


def test_the_score_is_the_median_error_and_how_often_the_ninetieth_percentile_held() -> None:
    found = score([moved("a", 40), moved("b", 50), moved("c", 80)])

    assert found is not None
    assert found.moves == 3
    assert found.median_error == pytest.approx(0.2)
    assert found.p90_held == pytest.approx(2 / 3)


def test_a_move_without_a_number_is_not_scored() -> None:
    assert score([moved("a", 40, p50=None)]) is None


def test_a_plans_receipt_adds_up_what_was_measured_and_says_what_was_not() -> None:
    stored = MigrationPlanStatus(started_at=BEGAN)
    moves = [moved("a", 40).move, moved("b", 80, sent_mib=None).move]

    found = plan_receipt(stored, QUOTE, moves, BEGAN + timedelta(seconds=90))

    assert found is not None
    assert (found.moved, found.attempts, found.duration_seconds, found.quoted_p50_seconds) == (2, 2, 90, 50)
    assert (found.bytes, found.bytes_unmeasured, found.downtime_unmeasured) == (100 * MIB, 1, 2)
    assert (found.p90_held, found.p90_missed, found.longest_downtime_ms) == (1, 1, None)


def failed(name: str, *, sent_mib: int | None, paused_ms: int | None = None) -> Move:
    """A move that moved at its second attempt."""
    move = moved(name, 40)
    (last,) = move.move.status.history
    first = last.model_copy(
        update={
            "outcome": AttemptOutcome.FAILED,
            "sent_bytes": None if sent_mib is None else sent_mib * MIB,
            "paused_ms": paused_ms,
        }
    )
    history = (first, last.model_copy(update={"number": 2}))
    status = move.move.status.model_copy(update={"history": history})
    return replace(move, move=move.move.model_copy(update={"status": status}))


def test_what_attempts_that_failed_sent_and_how_long_they_suspended_guests_counts_as_well() -> None:
    moves = [failed("a", sent_mib=7, paused_ms=4000).move, failed("b", sent_mib=None).move]

    found = plan_receipt(MigrationPlanStatus(started_at=BEGAN), QUOTE, moves, BEGAN)

    assert found is not None
    assert (found.attempts, found.wasted_bytes, found.wasted_unmeasured) == (4, 7 * MIB, 1)
    assert (found.longest_downtime_ms, found.downtime_unmeasured) == (4000, 2)


def test_an_attempt_of_which_nobody_knows_whether_it_moved_its_guest_is_not_in_vain() -> None:
    (move,) = [failed("a", sent_mib=7).move]
    first, last = move.status.history
    arrived = (first.model_copy(update={"outcome": AttemptOutcome.UNVERIFIED}), last)
    moves = [move.model_copy(update={"status": move.status.model_copy(update={"history": arrived})})]

    found = plan_receipt(MigrationPlanStatus(started_at=BEGAN), QUOTE, moves, BEGAN)

    assert found is not None
    assert (found.wasted_bytes, found.wasted_unmeasured) == (0, 0)


def test_a_plan_of_which_nothing_began_has_no_receipt() -> None:
    assert plan_receipt(MigrationPlanStatus(), QUOTE, [], BEGAN) is None
