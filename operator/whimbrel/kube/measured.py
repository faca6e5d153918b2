"""What metrics told of guests and of running migrations, kept for as long as it says something.

Bounded, and copied only when it changed. Called by `kube.Store` alone.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from whimbrel.domain.records import Instance, Key
from whimbrel.domain.samples import MOST_SAMPLES, GuestReadings, MigrationSample, Reading, thinned

READING_LIFETIME = timedelta(hours=1)
SAMPLE_LIFETIME = timedelta(seconds=60)
MOST_NODES = 2
"""Nodes whose readings of one guest are kept: where it runs, and where it ran or goes."""
_NEVER = datetime.max.replace(tzinfo=UTC)


class Readings:
    """The last readings of each guest that runs, by the node that told: while it migrates its target tells of it as well."""

    def __init__(self) -> None:
        self._held: dict[Key, dict[str, GuestReadings]] = {}
        self._copy: Mapping[Key, GuestReadings] | None = None
        self._instances: Mapping[Key, Instance] | None = None
        self._due = _NEVER
        """Nothing gets too old before."""

    def tell(self, told: Mapping[Key, GuestReadings]) -> None:
        """Takes in readings, member by member the newest of each node."""
        for key, new in told.items():
            nodes = self._held.get(key, {})
            merged = _merged(nodes.get(new.node), new)
            if (at := _newest_at(merged)) is None or merged == nodes.get(new.node):
                continue
            newest = sorted({**nodes, new.node: merged}.values(), key=lambda each: (_newest_at(each) or at, each.node))
            self._held[key] = {each.node: each for each in newest[-MOST_NODES:]}
            self._due = min(self._due, at + READING_LIFETIME)
            self._copy = None

    def view(self, instances: Mapping[Key, Instance], now: datetime) -> Mapping[Key, GuestReadings]:
        """Those of instances that are there, as far as they are not too old; the same mapping until something changes.

        `instances` must be another object whenever anything in it is another.
        """
        if instances is not self._instances or now >= self._due or self._copy is None:
            self._instances, self._due = instances, _NEVER
            kept, copy = dict[Key, dict[str, GuestReadings]](), dict[Key, GuestReadings]()
            for key, nodes in self._held.items():
                young = {
                    node: held for node, held in nodes.items() if now < (_newest_at(held) or now) + READING_LIFETIME
                }
                if key in instances and young:
                    kept[key], copy[key] = young, _of(instances[key], young)
                    self._due = min(
                        self._due, *((_newest_at(held) or now) + READING_LIFETIME for held in young.values())
                    )
            self._held = kept
            if copy != self._copy:
                self._copy = copy
        return self._copy


def _of(instance: Instance, told: Mapping[str, GuestReadings]) -> GuestReadings:
    """What the guest's node tells; what that has not told yet of a guest that has just moved, its source told before."""
    own, before = told.get(instance.node), _before_it_moved(instance, told)
    if own is None:
        return before or max(told.values(), key=lambda each: (_newest_at(each) or _NEVER, each.node))
    if own.dirty_bytes_per_second is None and before is not None:
        return replace(own, dirty_bytes_per_second=before.dirty_bytes_per_second)
    return own


def _before_it_moved(instance: Instance, told: Mapping[str, GuestReadings]) -> GuestReadings | None:
    """What the source of its last migration told before that ended."""
    moved = instance.migration
    if moved is None or moved.ended_at is None or moved.source_node == instance.node:
        return None
    held = told.get(moved.source_node)
    at = _newest_at(held) if held is not None else None
    return held if at is not None and at <= moved.ended_at else None


def _merged(held: GuestReadings | None, new: GuestReadings) -> GuestReadings:
    """Of one node."""
    if held is None:
        return new
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
