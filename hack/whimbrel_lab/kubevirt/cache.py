"""What the stand-in knows of the cluster: one watched cache per kind, with indexes, told of its own writes at once.

A cache never goes back: an object is replaced only by a newer version, and a deleted one does not return.
"""

import asyncio
import contextlib
import logging
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import aiohttp

from whimbrel.simulation.kubevirt.values import Object, name, namespace, uid
from whimbrel_lab.kubevirt.client import Client, RequestRefused

LOG = logging.getLogger(__name__)
Key = tuple[str, str]
Observer = Callable[[Object | None, Object | None], None]
IndexKey = str | Key
_REMEMBERED_DELETIONS = 20_000
_RETRY_S = 0.2


def key_of(document: Object) -> Key:
    """(namespace, name)."""
    return namespace(document), name(document)


@dataclass(slots=True)
class Index:
    """Objects by a derived key; an object may be under none."""

    of: Callable[[Object], IndexKey | None]
    found: dict[IndexKey, dict[Key, Object]]

    def __getitem__(self, key: IndexKey) -> list[Object]:
        return list(self.found.get(key, {}).values())


class Cache:
    """All objects of one kind."""

    def __init__(self, kind: str, client: Client) -> None:
        self.kind = kind
        self.objects: dict[Key, Object] = {}
        self.synced = asyncio.Event()
        self._client = client
        self._indexes: list[Index] = []
        self._observers: list[Observer] = []
        self._deleted: OrderedDict[str, None] = OrderedDict()

    def index(self, of: Callable[[Object], IndexKey | None]) -> Index:
        """Add an index; only before the cache runs."""
        made = Index(of, defaultdict(dict))
        self._indexes.append(made)
        return made

    def observe(self, observer: Observer) -> None:
        """Call `observer(old, new)` after every change, synchronously."""
        self._observers.append(observer)

    def get(self, namespace: str, name: str) -> Object | None:
        """One object; not to be changed."""
        return self.objects.get((namespace, name))

    def put(self, document: Object) -> None:
        """Take over a newer version of an object: an event, or the answer to a write of our own."""
        if uid(document) in self._deleted:
            return
        key = key_of(document)
        old = self.objects.get(key)
        if old is not None and _version(old) >= _version(document):
            return
        document.setdefault("kind", self.kind)
        self._swap(key, old, document)

    def drop(self, document: Object) -> None:
        """An object is gone."""
        self._deleted[uid(document)] = None
        if len(self._deleted) > _REMEMBERED_DELETIONS:
            self._deleted.popitem(last=False)
        key = key_of(document)
        old = self.objects.get(key)
        if old is not None and uid(old) == uid(document):
            self._swap(key, old, None)

    async def run(self) -> None:
        """List and watch for ever."""
        version = ""
        while True:
            try:
                if not version:
                    listed, version = await self._client.list(self.kind)
                    self._replace(listed)
                    self.synced.set()
                version = await self._follow(version)
            except RequestRefused as refused:
                LOG.debug("watch of %s: %s", self.kind, refused)
                version = ""
                await asyncio.sleep(_RETRY_S)
            except (aiohttp.ClientError, TimeoutError, ConnectionError) as problem:
                LOG.debug("watch of %s: %s", self.kind, problem)
                await asyncio.sleep(_RETRY_S)

    async def _follow(self, version: str) -> str:
        with contextlib.suppress(aiohttp.ClientPayloadError):
            async for change, document in self._client.watch(self.kind, version):
                if change == "ERROR":
                    return ""
                version = document["metadata"]["resourceVersion"]
                if change == "DELETED":
                    self.drop(document)
                elif change != "BOOKMARK":
                    self.put(document)
        return version

    def _replace(self, listed: Iterable[Object]) -> None:
        seen = set()
        for document in listed:
            seen.add(key_of(document))
            self.put(document)
        for key in [key for key in self.objects if key not in seen]:
            self.drop(self.objects[key])

    def _swap(self, key: Key, old: Object | None, new: Object | None) -> None:
        if new is None:
            self.objects.pop(key, None)
        else:
            self.objects[key] = new
        for index in self._indexes:
            before = index.of(old) if old is not None else None
            after = index.of(new) if new is not None else None
            if before is not None and before != after:
                members = index.found[before]
                members.pop(key, None)
                if not members:
                    del index.found[before]
            if after is not None and new is not None:
                index.found[after][key] = new
        for observer in self._observers:
            observer(old, new)


def _version(document: Object) -> int:
    return int(document["metadata"].get("resourceVersion") or 0)
