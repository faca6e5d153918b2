"""Objects, their versions and their history: what etcd and the watch cache are to a real API server.

One monotonic version over all resources. A stored object is never changed in place; its JSON is encoded once, without
`apiVersion` and `kind`, so that lists and watches of any version only join bytes.
"""

import asyncio
import json
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from whimbrel_lab.controlplane.embedded.errors import Json, Object

Key = tuple[str, str]
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def encode(value: Json) -> bytes:
    """Compact JSON."""
    return _encode(value).encode()


def encode_tail(document: Object) -> bytes:
    """The object's JSON after the opening brace and without its type."""
    body = {key: value for key, value in document.items() if key != "apiVersion" and key != "kind"}
    return _encode(body)[1:].encode()


class Record:
    """One object at one version. `object` must not be changed."""

    __slots__ = ("_tail", "key", "object", "version")

    def __init__(self, key: Key, document: Object, version: int) -> None:
        self.key = key
        self.object = document
        self.version = version
        self._tail: bytes | None = None

    @property
    def tail(self) -> bytes:
        if self._tail is None:
            self._tail = encode_tail(self.object)
        return self._tail

    def copy(self) -> Object:
        """A private deep copy of the object."""
        copied: Object = json.loads(b"{" + self.tail)
        return {"apiVersion": self.object["apiVersion"], "kind": self.object["kind"], **copied}


@dataclass(frozen=True, slots=True)
class Change:
    """One step of a resource's history."""

    type: Literal["ADDED", "MODIFIED", "DELETED"]
    record: Record
    previous: Record | None

    @property
    def version(self) -> int:
        return self.record.version


class TooOld(Exception):
    """The history no longer reaches back to the version asked for."""


class Table:
    """One resource: its objects in key order and its latest changes."""

    def __init__(self, history: int) -> None:
        self._history = history
        self.records: dict[Key, Record] = {}
        self._keys: list[Key] = []
        self._changes: list[Change] = []
        self._versions: list[int] = []
        self._floor = 0
        self.wakers: set[asyncio.Event] = set()

    def apply(self, change: Change) -> None:
        record = change.record
        if change.type == "DELETED":
            del self.records[record.key]
            del self._keys[bisect_left(self._keys, record.key)]
        else:
            if change.type == "ADDED":
                insort(self._keys, record.key)
            self.records[record.key] = record
        self._changes.append(change)
        self._versions.append(record.version)
        if len(self._changes) > 2 * self._history:
            self._floor = self._versions[-self._history - 1]
            del self._changes[: -self._history]
            del self._versions[: -self._history]
        self.wake()

    def wake(self) -> None:
        for waker in self.wakers:
            waker.set()

    def keys(self, namespace: str = "") -> list[Key]:
        """Keys in order, of one namespace or of all."""
        if not namespace:
            return self._keys
        start = bisect_left(self._keys, (namespace, ""))
        end = bisect_left(self._keys, (namespace + "\0", ""))
        return self._keys[start:end]

    def changes_after(self, version: int) -> list[Change]:
        """Everything that happened after a version; raises TooOld where the history was cut."""
        if version < self._floor:
            raise TooOld
        return self._changes[bisect_right(self._versions, version) :]

    def at(self, version: int) -> "dict[Key, Record]":
        """The objects as they were at a version; raises TooOld."""
        undone = self.changes_after(version)
        if not undone:
            return self.records
        records = dict(self.records)
        for change in reversed(undone):
            if change.previous is None:
                records.pop(change.record.key, None)
            else:
                records[change.record.key] = change.previous
        return records


class Storage:
    """All tables under one version counter. Resources are named plural.group, e.g. `pods` or `leases.coordination.k8s.io`.

    Tests may read and write here directly: `read`, `items`, `put`, `remove` ask no admission, validation or finalizer.
    """

    def __init__(self, history: int = 20_000) -> None:
        self._history = history
        self._tables: dict[str, Table] = {}
        self.version = 1000
        self.compacted = 0
        self._observers: list[Callable[[str, Change], None]] = []

    def table(self, resource: str) -> Table:
        if resource not in self._tables:
            self._tables[resource] = Table(self._history)
        return self._tables[resource]

    def drop(self, resource: str) -> None:
        """Forget a resource that is no longer served; its watchers are woken to see it."""
        if table := self._tables.pop(resource, None):
            table.wake()

    def resources(self) -> list[str]:
        return list(self._tables)

    def observe(self, observer: Callable[[str, Change], None]) -> None:
        """Call `observer(resource, change)` after every change, synchronously."""
        self._observers.append(observer)

    def get(self, resource: str, namespace: str, name: str) -> Record | None:
        return self.table(resource).records.get((namespace, name))

    def records(self, resource: str, namespace: str = "") -> list[Record]:
        table = self.table(resource)
        return [table.records[key] for key in table.keys(namespace)]

    def save(self, resource: str, document: Object) -> Record:
        """Create or replace; sets the object's resourceVersion. The object belongs to the storage from now on."""
        metadata = document["metadata"]
        key = (metadata.get("namespace") or "", metadata["name"])
        previous = self.table(resource).records.get(key)
        self.version += 1
        metadata["resourceVersion"] = str(self.version)
        record = Record(key, document, self.version)
        self._commit(resource, Change("MODIFIED" if previous else "ADDED", record, previous))
        return record

    def erase(self, resource: str, record: Record) -> Record:
        """Delete; the change carries the object's last state under a version of its own."""
        self.version += 1
        document = dict(record.object)
        document["metadata"] = {**document["metadata"], "resourceVersion": str(self.version)}
        final = Record(record.key, document, self.version)
        self._commit(resource, Change("DELETED", final, record))
        return final

    def _commit(self, resource: str, change: Change) -> None:
        self.table(resource).apply(change)
        for observer in self._observers:
            observer(resource, change)

    def rewrite(self, resource: str, mend: Callable[[Object], None]) -> None:
        """Read stored objects under a new schema: no new versions, no events."""
        for record in self.table(resource).records.values():
            mended = record.copy()
            mend(mended)
            if mended != record.object:
                record.object, record._tail = mended, None

    def compact(self) -> None:
        """From now on versions below the present one are too old to watch or list from."""
        self.compacted = self.version

    def read(self, resource: str, name: str, namespace: str = "") -> Object | None:
        """A private copy of one object, None when there is none."""
        record = self.get(resource, namespace, name)
        return record.copy() if record else None

    def items(self, resource: str, namespace: str = "") -> Iterator[Object]:
        """Private copies of all objects of a resource, in key order."""
        for record in self.records(resource, namespace):
            yield record.copy()

    def put(self, resource: str, document: Object) -> Object:
        """Create or replace one object as it is; returns a copy with its new version."""
        copied: Object = json.loads(encode(document))
        return self.save(resource, copied).copy()

    def remove(self, resource: str, name: str, namespace: str = "") -> bool:
        """Delete one object at once, whatever its finalizers; False when there was none."""
        record = self.get(resource, namespace, name)
        if record is None:
            return False
        self.erase(resource, record)
        return True
