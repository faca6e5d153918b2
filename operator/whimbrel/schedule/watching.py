"""A running copy, by its samples: when it will end, whether it still can, whether its guest may be suspended, what it teaches.

Called by `following` at each tick for whether it may go on, and when it has ended for what it has shown; by `engine` for the
plan's report. Samples come every five seconds, or not at all: then there is no arrival to tell, and nobody is suspended whose
pause cannot be bounded.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache

from whimbrel.api.ladder import Rung
from whimbrel.api.virtual_machine_move import AttemptOutcome, AttemptRecord, AttemptSpec, MovePhase, SeenPoint
from whimbrel.domain.quantities import MIB
from whimbrel.domain.records import MigrationState
from whimbrel.domain.samples import MigrationSample
from whimbrel.forecast import (
    SEEN_WHILE_MIGRATING,
    UNKNOWN_ZSTD,
    CurvePoint,
    Eta,
    Guest,
    Knowledge,
    Path,
    Sighting,
    Terms,
    chance_of_rest,
    eta,
    eta_of_rest,
    exactly,
    longest_pause_ms,
    pause_if_suspended_now,
    point_of_finished,
    predict,
    round_by_what_was_left,
    sighting,
)
from whimbrel.inventory.snapshot import Snapshot
from whimbrel.ladder.choice import HOPELESS
from whimbrel.ladder.rung import NEVER_MEASURED
from whimbrel.ladder.served import spared
from whimbrel.ladder.stun import STANDS_STILL, most_downtime_ms
from whimbrel.ladder.terms import terms_of
from whimbrel.lifecycle.evidence import Evidence
from whimbrel.lifecycle.guard import MONITOR_LAG_S
from whimbrel.schedule.weighing import known_of

CERTAINTY = 0.95
"""Of the bound on a pause, by what is believed and was seen; the stun guard holds the budget whatever is true."""
LEAD_S = 2.0
"""So long before the deadline it is decided whether the guest may be suspended: KubeVirt acts no earlier than 1 s after it, and
an abort of a copy takes well below a second to reach the launcher."""
UNLIMITED_BYTES_PER_SECOND = 1250.0 * MIB
"""Of an attempt without a cap, until samples show its rate: 10 Gbit/s."""
MOST_POINTS = 4
TIMESTAMP_S = 1.0
"""KubeVirt's times have whole seconds."""


@dataclass(frozen=True, slots=True)
class Watched:
    """An attempt whose copy runs or has run. `seen` is None where no sample is of use."""

    attempt: AttemptSpec
    guest: Guest
    path: Path
    terms: Terms
    began: datetime
    seen: Sighting | None
    copies_disks: bool = False
    """Whether local disks are copied too: samples tell of both together, and nothing of the guest's memory by itself."""

    @property
    def most_downtime_ms(self) -> int | None:
        """Longest pause that is permitted; None where the guest is never suspended."""
        return most_downtime_ms(self.attempt.forecast.budget_ms, self.terms)

    @property
    def believed(self) -> Guest:
        """The guest as it was known before, unless this very copy has shown points of its curve: it may work otherwise now."""
        shown = self.seen is not None and any(not point.at_most for point in self.seen.points)
        return replace(self.guest, points=()) if shown else self.guest

    @property
    def narrowed(self) -> Guest:
        """The guest with what this very copy has shown of it."""
        return self.believed if self.seen is None else self.seen.narrowed(self.believed)


def watched(evidence: Evidence, snapshot: Snapshot) -> Watched | None:
    """What the samples say of a move's current attempt; None where its copy has not begun.

    Of what was learnt only this move's earlier attempts count: the rate is seen, and ticks are many.
    """
    attempt, instance, state = evidence.attempt, evidence.instance, evidence.state
    if attempt is None or instance is None or state is None or state.started_at is None:
        return None
    guest = known_of(instance, snapshot, Knowledge.of([evidence.move], snapshot.now))
    cap = float(attempt.configuration.bandwidth_bytes_per_second)
    samples = _while_it_ran(snapshot.courses.get(instance.key, ()), state, attempt)
    seen = _sighting(tuple(samples), state.started_at, guest)
    more_than_memory = instance.local_disk_bytes != 0
    configuration = attempt.configuration
    if seen is not None and (more_than_memory or configuration.compression or configuration.allow_auto_converge):
        # Disks are in these figures, and before them comes no memory; compressed bytes say little of bytes of memory; and a
        # throttled guest shows nothing of what it does by itself.
        seen = replace(seen, points=(), later_left=(), round_at_most=None)
    return Watched(
        attempt=attempt,
        guest=guest,
        path=_path(attempt, cap),
        terms=terms_of(attempt, passes_devices_through=spared(instance, snapshot.capabilities)),
        began=state.started_at,
        seen=seen,
        copies_disks=more_than_memory,
    )


