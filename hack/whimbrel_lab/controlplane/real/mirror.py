"""What a lab sees of a real API server: one watched cache per kind."""

import asyncio
from collections.abc import Iterator

from whimbrel_lab.controlplane.plane import Object, Observer
from whimbrel_lab.errors import check_running
from whimbrel_lab.kubevirt.cache import Cache
from whimbrel_lab.kubevirt.client import ROUTES, Client

NOT_WATCHED = frozenset({"ConfigMap", "ControllerRevision", "CustomResourceDefinition", "DaemonSet", "Event"})


class Mirror:
    """All objects of the kinds that a lab deals with, as fresh as its watches."""

    def __init__(self, client: Client) -> None:
        self._caches = {
            route.resource: Cache(kind, client) for kind, route in ROUTES.items() if kind not in NOT_WATCHED
        }
        self._by_kind = {cache.kind: cache for cache in self._caches.values()}
        self._task: asyncio.Task[None] | None = None
        self._changes = 0
        for cache in self._caches.values():
            cache.observe(self._count)

    def _count(self, _before: Object | None, _after: Object | None) -> None:
        self._changes += 1

    @property
    def changes(self) -> int:
        return self._changes

    def read(self, resource: str, name: str, namespace: str = "") -> Object | None:
        return self._caches[resource].get(namespace, name)

    def items(self, resource: str, namespace: str = "") -> Iterator[Object]:
        for (of_namespace, _), document in sorted(self._caches[resource].objects.items()):
            if not namespace or of_namespace == namespace:
                yield document

    def observe(self, observer: Observer) -> None:
        for resource, cache in self._caches.items():
            cache.observe(lambda before, after, resource=resource: observer(resource, before, after))  # type: ignore[misc]

    def hear(self, document: Object) -> None:
        cache = self._by_kind.get(str(document.get("kind")))
        if cache is not None:
            cache.put(document)

    async def start(self) -> None:
        """Watch; returns when everything was listed once."""
        self._task = asyncio.create_task(self._run(), name="mirror")
        synced = asyncio.create_task(self._synced())
        await asyncio.wait((synced, self._task), return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            synced.cancel()
            await self._task

    async def _synced(self) -> None:
        for cache in self._caches.values():
            await cache.synced.wait()

    def check(self) -> None:
        """LabError when it sees nothing any more, with the cause."""
        check_running(self._task, "the lab's view of the API server")

    async def stop(self) -> None:
        """Watch no more; safe to call twice."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for cache in self._caches.values():
                group.create_task(cache.run(), name=f"mirror-{cache.kind}")
