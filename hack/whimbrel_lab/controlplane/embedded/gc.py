"""What the controllers of a real cluster collect: dependents without owners, contents of namespaces and definitions.

Woken by every change of the storage; deletes through the ordinary verbs, so admission and finalizers have their say.
What is refused is tried again after a second.
"""

import asyncio
import logging
from dataclasses import dataclass

from whimbrel_lab.controlplane.embedded import crds
from whimbrel_lab.controlplane.embedded.deletion import FOREGROUND, ORPHAN, DeleteOptions, Deletion
from whimbrel_lab.controlplane.embedded.errors import ApiError, Object
from whimbrel_lab.controlplane.embedded.kinds import Kind
from whimbrel_lab.controlplane.embedded.storage import Change, Key, Record
from whimbrel_lab.controlplane.embedded.verbs import Call, Verbs
from whimbrel_lab.controlplane.users import MASTERS, User

LOG = logging.getLogger(__name__)
_RETRY_AFTER_S = 1.0
COLLECTOR = User("system:serviceaccount:kube-system:generic-garbage-collector", (MASTERS,))


@dataclass(frozen=True, slots=True)
class _Place:
    """An object to look at again."""

    resource: str
    key: Key


class Collector:
    """One task that keeps the storage free of what nobody owns any more."""

    def __init__(self, verbs: Verbs, deletion: Deletion) -> None:
        self._verbs = verbs
        self._deletion = deletion
        self._storage = verbs.storage
        self._catalog = verbs.catalog
        self._dependents: dict[str, set[_Place]] = {}
        self._waiting: dict[str, _Place] = {}
        self._queue: dict[_Place, None] = {}
        self._wake = asyncio.Event()
        self._storage.observe(self._observe)

    def _observe(self, resource: str, change: Change) -> None:
        place = _Place(resource, change.record.key)
        metadata = change.record.object["metadata"]
        owners = _owner_uids(change.record)
        for uid in _owner_uids(change.previous) - owners if change.previous else ():
            self._unlink(uid, place)
        if change.type == "DELETED":
            for uid in owners:
                self._unlink(uid, place)
            uid = metadata.get("uid", "")
            self._waiting.pop(uid, None)
            self._enqueue(*self._dependents.get(uid, ()))
            self._enqueue_containers(place)
            return
        for uid in owners:
            self._dependents.setdefault(uid, set()).add(place)
        if owners and (change.previous is None or owners != _owner_uids(change.previous)):
            self._enqueue(place)
        if metadata.get("deletionTimestamp"):
            if {FOREGROUND, ORPHAN} & set(metadata.get("finalizers") or ()):
                self._waiting[metadata["uid"]] = place
            self._enqueue(place)

    def _unlink(self, uid: str, place: _Place) -> None:
        places = self._dependents.get(uid)
        if places is None:
            return
        places.discard(place)
        if not places:
            del self._dependents[uid]
        if uid in self._waiting:
            self._enqueue(self._waiting[uid])

    def _enqueue_containers(self, place: _Place) -> None:
        """What may have waited for this object to go: its namespace, its definition."""
        namespace = _Place("namespaces", ("", place.key[0]))
        definition = _Place(crds.RESOURCE, ("", place.resource))
        for container in (namespace, definition):
            record = self._record(container)
            if record is not None and record.object["metadata"].get("deletionTimestamp"):
                self._enqueue(container)

    def _enqueue(self, *places: _Place) -> None:
        for place in places:
            self._queue[place] = None
        if places:
            self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            self._wake.clear()
            places, self._queue = list(self._queue), {}
            for index, place in enumerate(places):
                try:
                    await self._look(place)
                except ApiError as refusal:
                    if refusal.code != 404:
                        LOG.info("garbage collection of %s %s: %s", place.resource, place.key, refusal.message)
                        loop.call_later(_RETRY_AFTER_S, self._enqueue, place)
                except Exception:
                    LOG.exception("garbage collection of %s %s failed", place.resource, place.key)
                if index % 100 == 99:
                    await asyncio.sleep(0)

    def _record(self, place: _Place) -> Record | None:
        return self._storage.get(place.resource, *place.key)

    async def _look(self, place: _Place) -> None:
        record, kind = self._record(place), self._catalog.stored(place.resource)
        if record is None or kind is None:
            return
        metadata = record.object["metadata"]
        if metadata.get("deletionTimestamp"):
            if place.resource == "namespaces":
                await self._empty_namespace(record)
            elif place.resource == crds.RESOURCE:
                await self._empty_definition(kind, record)
            await self._finalize(kind, place)
        elif metadata.get("ownerReferences"):
            await self._check_owners(kind, record)

    async def _check_owners(self, kind: Kind, record: Record) -> None:
        lost: list[str] = []
        solid: list[str] = []
        for reference in record.object["metadata"]["ownerReferences"]:
            (solid if self._stands(kind, record, reference) else lost).append(reference["uid"])
        if lost and solid:
            await self._drop_owners(kind, record, set(lost))
        elif lost:
            uid = record.object["metadata"]["uid"]
            await self._delete(kind, record, DeleteOptions(uid=uid))

    def _stands(self, kind: Kind, record: Record, reference: Object) -> bool:
        """Whether an owner exists and keeps its dependents. An owner of unknown kind is believed in."""
        owner_kind = self._catalog.by_kind(reference["apiVersion"], reference["kind"])
        if owner_kind is None or (owner_kind.namespaced and not kind.namespaced):
            return True
        namespace = record.key[0] if owner_kind.namespaced else ""
        owner = self._storage.get(owner_kind.resource, namespace, reference["name"])
        if owner is None or owner.object["metadata"].get("uid") != reference["uid"]:
            return False
        metadata = owner.object["metadata"]
        return not (metadata.get("deletionTimestamp") and FOREGROUND in (metadata.get("finalizers") or ()))

    async def _drop_owners(self, kind: Kind, record: Record, uids: set[str]) -> None:
        def derive(old: Object) -> Object:
            kept = [each for each in old["metadata"].get("ownerReferences") or () if each["uid"] not in uids]
            return {**old, "metadata": {**old["metadata"], "ownerReferences": kept}}

        await self._verbs.change(_call(kind, record), derive)

    async def _finalize(self, kind: Kind, place: _Place) -> None:
        """Do what a foreground or orphaning deletion waits for, then take its finalizer away."""
        record = self._record(place)
        if record is None:
            return
        metadata = record.object["metadata"]
        finalizers, uid = metadata.get("finalizers") or (), metadata["uid"]
        dependents = list(self._dependents.get(uid, ()))
        if ORPHAN in finalizers:
            for each in dependents:
                dependent, of_kind = self._record(each), self._catalog.stored(each.resource)
                if dependent is not None and of_kind is not None:
                    await self._drop_owners(of_kind, dependent, {uid})
            await self._drop_finalizer(kind, record, ORPHAN)
        elif FOREGROUND in finalizers:
            self._enqueue(*(each for each in dependents if not self._is_going(each)))
            if not any(self._blocks(each, uid) for each in dependents):
                await self._drop_finalizer(kind, record, FOREGROUND)

    def _is_going(self, place: _Place) -> bool:
        record = self._record(place)
        return record is None or bool(record.object["metadata"].get("deletionTimestamp"))

    def _blocks(self, place: _Place, uid: str) -> bool:
        record = self._record(place)
        references = record.object["metadata"].get("ownerReferences") or () if record else ()
        return any(each["uid"] == uid and each.get("blockOwnerDeletion") for each in references)

    async def _drop_finalizer(self, kind: Kind, record: Record, finalizer: str) -> None:
        def derive(old: Object) -> Object:
            kept = [each for each in old["metadata"].get("finalizers") or () if each != finalizer]
            return {**old, "metadata": {**old["metadata"], "finalizers": kept}}

        await self._verbs.change(_call(kind, record), derive)

    async def _empty_namespace(self, namespace: Record) -> None:
        name, left = namespace.key[1], False
        for kind in self._catalog.stored_kinds():
            if kind.namespaced:
                left = await self._empty(kind, name) or left
        current = self._storage.get("namespaces", "", name)
        if not left and current is not None and not current.object["metadata"].get("finalizers"):
            self._storage.erase("namespaces", current)

    async def _empty_definition(self, kind: Kind, definition: Record) -> None:
        of_kind = self._catalog.stored(definition.key[1])
        if of_kind is not None and await self._empty(of_kind, ""):
            return
        if current := self._storage.get(crds.RESOURCE, *definition.key):
            await self._drop_finalizer(kind, current, crds.CLEANUP)

    async def _empty(self, kind: Kind, namespace: str) -> bool:
        """Delete all objects of a kind in a namespace (or in all); true while some remain."""
        for record in self._storage.records(kind.resource, namespace):
            if not record.object["metadata"].get("deletionTimestamp"):
                await self._delete(kind, record, DeleteOptions())
        return bool(self._storage.records(kind.resource, namespace))

    async def _delete(self, kind: Kind, record: Record, options: DeleteOptions) -> None:
        try:
            await self._deletion.delete(_call(kind, record), options)
        except ApiError as refusal:
            if refusal.code != 404:
                raise


def _call(kind: Kind, record: Record) -> Call:
    return Call(COLLECTOR, kind, record.key[0], record.key[1])


def _owner_uids(record: Record | None) -> set[str]:
    references = record.object["metadata"].get("ownerReferences") or () if record else ()
    return {each["uid"] for each in references}
