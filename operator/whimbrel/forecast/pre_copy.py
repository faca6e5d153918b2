"""QEMU's iterated pre-copy of memory, round by round, for one curve and one constant pace.

Round i sends vᵢ bytes in tᵢ = vᵢ/B; meanwhile the guest dirties the next one's vᵢ₊₁ = W(tᵢ) (performance reference B1.2).
Memory in use is at least the working set, so rounds never grow; they shrink until they stop exactly where W(D) ≤ B·D,
because W is concave. The last round is not sent to its end: as soon as little remains of a round, QEMU looks again at what
is dirty, and stops the guest once all that is pending goes over within the allowed downtime, v - B·a + W(a) ≤ B·D at age a.
The first round is, for free memory, which counts in full until its end, goes over there in one burst; only a downtime limit
that was raised can be wider than that. Auto-converge by B1.2, 6; raised downtime by the KubeVirt contract's §5.4. Called by
`attempt` and `arrival`.
"""

from dataclasses import dataclass, field
from math import inf

from whimbrel.domain.suspension import HYPERVISORS_DOWNTIME_MS
from whimbrel.forecast.curve import DirtyCurve
from whimbrel.forecast.path import Pace

PAGE_BYTES = 4096
ZERO_PAGE_BYTES = 9.0
"""What a page of zeros takes on the wire (performance reference B1.2, 1)."""
ALLOWED_DOWNTIME_S = HYPERVISORS_DOWNTIME_MS / 1000
MOST_ROUNDS = 256
"""Rounds that are followed one by one; dirtying at 95 % of the rate takes about 200. What takes more is critical."""
CRITICAL_BAND = 0.15
"""Within this of dirtying = sending, the number of rounds is a lottery (performance reference B1.4: 34 and 86 rounds)."""
STALL_MARGIN = 0.04
"""A round that is no smaller than the smallest before the window, less this share, gets on no further."""
TRIED_UP_TO = 1.5
"""KubeVirt raises the downtime for what would take so many times as long at most; beyond, it aborts."""
SWITCH_OVER_WITHIN_S = 60.0
"""After the downtime was raised KubeVirt waits so long before it aborts."""
RATE_SEEN_S = 0.1
"""QEMU measures its rate, and so what goes over within the downtime, over so long (performance reference B1.2, 2): within its
first round it stops a guest no earlier, and so much later than it could."""
PERIOD_S = 1.0
FIRST_THROTTLE, THROTTLE_STEP, MOST_THROTTLE = 0.20, 0.10, 0.99


@dataclass(frozen=True, slots=True)
class Ramp:
    """The last step may take longer once the copy gets on no further: KubeVirt's stall detector, its soft stop."""

    downtime_s: float
    window_s: float
    """So long without progress."""


@dataclass(frozen=True, slots=True)
class Course:
    """How far a copy of memory went. Without `ended` it was cut off at `elapsed_s`, or never ends (`elapsed_s` infinite).

    `left_bytes` are those of the current round, or what goes over while the guest stands still; `round_age_s` seconds ago
    the current round began with `round_bytes`. `throttle_s` is the cost to the guest: throttle times seconds.
    """

    ended: bool
    elapsed_s: float
    sent_bytes: float
    left_bytes: float
    round_bytes: float
    round_age_s: float
    rounds: int
    throttle: float = 0.0
    throttle_s: float = 0.0
    allowed_downtime_s: float = ALLOWED_DOWNTIME_S
    """The limit that held in the end."""


def first_round_bytes(memory_bytes: float, in_use_bytes: float) -> float:
    """Bytes of the first round: memory in use, and nine for each page of zeros."""
    return in_use_bytes + max(0.0, memory_bytes - in_use_bytes) / PAGE_BYTES * ZERO_PAGE_BYTES


