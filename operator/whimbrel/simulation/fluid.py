"""The fluid model of one guest's live migration: bytes as a liquid, QEMU's rounds kept exactly.

Pure; shares no code with `forecast`, which it judges. Constants and rules: QEMU's migration.c and ram.c (switch-over within
300 ms unless told otherwise, auto-converge 50 % twice, 20 % then +10 % up to 99 %, about 9 bytes on the wire for a zero page).
Rates are of bytes on the wire; everything else counts bytes of memory, of which a compressed copy sends fewer.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from math import inf

SWITCH_OVER_S = 0.3
"""QEMU's default downtime limit: it stops the guest when what is pending goes over in this time."""
DEVICE_STATE_S = 0.02
"""Sending the devices' state and resuming on the target; guests on real QEMU showed 1 to 25 ms in all."""
PAGE_BYTES = 4096
ZERO_PAGE_BYTES = 9
ZSTD_RATIO = 2.0
"""Bytes of memory that a byte on the wire carries where zstd compresses a usual guest."""
THROTTLE_PERIOD_S = 1.0
THROTTLE_FIRST = 0.20
THROTTLE_STEP = 0.10
THROTTLE_MOST = 0.99
_NEGLIGIBLE_BYTES = 1e-3


class Stage(StrEnum):
    """Where a migration is. The guest runs on the source in PRE_COPY (unless suspended), on the target from POST_COPY on."""

    PRE_COPY = "PreCopy"
    SWITCH_OVER = "SwitchOver"
    POST_COPY = "PostCopy"
    DONE = "Done"


@dataclass(frozen=True, slots=True)
class Memory:
    """A guest's memory: `touched_bytes` are not zero, of which a working set is rewritten cyclically at the dirty rate.

    `zstd_ratio` is how many bytes of it one byte on the wire carries where a copy is compressed by zstd.
    """

    size_bytes: float
    touched_bytes: float
    working_set_bytes: float
    dirty_bytes_per_second: float
    zstd_ratio: float = ZSTD_RATIO


@dataclass(frozen=True, slots=True)
class Copy:
    """A migration at one instant, as QEMU's source sees it.

    `left_bytes` is what the current round has still to send, `dirtied_bytes` what the next one will begin with.
    `sent_bytes` were on the wire; `compression` is how many bytes of memory one of them carries. QEMU stops the guest when
    what is pending goes over within `downtime_limit_s`, by the rate at which bytes are on the wire. `blackout_s` is for how
    long the guest stood still on account of this migration so far, by its own time.
    """

    memory: Memory
    cap_bytes_per_second: float
    auto_converge: bool
    round_bytes: float
    left_bytes: float
    compression: float = 1.0
    downtime_limit_s: float = SWITCH_OVER_S
    stage: Stage = Stage.PRE_COPY
    iteration: int = 1
    dirtied_bytes: float = 0.0
    sent_bytes: float = 0.0
    suspended: bool = False
    throttle: float = 0.0
    device_left_s: float = DEVICE_STATE_S
    blackout_s: float = 0.0
    elapsed_s: float = 0.0
    period_s: float = 0.0
    period_sent_bytes: float = 0.0
    period_dirtied_bytes: float = 0.0
    high_periods: int = 0

    @property
    def stands_still(self) -> bool:
        """Whether the guest runs nowhere at this instant."""
        if self.stage is Stage.POST_COPY:
            return self.device_left_s > 0
        return self.stage is Stage.SWITCH_OVER or (self.suspended and self.stage is Stage.PRE_COPY)

    @property
    def dirty_bytes_per_second(self) -> float:
        """How fast distinct pages of the working set are rewritten now."""
        return 0.0 if self.stands_still else self.memory.dirty_bytes_per_second * (1 - self.throttle)

    @property
    def link_cap_bytes_per_second(self) -> float:
        """The cap that holds now: QEMU lifts it for the last step, and post-copy does not know it."""
        return self.cap_bytes_per_second if self.stage is Stage.PRE_COPY else 0.0

    @property
    def remaining_bytes(self) -> float:
        """What libvirt's job info calls remaining: memory of the current round, zero pages included in the first."""
        if self.iteration == 1 and self.stage is Stage.PRE_COPY and self.round_bytes:
            return self.memory.size_bytes * self.left_bytes / self.round_bytes
        return self.left_bytes

    @property
    def began_with_bytes(self) -> float:
        """What was remaining when the current round began."""
        return self.memory.size_bytes if self.iteration == 1 else self.round_bytes

    @property
    def carried(self) -> float:
        """Bytes of memory that a byte on the wire carries now: pages that post-copy asks for go over as they are."""
        return 1.0 if self.stage is Stage.POST_COPY else self.compression


