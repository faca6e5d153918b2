"""One attempt from its start-up to its end under KubeVirt's time budget, for one curve and one pace.

KubeVirt gives a migration k·G seconds (k: completionTimeoutPerGiB, G: started 10^9 bytes of memory and copied disks) and then
aborts it, suspends the guest for at most as long again, or switches to post-copy (KubeVirt contract §5.2, §5.3). Called by
`prediction` and `arrival`.
"""

from dataclasses import dataclass
from enum import StrEnum
from math import inf

from whimbrel.domain.quantities import time_budget_units
from whimbrel.domain.suspension import DEVICE_STATE_S
from whimbrel.forecast.curve import DirtyCurve
from whimbrel.forecast.path import Pace
from whimbrel.forecast.pre_copy import ALLOWED_DOWNTIME_S, Course, Ramp, copy_memory, pending_at_most
from whimbrel.lifecycle.guard import MONITOR_LAG_S, RESUME_S

EARLIEST_ACT_S = MONITOR_LAG_S
"""KubeVirt's monitor compares whole elapsed seconds, so it acts no earlier than this after the deadline;"""
LATEST_ACT_S = 1.4
"""it looks every 400 ms, so no later than this."""
THROTTLE_SLICE_S = 0.01
LONGEST_RAISED_DOWNTIME_S = 2000.0
"""The most that KubeVirt raises the hypervisor's downtime limit to."""


class AtDeadline(StrEnum):
    """What KubeVirt does to an attempt that has not ended at its deadline."""

    ABORT = "Abort"
    SUSPEND = "Suspend"
    RAISE_DOWNTIME = "RaiseDowntime"
    """With a passed-through device it allows any pause instead of suspending; nothing can abort that."""
    POST_COPY = "PostCopy"


class Ending(StrEnum):
    """How an attempt ends."""

    IN_TIME = "InTime"
    ABORTED = "AbortedAtDeadline"
    STUNNED = "Stunned"
    STUN_ABORTED = "StunAborted"
    """Suspended for a whole further deadline, and resumed at the source."""
    POST_COPIED = "PostCopied"
    NEVER = "Never"
    """It neither ends nor has a deadline."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What an attempt may do. `deadline_s` is KubeVirt's, in seconds since the monitor's start; 0: none."""

    deadline_s: float = 0.0
    at_deadline: AtDeadline = AtDeadline.ABORT
    may_throttle: bool = False
    allowed_downtime_s: float = ALLOWED_DOWNTIME_S
    """The hypervisor's limit at which it stops the guest by itself."""
    ramp: Ramp | None = None
    """To what KubeVirt raises that limit, and when; None: never."""
    device_state_s: float = DEVICE_STATE_S
    """A fact of hypervisor and guest: whoever has finished moves of the like to learn from, says it."""

    @property
    def last_step_s(self) -> float:
        """The longest that the hypervisor lets the guest stand still for the last step."""
        return self.allowed_downtime_s if self.ramp is None else max(self.allowed_downtime_s, self.ramp.downtime_s)


@dataclass(frozen=True, slots=True)
class Disks:
    """Local disks that are copied before memory, in bytes and bytes per second; the guest goes on writing to them."""

    size_bytes: float = 0.0
    bytes_per_second: float = 1.0
    dirty_bytes_per_second: float = 0.0

    @property
    def seconds(self) -> float:
        """Until the target has them all: size ÷ (rate - writes), infinite where they are written as fast as copied."""
        if self.size_bytes <= 0:
            return 0.0
        net = self.bytes_per_second - self.dirty_bytes_per_second
        return self.size_bytes / net if net > 0 else inf


NO_DISKS = Disks()
PLAIN = Terms()
"""Pre-copy without a deadline."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one attempt comes to. Bytes are on the wire; seconds from the begin of the copy, start-up apart.

    `downtime_bound_s` is the longest that the guest stands still; `throttle_s` throttle times seconds.
    """

    ending: Ending
    seconds: float
    wire_bytes: float
    downtime_bound_s: float
    throttle_s: float


def deadline_seconds(completion_timeout_per_gib: int, memory_bytes: int, copied_disk_bytes: int = 0) -> int:
    """KubeVirt's deadline in seconds; 0 is never. Source: KubeVirt contract §5.2."""
    return completion_timeout_per_gib * time_budget_units(memory_bytes + copied_disk_bytes)


def attempt(
    first_bytes: float, curve: DirtyCurve, pace: Pace, terms: Terms, disks: Disks = NO_DISKS, *, free_bytes: float = inf,
) -> Run:  # fmt: skip
    """An attempt from the begin of the copy; `first_bytes` are those of the first round (`pre_copy.first_round_bytes`),
    `free_bytes` is memory that is not in use.
    """
    acts_s = terms.deadline_s + EARLIEST_ACT_S if terms.deadline_s else inf
    disks_s = disks.seconds
    if disks_s >= acts_s or disks_s == inf:
        copies_on = terms.at_deadline is not AtDeadline.ABORT and disks_s < inf
        copied = (disks_s if copies_on else acts_s) * disks.bytes_per_second
        course = Course(False, 0.0, 0.0, first_bytes, first_bytes, 0.0, 1)
        rest_s = (disks_s - acts_s if disks_s < inf else inf) if acts_s < inf else inf
        return conclude(
            course, curve, pace, terms, before_s=min(disks_s, acts_s), before_bytes=copied, disk_rest_s=rest_s
        )
    course = copy_memory(
        first_bytes, curve, pace, allowed_downtime_s=terms.allowed_downtime_s, may_throttle=terms.may_throttle,
        ramp=terms.ramp, until_s=acts_s - disks_s, free_bytes=free_bytes,
    )  # fmt: skip
    return conclude(course, curve, pace, terms, before_s=disks_s, before_bytes=disks_s * disks.bytes_per_second)


