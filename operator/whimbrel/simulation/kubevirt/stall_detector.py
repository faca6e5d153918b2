"""The launcher's stall-detecting monitor: raises QEMU's downtime limit, switches to post-copy, or aborts (KubeVirt 1.9, alpha).

It judges what remains when an iteration begins. A migration stalls when that was no smaller, margin aside, than the least of
longer than the progress timeout ago; then it waits for a round that begins with about as little as the best one did. Bytes per
second are on the wire, as QEMU counts them. Called by `monitor`; shares no code with what Whimbrel forecasts.
"""

from bisect import insort
from dataclasses import replace

from whimbrel.simulation.kubevirt.convergence import (
    MOST_DOWNTIME_MS,
    USUAL_DOWNTIME_MS,
    Action,
    Look,
    Record,
    Rules,
    Stalling,
    Watch,
)
from whimbrel.simulation.kubevirt.stall_options import StallOptions

EVENT_S = 0.05
"""libvirt tells of an iteration's begin within this; one that is seen later was polled for, and shows the pace as polls do."""
_MOST_ESTIMATE_MS = 2**32 - 1


def tick(of: Rules, watch: Watch, look: Look) -> tuple[Watch, Action]:
    """One look: what is seen is remembered, then at most one thing is done."""
    options, known = of.stall, watch.stalling
    assert options is not None
    assert known is not None
    if look.stopped and watch.mode == "PreCopy":
        watch = replace(watch, mode="Paused")
    action = Action.WAIT
    if watch.aborting:
        watch = replace(watch, stalling=replace(known, iteration=look.iteration or known.iteration))
    else:
        seen, judged = _seen(options, known, watch.mode, look)
        watch = replace(watch, stalling=seen)
        if judged:
            watch, action = _converge(of, options, watch, look.elapsed_s)
        if action is Action.WAIT:
            watch, action = _at_deadline(of, options, watch, look.elapsed_s)
    if action is Action.WAIT and not known.limited:
        return _limited(watch, min(of.max_downtime_ms, USUAL_DOWNTIME_MS)), Action.LIMIT_DOWNTIME
    return watch, action


def undone(before: Stalling, after: Stalling) -> Stalling:
    """What is remembered when the hypervisor refused the action: what was seen stays."""
    return replace(
        after,
        limited=before.limited,
        begun=before.begun,
        switch_over_deadline_s=before.switch_over_deadline_s,
    )


def _seen(options: StallOptions, known: Stalling, mode: str, look: Look) -> tuple[Stalling, bool]:
    """What the look adds, and whether it is time to judge a stalled migration."""
    if look.remaining_bytes is None or look.iteration is None:
        return known, False
    here = Record(round(1000 * look.elapsed_s), look.remaining_bytes)
    if look.iteration == known.iteration:
        if mode != "PreCopy":
            return replace(known, latest=here), False
        return _paced(options, known, look), False
    began_with = look.remaining_bytes if look.round_bytes is None else look.round_bytes
    late_bytes = began_with - look.remaining_bytes
    if known.iteration and mode == "PreCopy" and late_bytes > EVENT_S * (look.bytes_per_second or 0):
        known = _paced(options, known, look)
    record = Record(here.elapsed_ms, began_with)
    known = replace(known, iteration=look.iteration, latest=record)
    if known.bytes_per_second == 0 or known.begun:
        return known, False
    known = _remembered(options, known, record)
    if known.stalled:
        return _relaxed(options, known, record), True
    if _stalls(options, known, record):
        return _stalled(options, known, record), True
    return known, False


def _paced(options: StallOptions, known: Stalling, look: Look) -> Stalling:
    if look.bytes_per_second is None:
        return known
    alpha = options.ewma_alpha if known.bytes_per_second else 1.0
    pace = alpha * look.bytes_per_second + (1 - alpha) * known.bytes_per_second
    return replace(known, bytes_per_second=pace)


def _remembered(options: StallOptions, known: Stalling, record: Record) -> Stalling:
    """With the record among the candidates, of which those as old as the window leave it."""
    oldest_ms = record.elapsed_ms - 1000 * options.stall_progress_timeout_s
    left = [each for each in known.candidates if each.elapsed_ms <= oldest_ms]
    kept = known.candidates[len(left) :]
    outside = min([*([known.outside] if known.outside else ()), *left], key=_remaining, default=None)
    smaller_outside = outside is not None and outside.remaining_bytes < record.remaining_bytes
    smaller_inside = bool(kept) and kept[-1].remaining_bytes <= record.remaining_bytes
    if not smaller_outside and not smaller_inside:
        kept = (*kept, record)
    return replace(known, candidates=kept, outside=outside)


