"""What the lab asks of a hypervisor: guests on hosts, and live migrations between them.

Two implementations: `model` (the fluid model on a scalable clock) and `libvirt` (real QEMU under session libvirtd).
Called by the KubeVirt stand-in's virt-handler and virt-launcher parts and by the demo's report.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from whimbrel.simulation.fluid import ZSTD_RATIO


@dataclass(frozen=True, slots=True)
class HostSpec:
    """One lab host: its name is the Node's name; the link is full duplex."""

    name: str
    link_bytes_per_second: int


@dataclass(frozen=True, slots=True)
class GuestSpec:
    """One guest: how much memory it has and how it dirties it.

    `dirty_bytes_per_second` is the rate at which distinct pages of a working set of `working_set_bytes` are rewritten,
    cyclically. `touched_bytes` of memory are non-zero; the rest compresses to nothing on the wire. A guest that goes on to
    something else rewrites at `later_dirty_bytes_per_second` from `changes_after_s` of its life on (libvirt only). One byte on
    the wire carries `zstd_ratio` bytes of memory where a migration is compressed (model only).
    """

    name: str
    memory_bytes: int
    touched_bytes: int
    working_set_bytes: int
    dirty_bytes_per_second: int
    later_dirty_bytes_per_second: int | None = None
    changes_after_s: float = 0.0
    zstd_ratio: float = ZSTD_RATIO


@dataclass(frozen=True, slots=True)
class MigrationOptions:
    """What the launcher passes to libvirt once, at the start. A bandwidth of 0 means unlimited (the link decides).

    `zstd`: compressed on its way, over parallel connections (model only: not every libvirt knows that method).
    """

    bandwidth_bytes_per_second: int = 0
    auto_converge: bool = False
    allow_post_copy: bool = False
    zstd: bool = False


@dataclass(frozen=True, slots=True)
class JobProgress:
    """Libvirt's job info while a migration runs; None where the hypervisor did not say.

    `round_bytes` is what remained when the present iteration began, `stopped` whether the migration has stopped the guest.
    """

    total_bytes: int | None
    processed_bytes: int | None
    remaining_bytes: int | None
    transfer_bytes_per_second: int | None
    dirty_bytes_per_second: int | None
    iteration: int | None
    round_bytes: int | None
    stopped: bool


class GuestState(StrEnum):
    """State of a guest on one host."""

    ABSENT = "Absent"
    RUNNING = "Running"
    PAUSED = "Paused"
    INCOMING = "Incoming"


@dataclass(frozen=True, slots=True)
class MigrationOutcome:
    """How a migration job ended; `aborted` is true when it ended by `abort()`; `reason` is libvirt's text, else empty.
    `sent_bytes` are those of a completed copy, by the hypervisor's own count; None where it does not keep one.
    """

    completed: bool
    aborted: bool = False
    reason: str = ""
    sent_bytes: int | None = None


class MigrationJob(Protocol):
    """One running live migration. All methods may be called at any time; after the end they do nothing harmful."""

    async def progress(self) -> JobProgress | None:
        """The latest job info, or None when there is none (not yet begun, already over)."""

    async def suspend(self) -> None:
        """Suspend the guest on the source while the copy goes on (KubeVirt's workload disruption)."""

    async def limit_downtime(self, milliseconds: int) -> None:
        """Stop the guest for the last step when what is pending goes over within this time; 300 ms unless told otherwise."""

    async def start_post_copy(self) -> None:
        """Switch to post-copy; raises HypervisorError where the machine cannot."""

    async def abort(self) -> None:
        """Ask for the end of the job; the source guest runs again afterwards. The verdict comes from `wait`."""

    async def wait(self) -> MigrationOutcome:
        """Until the job is over and, when it completed, the guest runs on the target."""


@dataclass(frozen=True, slots=True)
class BeatReport:
    """What the guest itself says about its life since it was started, from its beats on the serial port.

    `longest_gap_ms` is the longest time between two beats since the last `reset_beats`, minus the normal interval: the
    blackout as the guest felt it. `restarts` counts beats that went back. `memory_intact` is the guest's own check of
    its memory pattern, of which `sweeps` were complete so far; `written_bytes` is what it rewrote by its own count.
    """

    beats: int
    interval_ms: float
    longest_gap_ms: float
    restarts: int
    memory_intact: bool
    sweeps: int = 0
    written_bytes: int = 0


class HypervisorError(Exception):
    """The hypervisor refused or failed; the text says what, on which host and for which guest."""


class Hypervisor(Protocol):
    """A set of hosts that run guests and migrate them to each other."""

    async def start(self) -> None: ...

    async def stop(self) -> None:
        """End every guest and every process of every host; safe to call twice and after a failed start."""

    async def start_guest(self, host: str, guest: GuestSpec) -> None: ...

    async def stop_guest(self, host: str, name: str) -> None: ...

    async def set_link(self, host: str, bytes_per_second: float) -> None:
        """Makes a host's link faster or slower from now on, also for the migrations that use it already."""

    async def guest_state(self, host: str, name: str) -> GuestState: ...

    async def dirty_rate(self, host: str, name: str) -> int | None:
        """Bytes per second by the hypervisor's own one-second sampling; None where it cannot say."""

    async def resident_bytes(self, host: str, name: str) -> int | None:
        """Memory of the host that the guest's process holds, its own overhead included; None where it cannot say."""

    async def migrate(self, source: str, target: str, name: str, options: MigrationOptions) -> MigrationJob:
        """Begin a live migration and return at once; refusals before the copy raise HypervisorError."""

    async def reset_beats(self, name: str) -> None: ...

    async def beats(self, name: str) -> BeatReport: ...
