"""virt-launcher's part: one migration from its start to its verdict, watched by KubeVirt's monitor.

The monitor looks every 400 ms of lab time, and sees at its next look that a round has begun. On a fast clock it looks less
often, but never misses the tick at which its deadline is over.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from whimbrel.simulation.kubevirt import monitor, quantities, traits
from whimbrel.simulation.kubevirt.monitor import TICK_S, Action, Look, Rules, Watch
from whimbrel.simulation.kubevirt.values import Object
from whimbrel_lab.clock import LabClock
from whimbrel_lab.hypervisor import HypervisorError, JobProgress, MigrationJob, MigrationOptions, MigrationOutcome

LEAST_PAUSE_S = 0.02
"""In real seconds: no look follows another sooner."""
SAMPLE_EVERY_S = 5.0
MEBIBYTE = 1024**2


@dataclass(frozen=True, slots=True)
class Reports:
    """Whom the launcher tells: the mode changed, the abort began or was refused, what the job's progress is."""

    mode: Callable[[str], Awaitable[None]]
    abort: Callable[[str], Awaitable[None]]
    progress: Callable[[JobProgress], None]


@dataclass(frozen=True, slots=True)
class Verdict:
    """How it ended; `reason` is the monitor's own text where it aborted by itself."""

    outcome: MigrationOutcome
    reason: str = ""


def options(configuration: Object, instance: Object) -> MigrationOptions:
    """What the launcher passes to libvirt: bandwidth in whole MiB/s, at least one, when it is limited at all."""
    stated = quantities.value(configuration.get("bandwidthPerMigration"))
    bandwidth = max(1, round(stated / MEBIBYTE)) * MEBIBYTE if stated > 0 else 0
    return MigrationOptions(
        bandwidth_bytes_per_second=bandwidth,
        auto_converge=bool(configuration.get("allowAutoConverge")),
        allow_post_copy=bool(configuration.get("allowPostCopy")),
        zstd=traits.goes_compressed(configuration, instance),
    )


async def follow(
    job: MigrationJob, rules: Rules, clock: LabClock, abort_asked: asyncio.Event, reports: Reports
) -> Verdict:
    """Watch a job until it is over."""
    began_s = clock.monotonic()
    watch = monitor.begin(rules)
    over = asyncio.ensure_future(job.wait())
    asked = asyncio.ensure_future(abort_asked.wait())
    sampled = 0
    cancelled = False
    try:
        while not over.done():
            elapsed_s = clock.monotonic() - began_s
            progress = await job.progress()
            if progress is not None and elapsed_s >= (sampled + 1) * SAMPLE_EVERY_S:
                sampled = int(elapsed_s / SAMPLE_EVERY_S)
                reports.progress(progress)
            if asked.done() and not cancelled:
                cancelled = True
                refused = await _abort(job, reports)
                watch = replace(watch, aborting=not refused)
            before = watch
            looked, action = monitor.tick(rules, before, _look(progress, elapsed_s))
            watch = await _act(job, action, before, looked, reports)
            if watch.mode != before.mode:
                await reports.mode(watch.mode)
            pause_s = _until_next_look(watch, clock.monotonic() - began_s, clock.scale)
            waited = {over} if cancelled else {over, asked}
            await asyncio.wait(waited, timeout=pause_s / clock.scale, return_when=asyncio.FIRST_COMPLETED)
        return Verdict(over.result(), watch.abort_reason)
    finally:
        over.cancel()
        asked.cancel()


def _look(progress: JobProgress | None, elapsed_s: float) -> Look:
    if progress is None:
        return Look(elapsed_s)
    return Look(
        elapsed_s=elapsed_s,
        remaining_bytes=progress.remaining_bytes,
        bytes_per_second=progress.transfer_bytes_per_second,
        iteration=progress.iteration,
        round_bytes=progress.round_bytes,
        stopped=progress.stopped,
    )


async def _act(job: MigrationJob, action: Action, before: Watch, after: Watch, reports: Reports) -> Watch:
    """Carry the monitor's action out; what the hypervisor refuses is tried again at the next look."""
    if action is Action.WAIT:
        return after
    if action is Action.ABORT:
        refused = await _abort(job, reports)
        return monitor.abort_refused(after) if refused else after
    try:
        if action is Action.POST_COPY:
            await job.start_post_copy()
        elif action is Action.SUSPEND:
            await job.suspend()
        elif action is Action.LIMIT_DOWNTIME:
            await job.limit_downtime(after.downtime_ms)
    except HypervisorError:
        return monitor.refused(before, after)
    return after


async def _abort(job: MigrationJob, reports: Reports) -> bool:
    """Ask for the end; true when the hypervisor refused."""
    await reports.abort("Aborting")
    try:
        await job.abort()
    except HypervisorError:
        await reports.abort("Failed")
        return True
    return False


def _until_next_look(watch: Watch, elapsed_s: float, scale: float) -> float:
    """Lab seconds until the next look: on the 400 ms grid, at least a breath of real time away, at the deadline exactly."""
    ticks = max(1, math.ceil(LEAST_PAUSE_S * scale / TICK_S))
    if ticks > 1:
        ticks += int(elapsed_s) % 3
    next_s = (int(elapsed_s / TICK_S) + ticks) * TICK_S
    if watch.acts_after_s:
        deadline_tick_s = math.ceil((watch.acts_after_s + 1) / TICK_S) * TICK_S
        if elapsed_s < deadline_tick_s:
            next_s = min(next_s, deadline_tick_s)
    return max(next_s - elapsed_s, 0.001)
