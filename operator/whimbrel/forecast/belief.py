"""Which dirty curves fit what is known of a guest: a small fixed set of them, with weights.

One sample of one second is a point of the curve, not a rate (performance reference B1.3): the guest may rewrite just these
bytes for ever, or go on to dirty all of its memory. Every curve that passes through the points stays possible, how far it
goes on being log-uniform; a second point, of a longer window, leaves few. The weights do not depend on the values, so more
dirtying in makes every curve greater, and no forecast shorter.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil, inf

from whimbrel.domain.quantities import preferred
from whimbrel.forecast.curve import CurvePoint, DirtyCurve
from whimbrel.forecast.path import Pace
from whimbrel.forecast.readings import DIRTY_SAMPLE_S, Guest

IN_USE_SHARES = (0.4, 0.7, 1.0)
"""How much of a guest's memory is not zero where nobody tells: equally likely."""
UNTOLD_SHARES_PER_SECOND = ((0.0003, 0.19), (0.001, 0.19), (0.004, 0.19), (0.016, 0.19), (0.064, 0.19), (0.5, 0.05))
"""How much of its memory a guest dirties in one second where nobody tells, with the weight of it: log-uniform from nearly idle
to busy; and one in twenty rewrites half of it. Assumed.
"""
GROWTH = (0.1, 0.3, 0.5, 0.7, 1.0)
"""How far, on a logarithmic scale from what was seen to all memory in use, a set that still grew goes on growing."""
LINEAR_AT = 0.97
"""Where a longer window shows this share of what a constant rate would give, the curve has not bent before it."""
SATURATED_AT = 1.03
"""Where a longer window shows no more than this times the shorter one's bytes, the set was dirtied whole in the shorter."""
FASTER = 8.0
"""How much faster than just so a set may be rewritten that was dirtied whole within a window."""
WIDER_WINDOW = 1.15
"""From which ratio on two windows tell more than one."""
BENT_AT = 0.7
"""A bound below this share of what a constant rate would give shows that the curve has bent before it."""
BORROWED = 1.6
"""What is known no better than this was not measured on the guest itself. What was sampled on it is better known, and in the
middle right.
"""
CONTRADICTS_AT = 1.25
"""No curve shows more than this of what a constant rate would give: then the points are of different times."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A guest as it may be: bytes that are not zero, its curve, and the weight of that; weights add up to 1."""

    in_use_bytes: float
    curve: DirtyCurve
    weight: float


@lru_cache(maxsize=4096)
def candidates(guest: Guest) -> tuple[Candidate, ...]:
    """The guests that this one may be, in a fixed order; never empty."""
    used = (
        tuple(share * guest.memory_bytes for share in IN_USE_SHARES)
        if guest.in_use_bytes is None
        else (guest.in_use_bytes,)
    )
    found = []
    for in_use_bytes in used:
        for curve, weight in _curves(guest.points, in_use_bytes):
            found.append(Candidate(in_use_bytes, curve.within(in_use_bytes), weight / len(used)))
    return tuple(found)


def weighed(guest: Guest, paces: tuple[tuple[Pace, float], ...]) -> Iterator[tuple[Candidate, Pace, float]]:
    """The guests that this one may be at each pace that the path may have, with the weight of both; weights add up to 1."""
    return ((one, pace, one.weight * share) for one in candidates(guest) for pace, share in paces)


def busier(guest: Guest) -> Guest:
    """The guest where each sample of it says too little: nine of ten are no busier than that."""
    return replace(
        guest,
        points=tuple(
            replace(point, distinct_bytes=min(guest.memory_bytes, point.distinct_bytes * point.within_factor))
            if point.within_factor < BORROWED
            else point
            for point in guest.points
        ),
    )


def rounded_up(guest: Guest) -> Guest:
    """The guest in preferred numbers, as busy or up to a seventh busier: what is asked of many that are nearly alike is
    answered once, and an answer does not change with every sample.
    """

    def up(value_bytes: float) -> float:
        return min(guest.memory_bytes, float(preferred(ceil(value_bytes))))

    return replace(
        guest,
        in_use_bytes=None if guest.in_use_bytes is None else up(guest.in_use_bytes),
        points=tuple(
            replace(
                point,
                distinct_bytes=up(point.distinct_bytes),
                within_factor=ceil(10 * point.within_factor) / 10,
            )
            for point in guest.points
        ),
    )


