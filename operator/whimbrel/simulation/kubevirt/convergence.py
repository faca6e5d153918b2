"""What KubeVirt's two monitors of a migration have in common: what they are told, see, remember, and may do.

Plain values. `monitor` is the entrance and the default monitor, `stall_detector` the one of the gate MigrationStallDetection.
"""

from dataclasses import dataclass
from enum import StrEnum

from whimbrel.simulation.kubevirt.stall_options import StallOptions

TICK_S = 0.4
MOST_DOWNTIME_MS = 2_000_000
"""QEMU takes no longer limit."""
USUAL_DOWNTIME_MS = 300
"""QEMU's own limit."""


class Action(StrEnum):
    """What a monitor does at one look; LIMIT_DOWNTIME: QEMU's limit becomes the watch's `downtime_ms`."""

    WAIT = "Wait"
    SUSPEND = "Suspend"
    POST_COPY = "PostCopy"
    LIMIT_DOWNTIME = "LimitDowntime"
    ABORT = "Abort"


@dataclass(frozen=True, slots=True)
class Rules:
    """What an attempt was configured with; `suspends` is false for releases without mode Paused.

    With `stall` the stall detector watches, and `progress_timeout_s` and `suspends` say nothing.
    """

    deadline_s: int
    progress_timeout_s: int = 150
    allow_workload_disruption: bool = False
    allow_post_copy: bool = False
    passes_devices_through: bool = False
    suspends: bool = True
    max_downtime_ms: int = 900
    stall: StallOptions | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """A job as it is `elapsed_s` after the monitor's start; None where the hypervisor does not say.

    `round_bytes` is what remained when the present iteration began, `stopped` whether the migration has stopped the guest.
    """

    elapsed_s: float
    remaining_bytes: int | None = None
    bytes_per_second: int | None = None
    iteration: int | None = None
    round_bytes: int | None = None
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """What remained at a time, in milliseconds since the monitor's start."""

    elapsed_ms: int
    remaining_bytes: int


@dataclass(frozen=True, slots=True)
class Stalling:
    """What the stall detector remembers.

    `candidates` are ever smaller records of the window of time, `outside` the smallest that has left it. Once `stalled`,
    `best_bytes` is what it waits for, and the next smallest of `since_stall` (in order) from `relaxed_at_ms` on.
    """

    switch_over_deadline_s: int
    limited: bool = False
    iteration: int = 0
    bytes_per_second: float = 0.0
    latest: Record = Record(0, 0)
    candidates: tuple[Record, ...] = ()
    outside: Record | None = None
    stalled: bool = False
    best_bytes: int = 0
    since_stall: tuple[int, ...] = ()
    patience_ms: int = 0
    relaxed_at_ms: int = 0
    begun: bool = False
    """Whether post-copy, a stop or an abort was set in motion; it never is twice."""


@dataclass(frozen=True, slots=True)
class Watch:
    """What a monitor remembers between looks; `abort_reason` is its own text once it has begun to abort."""

    deadline_s: int
    mode: str = "PreCopy"
    watermark_bytes: int | None = None
    last_progress_s: float = 0.0
    aborting: bool = False
    abort_reason: str = ""
    downtime_ms: int = USUAL_DOWNTIME_MS
    stalling: Stalling | None = None

    @property
    def acts_after_s(self) -> int:
        """After how many whole seconds the monitor ends or forces what is not over then; 0: never."""
        if self.stalling is None or self.mode == "Paused" or self.deadline_s == 0:
            return self.deadline_s
        return self.stalling.switch_over_deadline_s