def _path(attempt: AttemptSpec, cap: float) -> Path:
    """What carries it: the rate that it was given, until samples show the one that it has."""
    ratio = exactly(1.0) if attempt.configuration.compression is None else UNKNOWN_ZSTD
    return Path(cap or UNLIMITED_BYTES_PER_SECOND, cap, compression=ratio, slowdown=NEVER_MEASURED)


@lru_cache(maxsize=1024)
def _sighting(samples: tuple[MigrationSample, ...], began: datetime, guest: Guest) -> Sighting | None:
    """Remembered by value: ticks are many, samples come every five seconds."""
    return sighting(samples, began, guest)


def _while_it_ran(
    samples: Sequence[MigrationSample], state: MigrationState, attempt: AttemptSpec
) -> Sequence[MigrationSample]:
    """The samples from before KubeVirt suspended the guest or switched to post-copy: afterwards it dirties nothing there.

    Nobody tells when a last step began; it was no longer than its limit.
    """
    if state.started_at is None or state.mode not in ("Paused", "PostCopy"):
        return samples
    limit_ms = attempt.configuration.max_downtime_ms
    if state.mode == "Paused" and limit_ms is not None:
        ended_at = state.ended_at or max((sample.sampled_at for sample in samples), default=state.started_at)
        return [sample for sample in samples if sample.sampled_at <= ended_at - timedelta(milliseconds=limit_ms)]
    until = state.started_at + timedelta(seconds=attempt.deadline_seconds + MONITOR_LAG_S)
    return [sample for sample in samples if sample.sampled_at <= until]


def hopeless(found: Watched, now: datetime) -> tuple[str, str] | None:
    """Why the copy must not go on, as (reason, message): it cannot end, has sent too much, or the guest would stand still for
    too long. None where it may.
    """
    seen, attempt = found.seen, found.attempt
    if seen is not None and attempt.most_bytes is not None and seen.sent_bytes > attempt.most_bytes:
        return (
            "SentTooMuch",
            f"It has sent {seen.sent_bytes / MIB:.0f} MiB; the ladder permits {attempt.most_bytes // MIB} MiB.",
        )
    if too_long := _pause_too_long(found, now):
        return "PauseTooLong", too_long
    # With local disks nobody tells how much of the time went into those.
    throttles = found.terms.may_throttle and not found.copies_disks
    if seen is None or seen.first_round or not (seen.points or throttles):
        return None
    chance = chance_of_rest(found.believed, found.path, found.terms, seen, most_downtime_ms=found.most_downtime_ms)
    if chance >= HOPELESS:
        return None
    if found.terms.at_deadline in STANDS_STILL:
        return "PauseTooLong", (
            f"By what its copy has shown, the guest would stand still for longer than {found.most_downtime_ms} ms."
        )
    clear = (
        f"After {seen.elapsed_s:.0f} s and {seen.sent_bytes / MIB:.0f} MiB it is clear that this copy will not end within "
        f"{attempt.deadline_seconds} s"
    )
    if found.terms.may_throttle and _ends_with_more_time(found, seen):
        return "NotConverged", f"{clear}, throttled as its guest is; it may with more time."
    throttled = ", throttled as well" if found.terms.may_throttle else ""
    return "CannotConverge", f"{clear}: the guest dirties memory faster than it is copied{throttled}."


def _ends_with_more_time(found: Watched, seen: Sighting) -> bool:
    return chance_of_rest(found.believed, found.path, replace(found.terms, deadline_s=0), seen) >= HOPELESS


def gate_opens_s(found: Watched, now: datetime) -> float | None:
    """Seconds until it must be decided whether the guest may be suspended; None where it never is, or that moment is over."""
    if found.terms.at_deadline not in STANDS_STILL:
        return None
    left_s = (found.began - now).total_seconds() + found.attempt.deadline_seconds - LEAD_S
    return left_s if left_s > 0 else None


def _pause_too_long(found: Watched, now: datetime) -> str:
    """Shortly before the deadline: why the guest must not be suspended; empty where it may, or it is too early to say."""
    most_ms = found.most_downtime_ms
    if most_ms is None or gate_opens_s(found, now) is not None:
        return ""
    bound_ms = _bound_ms(found, max(0.0, (now - found.began).total_seconds()))
    if bound_ms <= most_ms:
        return ""
    untold = "" if found.seen is not None else " No sample of its copy tells how far it is."
    return f"Suspended now, the guest could stand still for {bound_ms} ms; {most_ms} ms are permitted.{untold}"


