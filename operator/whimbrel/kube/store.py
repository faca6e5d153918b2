"""The Store: what the cluster is, as records, from watches, lists, Kopf and our own answered writes alike.

Versions order everything: of two states of one object the later stays, whatever road it came by and in whatever order.
Lives in the event loop's thread; `snapshot` copies dictionaries, never records.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from whimbrel.domain.records import Capabilities, Key
from whimbrel.domain.resources import INSTANCES, NODES, Resource
from whimbrel.domain.samples import GuestReadings, MigrationSample
from whimbrel.inventory.snapshot import FIELDS, Refusal, Snapshot
from whimbrel.kube.measured import SAMPLE_LIFETIME, Courses, Readings

log = logging.getLogger("whimbrel.store")

Projection = Callable[[Mapping[str, Any]], Any]

TOMBSTONES_PER_KIND = 4096
UNORDERED = -1
_QUIETLY_REFRESHED = frozenset({NODES})
"""Kinds with members that are not compared: an equal record is newer all the same."""
"""Version of an object whose server does not number its versions: always taken as the newest."""


def key_of(raw: Mapping[str, Any]) -> Key:
    """Namespace and name of a raw object."""
    metadata = raw["metadata"]
    return Key(metadata.get("namespace") or "", metadata["name"])


def version_of(text: object) -> int:
    """A resourceVersion as a number. Kubernetes compares them so, per kind."""
    try:
        return int(str(text))
    except ValueError:
        return UNORDERED


class _Shelf:
    """Records of one kind, the versions they were made of, and what is known to be gone."""

    __slots__ = ("copy", "floor", "records", "tombstones", "versions")

    def __init__(self) -> None:
        self.records: dict[Key, Any] = {}
        self.versions: dict[Key, tuple[int, str] | int] = {}
        """Of every object that was seen. With its UID only where the projection keeps no record of it."""
        self.tombstones: OrderedDict[Key, tuple[str, int]] = OrderedDict()
        self.floor = UNORDERED
        """Version of the newest whole list: what is not held and not newer than this is gone, whoever tells of it late."""
        self.copy: Mapping[Key, Any] | None = None

    def version(self, key: Key) -> int | None:
        held = self.versions.get(key)
        return held[0] if isinstance(held, tuple) else held

    def uid(self, key: Key) -> str:
        held = self.versions.get(key)
        if isinstance(held, tuple):
            return held[1]
        record = self.records.get(key)
        return record.uid if record is not None else ""

    def bury(self, key: Key, uid: str, version: int) -> bool:
        """Forgets the object and remembers that it is gone. Whether a record went with it."""
        self.versions.pop(key, None)
        held = self.records.pop(key, None)
        self.tombstones[key] = (uid, version)
        self.tombstones.move_to_end(key)
        while len(self.tombstones) > TOMBSTONES_PER_KIND:
            self.tombstones.popitem(last=False)
        if held is not None:
            self.copy = None
        return held is not None


class Store:
    """kind → key → record. `on_change` is called at each change that a decision could see; it must only set a flag."""

    def __init__(
        self,
        projections: Mapping[Resource, Projection],
        on_change: Callable[[], None] = lambda: None,
        on_unreadable: Callable[[Resource], None] = lambda _: None,
    ) -> None:
        self.generation = 0
        self.capabilities: Capabilities | None = None
        """What KubeVirt can be told, by the schemas that were read last; None before."""
        self.denied: tuple[str, ...] = ()
        """What a migration takes and the API server does not permit us, sorted."""
        self._projections = projections
        self._on_change = on_change
        self._on_unreadable = on_unreadable
        self._shelves = {resource: _Shelf() for resource in FIELDS}
        self._samples: dict[Key, MigrationSample] = {}
        self._courses = Courses()
        self._readings = Readings()
        self._refusals: dict[Key, Refusal] = {}
        self._unreadable: dict[tuple[Resource, Key], str] = {}

    # Reading

    def records(self, resource: Resource) -> Mapping[Key, Any]:
        """The live records of a kind; to be read at once, not to be kept."""
        return self._shelves[resource].records

    def counts(self) -> dict[str, int]:
        """How many records there are, by kind."""
        return {resource.kind: len(shelf.records) for resource, shelf in self._shelves.items()}

    @property
    def samples(self) -> Mapping[Key, MigrationSample]:
        """The newest sample of each running copy, by key of the instance; to be read at once, not to be kept."""
        return self._samples

    @property
    def unreadable(self) -> Mapping[tuple[Resource, Key], str]:
        """Objects that could not be understood, and why."""
        return self._unreadable

    def snapshot(
        self, now: datetime, *, outlook_due: bool = True, blocked: Mapping[str, datetime] | None = None
    ) -> Snapshot:
        """All that is known, at this instant. Kinds that did not change share the dictionary of the snapshot before."""
        self._refusals = {key: refusal for key, refusal in self._refusals.items() if refusal.until > now}
        self._samples = {
            key: sample for key, sample in self._samples.items() if sample.sampled_at > now - SAMPLE_LIFETIME
        }
        fields: dict[str, Any] = {}
        for resource, shelf in self._shelves.items():
            if shelf.copy is None:
                shelf.copy = dict(shelf.records)
            fields[FIELDS[resource]] = shelf.copy
        instances = fields[FIELDS[INSTANCES]]
        return Snapshot(
            now=now,
            samples=dict(self._samples),
            courses=self._courses.view(instances, now),
            readings=self._readings.view(instances, now),
            refusals=dict(self._refusals),
            blocked=blocked,
            capabilities=self.capabilities,
            denied=self.denied,
            generation=self.generation,
            outlook_due=outlook_due,
            **fields,
        )

    # Feeding

    def apply(self, resource: Resource, raw: Mapping[str, Any]) -> bool:
        """Takes in a state of an object. Whether a decision could see the difference; an older state changes nothing."""
        changed = self._apply(resource, raw)
        if changed:
            self._changed()
        return changed

    def remove(self, resource: Resource, raw: Mapping[str, Any]) -> bool:
        """Takes in the last state of an object that is gone."""
        shelf, key = self._shelves[resource], key_of(raw)
        metadata = raw["metadata"]
        uid, version = str(metadata.get("uid") or ""), version_of(metadata.get("resourceVersion"))
        held_uid, held_version = shelf.uid(key), shelf.version(key)
        self._unreadable.pop((resource, key), None)
        if version != UNORDERED and (
            (held_version is not None and held_uid != uid and version < held_version)
            or (held_version is None and self._gone(shelf, key, uid, version))
        ):
            return False
        changed = shelf.bury(key, uid, version)
        if changed:
            self._changed()
        return changed

    def forget(self, resource: Resource, key: Key, uid: str = "") -> bool:
        """The server said that this object (of this UID, if one is given) is not there, without showing its last state."""
        shelf = self._shelves[resource]
        held_uid, held_version = shelf.uid(key), shelf.version(key)
        if held_version is None or (uid and held_uid != uid):
            return False
        changed = shelf.bury(key, held_uid, held_version)
        if changed:
            self._changed()
        return changed

    def replace(self, resource: Resource, items: Iterable[Mapping[str, Any]], list_version: str) -> bool:
        """Takes in a whole list. Objects that it lacks are gone, unless we know them from later than the list."""
        intake = self.intake(resource)
        intake.add(items)
        return intake.finish(list_version)

    def intake(self, resource: Resource) -> "Intake":
        """Takes in a list page by page, so that no page need be kept."""
        return Intake(self, resource)

    def sample(self, samples: Mapping[Key, MigrationSample]) -> None:
        """Takes in the newest samples of running migrations, by key of the instance. Wakes nobody: they only explain."""
        self._samples.update(samples)

    def follow(self, instance: Key, migration_uid: str, samples: Iterable[MigrationSample]) -> None:
        """Takes in samples of one migration since it began, however often each comes. Wakes nobody."""
        self._courses.follow(instance, migration_uid, samples)

    def tell(self, readings: Mapping[Key, GuestReadings]) -> None:
        """Takes in what metrics tell of guests that run, by key of the instance. Wakes nobody."""
        self._readings.tell(readings)

    def learn(self, capabilities: Capabilities) -> None:
        """Takes in what the served schemas say."""
        if capabilities != self.capabilities:
            self.capabilities = capabilities
            self._changed()

    def lack(self, denied: Iterable[str]) -> None:
        """Takes in what of all that a migration takes the server does not permit us."""
        lacking = tuple(sorted(denied))
        if lacking != self.denied:
            self.denied = lacking
            self._changed()

    def refuse(self, key: Key, message: str, until: datetime) -> None:
        """Remembers that the server did not accept the creation of this migration."""
        self._refusals[key] = Refusal(message=message, until=until)
        self._changed()

    def _apply(self, resource: Resource, raw: Mapping[str, Any]) -> bool:
        shelf, key = self._shelves[resource], key_of(raw)
        metadata = raw["metadata"]
        uid, version = str(metadata.get("uid") or ""), version_of(metadata.get("resourceVersion"))
        held_version = shelf.version(key)
        if version != UNORDERED:
            if held_version is not None and version <= held_version:
                return False
            if held_version is None and self._gone(shelf, key, uid, version):
                return False
        record = self._project(resource, key, raw)
        if record is UNREADABLE:
            return False
        shelf.tombstones.pop(key, None)
        held = shelf.records.get(key)
        if record is None:
            shelf.versions[key] = (version, uid)
            if held is None:
                return False
            del shelf.records[key]
            shelf.copy = None
            return True
        shelf.versions[key] = version
        if held == record:
            if resource in _QUIETLY_REFRESHED:
                shelf.records[key], shelf.copy = record, None
            return False
        shelf.records[key] = record
        shelf.copy = None
        return True

    @staticmethod
    def _gone(shelf: _Shelf, key: Key, uid: str, version: int) -> bool:
        """Whether a state of an object that is not held is late news of one that is gone."""
        grave = shelf.tombstones.get(key)
        return version <= shelf.floor or (grave is not None and (uid == grave[0] or version <= grave[1]))

    def _project(self, resource: Resource, key: Key, raw: Mapping[str, Any]) -> Any:
        try:
            record = self._projections[resource](raw)
        except Exception as error:  # one object that nobody foresaw must not stop the others
            if (resource, key) not in self._unreadable:
                log.warning(
                    "%s %s cannot be understood and is taken as it was before: %r. Please report this.",
                    resource.kind,
                    key,
                    error,
                )
            self._unreadable[resource, key] = repr(error)
            self._on_unreadable(resource)
            return UNREADABLE
        if self._unreadable:
            self._unreadable.pop((resource, key), None)
        return record

    def _sweep(self, resource: Resource, seen: set[Key], list_version: str) -> bool:
        shelf, version = self._shelves[resource], version_of(list_version)
        gone = [
            key
            for key in shelf.versions
            if key not in seen and ((shelf.version(key) or 0) <= version or version == UNORDERED)
        ]
        changed = False
        for key in gone:
            changed |= shelf.bury(key, shelf.uid(key), version)
        shelf.floor = max(shelf.floor, version)
        for what in [held for held in self._unreadable if held[0] == resource and held[1] not in seen]:
            del self._unreadable[what]
        return changed

    def _changed(self) -> None:
        self.generation += 1
        self._on_change()


UNREADABLE = object()


class Intake:
    """A list on its way into the store: `add` its pages, then `finish` with its version."""

    def __init__(self, store: Store, resource: Resource) -> None:
        self._store = store
        self._resource = resource
        self._seen: set[Key] = set()
        self._difference = False

    def add(self, items: Iterable[Mapping[str, Any]]) -> None:
        """Takes in a page. Items that bear no kind, as in lists, are of the list's kind."""
        for raw in items:
            self._difference |= self._store._apply(self._resource, raw)
            self._seen.add(key_of(raw))

    def finish(self, list_version: str) -> bool:
        """Forgets what the list lacks. Whether a decision could see the difference."""
        self._difference |= self._store._sweep(self._resource, self._seen, list_version)
        if self._difference:
            self._store._changed()
        return self._difference