def pressure(
    curve: DirtyCurve, pace: Pace, allowed_downtime_s: float = ALLOWED_DOWNTIME_S, *, may_throttle: bool = False
) -> float:
    """ρ = W(D) ÷ (B·D): pre-copy ends where this is at most 1, and is critical near 1. With leave to throttle, at the most of
    it. For a constant rate it is dirty rate ÷ bandwidth, for a small hot set its size ÷ what the downtime lets through.
    """
    felt = curve.throttled(MOST_THROTTLE) if may_throttle else curve
    return felt.distinct_bytes(allowed_downtime_s) / (pace.bytes_per_second * allowed_downtime_s)


def critical(ratio: float) -> bool:
    """Whether nobody can predict the outcome of this pressure."""
    return abs(ratio - 1) < CRITICAL_BAND


def copy_memory(
    left_bytes: float,
    curve: DirtyCurve,
    pace: Pace,
    *,
    allowed_downtime_s: float = ALLOWED_DOWNTIME_S,
    may_throttle: bool = False,
    throttle: float = 0.0,
    ramp: Ramp | None = None,
    until_s: float = inf,
    round_age_s: float = 0.0,
    round_bytes: float | None = None,
    first_round: bool = True,
    free_bytes: float = inf,
) -> Course:
    """Copies until QEMU stops the guest, or for so many seconds. Begins with a round or within one (`round_age_s` seconds old,
    `left_bytes` of its `round_bytes` to go), the first one or a later one, with the guest throttled so far already.
    `free_bytes`: memory that is not in use.

    At most MOST_ROUNDS rounds are followed; what has not ended then is in the critical band or at a standstill, where every
    round is like the last, and goes on like that until `until_s`.
    """
    rate, left, age = pace.bytes_per_second, left_bytes, round_age_s
    size = left_bytes if round_bytes is None else max(round_bytes, left_bytes)
    felt, cost, high = curve.throttled(throttle), 0.0, 0
    allowed_s, progress = allowed_downtime_s, _Progress()
    elapsed = sent = period_s = period_sent = period_dirtied = 0.0
    for rounds in range(1, MOST_ROUNDS + 1):
        takes_s = left / rate
        in_first = first_round and rounds == 1
        if not in_first or allowed_s > ALLOWED_DOWNTIME_S:
            enough = rate * allowed_s - (free_bytes if in_first else 0.0)
            ends_s = _enough_after(felt, left, age, rate, enough)
            if ends_s is not None and in_first:
                ends_s = min(takes_s, max(ends_s, RATE_SEEN_S - age) + RATE_SEEN_S)
            if ends_s is not None and elapsed + ends_s <= until_s:
                pending = max(0.0, left - rate * ends_s) + felt.distinct_bytes(age + ends_s)
                elapsed, sent, cost = elapsed + ends_s, sent + rate * ends_s, cost + throttle * ends_s
                return Course(True, elapsed, sent, pending, pending, 0.0, rounds, throttle, cost, allowed_s)
        if elapsed + takes_s > until_s:
            return _cut_off(elapsed, sent, left, size, age, rounds, throttle, cost, rate, until_s)
        elapsed, sent, cost = elapsed + takes_s, sent + left, cost + throttle * takes_s
        pending = felt.distinct_bytes(age + takes_s)
        period_s, period_sent, period_dirtied = period_s + takes_s, period_sent + left, period_dirtied + pending
        if pending <= rate * allowed_s:
            return Course(True, elapsed, sent, pending, pending, 0.0, rounds, throttle, cost, allowed_s)
        stands_still = pending >= left and age == 0
        left, size, age = pending, pending, 0.0
        if ramp is not None and allowed_s < ramp.downtime_s:
            stands_still = False
            if progress.stalled(elapsed, pending, ramp.window_s):
                if pending > rate * ramp.downtime_s * TRIED_UP_TO:
                    return Course(False, elapsed, sent, left, size, 0.0, rounds, throttle, cost)
                allowed_s, until_s = ramp.downtime_s, min(until_s, elapsed + SWITCH_OVER_WITHIN_S)
        if may_throttle and throttle < MOST_THROTTLE:
            stands_still = False
            if period_s >= PERIOD_S:
                high += period_dirtied > period_sent / 2
                if high >= 2:
                    throttle, high = min(MOST_THROTTLE, throttle + THROTTLE_STEP) if throttle else FIRST_THROTTLE, 0
                    felt = curve.throttled(throttle)
                period_s = period_sent = period_dirtied = 0.0
        if stands_still:
            break
    if until_s == inf:
        return Course(False, inf, inf, left, size, 0.0, rounds, throttle, inf if throttle else cost)
    laps, age = divmod(until_s - elapsed, left / rate)
    elapsed, sent, cost = elapsed + laps * left / rate, sent + laps * left, cost + throttle * laps * left / rate
    return _cut_off(elapsed, sent, left, size, 0.0, rounds + int(laps), throttle, cost, rate, elapsed + age)


