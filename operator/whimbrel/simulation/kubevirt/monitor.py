"""The launcher's convergence monitor: looks every 400 ms and suspends, switches to post-copy, or aborts.

KubeVirt's default monitor, not the stall detector. It compares whole elapsed seconds, so it acts 1.0 to 1.4 s after the
deadline. Called by the node agent of the lab and by whoever simulates one migration.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

TICK_S = 0.4
MOST_DOWNTIME_MS = 2_000_000


class Action(StrEnum):
    """What the monitor does at one tick."""

    WAIT = "Wait"
    SUSPEND = "Suspend"
    POST_COPY = "PostCopy"
    RAISE_DOWNTIME = "RaiseDowntime"
    ABORT = "Abort"


@dataclass(frozen=True, slots=True)
class Rules:
    """What an attempt was configured with; `suspends` is false for releases without mode Paused."""

    deadline_s: int
    progress_timeout_s: int = 150
    allow_workload_disruption: bool = False
    allow_post_copy: bool = False
    passes_devices_through: bool = False
    suspends: bool = True


@dataclass(frozen=True, slots=True)
class Watch:
    """What the monitor remembers between ticks; `abort_reason` is its own text once it has begun to abort."""

    deadline_s: int
    mode: str = "PreCopy"
    watermark_bytes: int | None = None
    last_progress_s: float = 0.0
    aborting: bool = False
    abort_reason: str = ""
    downtime_ms: int = 0


def rules(
    configuration: Mapping[str, Any],
    deadline_s: int,
    *,
    passes_devices_through: bool = False,
    suspends: bool = True,
) -> Rules:
    """The rules of an attempt from its effective configuration."""
    return Rules(
        deadline_s=deadline_s,
        progress_timeout_s=int(configuration.get("progressTimeout") or 0),
        allow_workload_disruption=bool(configuration.get("allowWorkloadDisruption")),
        allow_post_copy=bool(configuration.get("allowPostCopy")),
        passes_devices_through=passes_devices_through,
        suspends=suspends,
    )


def begin(of: Rules) -> Watch:
    """The monitor at its start."""
    return Watch(deadline_s=of.deadline_s)


def abort_refused(watch: Watch) -> Watch:
    """The hypervisor refused the abort: the monitor may try again."""
    return replace(watch, aborting=False)


def tick(of: Rules, watch: Watch, remaining_bytes: int | None, elapsed_s: float) -> tuple[Watch, Action]:
    """One look. The caller keeps the old watch when it could not carry a SUSPEND or POST_COPY out."""
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
        return replace(watch, mode="Paused", deadline_s=doubled, downtime_ms=downtime_ms), Action.RAISE_DOWNTIME
    return replace(watch, mode="Paused", deadline_s=doubled), Action.SUSPEND


def _abort(watch: Watch, reason: str) -> tuple[Watch, Action]:
    return replace(watch, aborting=True, abort_reason=reason), Action.ABORT
