"""An API server that is a dictionary: raw objects, versions, preconditions, finalizers, ownership – and all of its history.

It does what decisions and KubeVirt's steps need and no more. Objects are replaced, never changed, so that history, stale
views and the present share them. Stored objects must not be mutated by who reads them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from whimbrel.domain.records import Key
from whimbrel.domain.resources import (
    HOST_PROFILES,
    MIGRATION_PLANS,
    MIGRATIONS,
    NODES,
    PODS,
    VIRTUAL_MACHINE_MOVES,
    VIRTUAL_MACHINES,
    Resource,
)

Object = Mapping[str, Any]

EPOCH = datetime(2026, 1, 5, 8, 0, 0, tzinfo=UTC)
STATUS_SUBRESOURCE = frozenset(
    {MIGRATION_PLANS, HOST_PROFILES, VIRTUAL_MACHINE_MOVES, VIRTUAL_MACHINES, MIGRATIONS, NODES, PODS}
)
"""Kinds whose status is written apart from the rest. KubeVirt's instances are none of them."""
COLLECTOR = "garbage-collector"


class ApiError(Exception):
    """A write was not accepted; the text says why."""


class NotFound(ApiError):
    """There is no such object."""


class AlreadyExists(ApiError):
    """The name is taken."""


class Conflict(ApiError):
    """The object is not the one, or not at the version, that the write supposed."""


class Refused(ApiError):
    """Admission, or a failed test of a patch."""


@dataclass(frozen=True, slots=True)
class Change:
    """One accepted write. `after` is None when the object is gone with it, `before` when it is new."""

    at: datetime
    version: int
    actor: str
    verb: str
    resource: Resource
    key: Key
    before: Object | None
    after: Object | None


Admission = Callable[[str, Resource, Object | None, Object], Object]
"""(actor, resource, old or None, new) → what is stored; raises Refused."""


def as_is(_actor: str, _resource: Resource, _old: Object | None, new: Object) -> Object:
    """Admission that lets everything pass."""
    return new