def _curves(told: tuple[CurvePoint, ...], in_use_bytes: float) -> list[tuple[DirtyCurve, float]]:
    points = tuple(point for point in told if not point.at_most)
    memory_bytes = min(in_use_bytes, _ceiling(told, points))
    if not points:
        return [
            (curve, likely * weight)
            for share, likely in UNTOLD_SHARES_PER_SECOND
            for curve, weight in _through_one(DIRTY_SAMPLE_S, min(memory_bytes, share * in_use_bytes), memory_bytes)
        ]
    short, long = _ends(points)
    factor = max(short.within_factor, long.within_factor)
    scales = (1.0,) if factor < BORROWED else (1 / factor, 1.0, factor)
    return [
        (curve, weight / len(scales)) for scale in scales for curve, weight in _fit(short, long, memory_bytes, scale)
    ]


def _ceiling(told: tuple[CurvePoint, ...], points: tuple[CurvePoint, ...]) -> float:
    """How large a set may become: what a bound says whose window is the longest, where the curve must have bent before it. A
    set that grew no further in all that time is taken not to grow any more.
    """
    bounds = [point for point in told if point.at_most]
    if not bounds or not points:
        return inf
    bound = max(bounds, key=lambda point: (point.window_s, -point.distinct_bytes))
    short, long = _ends(points)
    straight = short.distinct_bytes * bound.window_s / short.window_s
    if bound.window_s < long.window_s or bound.distinct_bytes > BENT_AT * straight:
        return inf
    return max(point.distinct_bytes for point in (bound, *points))


def _ends(points: tuple[CurvePoint, ...]) -> tuple[CurvePoint, CurvePoint]:
    """The points of the shortest and of the longest window: what lies between adds little to a curve with one bend.

    What was measured on the guest itself outweighs what is borrowed. Of equal windows the greater one counts.
    """
    best = min(point.within_factor for point in points)
    own = [point for point in points if point.within_factor < BORROWED or point.within_factor == best]
    short = min(own, key=lambda point: (point.window_s, -point.distinct_bytes))
    return short, max(own, key=lambda point: (point.window_s, point.distinct_bytes))


def _fit(short: CurvePoint, long: CurvePoint, memory: float, scale: float) -> list[tuple[DirtyCurve, float]]:
    window_s, seen = short.window_s, min(memory, scale * short.distinct_bytes)
    if long.window_s < WIDER_WINDOW * window_s:
        return _through_one(window_s, seen, memory)
    straight = seen * long.window_s / window_s
    if min(memory, scale * long.distinct_bytes) > CONTRADICTS_AT * straight:
        # The guest was busier at one time than at the other, and may be either.
        both = (window_s, seen), (long.window_s, min(memory, scale * long.distinct_bytes))
        return [
            (curve, weight / 2) for window, bytes_ in both for curve, weight in _through_one(window, bytes_, memory)
        ]
    later = min(memory, straight, max(seen, scale * long.distinct_bytes))
    rate = seen / window_s
    if later >= LINEAR_AT * straight:
        return [(DirtyCurve(_grown(later, memory, growth), rate), 1 / len(GROWTH)) for growth in GROWTH]
    noise = short.within_factor if short.within_factor < BORROWED else 1.0
    if later <= SATURATED_AT * noise * seen:
        return [(DirtyCurve(later, rate), 0.5), (DirtyCurve(later, FASTER * rate), 0.5)]
    cold_rate = (later - seen) / (long.window_s - window_s)
    hot = max(0.0, seen - cold_rate * window_s)
    return [(DirtyCurve(later, rate), 0.75), (DirtyCurve(hot, hot / window_s, memory - hot, cold_rate), 0.25)]


def _through_one(window_s: float, seen: float, memory: float) -> list[tuple[DirtyCurve, float]]:
    """All shapes through one point: dirtied whole within the window, hot and cold, or growing on from there."""
    rate = seen / window_s
    return [
        (DirtyCurve(seen, rate), 0.2),
        (DirtyCurve(seen, FASTER * rate), 0.2),
        (DirtyCurve(0.8 * seen, 0.8 * rate, memory - 0.8 * seen, 0.2 * rate), 0.1),
        *((DirtyCurve(_grown(seen, memory, growth), rate), 0.5 / len(GROWTH)) for growth in GROWTH),
    ]


def _grown(seen: float, memory: float, growth: float) -> float:
    return float(seen ** (1 - growth) * memory**growth) if 0 < seen < memory else seen
