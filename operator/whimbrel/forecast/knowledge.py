"""What finished attempts have taught: how a guest dirties its memory, how fast a path is, how long a start-up takes.

Kept where the attempts are recorded, in VirtualMachineMoves, so that it survives a restart without a write of its own; what is
kept is bounded, and so is what any one record can change. The operator alone writes moves (docs/how-to/nodes-that-may-lie.md
for who else could). A guest that never moved borrows from its class, those of its namespace with as much memory; a path that
none has taken, and the start-up of a class that has hardly moved, from all.
Called once per outlook.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from whimbrel.api.virtual_machine_move import AttemptRecord
from whimbrel.domain.records import Instance, Move
from whimbrel.forecast.curve import CurvePoint
from whimbrel.forecast.prediction import POD_START_UP
from whimbrel.forecast.spread import Spread

MOST_OF_A_GUEST = 6
"""Attempts of one guest that are looked at, the newest."""
MOST_OF_A_CLASS = 12
CLASS_FACTOR = 2.0
"""How far from what others of its class have shown a guest may be, in four of five cases. Assumed; a sample of its own
outweighs it."""
MOST_OF_A_PATH = 50
OLDEST = timedelta(days=30)
CLOCK_AHEAD = timedelta(seconds=60)
"""How far a node's clock may be ahead of ours."""
SAME_HOUR = timedelta(hours=3)
"""A guest does at this time of day what it did at this time of day, if it does anything regularly."""
OTHER_HOUR_FACTOR = 1.5
"""How far from what was seen at another time of day the truth may be, in four of five cases. Assumed."""
FEWEST = 3
"""Records that it takes to believe a median."""
FASTEST, SLOWEST = 0.8, 5.0
"""Bounds of how much longer than computed copies on a path are believed to take, whatever the records say."""
SHORTEST_START_UP_S, LONGEST_START_UP_S = 0.5, 600.0


@dataclass(frozen=True, slots=True)
class _Lesson:
    """A record with whose it is."""

    at: datetime
    path: tuple[str, str]
    record: AttemptRecord


