"""What the samples of a running migration say: how fast it is, where in which round it is, and points of the guest's curve.

KubeVirt samples every 5 s: bytes processed, and remaining of the current round (KubeVirt contract §9.1). A round is shorter
than the one before or equal, so where more than half of a round is still to go, no other round was missed before it; else
what was sent is at least that round, and bounds it.
Called before `arrival`; the points it finds are worth keeping for the next move of the same guest.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from math import sqrt

from whimbrel.domain.samples import MigrationSample
from whimbrel.forecast.curve import CurvePoint
from whimbrel.forecast.pre_copy import ALLOWED_DOWNTIME_S, first_round_bytes
from whimbrel.forecast.readings import Guest
from whimbrel.forecast.steady import independent, one_of_each_round, round_at_most, steady_rounds

SEEN_WHILE_MIGRATING = "rounds seen while it migrated"
SEEN_AFTERWARDS = "duration of a finished migration"
CLEAR = 0.8
"""How near the least must be to the most before a duration is taken for a measurement."""
REGULATED_S = 0.1
"""QEMU keeps its rate by sending so much at once and waiting for the rest of such a span: what was sent between two samples is
known to one of them.
"""
LARGE = 4.0
"""How many times what QEMU leaves unsent of a round, so that what was added to it is nearly all that was dirtied."""
RECENT_SAMPLES = 4
"""The rate is the mean over so many samples: QEMU's own last figure swings with every round."""
RECENT_ROUNDS = 12
"""Samples of different rounds that are compared for rounds of one size."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A running copy as last sampled. `round_age_s` is None where it cannot be told when the current round began."""

    at: datetime
    elapsed_s: float
    sent_bytes: float
    remaining_bytes: float
    bytes_per_second: float | None
    first_round: bool
    round_age_s: float | None
    points: tuple[CurvePoint, ...] = ()
    rate_within: float = 0.0
    """By which share the rate may be wrong."""
    later_left: tuple[float, ...] = ()
    """What was left of later rounds than the first, one sample of each (`steady.independent`): a round is not smaller than what
    is left of it.
    """
    round_at_most: float | None = None
    """Bytes that later rounds do not begin with more of (`steady.round_at_most`); None where nothing tells."""

    def narrowed(self, guest: Guest) -> Guest:
        """The guest with what this copy has shown of it."""
        return replace(guest, points=(*guest.points, *self.points))


@dataclass(frozen=True, slots=True)
class _Mark:
    """A believable sample: seconds since the begin, bytes sent in all, bytes left of the round."""

    at: datetime
    second: float
    sent: float
    left: float


def sighting(
    samples: Iterable[MigrationSample],
    began: datetime,
    guest: Guest,
    allowed_downtime_s: float = ALLOWED_DOWNTIME_S,
) -> Sighting | None:
    """What samples of one migration say, in whatever order and however often each comes; None where none of them is of use.
    `allowed_downtime_s`: as in `Terms`; QEMU leaves so much of each round unsent.

    Valid for copies that are neither throttled nor compressed; of others the rate is right, and the points say too little.
    Dropped: samples from before it began, without bytes processed or remaining, negative or absurd ones, and those whose
    bytes processed fall below an earlier one's.
    """
    marks = _marks(samples, began, guest)
    if not marks:
        return None
    if guest.in_use_bytes is None:
        first = guest.memory_bytes
    else:
        first = first_round_bytes(guest.memory_bytes, guest.in_use_bytes)
    rate, over_s = _rate(marks)
    round_began: float | None = 0.0
    in_first, points = True, list[CurvePoint]()
    unsent = allowed_downtime_s * rate if rate else 0.0
    for earlier, later in pairwise(marks):
        left = min(earlier.left, max(0.0, first - earlier.sent)) if in_first else earlier.left
        sent = later.sent - earlier.sent
        if later.left <= earlier.left and sent <= 1.05 * left:
            continue
        added = sent - left + later.left
        one_round = added > LARGE * unsent and later.left > added / 2
        ended = min(later.second, earlier.second + left / rate) if rate else later.second
        most = min(added + unsent, guest.memory_bytes)
        if round_began is not None and ended > round_began and 0 < added <= guest.memory_bytes:
            seen = added if one_round else most
            points.append(CurvePoint(ended - round_began, seen, SEEN_WHILE_MIGRATING, at_most=not one_round))
        in_first, round_began = False, ended if one_round else None
    last = marks[-1]
    later_rounds = one_of_each_round((mark.sent, mark.left) for mark in marks if mark.sent > first)
    recent = later_rounds[-RECENT_ROUNDS:]
    rounds = steady_rounds(recent, unsent)
    if rate and rounds is not None:
        sent, most = rounds.sent_bytes, min(rounds.begins_with_bytes, guest.memory_bytes)
        # Of what a round leaves unsent nobody can tell whether it was dirtied anew: at least what was sent, at most all of it.
        middle, factor = sqrt(sent * most), max(1.0, sqrt(most / sent))
        points.append(CurvePoint(sent / rate, middle, SEEN_WHILE_MIGRATING, factor))
        ends = first + rounds.begins_with_bytes - sent
        if steady_rounds([(ends, 0.0), *later_rounds][:RECENT_ROUNDS], unsent) is not None:
            # Whole rounds of this size fit between the first round's end and the next sample: it dirtied no more either.
            points.append(CurvePoint(first / rate, most, SEEN_WHILE_MIGRATING))
    age_s = None if round_began is None else last.second - round_began
    return Sighting(
        last.at, last.second, last.sent, last.left, rate, in_first, age_s, _telling(points), REGULATED_S / over_s,
        independent([left for _sent, left in recent]), round_at_most(recent, unsent),
    )  # fmt: skip


