"""Reads progress of running migrations from the virt-handlers of the nodes where they run.

KubeVirt's API shows no bytes; virt-handler's metrics do. Its certificate names no address: it is verified as
`virt-handler.<namespace>.svc` against the CA in ConfigMap `kubevirt-ca`. Absence is fine: samples explain, they decide nothing.
"""

import asyncio
import logging
import ssl
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import aiohttp

from whimbrel.domain.naming import LABEL_MANAGED
from whimbrel.domain.records import Instance, Key, Migration, MigrationSample, Pod
from whimbrel.domain.resources import CONFIG_MAPS, INSTANCES, KUBEVIRTS, MIGRATIONS, PODS
from whimbrel.kube.api import KubeApi
from whimbrel.kube.errors import ApiError
from whimbrel.kube.exposition import samples
from whimbrel.kube.store import Store
from whimbrel.kube.telemetry import Telemetry

log = logging.getLogger("whimbrel.metrics")

CA_CONFIG_MAP = "kubevirt-ca"
CA_KEY = "ca-bundle"
CA_LIFETIME_S = 600.0
SCRAPE_TIMEOUT_S = 4.0
LARGEST_ANSWER_BYTES = 16 << 20
AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Target:
    """A virt-handler to read, and whose migrations to look for there."""

    node: str
    ip: str
    port: int
    began: Mapping[Key, datetime | None]


def targets(
    migrations: Mapping[Key, Migration], instances: Mapping[Key, Instance], pods: Mapping[Key, Pod], namespace: str
) -> tuple[Target, ...]:
    """Virt-handlers of the source nodes of our unfinished migrations. Pure.

    KubeVirt's own are in its namespace; a pod elsewhere that is labelled like one is somebody's invention.
    """
    wanted: dict[str, dict[Key, datetime | None]] = defaultdict(dict)
    for migration in migrations.values():
        if migration.final or LABEL_MANAGED not in migration.labels:
            continue
        instance = instances.get(migration.instance_key)
        state = instance.migration if instance else None
        if instance is None or state is None or state.migration_uid != migration.uid or state.completed:
            continue
        wanted[state.source_node or instance.node][instance.key] = state.started_at
    if not wanted:
        return ()
    handlers = {
        pod.node: pod
        for key, pod in pods.items()
        if key.namespace == namespace and pod.handler and pod.ip and pod.metrics_port and not pod.deleting
    }
    return tuple(
        Target(node, handlers[node].ip, handlers[node].metrics_port, began)
        for node, began in sorted(wanted.items())
        if node in handlers
    )


class MetricsReader:
    """Every `interval_s` one GET per virt-handler that matters; none where nothing of ours is in flight."""

    def __init__(
        self,
        api: KubeApi,
        store: Store,
        telemetry: Telemetry,
        *,
        interval_s: float = 5.0,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self.problem = ""
        """Why the last reading failed, or empty."""
        self._api, self._store, self._telemetry = api, store, telemetry
        self._interval_s, self._beat = interval_s, beat
        self._trust: tuple[ssl.SSLContext, str] | None = None
        self._trust_until = 0.0

    async def run(self) -> None:
        """Until cancelled."""
        connector = aiohttp.TCPConnector(limit=AT_ONCE, force_close=False, keepalive_timeout=30)
        async with aiohttp.ClientSession(connector=connector) as session:
            while True:
                self._beat()
                await self.read_once(session)
                await asyncio.sleep(self._interval_s)

    async def read_once(self, session: aiohttp.ClientSession) -> None:
        """Reads all virt-handlers that matter now, and feeds the store."""
        kubevirts = self._store.records(KUBEVIRTS)
        if not kubevirts:
            return
        namespace = min(kubevirts).namespace
        records = self._store.records
        wanted = targets(records(MIGRATIONS), records(INSTANCES), records(PODS), namespace)
        if not wanted:
            return
        trust = await self._trusted(namespace)
        if trust is None:
            return
        limit = asyncio.Semaphore(AT_ONCE)

        async def one(target: Target) -> dict[Key, MigrationSample]:
            async with limit:
                return await self._read(session, target, *trust)

        for found in await asyncio.gather(*(one(target) for target in wanted)):
            self._store.sample(found)

    async def _read(
        self, session: aiohttp.ClientSession, target: Target, context: ssl.SSLContext, server_name: str
    ) -> dict[Key, MigrationSample]:
        host = f"[{target.ip}]" if ":" in target.ip else target.ip
        timeout = aiohttp.ClientTimeout(total=SCRAPE_TIMEOUT_S)
        try:
            async with session.get(
                f"https://{host}:{target.port}/metrics",
                ssl=context,
                server_hostname=server_name,
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                response.raise_for_status()
                text = await _bounded(response)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if isinstance(error, aiohttp.ClientConnectorCertificateError):
                self._trust_until = 0.0  # the CA may have been rotated
            self._fail(f"virt-handler of {target.node} at {host}:{target.port}: {str(error) or type(error).__name__}")
            return {}
        self.problem = ""
        self._telemetry.scrapes.labels("ok").inc()
        return samples(text, datetime.now(UTC), target.began)

    async def _trusted(self, namespace: str) -> tuple[ssl.SSLContext, str] | None:
        if self._trust is not None and time.monotonic() < self._trust_until:
            return self._trust
        try:
            found = await self._api.get(CONFIG_MAPS, Key(namespace, CA_CONFIG_MAP))
            bundle = str((found.get("data") or {}).get(CA_KEY) or "")
            context = ssl.create_default_context(cadata=bundle or None)
            if not bundle:
                raise ValueError(f"it has no key {CA_KEY}")
        except (ApiError, ssl.SSLError, ValueError) as error:
            self._fail(f"ConfigMap {namespace}/{CA_CONFIG_MAP} (virt-handler's CA): {error}")
            return None
        self._trust = context, f"virt-handler.{namespace}.svc"
        self._trust_until = time.monotonic() + CA_LIFETIME_S
        return self._trust

    def _fail(self, problem: str) -> None:
        self._telemetry.scrapes.labels("failed").inc()
        if problem != self.problem:
            log.info("No progress in bytes for now: %s", problem)
        self.problem = problem


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    """The body, at most LARGEST_ANSWER_BYTES of it."""
    text = bytearray()
    async for chunk in response.content.iter_chunked(1 << 16):
        text += chunk
        if len(text) > LARGEST_ANSWER_BYTES:
            raise ValueError(f"answered more than {LARGEST_ANSWER_BYTES} bytes")
    return bytes(text)
