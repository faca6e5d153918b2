"""What metrics tell: samples of a running migration, of which as many are kept as it takes to see its rounds, and readings of
guests that run. None of it is believed yet (`forecast.readings`, `forecast.samples`).
"""

from dataclasses import dataclass
from datetime import datetime

from whimbrel.domain.records import Instance

MOST_SAMPLES = 128
"""Of one migration: ten minutes at KubeVirt's 5 s; of a longer one the early samples stand more thinly."""


@dataclass(frozen=True, slots=True)
class MigrationSample:
    """Newest sample of a running migration, from virt-handler's metrics. None where a member was not exported."""

    sampled_at: datetime
    total_bytes: int | None = None
    processed_bytes: int | None = None
    remaining_bytes: int | None = None
    transfer_bytes_per_second: int | None = None
    dirty_bytes_per_second: int | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """A value from outside, and when it was taken; not yet believed."""

    value: float
    at: datetime


@dataclass(frozen=True, slots=True)
class GuestReadings:
    """What virt-handler's metrics last told of a guest that runs, beside its migration. None where a member was not told."""

    node: str
    """Where the guest ran when this was told."""
    dirty_bytes_per_second: Reading | None = None
    """Memory that it rewrote within one second, in whole MiB; KubeVirt tells it from 1.6, and not while the guest migrates."""
    resident_bytes: Reading | None = None
    """Resident set of its QEMU process (`kubevirt_vmi_memory_resident_bytes`): an upper bound of the memory that is not zero.
    QEMU's own overhead is in it, so that it may exceed the guest's memory; `forecast.guest` caps it there."""

    @property
    def newest_at(self) -> datetime | None:
        """When any of it was told last; None where nothing was."""
        told = (self.dirty_bytes_per_second, self.resident_bytes)
        return max((reading.at for reading in told if reading is not None), default=None)

    def came_before_the_move_of(self, instance: Instance) -> bool:
        """Whether the node told it that the guest has left by its last migration, before that ended."""
        at, moved = self.newest_at, instance.migration
        if moved is None or moved.ended_at is None or not self.node == moved.source_node != instance.node:
            return False
        return at is not None and at <= moved.ended_at


def thinned(samples: tuple[MigrationSample, ...]) -> tuple[MigrationSample, ...]:
    """At most MOST_SAMPLES, the first and the latest among them: of the older half every second one is left out, as often
    as it takes.
    """
    while len(samples) > MOST_SAMPLES:
        half = len(samples) // 2
        samples = samples[:half:2] + samples[half:]
    return samples