def begin(
    memory: Memory, cap_bytes_per_second: float = 0.0, auto_converge: bool = False, compression: float = 1.0
) -> Copy:
    """A migration that has sent nothing yet; a cap of 0 means none."""
    first = memory.touched_bytes + (memory.size_bytes - memory.touched_bytes) / PAGE_BYTES * ZERO_PAGE_BYTES
    return Copy(memory, cap_bytes_per_second, auto_converge, first, first, compression)


def limit_downtime(copy: Copy, seconds: float) -> Copy:
    """From now on QEMU stops the guest when what is pending goes over in so many seconds; without effect once it has."""
    return replace(copy, downtime_limit_s=seconds)


def round_left_s(copy: Copy, bytes_per_second: float) -> float:
    """Seconds until the current round is over if it gets this rate; infinite where no further round will begin."""
    if copy.stage is not Stage.PRE_COPY:
        return inf
    return _time_for(copy.left_bytes, bytes_per_second * copy.carried)


def suspend(copy: Copy) -> Copy:
    """The guest is suspended on the source while the copy goes on; no effect from the switch-over on."""
    return replace(copy, suspended=True) if copy.stage is Stage.PRE_COPY else copy


def post_copy(copy: Copy) -> Copy:
    """The guest goes on at the target and fetches the rest from there; no effect from the switch-over on."""
    if copy.stage is not Stage.PRE_COPY:
        return copy
    rest = min(copy.memory.size_bytes, copy.left_bytes + copy.dirtied_bytes)
    return replace(
        copy, stage=Stage.POST_COPY, left_bytes=rest, round_bytes=rest, dirtied_bytes=0.0, iteration=copy.iteration + 1
    )


def advance(copy: Copy, bytes_per_second: float, seconds: float) -> Copy:
    """The migration that many seconds later when it gets this rate throughout."""
    left = seconds
    while left > 0 and copy.stage is not Stage.DONE:
        copy, used = advance_within_stage(copy, bytes_per_second, left)
        left -= used
    return copy


def advance_within_stage(copy: Copy, bytes_per_second: float, seconds: float) -> tuple[Copy, float]:
    """As `advance`, but no further than to the next stage; also how many seconds were used."""
    if copy.stage is Stage.PRE_COPY:
        return _pre_copy(copy, bytes_per_second, seconds)
    if copy.stage is Stage.DONE:
        return copy, seconds
    device_first, rate = copy.stage is Stage.POST_COPY, bytes_per_second * copy.carried
    device_s, send_s = copy.device_left_s, _time_for(copy.left_bytes, rate)
    used = min(seconds, device_s + send_s)
    device_used = min(used, device_s) if device_first else min(device_s, max(0.0, used - send_s))
    done = used >= device_s + send_s
    sent = copy.left_bytes if done else min(copy.left_bytes, (used - device_used) * rate)
    later = replace(
        copy,
        stage=Stage.DONE if done else copy.stage,
        left_bytes=0.0 if done else copy.left_bytes - sent,
        sent_bytes=copy.sent_bytes + sent / copy.carried,
        device_left_s=0.0 if done else device_s - device_used,
        blackout_s=copy.blackout_s + (device_used if device_first else used),
        elapsed_s=copy.elapsed_s + used,
    )
    return later, used


def _time_for(size_bytes: float, bytes_per_second: float) -> float:
    if size_bytes <= _NEGLIGIBLE_BYTES:
        return 0.0
    return size_bytes / bytes_per_second if bytes_per_second > 0 else inf


