"""Guests for the ladder: of 2 GiB, half of it in use, and what is known of how they write."""

from datetime import UTC, datetime

from whimbrel.api.ladder import Migration, Rung
from whimbrel.api.virtual_machine_move import AttemptOutcome, AttemptRecord
from whimbrel.domain.quantities import MIB
from whimbrel.forecast import CurvePoint, Guest, Reading, guest
from whimbrel.ladder import Load

GIB = 1024**3
NOW = datetime(2026, 1, 1, tzinfo=UTC)
GENTLE = Migration()


def known(dirty_mib_per_second: int, *points: CurvePoint, memory: int = 2 * GIB, in_use: int = GIB) -> Guest:
    sample = Reading(float(dirty_mib_per_second * MIB), NOW)
    return guest(float(memory), NOW, in_use=Reading(float(in_use), NOW), dirty_sample=sample, points=points)


def a_load(dirty_mib_per_second: int, *points: CurvePoint, rate: int = 100 * MIB) -> Load:
    return Load(2 * GIB, rate, known=known(dirty_mib_per_second, *points))


def settled(mib: int) -> tuple[CurvePoint, ...]:
    """A set of so many MiB that is rewritten again and again, as an earlier move has shown."""
    return CurvePoint(0.2, mib * MIB, "earlier move"), CurvePoint(12.0, mib * MIB, "earlier move")


def history(*ends: tuple[Rung, str]) -> tuple[AttemptRecord, ...]:
    return tuple(
        AttemptRecord(number=number, rung=rung, outcome=AttemptOutcome.FAILED, reason=reason)
        for number, (rung, reason) in enumerate(ends, 1)
    )
