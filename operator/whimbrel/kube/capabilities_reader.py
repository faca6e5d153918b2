"""Reads from the API server's OpenAPI v3 documents what KubeVirt can be told, and keeps that current.

The index names a hash for each group version, so the documents themselves are read only when they changed. Every
authenticated account may read them. What was read last stays in force while a reading fails.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Any

from whimbrel.domain.records import Key
from whimbrel.domain.resources import KUBEVIRTS
from whimbrel.inventory.projections import capabilities
from whimbrel.kube.api import KubeApi
from whimbrel.kube.errors import ApiError
from whimbrel.kube.store import Store

log = logging.getLogger("whimbrel.capabilities")

GROUP_VERSIONS = tuple(f"apis/{kind.api_version}" for kind in capabilities.DOCUMENTS)
INTERVAL_S, RETRY_S = 60.0, 5.0


class CapabilitiesReader:
    """Reads at the start, when KubeVirt's version changes, and once a minute; sooner again after a failure."""

    def __init__(
        self,
        api: KubeApi,
        store: Store,
        *,
        interval_s: float = INTERVAL_S,
        retry_s: float = RETRY_S,
        on_state: Callable[[], None] = lambda: None,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self.problem = ""
        """Why the last reading failed, or empty."""
        self._api, self._store = api, store
        self._interval_s, self._retry_s = interval_s, retry_s
        self._on_state, self._beat = on_state, beat
        self._read: tuple[str, ...] = ()
        """Where the documents were that were read last, hashes included."""
        self._versions: Mapping[Key, str] = {}
        self._due = asyncio.Event()

    def look(self) -> None:
        """The store has changed: KubeVirt may be another release now."""
        if self._seen_versions() != self._versions:
            self._due.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._beat()
            self._due.clear()
            self._versions = self._seen_versions()
            await self.read_once()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._retry_s if self.problem else self._interval_s):
                    await self._due.wait()

    async def read_once(self) -> None:
        """Reads the index, and the documents where they changed; feeds the store."""
        try:
            problem = await self._read_changed()
        except ApiError as error:
            problem = f"they cannot be read: {error}"
        if problem != self.problem:
            self.problem = problem
            if problem:
                log.warning("KubeVirt's schemas in the API server's OpenAPI documents: %s.", problem)
            self._on_state()

    async def _read_changed(self) -> str:
        index = (await self._api.openapi()).get("paths")
        places = tuple(_place(index, group_version) for group_version in GROUP_VERSIONS)
        if not all(places):
            return f"{GROUP_VERSIONS[places.index('')]} is not among them"
        if places == self._read:
            return ""
        found = capabilities.project(*[await self._api.openapi(group_version) for group_version in GROUP_VERSIONS])
        if found is None:
            return f"they lack a schema of {' or '.join(each.kind for each in capabilities.DOCUMENTS)}"
        self._read = places
        self._store.learn(found)
        log.info(
            "KubeVirt %s be told where to migrate to, and %s suspend a guest for the rest of a copy.",
            "can" if found.added_node_selector else "cannot",
            "can" if found.workload_disruption else "cannot",
        )
        return ""

    def _seen_versions(self) -> Mapping[Key, str]:
        return {key: record.version for key, record in self._store.records(KUBEVIRTS).items()}


def _place(index: Any, group_version: str) -> str:
    """Where the index says that a document is; empty where it does not name it."""
    entry = index.get(group_version) if isinstance(index, dict) else None
    return str(entry.get("serverRelativeURL") or "") if isinstance(entry, dict) else ""