def timestamp(moment: datetime) -> str:
    """RFC 3339 with whole seconds, as objects carry times."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def key_of(body: Object) -> Key:
    """Namespace and name."""
    return Key(body["metadata"].get("namespace", ""), body["metadata"]["name"])


class World:
    """Objects and every change so far. `clock` tells virtual seconds since EPOCH; `on_change` hears each accepted write."""

    def __init__(self, clock: Callable[[], float], admission: Admission = as_is) -> None:
        self._clock = clock
        self.history: list[Change] = []
        self.on_change: Callable[[Change], None] = lambda _change: None
        self._admission = admission
        self._objects: dict[Resource, dict[Key, Object]] = {}
        self._living: set[str] = set()
        self._dependents: dict[str, dict[tuple[Resource, Key], None]] = {}
        self._version = 0
        self._made = 0

    @property
    def now(self) -> datetime:
        """The virtual time."""
        return EPOCH + timedelta(seconds=self._clock())

    @property
    def version(self) -> int:
        """The newest resourceVersion."""
        return self._version

    def get(self, resource: Resource, key: Key) -> Object | None:
        """The object, or None."""
        return self._objects.get(resource, {}).get(key)

    def objects(self, resource: Resource) -> dict[Key, Object]:
        """All objects of a kind: the live dictionary, to be read only."""
        return self._objects.setdefault(resource, {})

    def create(self, actor: str, resource: Resource, body: Object) -> Object:
        """POST. A `generateName` gets a number. Raises AlreadyExists, or Refused by admission (which looks first)."""
        self._made += 1
        metadata = dict(body["metadata"])
        metadata.setdefault("name", f"{metadata.get('generateName', '')}{self._made:05d}")
        made = self._admission(actor, resource, None, {**body, "metadata": metadata})
        key = key_of(made)
        if key in self.objects(resource):
            raise AlreadyExists(f'{resource.plural} "{key.name}" already exists')
        metadata = {
            **made["metadata"],
            "uid": f"{resource.kind.lower()}-{self._made:06d}",
            "generation": 1,
            "creationTimestamp": timestamp(self.now),
        }
        members = {"apiVersion": resource.api_version, "kind": resource.kind, **made, "metadata": metadata}
        if resource in STATUS_SUBRESOURCE and actor != "setup":
            members.pop("status", None)
            if resource == PODS:
                members["status"] = {"phase": "Pending"}
        return self._store(actor, "create", resource, key, None, members)

    def replace(self, actor: str, resource: Resource, key: Key, body: Object) -> Object:
        """PUT of everything but the status of kinds where that stands apart. Raises NotFound and Conflict."""
        old = self._at(resource, key, body["metadata"])
        new = {**body, "metadata": _kept(old, body["metadata"])}
        if resource in STATUS_SUBRESOURCE:
            new.pop("status", None)
            if "status" in old:
                new["status"] = old["status"]
        return self._update(actor, "update", resource, key, old, new)

    def replace_status(self, actor: str, resource: Resource, key: Key, body: Object) -> Object:
        """PUT of the status alone. Raises NotFound and Conflict."""
        old = self._at(resource, key, body["metadata"])
        return self._update(actor, "status", resource, key, old, {**old, "status": body.get("status") or {}})

    def patch(self, actor: str, resource: Resource, key: Key, operations: Sequence[Object]) -> Object:
        """JSON patch with test, add, replace and remove. Raises NotFound, and Refused where a test fails."""
        old = self.get(resource, key)
        if old is None:
            raise NotFound(f'{resource.plural} "{key.name}" not found')
        return self._update(actor, "patch", resource, key, old, patched(old, operations))

    def delete(self, actor: str, resource: Resource, key: Key, uid: str = "") -> Object | None:
        """DELETE with a UID precondition. None when the object is gone, else the object that its finalizers hold."""
        old = self.get(resource, key)
        if old is None:
            raise NotFound(f'{resource.plural} "{key.name}" not found')
        if uid and old["metadata"]["uid"] != uid:
            raise Conflict(f"the UID in the precondition ({uid}) does not match the UID in record")
        if not old["metadata"].get("finalizers"):
            self._remove(actor, resource, key, old)
            return None
        if old["metadata"].get("deletionTimestamp"):
            return old
        metadata = {**old["metadata"], "deletionTimestamp": timestamp(self.now)}
        return self._store(actor, "delete", resource, key, old, {**old, "metadata": metadata})

    def _at(self, resource: Resource, key: Key, supposed: Object) -> Object:
        old = self.get(resource, key)
        if old is None:
            raise NotFound(f'{resource.plural} "{key.name}" not found')
        for member in ("uid", "resourceVersion"):
            if member in supposed and supposed[member] != old["metadata"][member]:
                raise Conflict(f'{resource.plural} "{key.name}": {member} is {old["metadata"][member]} now')
        return old

    def _update(self, actor: str, verb: str, resource: Resource, key: Key, old: Object, new: Object) -> Object:
        new = self._admission(actor, resource, old, new)
        if _content(new) == _content(old):
            return old
        if new.get("spec") != old.get("spec"):
            generation = old["metadata"]["generation"] + 1
            new = {**new, "metadata": {**new["metadata"], "generation": generation}}
        if new["metadata"].get("deletionTimestamp") and not new["metadata"].get("finalizers"):
            self._remove(actor, resource, key, new)
            return new
        return self._store(actor, verb, resource, key, old, new)

    def _store(self, actor: str, verb: str, resource: Resource, key: Key, old: Object | None, new: Object) -> Object:
        self._version += 1
        stored = {**new, "metadata": {**new["metadata"], "resourceVersion": str(self._version)}}
        self.objects(resource)[key] = stored
        if old is None:
            self._living.add(stored["metadata"]["uid"])
            for owner in stored["metadata"].get("ownerReferences") or ():
                self._dependents.setdefault(owner["uid"], {})[resource, key] = None
        self._note(Change(self.now, self._version, actor, verb, resource, key, old, stored))
        return stored

    def _remove(self, actor: str, resource: Resource, key: Key, last: Object) -> None:
        self._version += 1
        del self.objects(resource)[key]
        self._living.discard(last["metadata"]["uid"])
        self._note(Change(self.now, self._version, actor, "delete", resource, key, last, None))
        for dependent in list(self._dependents.pop(last["metadata"]["uid"], {})):
            body = self.get(*dependent)
            if body is not None and not any(
                each["uid"] in self._living for each in body["metadata"]["ownerReferences"]
            ):
                self.delete(COLLECTOR, *dependent)

    def _note(self, change: Change) -> None:
        self.history.append(change)
        self.on_change(change)


def _content(body: Object) -> Object:
    return {**body, "metadata": {**body["metadata"], "resourceVersion": ""}}


def _kept(old: Object, given: Object) -> dict[str, Any]:
    """What a client sends as metadata, with what is only the server's to say."""
    servers = ("uid", "resourceVersion", "creationTimestamp", "generation", "deletionTimestamp")
    return {**given, **{member: old["metadata"][member] for member in servers if member in old["metadata"]}}


def patched(document: Object, operations: Sequence[Object]) -> Object:
    """The document after a JSON patch; raises Refused where a test fails or a path is missing."""
    for operation in operations:
        path = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
        verb = operation["op"]
        found = _at_path(document, path)
        if verb == "test":
            if found is _MISSING or found != operation["value"]:
                raise Refused(f"the server rejected our request: testing {operation['path']} failed")
            continue
        if verb in ("remove", "replace") and found is _MISSING:
            raise Refused(f"the server rejected our request: {operation['path']} is not there")
        if verb not in ("add", "replace", "remove"):
            raise ValueError(f"this little server does not know the patch operation {verb}")
        if verb in ("remove", "replace"):
            document = _with(document, path, _MISSING)
        if verb in ("add", "replace"):
            document = _with(document, path, operation["value"])
    return document


_MISSING: Any = object()


def _at_path(document: Any, path: Sequence[str]) -> Any:
    for part in path:
        if isinstance(document, Mapping) and part in document:
            document = document[part]
        elif isinstance(document, list) and part.isdecimal() and int(part) < len(document):
            document = document[int(part)]
        else:
            return _MISSING
    return document


def _with(document: Any, path: Sequence[str], value: Any) -> Any:
    first, *rest = path
    if isinstance(document, list):
        index = len(document) if first == "-" else int(first)
        before, after = document[:index], document[index + 1 :]
        if rest:
            return [*before, _with(document[index], rest, value), *after]
        return [*before, *after] if value is _MISSING else [*before, value, *document[index:]]
    if not isinstance(document, Mapping) or (rest and first not in document):
        raise Refused(f"the server rejected our request: there is nothing at {first}")
    if rest:
        return {**document, first: _with(document[first], rest, value)}
    if value is _MISSING:
        return {key: member for key, member in document.items() if key != first}
    return {**document, first: value}