def _bound_ms(found: Watched, elapsed_s: float) -> int:
    """The longest that the guest can stand still if it is suspended now; without samples by the forecast alone, and where
    nothing tells how the guest writes, by its memory.
    """
    path = found.path if found.seen is None else _at_rate_seen(found.path, found.seen)
    if not found.narrowed.tells_how_it_writes:
        left, at_most = ((), None) if found.seen is None else (found.seen.later_left, found.seen.round_at_most)
        return longest_pause_ms(
            found.narrowed,
            path,
            found.terms.device_state_s,
            later_left=left,
            round_at_most=at_most,
            certainty=CERTAINTY,
        )
    if found.seen is None:
        return predict(found.guest, path, found.terms).downtime_bound_ms
    pause = pause_if_suspended_now(
        found.narrowed, path, found.seen.remaining_bytes, elapsed_s, None,
        later_left=found.seen.later_left, round_at_most=found.seen.round_at_most, certainty=CERTAINTY,
        round_may_begin=not _still_in_first_round(found, elapsed_s),
    )  # fmt: skip
    return pause.bound_ms


def _still_in_first_round(found: Watched, elapsed_s: float) -> bool:
    """Whether what was left of the first round cannot have been sent since it was sampled."""
    seen = found.seen
    if seen is None or not seen.first_round or seen.bytes_per_second is None:
        return False
    return seen.bytes_per_second * (elapsed_s - seen.elapsed_s) < seen.remaining_bytes


def _at_rate_seen(path: Path, seen: Sighting) -> Path:
    """The path with the rate that is seen, if it is less than the cap: a pause is no faster."""
    rate = seen.bytes_per_second
    if rate is None or not 0 < rate < (path.cap_bytes_per_second or path.link_bytes_per_second):
        return path
    return replace(path, cap_bytes_per_second=rate)


def arrival(found: Watched, phase: MovePhase) -> Eta | None:
    """When the copy will end, from its newest sample on; None where no sample tells."""
    if found.seen is None or found.copies_disks:
        return None
    if phase in (MovePhase.STUNNED, MovePhase.POST_COPY):
        capped = phase is MovePhase.STUNNED
        return eta_of_rest(found.path, found.seen.remaining_bytes, found.seen.bytes_per_second, capped=capped)
    return eta(found.believed, found.path, found.terms, found.seen)


def learned(record: AttemptRecord, found: Watched | None, samples: Iterable[MigrationSample]) -> AttemptRecord:
    """The record of an attempt with what it has shown: its rate, what it sent, and points of the guest's dirty curve.

    A throttled guest shows nothing of how it dirties its memory by itself.
    """
    if found is None:
        return record
    seen, update = found.seen, dict[str, object]()
    since = found.began - timedelta(seconds=TIMESTAMP_S)
    sent = max((sample.processed_bytes or 0 for sample in samples if sample.sampled_at >= since), default=0)
    if sent:
        update["sent_bytes"] = sent
    if seen is not None and seen.bytes_per_second is not None:
        update["bytes_per_second"] = round(seen.bytes_per_second)
        update["asked_bytes_per_second"] = found.attempt.configuration.bandwidth_bytes_per_second or None
    if not (found.terms.may_throttle or found.copies_disks or found.attempt.configuration.compression):
        points = seen.points if seen is not None else ()
        if all(point.at_most for point in points):
            points = (*_of_what_was_left(record, found), *points)
        update["seen"] = tuple(_kept(point) for point in (points or _of_duration(record, found))[:MOST_POINTS])
    return record.model_copy(update=update)


def _of_duration(record: AttemptRecord, found: Watched) -> tuple[CurvePoint, ...]:
    """What the duration of a plain pre-copy tells, where its samples told nothing."""
    cap = found.path.cap_bytes_per_second
    plain = record.outcome == AttemptOutcome.SUCCEEDED and record.rung == Rung.PRE_COPY
    if not plain or not cap or record.started_at is None or record.ended_at is None:
        return ()
    copy_s = (record.ended_at - record.started_at).total_seconds()
    rates = cap / found.path.slowdown.p90, cap
    point = point_of_finished(found.guest, rates, (max(0.0, copy_s - TIMESTAMP_S), copy_s + TIMESTAMP_S))
    return () if point is None else (point,)


def _of_what_was_left(record: AttemptRecord, found: Watched) -> tuple[CurvePoint, ...]:
    """What a pre-copy that did not end tells of its rounds where none of them was seen whole: that each was so large."""
    seen = found.seen
    ended = record.outcome in (AttemptOutcome.SUCCEEDED, AttemptOutcome.UNVERIFIED)
    size = round_by_what_was_left(seen.later_left) if seen is not None and not ended else None
    if seen is None or size is None or not seen.bytes_per_second:
        return ()
    size = max(size, found.terms.last_step_s * seen.bytes_per_second)  # it would have ended within a smaller one
    return (CurvePoint(size / seen.bytes_per_second, size, SEEN_WHILE_MIGRATING),)


def _kept(point: CurvePoint) -> SeenPoint:
    return SeenPoint(
        window_ms=max(1, round(1000 * point.window_s)),
        distinct_bytes=round(point.distinct_bytes),
        at_most=point.at_most,
    )
