"""How likely an attempt moves its guest within what the plan permits: the question that a rung is chosen by.

Counts what `prediction` knows run by run, so it has an answer where a duration has none: near dirty rate = bandwidth the
length is a lottery, but a deadline that leaves room for all of it is met. Called by the ladder.
"""

from whimbrel.forecast.attempt import NO_DISKS, AtDeadline, Disks, Ending, Run, Terms
from whimbrel.forecast.path import Path
from whimbrel.forecast.prediction import CERTAIN, POD_START_UP, outcomes
from whimbrel.forecast.readings import Guest
from whimbrel.forecast.spread import Spread
from whimbrel.forecast.stun import longest_pause_ms

MOVED = frozenset({Ending.IN_TIME, Ending.STUNNED, Ending.POST_COPIED})
SUSPENDED = frozenset({Ending.STUNNED, Ending.STUN_ABORTED})
TOLERANCE = 1e-9


def too_long(run: Run, most_downtime_ms: int | None) -> bool:
    """Whether the guest would be suspended for longer than permitted (None: at all)."""
    return run.ending in SUSPENDED and (most_downtime_ms is None or 1000 * run.downtime_bound_s > most_downtime_ms)


def chance(
    guest: Guest,
    path: Path,
    terms: Terms,
    disks: Disks = NO_DISKS,
    start_up: Spread = POD_START_UP,
    *,
    within_s: float | None = None,
    most_downtime_ms: int | None = None,
    most_wire_bytes: float | None = None,
    looked_at_before: bool = True,
) -> float:
    """From 0 to 1: that the guest is moved within so many seconds from the create on, sending no more than so many bytes, by
    an attempt whose suspension is no longer than permitted (None: none is).

    What is too long counts as not moved: whoever runs the attempt looks at its samples before the guest is suspended, and ends
    it if the pause could be longer. Where there will be none (not `looked_at_before`), or nothing could end the pause
    (`AtDeadline.RAISE_DOWNTIME`), consent has no odds: 0 where any pause that may be is too long. A guest of whose writing
    nothing is told may rewrite all of its memory.
    """
    ended_before = looked_at_before and terms.at_deadline is not AtDeadline.RAISE_DOWNTIME
    unbounded = most_downtime_ms is not None and not (ended_before or guest.tells_how_it_writes)
    if unbounded and longest_pause_ms(guest, path, terms.device_state_s) > (most_downtime_ms or 0):
        return 0.0
    moved, start_ups = 0.0, start_up.values(5)
    for run, weight in outcomes(guest, path, terms, disks):
        if too_long(run, most_downtime_ms):
            if not ended_before:
                return 0.0
            continue
        too_much = most_wire_bytes is not None and run.wire_bytes > most_wire_bytes
        if run.ending in MOVED and run.seconds < float("inf") and not too_much:
            in_time = sum(within_s is None or run.seconds + wait_s <= within_s for wait_s in start_ups)
            moved += weight * in_time / len(start_ups)
    return min(1.0, moved)


def fits(
    guest: Guest,
    path: Path,
    terms: Terms,
    disks: Disks = NO_DISKS,
    start_up: Spread = POD_START_UP,
    *,
    within_s: float | None = None,
) -> bool:
    """Whether that chance is at least 90 %."""
    return chance(guest, path, terms, disks, start_up, within_s=within_s) >= CERTAIN - TOLERANCE