def _enough_after(
    left: float, dirtied: float, working_set: float, dirty_rate: float, rate: float, enough: float
) -> float:
    """After how many seconds no more than `enough` bytes are pending, of what is left and of what was dirtied: QEMU does not
    wait for the end of a round to see it. Infinite where not within this round.
    """
    too_much = left + dirtied - enough
    if too_much <= 0:
        return 0.0
    full_s = (working_set - dirtied) / dirty_rate if dirty_rate > 0 else 0.0
    if rate > dirty_rate and too_much <= (rate - dirty_rate) * full_s:
        seconds = too_much / (rate - dirty_rate)
    else:
        seconds = (too_much + dirty_rate * full_s) / rate if rate > 0 else inf
    return seconds if seconds * rate <= left else inf


def _enough_within_round(copy: Copy, iteration: int, on_the_wire: float) -> float:
    """How many pending bytes may go over with the guest stopped, before the round is over.

    The first round ends with free memory in one burst, which counts in full until then: only a limit that was raised for the
    sake of the end can be wide enough for it.
    """
    enough = on_the_wire * copy.downtime_limit_s
    if iteration > 1:
        return enough
    free = copy.memory.size_bytes - copy.memory.touched_bytes
    return enough - free if copy.downtime_limit_s > SWITCH_OVER_S else -inf


def _pre_copy(copy: Copy, on_the_wire: float, seconds: float) -> tuple[Copy, float]:
    """Rounds until the time is up or QEMU stops the guest. A round is at least as long as the limit, so there are few."""
    memory, working_set, rate = copy.memory, copy.memory.working_set_bytes, on_the_wire * copy.compression
    left, dirtied, round_bytes, iteration = copy.left_bytes, copy.dirtied_bytes, copy.round_bytes, copy.iteration
    sent, throttle, high = 0.0, copy.throttle, copy.high_periods
    period_s, period_sent, period_dirtied = copy.period_s, copy.period_sent_bytes, copy.period_dirtied_bytes
    used, stage = 0.0, Stage.PRE_COPY
    while True:
        round_s = _time_for(left, rate)
        step = min(round_s, seconds - used)
        dirty_rate = 0.0 if copy.suspended else memory.dirty_bytes_per_second * (1 - throttle)
        enough = _enough_within_round(copy, iteration, on_the_wire)
        enough_s = _enough_after(left, dirtied, working_set, dirty_rate, rate, enough)
        if enough_s <= step:
            newly = min(working_set - dirtied, dirty_rate * enough_s) if dirty_rate else 0.0
            part = min(left, rate * enough_s)
            used, sent, left = used + enough_s, sent + part, left - part + dirtied + newly
            round_bytes, dirtied, iteration, stage = left, 0.0, iteration + 1, Stage.SWITCH_OVER
            break
        newly = min(working_set - dirtied, dirty_rate * step) if dirty_rate else 0.0
        dirtied, period_dirtied = dirtied + newly, period_dirtied + newly
        used, period_s = used + step, period_s + step
        ends = round_s <= step
        part = left if ends else min(left, rate * step)
        left, sent, period_sent = left - part, sent + part, period_sent + part / copy.compression
        if not ends:
            break
        if period_s >= THROTTLE_PERIOD_S:
            if copy.auto_converge and period_dirtied > period_sent / 2:
                high += 1
            if high >= 2:
                throttle = min(THROTTLE_MOST, throttle + THROTTLE_STEP) if throttle else THROTTLE_FIRST
                high = 0
            period_s = period_sent = period_dirtied = 0.0
        left, round_bytes, dirtied, iteration = dirtied, dirtied, 0.0, iteration + 1
        if left <= on_the_wire * copy.downtime_limit_s:
            stage = Stage.SWITCH_OVER
            break
    later = replace(
        copy,
        stage=stage,
        left_bytes=left,
        dirtied_bytes=dirtied,
        round_bytes=round_bytes,
        iteration=iteration,
        sent_bytes=copy.sent_bytes + sent / copy.compression,
        throttle=throttle,
        high_periods=high,
        period_s=period_s,
        period_sent_bytes=period_sent,
        period_dirtied_bytes=period_dirtied,
        blackout_s=copy.blackout_s + (used if copy.suspended else 0.0),
        elapsed_s=copy.elapsed_s + used,
    )
    return later, used