@dataclass(slots=True)
class _Progress:
    """What rounds began with, as KubeVirt's stall detector looks at it."""

    _recent: list[tuple[float, float]] = field(default_factory=list)
    _smallest: float = inf
    """Of the rounds that began before the window."""

    def stalled(self, elapsed_s: float, left_bytes: float, window_s: float) -> bool:
        """Whether a round that begins now with so many bytes is no progress over what was before the window."""
        while self._recent and elapsed_s - self._recent[0][0] >= window_s:
            self._smallest = min(self._smallest, self._recent.pop(0)[1])
        self._recent.append((elapsed_s, left_bytes))
        return left_bytes >= (1 - STALL_MARGIN) * self._smallest


def _enough_after(curve: DirtyCurve, left: float, age_s: float, rate: float, enough: float) -> float | None:
    """After how many seconds of this round's rest so little is pending as goes over within the downtime; None: not in this
    round. What is pending is concave in time, so it falls to that once, between two bends of the curve.
    """
    ends_s = left / rate
    if curve.distinct_bytes(age_s + ends_s) > enough:
        return None
    bends = sorted(age - age_s for age in curve.saturations_s if age_s < age < age_s + ends_s)
    since_s, before = 0.0, left + curve.distinct_bytes(age_s)
    for until_s in (*bends, ends_s):
        pending = left - rate * until_s + curve.distinct_bytes(age_s + until_s)
        if pending <= enough:
            return (
                since_s + (until_s - since_s) * max(0.0, before - enough) / (before - pending)
                if before > pending
                else since_s
            )
        since_s, before = until_s, pending
    return ends_s


def _cut_off(
    elapsed: float, sent: float, left: float, size: float, age: float, rounds: int, throttle: float, cost: float,
    rate: float, until_s: float,
) -> Course:  # fmt: skip
    step = max(0.0, until_s - elapsed)
    part = min(left, rate * step)
    return Course(
        False, elapsed + step, sent + part, left - part, size, age + step, rounds, throttle, cost + throttle * step
    )


def pending_at_most(course: Course, curve: DirtyCurve, pace: Pace) -> float:
    """The most bytes that are pending at any instant from the end of this course on, if it goes on: left of the round, and
    dirtied since it began. A round's phase cannot be foretold, so this is what a pause or a switch must reckon with.
    """
    if course.ended:
        return course.left_bytes
    felt, rate = curve.throttled(course.throttle), pace.bytes_per_second
    ends_s = course.round_age_s + course.left_bytes / rate
    following = felt.distinct_bytes(ends_s)
    return max(
        _most_pending(felt, course.left_bytes + rate * course.round_age_s, rate, course.round_age_s, ends_s),
        _most_pending(felt, following, rate, 0.0, following / rate),
    )


def _most_pending(curve: DirtyCurve, size: float, rate: float, from_s: float, to_s: float) -> float:
    """The maximum of size - rate·a + W(a) for ages a of a round: concave, so at an end or where the curve bends."""
    ages = (from_s, to_s, *(age for age in curve.saturations_s if from_s < age < to_s))
    return max(size - rate * age + curve.distinct_bytes(age) for age in ages)
