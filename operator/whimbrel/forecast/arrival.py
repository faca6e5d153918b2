"""How far a running copy is, and when it will end.

Progress is what was sent, of what was sent and will be sent; a copy whose rounds grow would go backwards, so the last value
shown is a floor. Times of arrival may move both ways: they say what is true now. To be called by the status report.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from math import inf, isfinite, log

from whimbrel.forecast.attempt import EARLIEST_ACT_S, Run, Terms, conclude
from whimbrel.forecast.belief import Candidate, weighed
from whimbrel.forecast.odds import MOVED, too_long
from whimbrel.forecast.path import Pace, Path
from whimbrel.forecast.pre_copy import copy_memory, first_round_bytes
from whimbrel.forecast.prediction import whole_attempt
from whimbrel.forecast.readings import Guest
from whimbrel.forecast.samples import Sighting
from whimbrel.forecast.spread import finite, quantile

OVER_BY = 0.7
"""A copy that should have ended at this share of its age and runs on is not of that guest."""
MOST_PROGRESS = 0.99
"""Until the guest is seen at its target."""


@dataclass(frozen=True, slots=True)
class Eta:
    """Seconds from the sample on until the copy ends, and bytes still to go over; None where it is not known to arrive."""

    p50_s: float | None
    p90_s: float | None
    will_send_bytes: float | None


def progress(sent_bytes: float, will_send_bytes: float | None, last: float = 0.0) -> float:
    """From 0 to 0.99, never less than the last value shown, whatever comes in; the last value where nothing is known."""
    floor = min(MOST_PROGRESS, max(0.0, last)) if isfinite(last) else 0.0
    if will_send_bytes is None or not isfinite(sent_bytes) or not isfinite(will_send_bytes):
        return floor
    sent, rest = max(0.0, sent_bytes), max(0.0, will_send_bytes)
    return max(floor, min(MOST_PROGRESS, sent / (sent + rest) if sent + rest > 0 else 0.0))


@lru_cache(maxsize=1024)
def eta(guest: Guest, path: Path, terms: Terms, seen: Sighting) -> Eta:
    """When a copy as last seen will have moved its guest; one that KubeVirt would end instead never does. The rate seen counts
    more than the path's; points seen narrow the guest's curve.

    Post-copy and suspended copies send what remains and no more: `eta_of_rest`.
    """
    runs = _rest(guest, path, terms, seen)
    durations = [(run.seconds if run.ending in MOVED else inf, weight) for run, weight in runs]
    sent = quantile([(run.wire_bytes if run.ending in MOVED else inf, weight) for run, weight in runs], 0.5)
    return Eta(finite(quantile(durations, 0.5)), finite(quantile(durations, 0.9)), finite(sent))


def eta_of_rest(path: Path, rest_bytes: float, bytes_per_second: float | None, *, capped: bool) -> Eta:
    """When a copy ends whose guest dirties nothing at the source any more: suspended (capped), or in post-copy (not capped)."""
    durations = [
        (rest_bytes / (pace.bytes_per_second if capped else pace.uncapped_bytes_per_second) + pace.hand_over_s, share)
        for pace, share in paces_seen(path, bytes_per_second if capped else None)
    ]
    return Eta(finite(quantile(durations, 0.5)), finite(quantile(durations, 0.9)), rest_bytes)


def paces_seen(path: Path, bytes_per_second: float | None, within: float = 0.0) -> tuple[tuple[Pace, float], ...]:
    """The path's paces, scaled so that their median is the rate seen (wire bytes per second), where one was seen.

    The rate seen may be wrong by the share `within`, so it counts against what is known of the path by how well each is known,
    and is never taken for what it cannot be.
    """
    paces = path.paces()
    if bytes_per_second is None or not 0 < bytes_per_second < inf:
        return paces
    rates = [(pace.bytes_per_second * pace.wire_share, share) for pace, share in paces]
    median = quantile(rates, 0.5)
    known, seen = log(quantile(rates, 0.9) / median), log(1 + within)
    trust = known**2 / (known**2 + seen**2) if within else 1.0
    likely = median * (bytes_per_second / median) ** trust
    scale = min(max(likely, bytes_per_second / (1 + within)), bytes_per_second * (1 + within)) / median
    return tuple(
        (
            replace(
                pace,
                bytes_per_second=pace.bytes_per_second * scale,
                uncapped_bytes_per_second=max(pace.uncapped_bytes_per_second, pace.bytes_per_second * scale),
            ),
            share,
        )
        for pace, share in paces
    )


def _goes_on(guest: Guest, one: Candidate, pace: Pace, terms: Terms, seen: Sighting) -> Run:
    """The rest of an attempt, in seconds and wire bytes from the sample on."""
    until_s = max(0.0, terms.deadline_s + EARLIEST_ACT_S - seen.elapsed_s) if terms.deadline_s else inf
    if seen.first_round:
        first = first_round_bytes(guest.memory_bytes, one.in_use_bytes)
        left = min(seen.remaining_bytes, max(0.0, first - seen.sent_bytes / pace.wire_share))
        age_s = seen.elapsed_s
    else:
        left = seen.remaining_bytes
        # A round whose begin was missed is taken to be half over, as rounds are on average.
        age_s = left / pace.bytes_per_second if seen.round_age_s is None else seen.round_age_s
    course = copy_memory(
        left, one.curve, pace, allowed_downtime_s=terms.allowed_downtime_s, may_throttle=terms.may_throttle,
        throttle=_throttled_by_now(guest, one, pace, terms, seen), ramp=terms.ramp, until_s=until_s, round_age_s=age_s,
        round_bytes=left + age_s * pace.bytes_per_second, first_round=seen.first_round,
        free_bytes=guest.memory_bytes - one.in_use_bytes,
    )  # fmt: skip
    return conclude(course, one.curve, pace, terms)


def _throttled_by_now(guest: Guest, one: Candidate, pace: Pace, terms: Terms, seen: Sighting) -> float:
    """How far the hypervisor has throttled this guest by now; nobody tells, so by its own rules."""
    if not terms.may_throttle:
        return 0.0
    first = first_round_bytes(guest.memory_bytes, one.in_use_bytes)
    until = copy_memory(
        first, one.curve, pace, allowed_downtime_s=terms.allowed_downtime_s, may_throttle=True, until_s=seen.elapsed_s
    )
    return until.throttle


@lru_cache(maxsize=1024)
def chance_of_rest(
    guest: Guest, path: Path, terms: Terms, seen: Sighting, *, most_downtime_ms: int | None = None
) -> float:
    """From 0 to 1: that a copy as last seen moves its guest, suspended for no longer than permitted (None: not at all)."""
    moved = (
        weight
        for run, weight in _still_possible(guest, path, terms, seen)
        if run.ending in MOVED and run.seconds < inf and not too_long(run, most_downtime_ms)
    )
    return min(1.0, sum(moved))


def _still_possible(guest: Guest, path: Path, terms: Terms, seen: Sighting) -> list[tuple[Run, float]]:
    """What becomes of the copy for guests whose copy would not have ended before now; weights add up to 1.

    Where it would have ended for all of them the guest is not what it was believed to be, and nothing is ruled out.
    """
    found = list[tuple[Run, float]]()
    for one, pace, weight in _believed(guest, path, seen):
        whole = whole_attempt(guest, one, pace, terms)
        if not (whole.ending in MOVED and whole.seconds < OVER_BY * seen.elapsed_s):
            found.append((_goes_on(guest, one, pace, terms, seen), weight))
    in_all = sum(weight for _run, weight in found)
    if in_all <= 0:
        return _rest(guest, path, terms, seen)
    return [(run, weight / in_all) for run, weight in found]


def _rest(guest: Guest, path: Path, terms: Terms, seen: Sighting) -> list[tuple[Run, float]]:
    """What becomes of a copy as last seen, for each guest that it may be and each rate that the path may have from here on."""
    return [(_goes_on(guest, one, pace, terms, seen), weight) for one, pace, weight in _believed(guest, path, seen)]


def _believed(guest: Guest, path: Path, seen: Sighting) -> Iterator[tuple[Candidate, Pace, float]]:
    return weighed(seen.narrowed(guest), paces_seen(path, seen.bytes_per_second, seen.rate_within))
