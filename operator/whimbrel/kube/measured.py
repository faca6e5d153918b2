"""What metrics told of guests and of running migrations, kept for as long as it says something.

Bounded, and copied only when it changed. Called by `kube.Store` alone.
"""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from whimbrel.domain.records import Instance, Key
from whimbrel.domain.samples import MOST_SAMPLES, GuestReadings, MigrationSample, Reading, thinned

READING_LIFETIME = timedelta(hours=1)
SAMPLE_LIFETIME = timedelta(seconds=60)
_NEVER = datetime.max.replace(tzinfo=UTC)


class Readings:
    """The last readings of each guest that runs."""

    def __init__(self) -> None:
        self._held: dict[Key, GuestReadings] = {}
        self._copy: Mapping[Key, GuestReadings] | None = None
        self._instances: Container[Key] | None = None
        self._due = _NEVER
        """Nothing gets too old before."""

    def tell(self, told: Mapping[Key, GuestReadings]) -> None:
        """Takes in readings, member by member the newest; what another node told before counts no more."""
        for key, new in told.items():
            merged = _merged(self._held.get(key), new)
            if (at := _newest_at(merged)) is None or merged == self._held.get(key):
                continue
            self._held[key] = merged
            self._due = min(self._due, at + READING_LIFETIME)
            self._copy = self._instances = None

    def view(self, instances: Container[Key], now: datetime) -> Mapping[Key, GuestReadings]:
        """Those of instances that are there, as far as they are not too old; the same mapping until something changes.

        `instances` must be another object whenever it holds other keys.
        """
        if instances is not self._instances or now >= self._due:
            self._instances, self._due = instances, _NEVER
            kept = dict[Key, GuestReadings]()
            for key, held in self._held.items():
                at = _newest_at(held)
                if key in instances and at is not None and now < at + READING_LIFETIME:
                    kept[key] = held
                    self._due = min(self._due, at + READING_LIFETIME)
            if len(kept) != len(self._held):
                self._held, self._copy = kept, None
        if self._copy is None:
            self._copy = dict(self._held)
        return self._copy


def _merged(held: GuestReadings | None, new: GuestReadings) -> GuestReadings:
    if held is None:
        return new
    if held.node != new.node:
        before, after = _newest_at(held), _newest_at(new)
        return new if after is not None and (before is None or after >= before) else held
    return GuestReadings(
        new.node,
        _newer(held.dirty_bytes_per_second, new.dirty_bytes_per_second),
        _newer(held.resident_bytes, new.resident_bytes),
    )


def _newer(held: Reading | None, new: Reading | None) -> Reading | None:
    return new if held is None or (new is not None and new.at >= held.at) else held


def _newest_at(readings: GuestReadings) -> datetime | None:
    times = [each.at for each in (readings.dirty_bytes_per_second, readings.resident_bytes) if each is not None]
    return max(times, default=None)


@dataclass(frozen=True, slots=True)
class _Course:
    migration_uid: str
    samples: tuple[MigrationSample, ...]


class Courses:
    """The samples of each migration that runs or has just ended, the oldest first."""

    def __init__(self) -> None:
        self._held: dict[Key, _Course] = {}
        self._copy: Mapping[Key, tuple[MigrationSample, ...]] | None = None

    def follow(self, instance: Key, migration_uid: str, samples: Iterable[MigrationSample]) -> None:
        """Takes in samples of a migration, in any order and however often each comes.

        Those of another migration of the same guest are forgotten.
        """
        held = self._held.get(instance)
        before = held.samples if held is not None and held.migration_uid == migration_uid else ()
        # What was thinned out must not come back; a scrape repeats only the newest few.
        since = before[len(before) // 2].sampled_at if len(before) > MOST_SAMPLES // 2 else None
        by_time = {each.sampled_at: each for each in samples if since is None or each.sampled_at > since}
        by_time |= {each.sampled_at: each for each in before}
        if len(by_time) > len(before):
            in_order = tuple(by_time[at] for at in sorted(by_time))
            self._held[instance] = _Course(migration_uid, thinned(in_order))
            self._copy = None

    def view(self, instances: Mapping[Key, Instance], now: datetime) -> Mapping[Key, tuple[MigrationSample, ...]]:
        """Courses of the migrations that the instances show; the same mapping until something changes."""
        kept = {key: held for key, held in self._held.items() if _stands(held, instances.get(key), now)}
        if len(kept) != len(self._held):
            self._held, self._copy = kept, None
        if self._copy is None:
            self._copy = {key: held.samples for key, held in self._held.items()}
        return self._copy


def _stands(course: _Course, instance: Instance | None, now: datetime) -> bool:
    if instance is None or instance.migration is None:
        return False
    ours = instance.migration.migration_uid == course.migration_uid
    return ours and course.samples[-1].sampled_at > now - SAMPLE_LIFETIME