def _telling(points: list[CurvePoint]) -> tuple[CurvePoint, ...]:
    """The points of the shortest and of the longest window, and the bound of the longest: the others add nothing."""
    exact = sorted((point for point in points if not point.at_most), key=lambda point: point.window_s)
    bounds = sorted((point for point in points if point.at_most), key=lambda point: point.window_s)
    return tuple(dict.fromkeys((*exact[:1], *exact[-1:], *bounds[-1:])))


def point_of_finished(
    guest: Guest,
    bytes_per_second: tuple[float, float],
    copy_s: tuple[float, float],
    allowed_downtime_s: float = ALLOWED_DOWNTIME_S,
) -> CurvePoint | None:
    """A point of the curve from how long a plain pre-copy took that was not throttled, suspended or switched: what went over
    beyond the first round was dirtied meanwhile. Rate and duration are each the least and the most that they may have been.

    Rounds that shrink by q add q/(1-q) of the first. Where least and most tell different tales, the point only says at most;
    None where memory in use is not known or the least duration contradicts it.
    """
    if guest.in_use_bytes is None or not 0 < bytes_per_second[0] <= bytes_per_second[1]:
        return None
    first = first_round_bytes(guest.memory_bytes, guest.in_use_bytes)
    least, most = (rate * seconds / first - 1 for rate, seconds in zip(bytes_per_second, copy_s, strict=True))
    if not most > 0:
        return None
    window_s = 2 * first / sum(bytes_per_second)
    if least > 0 and (least / (1 + least)) >= CLEAR * (most / (1 + most)):
        middle = (least + most) / 2
        return CurvePoint(window_s, guest.in_use_bytes * middle / (1 + middle), SEEN_AFTERWARDS)
    # What went over while the guest stood still took hardly any time, and is not in the duration.
    stopped = allowed_downtime_s * bytes_per_second[1]
    at_most = min(guest.in_use_bytes, guest.in_use_bytes * most + stopped)
    return CurvePoint(window_s, at_most, SEEN_AFTERWARDS, at_most=True)


def _marks(samples: Iterable[MigrationSample], began: datetime, guest: Guest) -> list[_Mark]:
    marks = list[_Mark]()
    for sample in sorted(samples, key=lambda one: (one.sampled_at, one.processed_bytes or 0, one.remaining_bytes or 0)):
        sent, left = sample.processed_bytes, sample.remaining_bytes
        second = (sample.sampled_at - began).total_seconds()
        if sent is None or left is None or second <= 0 or sent < 0 or not 0 <= left <= 1.5 * guest.memory_bytes:
            continue
        if marks and (sent < marks[-1].sent or second <= marks[-1].second):
            continue
        marks.append(_Mark(sample.sampled_at, second, float(sent), float(left)))
    return marks


def _rate(marks: list[_Mark]) -> tuple[float | None, float]:
    """Bytes per second over the last few samples, from the begin where there is but one; and over how many seconds."""
    last = marks[-1]
    since = marks[-RECENT_SAMPLES:][0]
    seconds, sent = last.second - since.second, last.sent - since.sent
    if seconds <= 0:
        seconds, sent = last.second, last.sent
    return (sent / seconds if sent > 0 else None), seconds
