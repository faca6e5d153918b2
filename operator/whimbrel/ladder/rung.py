"""What every rung of the ladder answers: may it be tried, and how is KubeVirt configured for it.

A rung is a module with `RUNG` and `offer(load, step, disruption)`, which answers an Offer, a Withheld, or None where the
plan does not permit it; `ladder.LADDER` lists them.
"""

from dataclasses import dataclass, replace
from functools import cached_property

from whimbrel.api.ladder import Rung
from whimbrel.api.virtual_machine_move import KubeVirtConfiguration
from whimbrel.forecast import (
    POD_START_UP,
    UNKNOWN_ZSTD,
    ZSTD_BYTES_PER_SECOND,
    AtDeadline,
    Disks,
    Guest,
    Path,
    Spread,
    Terms,
    exactly,
    pass_seconds,
)
from whimbrel.ladder.streams import ONE_STREAM, Streams

NEVER_MEASURED = Spread(1.04, 1.2)
"""How much longer than computed copies take on a path where none was measured: encryption and headers cost 4 %, and one in ten
takes a fifth longer. Assumed, until moves of this cluster have told."""


@dataclass(frozen=True)
class Load:
    """What is to be moved, how fast it may be, and what this KubeVirt can do. Bytes and bytes per second."""

    memory_bytes: int
    rate_bytes_per_second: int
    """What admission guarantees, within the plan's bounds."""
    local_disk_bytes: int | None = 0
    """Local disks that are copied too and count in KubeVirt's time budget; None: of unknown size."""
    stall_detection: bool = False
    """Whether KubeVirt's alpha stall detection is on: it acts as soon as a copy gets on no further, and never suspends."""
    workload_disruption: bool = True
    """Whether this KubeVirt can suspend a guest for the rest of the copy."""
    passes_devices_through: bool = False
    """Whether the guest has VFIO devices and KubeVirt therefore neither suspends it nor switches to post-copy."""
    known: Guest | None = None
    """What is known of the guest's memory; None: nothing but its size."""
    link_bytes_per_second: int = 0
    """What the links leave it when the plan's bound is lifted, as in the last step and in post-copy; 0: the rate."""
    slowdown: Spread = NEVER_MEASURED
    start_up: Spread = POD_START_UP
    streams: Streams = ONE_STREAM
    stream_bytes_per_second: int | None = None
    """Most that one stream carries between these hosts; None: as much as the link."""
    can_compress: bool = False
    """Whether this KubeVirt can compress memory."""
    zstd: bool = False
    """Whether it does (`ladder.compression`)."""
    sampled: bool = True
    """Whether somebody tells how a running copy gets on, so that a pause can be bounded before it begins."""
    owner_limit_ms: int | None = None
    """Longest pause that the guest's owner permits (`ladder.consent`), whatever the plan does; None: no word of it."""

    @cached_property
    def guest(self) -> Guest:
        """What is known of the guest."""
        return self.known or Guest(float(max(1, self.memory_bytes)), missing=("nothing is told of its memory",))

    @cached_property
    def path(self) -> Path:
        """What carries it while the guest runs, or is suspended, at its source."""
        return self._path(self.streams.pre_copy, self.zstd)

    def path_under(self, terms: Terms) -> Path:
        """What carries it under these terms: where KubeVirt may switch to post-copy, there may be fewer streams."""
        if terms.at_deadline is not AtDeadline.POST_COPY:
            return self.path
        return self._path(self.streams.post_copy, zstd=False)

    def _path(self, streams: int, zstd: bool) -> Path:
        return Path(
            float(max(self.link_bytes_per_second, self.rate_bytes_per_second)),
            float(self.rate_bytes_per_second),
            stream_bytes_per_second=self._stream(zstd),
            streams=streams,
            compression=UNKNOWN_ZSTD if zstd else exactly(1.0),
            slowdown=self.slowdown,
        )

    def _stream(self, zstd: bool) -> float | None:
        """Most that one stream carries, in bytes of memory per second; compressing them takes a processor's time as well."""
        carried = self.stream_bytes_per_second
        if not zstd:
            return carried
        return ZSTD_BYTES_PER_SECOND if carried is None else min(carried, ZSTD_BYTES_PER_SECOND)

    def pass_s(self, *, post_copy: bool = False) -> int:
        """Whole seconds of one pass over memory, as far as link, streams and processors decide it."""
        reached = self._reached(self.streams.post_copy, zstd=False) if post_copy else self.reached_bytes_per_second
        return pass_seconds(self.memory_bytes, reached)

    @cached_property
    def reached_bytes_per_second(self) -> int:
        """The rate, or what the streams carry of it; what compression saves is not counted on."""
        return self._reached(self.streams.pre_copy, self.zstd)

    def _reached(self, streams: int, zstd: bool) -> int:
        stream = self._stream(zstd)
        return self.rate_bytes_per_second if stream is None else min(self.rate_bytes_per_second, int(stream * streams))

    @cached_property
    def disks(self) -> Disks:
        """Local disks that are copied before memory."""
        return Disks(float(self.local_disk_bytes or 0), float(self.rate_bytes_per_second))


@dataclass(frozen=True, slots=True)
class Offer:
    """A rung that the plan permits for this load, completely configured."""

    rung: Rung
    configuration: KubeVirtConfiguration
    deadline_seconds: int
    """KubeVirt's completion deadline under this configuration."""
    terms: Terms
    """The same, as the forecast understands it."""
    budget_ms: int | None = None
    """Longest suspension that is accepted; None where the guest is never suspended."""
    attended_downtime_ms: int | None = None
    """Longest suspension while an operator is alive."""
    unattended_downtime_ms: int | None = None
    """Longest suspension if no operator is alive."""
    most_wire_bytes: int | None = None
    """Most bytes that an attempt may send; None: unlimited."""
    most_attempts: int | None = None
    """Most attempts on this rung; None: as many as the plan leaves."""
    most_deadline_s: int | None = None
    """Longest deadline that the step permits; None: any."""

    def with_longer_deadline(self, times: int) -> "Offer":
        """The same with so many times the time, as far as the step permits it."""
        if self.most_deadline_s is not None:
            times = min(times, max(1, self.most_deadline_s // self.deadline_seconds))
        deadline_s, asked = times * self.deadline_seconds, self.configuration
        return replace(
            self,
            configuration=asked.model_copy(
                update={"completion_timeout_per_gib": times * asked.completion_timeout_per_gib}
            ),
            deadline_seconds=deadline_s,
            terms=replace(self.terms, deadline_s=deadline_s),
        )

    def within(self, budget_ms: int, downtime_ms: int) -> "Offer":
        """The same for a guest that may stand still for so long, and stands still no longer than this, attended or not."""
        return replace(self, budget_ms=budget_ms, attended_downtime_ms=downtime_ms, unattended_downtime_ms=downtime_ms)


@dataclass(frozen=True, slots=True)
class Withheld:
    """What the plan permits and this load does not get, with its rung and the reason in a sentence: the rung itself, or that it
    is compressed.
    """

    rung: Rung
    reason: str