def _stalls(options: StallOptions, known: Stalling, record: Record) -> bool:
    outside = known.outside
    return outside is not None and record.remaining_bytes >= int(outside.remaining_bytes * (1 - options.stall_margin))


def _stalled(options: StallOptions, known: Stalling, record: Record) -> Stalling:
    patience_ms = 1000 * options.stall_progress_timeout_s
    best = min([*([known.outside] if known.outside else ()), *known.candidates], key=_remaining)
    return replace(
        known,
        stalled=True,
        best_bytes=best.remaining_bytes,
        patience_ms=patience_ms,
        relaxed_at_ms=record.elapsed_ms + patience_ms,
    )


def _relaxed(options: StallOptions, known: Stalling, record: Record) -> Stalling:
    """After each time of patience the next smallest that was seen since the stall will do."""
    seen = list(known.since_stall)
    insort(seen, record.remaining_bytes)
    if record.elapsed_ms < known.relaxed_at_ms:
        return replace(known, since_stall=tuple(seen))
    patience_ms = int(known.patience_ms * options.patience_window_decay_factor)
    return replace(
        known,
        best_bytes=seen[0],
        since_stall=tuple(seen[1:]),
        patience_ms=patience_ms,
        relaxed_at_ms=record.elapsed_ms + patience_ms,
    )


def _converge(of: Rules, options: StallOptions, watch: Watch, elapsed_s: float) -> tuple[Watch, Action]:
    """What is done about a stalled migration at the begin of a round."""
    known = watch.stalling
    assert known is not None
    near_best = known.latest.remaining_bytes <= int(known.best_bytes * (1 + options.stall_margin))
    if options.search_local_minima and not near_best:
        return watch, Action.WAIT
    downtime_ms = _estimated_ms(known)
    if not _fits(options, watch, known, elapsed_s):
        return watch, Action.WAIT
    if of.allow_workload_disruption and of.allow_post_copy and not of.passes_devices_through:
        return _begun(replace(watch, mode="PostCopy")), Action.POST_COPY
    if of.allow_workload_disruption:
        return _stopped(options, watch, MOST_DOWNTIME_MS, elapsed_s)
    if downtime_ms <= of.max_downtime_ms * options.precopy_possible_factor:
        return _stopped(options, watch, of.max_downtime_ms, elapsed_s)
    return _begun(replace(watch, aborting=True)), Action.ABORT


def _at_deadline(of: Rules, options: StallOptions, watch: Watch, elapsed_s: float) -> tuple[Watch, Action]:
    """What is done when the time budget, or that of a stop which was set in motion, is over."""
    known = watch.stalling
    assert known is not None
    if watch.mode == "PostCopy" or watch.deadline_s == 0 or int(elapsed_s) <= watch.acts_after_s:
        return watch, Action.WAIT
    if not known.begun and _fits(options, watch, known, elapsed_s):
        if of.allow_post_copy and not of.passes_devices_through:
            return _begun(replace(watch, mode="PostCopy")), Action.POST_COPY
        if of.allow_workload_disruption:
            longer = replace(watch, deadline_s=int(watch.deadline_s * options.completion_timeout_factor))
            return _stopped(options, longer, MOST_DOWNTIME_MS, elapsed_s)
    return replace(watch, aborting=True), Action.ABORT


def _estimated_ms(known: Stalling) -> int:
    if known.bytes_per_second == 0:
        return 0
    return min(int(1000 * known.latest.remaining_bytes / known.bytes_per_second), _MOST_ESTIMATE_MS)


def _fits(options: StallOptions, watch: Watch, known: Stalling, elapsed_s: float) -> bool:
    """Whether what remained last goes over before the prolonged deadline; never where there is none."""
    last_s = int(watch.deadline_s * options.completion_timeout_factor)
    return known.bytes_per_second != 0 and _estimated_ms(known) <= 1000 * (last_s - int(elapsed_s))


def _stopped(options: StallOptions, watch: Watch, downtime_ms: int, elapsed_s: float) -> tuple[Watch, Action]:
    """QEMU will stop the guest at the first chance under the new limit, for which it is given a while."""
    limited = _begun(_limited(watch, downtime_ms))
    assert limited.stalling is not None
    until_s = int(elapsed_s) + options.switchover_timeout_s
    return replace(limited, stalling=replace(limited.stalling, switch_over_deadline_s=until_s)), Action.LIMIT_DOWNTIME


def _limited(watch: Watch, downtime_ms: int) -> Watch:
    assert watch.stalling is not None
    return replace(watch, downtime_ms=downtime_ms, stalling=replace(watch.stalling, limited=True))


def _begun(watch: Watch) -> Watch:
    assert watch.stalling is not None
    return replace(watch, stalling=replace(watch.stalling, begun=True))


def _remaining(record: Record) -> int:
    return record.remaining_bytes
