"""The launcher's convergence monitor: looks every 400 ms and suspends, switches to post-copy, or aborts.

Here is KubeVirt's default one, which compares whole elapsed seconds, so it acts 1.0 to 1.4 s after the deadline; where the gate
MigrationStallDetection is on, `stall_detector` looks instead. Called, by these functions alone, by the node agents of the lab
and of simulations and by whoever simulates one migration.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from whimbrel.simulation.kubevirt import budget, policies, stall_detector, stall_options, traits
from whimbrel.simulation.kubevirt.convergence import (
    MOST_DOWNTIME_MS,
    TICK_S,
    Action,
    Look,
    Rules,
    Stalling,
    Watch,
)

__all__ = [
    "TICK_S",
    "Action",
    "Look",
    "Rules",
    "Watch",
    "abort_refused",
    "begin",
    "pause_s",
    "refused",
    "rules",
    "tick",
]
_TOLD_S = 0.001
"""How long libvirt takes to tell of an iteration's begin."""


def rules(
    configuration: Mapping[str, Any], instance: Mapping[str, Any], kubevirt: Mapping[str, Any] | None = None
) -> Rules:
    """The rules of an attempt as virt-handler makes them at its begin: of its effective configuration, and of the gates that
    are on then.
    """
    observed = policies.observed_release(kubevirt)
    detects = observed.limits_downtime and policies.gate_enabled(kubevirt, policies.STALL_DETECTION)
    stated = (configuration.get("experimental") or {}).get("stallDetector") or {}
    return Rules(
        deadline_s=budget.deadline_s(configuration, instance),
        progress_timeout_s=int(configuration.get("progressTimeout") or 0),
        allow_workload_disruption=bool(configuration.get("allowWorkloadDisruption")),
        allow_post_copy=bool(configuration.get("allowPostCopy")),
        passes_devices_through=observed.limits_downtime and traits.passes_devices_through(instance),
        suspends=observed.suspends,
        max_downtime_ms=int(configuration.get("maxDowntimeMs") or policies.MAX_DOWNTIME_MS),
        stall=stall_options.options(stated) if detects else None,
    )


def begin(of: Rules) -> Watch:
    """The monitor at its start."""
    return Watch(deadline_s=of.deadline_s, stalling=Stalling(of.deadline_s) if of.stall is not None else None)


def pause_s(of: Rules, round_left_s: float) -> float:
    """Seconds until the next look, where the end of a round can be foreseen: the stall detector is told of each."""
    return TICK_S if of.stall is None else min(TICK_S, round_left_s + _TOLD_S)


def refused(before: Watch, after: Watch) -> Watch:
    """The hypervisor did not do what `tick` wanted on the way from one to the other: what was seen stays, no more."""
    undone = replace(after, mode=before.mode, deadline_s=before.deadline_s, downtime_ms=before.downtime_ms)
    if before.stalling is None or after.stalling is None:
        return undone
    mode = after.mode if after.mode == "Paused" else before.mode  # which it does not bring about, but sees
    return replace(undone, mode=mode, stalling=stall_detector.undone(before.stalling, after.stalling))


def abort_refused(watch: Watch) -> Watch:
    """The hypervisor refused the abort: the monitor may try again."""
    return replace(watch, aborting=False)


def tick(of: Rules, watch: Watch, look: Look) -> tuple[Watch, Action]:
    """One look. What the caller cannot carry out it takes back by `refused` or `abort_refused`."""
    if of.stall is not None:
        return stall_detector.tick(of, watch, look)
    remaining_bytes, elapsed_s = look.remaining_bytes, look.elapsed_s
    if remaining_bytes is not None:
        if watch.watermark_bytes is None or remaining_bytes < watch.watermark_bytes:
            watch = replace(watch, last_progress_s=elapsed_s)
        watch = replace(watch, watermark_bytes=remaining_bytes)
    if watch.mode == "PostCopy":
        return watch, Action.WAIT
    overdue = watch.deadline_s != 0 and int(elapsed_s) > watch.deadline_s
    if overdue and watch.mode != "Paused" and not watch.aborting:
        if not of.suspends and of.allow_post_copy:
            return replace(watch, mode="PostCopy"), Action.POST_COPY
        if of.suspends and of.allow_workload_disruption:
            return _disrupt(of, watch)
    if watch.aborting:
        return watch, Action.WAIT
    stuck_s = int(elapsed_s - watch.last_progress_s)
    if of.progress_timeout_s != 0 and stuck_s > of.progress_timeout_s:
        return _abort(watch, f"Live migration stuck for {stuck_s} sec and has been aborted")
    if overdue:
        return _abort(watch, f"Live migration is not completed after {int(elapsed_s)} seconds and has been aborted")
    return watch, Action.WAIT


def _disrupt(of: Rules, watch: Watch) -> tuple[Watch, Action]:
    if of.allow_post_copy and not of.passes_devices_through:
        return replace(watch, mode="PostCopy"), Action.POST_COPY
    doubled = 2 * watch.deadline_s
    if of.passes_devices_through:
        downtime_ms = min(1000 * doubled, MOST_DOWNTIME_MS)
        return replace(watch, mode="Paused", deadline_s=doubled, downtime_ms=downtime_ms), Action.LIMIT_DOWNTIME
    return replace(watch, mode="Paused", deadline_s=doubled), Action.SUSPEND


def _abort(watch: Watch, reason: str) -> tuple[Watch, Action]:
    return replace(watch, aborting=True, abort_reason=reason), Action.ABORT
