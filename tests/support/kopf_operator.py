"""A small Kopf operator for tests: which events Kopf passes on, in which order."""

import asyncio
import base64
import gc
import threading
import warnings
from typing import Any

import kopf

from whimbrel_lab.controlplane.users import Access


class Operator:
    """A Kopf operator of one kind in its own thread: `on.event` alone, and what it saw."""

    def __init__(self, access: Access, namespace: str) -> None:
        self._access = access
        self._namespace = namespace
        self._loop = asyncio.get_running_loop()
        self.seen: asyncio.Queue[tuple[str | None, str]] = asyncio.Queue()
        self._ready = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    async def __aenter__(self) -> "Operator":
        self._thread.start()
        assert await asyncio.to_thread(self._ready.wait, 10)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.to_thread(self._thread.join, 20)
        # Kopf does not close its HTTP session when its operator ends; no later test shall be blamed for it.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()

    def _run(self) -> None:
        registry = kopf.OperatorRegistry()
        settings = kopf.OperatorSettings()
        settings.posting.enabled = False
        settings.watching.chunk_size = 2
        settings.networking.request_timeout = 5

        @kopf.on.login(registry=registry)
        def login(**_: Any) -> kopf.ConnectionInfo:
            authority = self._access.authority
            return kopf.ConnectionInfo(
                server=self._access.url,
                token=self._access.token or None,
                ca_data=base64.b64encode(authority.encode()).decode() if authority else None,
                default_namespace=self._namespace,
            )

        @kopf.on.event("example.com", "v1", "widgets", registry=registry, id="seen")
        async def seen(type: str | None, name: str | None, spec: kopf.Spec, patch: kopf.Patch, **_: Any) -> None:
            if spec["size"] == 9 and type != "DELETED":
                patch.status["phase"] = "Large"
            self._loop.call_soon_threadsafe(self.seen.put_nowait, (type, name or ""))

        asyncio.run(
            kopf.operator(
                registry=registry,
                settings=settings,
                standalone=True,
                namespaces=[self._namespace],
                ready_flag=self._ready,
                stop_flag=self._stop,
            )
        )

    async def next(self) -> tuple[str | None, str]:
        async with asyncio.timeout(30):
            return await self.seen.get()
