"""The history of a real API server's objects, put together from watches and the audit log.

Watches tell every revision but not who wrote it; the audit log tells who wrote what, and its answers carry the version.
Together, sorted by version, they are what the embedded server shows at once.
"""

import asyncio
import contextlib
import uuid
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from support.invariants import OPERATOR, USER, Checker
from support.lab_history import KINDS, SETUP, Mirror, is_operator
from whimbrel.domain.records import Key
from whimbrel.domain.resources import Resource
from whimbrel.simulation.world import Change, Object
from whimbrel_lab.controlplane.real.audit import AuditLog, Request
from whimbrel_lab.kubevirt.client import ROUTES, Client, RequestRefused
from whimbrel_lab.lab import Lab

SETTLED_WITHIN_S = 10.0
AUDITED = frozenset({"kubevirt.io", "migrations.kubevirt.io", "whimbrel.dev"})
"""Groups of which the audit log keeps every write whole."""
WRITES = frozenset({"create", "update", "patch", "delete"})


@dataclass(frozen=True, slots=True)
class _Seen:
    """One event of a watch."""

    at: datetime
    version: int
    resource: Resource
    key: Key
    before: Object | None
    after: Object | None


class RealWitness:
    """Sees every revision of a lab that is up, and has it judged when it is asked."""

    def __init__(self, lab: Lab) -> None:
        self.checker = Checker(Mirror.as_world({}))
        self._lab = lab
        self._client = Client(lab.plane.access(), "whimbrel-tests")
        self._present: dict[Resource, dict[Key, Object]] = {}
        self._begun: dict[Resource, dict[Key, Object]] = {}
        self._seen: list[_Seen] = []
        self._watches: list[asyncio.Task[None]] = []

    async def begin(self) -> None:
        """The lab is up: no guest that runs now may be lost."""
        await self._client.__aenter__()
        kinds = {ROUTES[kind.kind].resource: kind for kind in KINDS.values()}
        for resource in kinds.values():
            listed, version = await self._client.list(resource.kind)
            self._present[resource] = {_key(each): each for each in listed}
            self._watches.append(asyncio.create_task(self._watch(resource, version)))
        self._begun = {resource: dict(objects) for resource, objects in self._present.items()}

    async def end(self) -> None:
        """Watch no more."""
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)
        await self._client.__aexit__(None, None, None)

    async def _watch(self, resource: Resource, version: str) -> None:
        objects = self._present[resource]
        async for kind, document in self._client.watch(resource.kind, version):
            if kind == "BOOKMARK":
                continue
            assert kind in ("ADDED", "MODIFIED", "DELETED"), f"the watch of {resource.kind} was told {kind}: {document}"
            key, number = _key(document), int(document["metadata"]["resourceVersion"])
            before = objects.pop(key, None)
            after = None if kind == "DELETED" else document
            if after is not None:
                objects[key] = after
            self._seen.append(_Seen(datetime.now(UTC), number, resource, key, before, after))
        raise AssertionError(f"the watch of {resource.kind} ended")

    @property
    def history(self) -> list[Change]:
        """Every revision until now, oldest first, with who wrote it; the audit log may be late with the newest."""
        log = self._lab.counters
        assert isinstance(log, AuditLog)
        log.read()
        authors = _Authors(log.requests)
        return [
            Change(each.at, each.version, *authors.of(each), each.resource, each.key, each.before, each.after)
            for each in sorted(self._seen, key=lambda each: each.version)
        ]

    def of(self, resource: Resource) -> Iterator[Change]:
        """The revisions of one kind, oldest first."""
        return (change for change in self.history if change.resource == resource)

    async def judged(self) -> list[str]:
        """What was broken since the begin, at any revision up to now."""
        await self._settle()
        objects = {resource: dict(present) for resource, present in self._begun.items()}
        self.checker = Checker(Mirror.as_world(objects))
        self.checker.begin()
        for change in self.history:
            known = change.actor != SETUP or change.after is None or change.resource.group not in AUDITED
            assert known, f"nobody wrote {change.resource.kind} {change.key} at {change.version}"
            held = objects.setdefault(change.resource, {})
            if change.after is None:
                held.pop(change.key, None)
            else:
                held[change.key] = change.after
            self.checker.observe(change)
        return list(self.checker.broken)

    async def _settle(self) -> None:
        """Until the watches have told all that a list shows now, and the audit log all that was answered before."""
        listed = {resource: (await self._client.list(resource.kind))[0] for resource in self._present}
        mark = f"/api/v1/namespaces/default/configmaps/settled-{uuid.uuid4().hex}"
        with contextlib.suppress(RequestRefused):
            await self._client.send("GET", mark)
        log = self._lab.counters
        assert isinstance(log, AuditLog)
        async with asyncio.timeout(SETTLED_WITHIN_S):
            while not (self._shows(listed) and any(each.path == mark for each in log.requests)):
                for watch in self._watches:
                    if watch.done():
                        watch.result()
                await asyncio.sleep(0.02)
                log.read()

    def _shows(self, listed: dict[Resource, list[Object]]) -> bool:
        return all(
            _version(self._present[resource].get(_key(each), each)) >= _version(each)
            and (_key(each) in self._present[resource] or self._ended(resource, each))
            for resource, documents in listed.items()
            for each in documents
        )

    def _ended(self, resource: Resource, document: Object) -> bool:
        """Whether a watch has told the end of this revision's object."""
        key, version = _key(document), _version(document)
        return any(
            each.resource == resource and each.key == key and each.after is None and each.version > version
            for each in self._seen
        )

    def forget(self) -> None:
        """What was seen so far is judged and done with."""
        self._begun = {resource: dict(objects) for resource, objects in self._present.items()}
        self._seen.clear()


class _Authors:
    """Who wrote which version."""

    def __init__(self, requests: list[Request]) -> None:
        self._by_version: dict[tuple[str, str, str, int], Request] = {}
        self._deletes: dict[tuple[str, str, str], list[Request]] = defaultdict(list)
        for request in requests:
            if request.verb not in WRITES or request.code >= 300:
                continue
            metadata: dict[str, Any] = (request.answer or {}).get("metadata") or {}
            name = request.name or str(metadata.get("name") or "")
            if metadata.get("resourceVersion"):
                key = (request.resource, request.namespace, name, int(metadata["resourceVersion"]))
                self._by_version.setdefault(key, request)
            if request.verb == "delete":
                self._deletes[request.resource, request.namespace, name].append(request)

    def of(self, seen: _Seen) -> tuple[str, str]:
        """(actor, verb); an end that no delete caused at once is the last finalizer's or the garbage collector's."""
        name = f"{seen.resource.plural}.{seen.resource.group}".rstrip(".")
        at = (name, seen.key.namespace, seen.key.name)
        request = self._by_version.get((*at, seen.version))
        if request is None and seen.after is None and self._deletes[at]:
            held = (seen.before or {}).get("metadata", {}).get("deletionTimestamp")
            request = None if held else self._deletes[at][-1]
        if request is None:
            verb = "create" if seen.before is None else "delete" if seen.after is None else "update"
            return SETUP, verb
        verb = "status" if request.subresource == "status" else request.verb
        if is_operator(request.user):
            return OPERATOR, verb
        return (request.user if ":" in request.user else USER), verb


def _version(document: Object) -> int:
    return int(document["metadata"]["resourceVersion"])


def _key(document: Object) -> Key:
    return Key(document["metadata"].get("namespace") or "", document["metadata"]["name"])
