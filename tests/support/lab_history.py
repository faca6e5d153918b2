"""The history of a lab's API server as its observers see it: every revision, and who wrote it.

`Witness` feeds it to the checker of the safety invariants, so that each end-to-end test is judged by all of them.
"""

from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from support.invariants import OPERATOR, USER, Checker
from whimbrel.domain.records import Key
from whimbrel.domain.resources import (
    HOST_PROFILES,
    INSTANCES,
    KUBEVIRTS,
    MIGRATION_PLANS,
    MIGRATION_POLICIES,
    MIGRATIONS,
    NODES,
    PODS,
    VIRTUAL_MACHINE_MOVES,
    VIRTUAL_MACHINES,
    Resource,
)
from whimbrel.simulation.world import Change, Object, World
from whimbrel_lab.controlplane.counters import RequestKey
from whimbrel_lab.controlplane.embedded import Counters
from whimbrel_lab.controlplane.embedded.storage import Change as Revision
from whimbrel_lab.lab import Lab

SETUP = "setup"
OPERATOR_ACCOUNT = "whimbrel"
KINDS = {
    f"{kind.plural}.{kind.group}".rstrip("."): kind
    for kind in (
        MIGRATION_PLANS,
        HOST_PROFILES,
        VIRTUAL_MACHINE_MOVES,
        MIGRATIONS,
        MIGRATION_POLICIES,
        INSTANCES,
        VIRTUAL_MACHINES,
        KUBEVIRTS,
        NODES,
        PODS,
    )
}
_request: ContextVar[RequestKey | None] = ContextVar("_request", default=None)


class AttributingCounters(Counters):
    """Counts requests, and remembers whose request the present task carries out."""

    def count(self, key: RequestKey) -> None:
        super().count(key)
        _request.set(key)


@dataclass(frozen=True, slots=True)
class Mirror:
    """The present objects, in the shape that the checker reads."""

    held: dict[Resource, dict[Key, Object]]

    @staticmethod
    def as_world(held: dict[Resource, dict[Key, Object]]) -> World:
        """For the checker, which was written for a simulated world."""
        return cast(World, Mirror(held))

    @property
    def now(self) -> datetime:
        """The present time."""
        return datetime.now(UTC)

    def objects(self, resource: Resource) -> dict[Key, Object]:
        """All objects of a kind."""
        return self.held.setdefault(resource, {})

    def get(self, resource: Resource, key: Key) -> Object | None:
        """The object, or None."""
        return self.objects(resource).get(key)


class Witness:
    """Sees every revision of a lab that has not started yet, and has it judged."""

    def __init__(self, lab: Lab) -> None:
        self.history: list[Change] = []
        self._mirror = Mirror({})
        self.checker = Checker(cast(World, self._mirror))
        lab.embedded.counters = AttributingCounters()
        lab.storage.observe(self._saw)

    async def begin(self) -> None:
        """The lab is up: no guest that runs now may be lost."""
        self.checker.begin()

    async def end(self) -> None:
        """Nothing to take down."""

    async def judged(self) -> list[str]:
        """What was broken since the begin, at any revision."""
        return list(self.checker.broken)

    def forget(self) -> None:
        """What was broken so far is judged and done with."""
        self.checker.broken.clear()

    def of(self, resource: Resource) -> Iterator[Change]:
        """The revisions of one kind, oldest first."""
        return (change for change in self.history if change.resource == resource)

    def _saw(self, name: str, revision: Revision) -> None:
        resource = KINDS.get(name)
        if resource is None:
            return
        namespace, own_name = revision.record.key
        actor, verb = _author(revision)
        change = Change(
            at=datetime.now(UTC),
            version=revision.version,
            actor=actor,
            verb=verb,
            resource=resource,
            key=Key(namespace, own_name),
            before=revision.previous.object if revision.previous is not None else None,
            after=None if revision.type == "DELETED" else revision.record.object,
        )
        objects = self._mirror.objects(resource)
        if change.after is None:
            objects.pop(change.key, None)
        else:
            objects[change.key] = change.after
        self.history.append(change)
        self.checker.observe(change)


def _author(revision: Revision) -> tuple[str, str]:
    request = _request.get()
    if request is None:
        return SETUP, {"ADDED": "create", "MODIFIED": "update", "DELETED": "delete"}[revision.type]
    verb = "status" if request.subresource == "status" else request.verb
    if is_operator(request.client):
        return OPERATOR, verb
    return (request.client if ":" in request.client else USER), verb


def is_operator(client: str) -> bool:
    """Whether requests of this client are the operator's."""
    return client.startswith("system:serviceaccount:") and client.endswith(f":{OPERATOR_ACCOUNT}")


def member(document: Any, *path: str) -> Any:
    """The member at a path, or None."""
    for part in path:
        document = document.get(part) if isinstance(document, dict) else None
    return document