def conclude(
    course: Course,
    curve: DirtyCurve,
    pace: Pace,
    terms: Terms,
    *,
    before_s: float = 0.0,
    before_bytes: float = 0.0,
    disk_rest_s: float = 0.0,
) -> Run:
    """How an attempt ends whose memory went this course until KubeVirt acts. `before_s` and `before_bytes` (on the wire) are
    what came before it; `disk_rest_s` is how long the disks still need.
    """
    wire = before_bytes + course.sent_bytes * pace.wire_share
    elapsed_s = before_s + course.elapsed_s
    device_s, sleeps_s = terms.device_state_s, longest_sleep_s(course.throttle)
    if course.ended:
        stop_s = course.left_bytes / pace.uncapped_bytes_per_second
        most = min(pace.bytes_per_second * course.allowed_downtime_s, max(course.left_bytes, curve.working_set_bytes))
        bound_s = most / pace.uncapped_bytes_per_second + device_s + sleeps_s
        wire += course.left_bytes * pace.wire_share
        ends_s = elapsed_s + stop_s + device_s + pace.hand_over_s
        return Run(Ending.IN_TIME, ends_s, wire, bound_s, course.throttle_s)
    if elapsed_s == inf:
        return Run(Ending.NEVER, inf, inf, sleeps_s, course.throttle_s)
    acts_s = elapsed_s + (LATEST_ACT_S - EARLIEST_ACT_S) / 2 + pace.hand_over_s
    if terms.at_deadline is AtDeadline.ABORT:
        # As late as may be: the copy goes on meanwhile, and one that just ends in time is no longer and sends no more.
        late_s = LATEST_ACT_S - EARLIEST_ACT_S
        more = pace.bytes_per_second * late_s * pace.wire_share
        return Run(Ending.ABORTED, elapsed_s + late_s + pace.hand_over_s, wire + more, sleeps_s, course.throttle_s)
    rest = pending_at_most(course, curve, pace)
    all_sent = wire + rest * pace.wire_share
    rest_s = rest / pace.uncapped_bytes_per_second + device_s
    if terms.at_deadline is AtDeadline.POST_COPY:
        if disk_rest_s == inf:
            return Run(Ending.NEVER, inf, inf, 0.0, course.throttle_s)
        return Run(Ending.POST_COPIED, acts_s + disk_rest_s + rest_s, all_sent, device_s, course.throttle_s)
    if terms.at_deadline is AtDeadline.RAISE_DOWNTIME:
        if disk_rest_s + rest_s > terms.deadline_s:
            return Run(Ending.ABORTED, acts_s + terms.deadline_s, all_sent, 0.0, course.throttle_s)
        return Run(Ending.STUNNED, acts_s + disk_rest_s + rest_s, all_sent, rest_s, course.throttle_s)
    pause_s = disk_rest_s + rest / pace.bytes_per_second + device_s
    most_s = terms.deadline_s + LATEST_ACT_S - EARLIEST_ACT_S + RESUME_S
    if pause_s > terms.deadline_s:
        sent = wire + min(rest, pace.bytes_per_second * terms.deadline_s) * pace.wire_share
        return Run(Ending.STUN_ABORTED, acts_s + terms.deadline_s, sent, most_s, course.throttle_s)
    bound_s = disk_rest_s + most_rest(course, curve, pace) / pace.bytes_per_second + device_s
    return Run(Ending.STUNNED, acts_s + pause_s, all_sent, min(bound_s, most_s), course.throttle_s)


def longest_sleep_s(throttle: float) -> float:
    """How long a guest stands still at a time that is throttled so far: of each 10 ms of work the hypervisor makes θ/(1 - θ)
    times as much sleep (QEMU's cpu-throttle; 990 ms were measured at 99 %).
    """
    return THROTTLE_SLICE_S * throttle / (1 - throttle)


def most_rest(course: Course, curve: DirtyCurve, pace: Pace) -> float:
    """Remaining + working set: a guest suspended at the end of this course cannot have more bytes to send. Its working set is
    what it rewrote since the copy began. How far a round has come is known of the first one only; of a later one all of it may
    remain.
    """
    remaining = course.round_bytes
    if course.rounds == 1:
        ends_s = course.round_age_s + course.left_bytes / pace.bytes_per_second
        remaining = max(course.left_bytes, curve.distinct_bytes(ends_s))
    working_set = curve.distinct_bytes(max(course.elapsed_s, course.round_age_s))
    return max(pending_at_most(course, curve, pace), remaining + working_set)
