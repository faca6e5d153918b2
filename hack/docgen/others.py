"""Examples of what other rooms than preflight say, made by their own code: a placement in small, and the quote's sentences."""

from collections.abc import Mapping
from datetime import UTC, datetime

from whimbrel.api.ladder import Migration
from whimbrel.forecast import Reading, guest
from whimbrel.ladder import Load
from whimbrel.placement import Fact, Guest, Problem, Room, conflicting, no_way, sequence, solve, undecided
from whimbrel.preflight import PreflightReason
from whimbrel.schedule.evacuation import no_room_together
from whimbrel.schedule.outlook import already_there
from whimbrel.schedule.reasons import claimed_by
from whimbrel.schedule.weighing import NoRungFits, chosen, price_in_words, refused

_GIB = 1 << 30
_NOW = datetime(2026, 1, 1, tzinfo=UTC)


def examples() -> Mapping[str, PreflightReason]:
    """By code."""
    said = (
        conflicting(_conflict()),
        no_way(_stuck()),
        undecided(),
        no_room_together("node-1"),
        already_there("node-2"),
        claimed_by("shop/older"),
        _busy(),
    )
    return {reason.code: reason for reason in said}


def _problem(*guests: Guest) -> Problem:
    """Guests of 12 GiB among two hosts of 16 GiB."""
    rooms = [Room(name, (16 * _GIB,), (16 * _GIB,)) for name in ("node-1", "node-2")]
    return Problem.of(("memory_bytes",), rooms, guests)


def _guest(name: str, suits: int, source: int | None = None) -> Guest:
    return Guest(name, f"shop/{name}", (12 * _GIB,), (Fact("processor", suits),), source)


def _conflict() -> str:
    """Two that need the one host that has room for one."""
    (conflict,) = solve(_problem(_guest("db1", 0b10), _guest("db2", 0b10))).conflicts
    return conflict.words


def _stuck() -> str:
    """One of two that are to change places."""
    full = [Room(name, (4 * _GIB,), (16 * _GIB,)) for name in ("node-1", "node-2")]
    guests = [_guest("db1", 0b10, 0), _guest("db2", 0b01, 1)]
    return sequence(Problem.of(("memory_bytes",), full, guests), {"db1": 1, "db2": 0}).stuck[0].words


def _busy() -> NoRungFits:
    """A guest of 16 GiB that rewrites 2 GiB in a second, on a link of 10 Gbit/s that two migrations share."""
    sample = Reading(float(2 * _GIB), _NOW)
    known = guest(float(16 * _GIB), _NOW, in_use=Reading(float(12 * _GIB), _NOW), dirty_sample=sample)
    load = Load(16 * _GIB, 596 << 20, known=known)
    return refused(chosen(load, Migration()), price_in_words(load, Migration()))