@dataclass(frozen=True, slots=True)
class Knowledge:
    """All that was learnt, by instance UID, by class (namespace and bytes of memory) and by (source, target)."""

    _guests: Mapping[str, tuple[_Lesson, ...]]
    _classes: Mapping[tuple[str, int], tuple[_Lesson, ...]]
    _paths: Mapping[tuple[str, str], Spread]
    _everywhere: Spread | None
    _start_ups: Mapping[tuple[str, int], Spread]
    _any_start_up: Spread = POD_START_UP

    @classmethod
    def of(cls, moves: Iterable[Move], now: datetime) -> "Knowledge":
        """What these moves teach; the order in which they come does not matter."""
        lessons = sorted(
            (
                (record.ended_at, move.key, record.number, move, record)
                for move in moves
                for record in move.move.status.history
                if record.ended_at is not None and now - OLDEST <= record.ended_at <= now + CLOCK_AHEAD
            ),
            key=lambda each: each[:3],
        )
        guests: dict[str, deque[_Lesson]] = defaultdict(lambda: deque(maxlen=MOST_OF_A_GUEST))
        classes: dict[tuple[str, int], deque[_Lesson]] = defaultdict(lambda: deque(maxlen=MOST_OF_A_CLASS))
        ratios: dict[tuple[str, str], deque[float]] = defaultdict(lambda: deque(maxlen=MOST_OF_A_PATH))
        start_ups: dict[tuple[str, int], deque[float]] = defaultdict(lambda: deque(maxlen=MOST_OF_A_CLASS))
        everywhere, any_start_up = deque[float](maxlen=MOST_OF_A_PATH), deque[float](maxlen=MOST_OF_A_PATH)
        for ended_at, _key, _number, move, record in lessons:
            path, of = (_source(move, record), record.target_node), move.move.spec.instance
            if record.seen:
                lesson = _Lesson(ended_at, path, record)
                guests[move.instance_uid].append(lesson)
                classes[of.namespace, of.memory_bytes].append(lesson)
            if record.bytes_per_second and record.asked_bytes_per_second:
                ratio = min(SLOWEST, max(FASTEST, record.asked_bytes_per_second / record.bytes_per_second))
                ratios[path].append(ratio)
                everywhere.append(ratio)
            if record.start_up_seconds is not None:
                took_s = min(LONGEST_START_UP_S, max(SHORTEST_START_UP_S, float(record.start_up_seconds)))
                start_ups[of.namespace, of.memory_bytes].append(took_s)
                any_start_up.append(took_s)
        return cls(
            {uid: tuple(found) for uid, found in guests.items()},
            {of: tuple(found) for of, found in classes.items()},
            {path: spread for path, found in ratios.items() if (spread := _spread(found)) is not None},
            _spread(everywhere),
            {of: spread for of, found in start_ups.items() if (spread := _spread(found)) is not None},
            _spread(any_start_up) or POD_START_UP,
        )

    def start_up(self, instance: Instance) -> Spread:
        """Seconds from a migration's create to KubeVirt's start of the copy: of its class, else of all."""
        return self._start_ups.get((instance.key.namespace, instance.memory_bytes), self._any_start_up)

    def points(self, instance: Instance, now: datetime) -> tuple[CurvePoint, ...]:
        """What earlier attempts have shown of a guest: those of this time of day, else all with a wider margin; of one that
        never moved, what others of its class have shown.
        """
        lessons = self._guests.get(instance.uid, ())
        if not lessons:
            others = self._classes.get((instance.key.namespace, instance.memory_bytes), ())
            shown = (_point(*seen) for lesson in others for seen in _numbered(lesson))
            return tuple(replace(each, source=OF_ITS_CLASS, within_factor=CLASS_FACTOR) for each in shown)
        alike = [lesson for lesson in lessons if _apart(lesson.at, now) <= SAME_HOUR]
        found = [_point(*seen) for lesson in (alike or lessons) for seen in _numbered(lesson)]
        return tuple(found if alike else (replace(each, within_factor=OTHER_HOUR_FACTOR) for each in found))

    def shown_at(self, instance: Instance) -> datetime | None:
        """When a migration of this guest last showed how it dirties its memory: what was sampled before says less. A bound by
        itself shows only how it does not.
        """
        lessons = self._guests.get(instance.uid, ())
        return max((each.at for each in lessons if not all(seen.at_most for seen in each.record.seen)), default=None)

    def slowdown(self, source: str, target: str, otherwise: Spread) -> Spread:
        """How much longer than computed copies on this path take; of one that none has taken, on all of them."""
        return self._paths.get((source, target)) or self._everywhere or otherwise


def _source(move: Move, record: AttemptRecord) -> str:
    """Node that the attempt left: where its guest was when it was quoted, or where the attempt before had brought it."""
    before = [each for each in move.move.status.history if each.number < record.number and each.outcome == "Succeeded"]
    return before[-1].target_node if before else move.move.spec.instance.node


def _numbered(lesson: _Lesson) -> Iterable[tuple[int, int, bool]]:
    return ((seen.window_ms, seen.distinct_bytes, seen.at_most) for seen in lesson.record.seen)


OF_ITS_CLASS = "migrations of guests of this namespace with as much memory"


def _point(window_ms: int, distinct_bytes: int, at_most: bool) -> CurvePoint:
    return CurvePoint(window_ms / 1000, float(distinct_bytes), "an earlier migration of this guest", at_most=at_most)


def _apart(one: datetime, other: datetime) -> timedelta:
    """How far two moments are apart by the time of day."""
    difference = abs(one - other) % timedelta(days=1)
    return min(difference, timedelta(days=1) - difference)


def _spread(found: Iterable[float]) -> Spread | None:
    """Median and 90th percentile of what was seen; None for too few."""
    ordered = sorted(found)
    if len(ordered) < FEWEST:
        return None
    return Spread(ordered[(len(ordered) - 1) // 2], ordered[-(-9 * len(ordered) // 10) - 1])
