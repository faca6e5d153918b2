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
        self._shown: dict[Key, tuple[Instance, GuestReadings]] = {}
        """What counts of those held, and for which state of the instance."""
        self._copy: Mapping[Key, GuestReadings] | None = None
        self._instances: Mapping[Key, Instance] | None = None
        self._due = _NEVER
        """Nothing gets too old before."""

    def tell(self, told: Mapping[Key, GuestReadings]) -> None:
        """Takes in readings, member by member the newest of each node."""
        for key, new in told.items():
            nodes = self._held.get(key, {})
            merged = _merged(nodes.get(new.node), new)
            if (at := merged.newest_at) is None or merged == nodes.get(new.node):
                continue
            newest = sorted({**nodes, new.node: merged}.values(), key=lambda each: (each.newest_at or at, each.node))
            self._held[key] = {each.node: each for each in newest[-MOST_NODES:]}
            self._due = min(self._due, at + READING_LIFETIME)
            self._shown.pop(key, None)
            self._copy = None

    def view(self, instances: Mapping[Key, Instance], now: datetime) -> Mapping[Key, GuestReadings]:
        """Those of instances that are there, as far as they are not too old; the same mapping until something changes.

        `instances` must be another object whenever anything in it is another.
        """
        if now >= self._due:
            self._forget(now)
        if instances is not self._instances or self._copy is None:
            self._instances = instances
            shown = {key: self._chosen(key, instances[key]) for key in self._held if key in instances}
            if len(shown) != len(self._held):
                self._held = {key: nodes for key, nodes in self._held.items() if key in shown}
            self._shown = shown
            copy = {key: counts for key, (_instance, counts) in shown.items()}
            if copy != self._copy:
                self._copy = copy
        return self._copy

    def _forget(self, now: datetime) -> None:
        """What has got too old."""
        held, self._due = self._held, _NEVER
        self._held, self._shown, self._copy = {}, {}, None
        for key, nodes in held.items():
            ends = {node: (each.newest_at or now) + READING_LIFETIME for node, each in nodes.items()}
            if young := {node: each for node, each in nodes.items() if now < ends[node]}:
                self._held[key] = young
                self._due = min(self._due, *(ends[node] for node in young))

    def _chosen(self, key: Key, instance: Instance) -> tuple[Instance, GuestReadings]:
        held = self._shown.get(key)
        return held if held is not None and held[0] is instance else (instance, _of(instance, self._held[key]))


def _of(instance: Instance, told: Mapping[str, GuestReadings]) -> GuestReadings:
    """What the guest's node tells; what that has not told yet of a guest that has just moved, its source told before."""
    own = told.get(instance.node)
    if own is not None and own.dirty_bytes_per_second is not None:
        return own
    before = next((each for each in told.values() if each.came_before_the_move_of(instance)), None)
    if own is None:
        return before or max(told.values(), key=lambda each: (each.newest_at or _NEVER, each.node))
    return own if before is None else replace(own, dirty_bytes_per_second=before.dirty_bytes_per_second)


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
