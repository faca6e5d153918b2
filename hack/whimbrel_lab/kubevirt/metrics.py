"""virt-handler's `/metrics`, one HTTPS server per lab node, with KubeVirt's habits.

A ring of ten samples with explicit timestamps, repeated at every scrape and in no order; series of a migration vanish when
it is over; dirty rates only of running instances that do not migrate, resident memory of all that run.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from aiohttp import web

from whimbrel.simulation.kubevirt.releases import CURRENT, Release
from whimbrel.simulation.kubevirt.values import Object, labels, name, namespace
from whimbrel_lab.certs import Authority
from whimbrel_lab.clock import LabClock
from whimbrel_lab.hypervisor import JobProgress

LOG = logging.getLogger(__name__)
RING = 10
DIRTY_RATE_LIFETIME_S = 3.0


@dataclass(frozen=True, slots=True)
class Series:
    """A metric of a running migration, and the releases that have it under this name."""

    name: str
    kind: str
    member: str
    since: tuple[int, int] = (1, 1)
    last: tuple[int, int] = (99, 0)


SERIES = (
    Series("kubevirt_vmi_migration_data_bytes_total", "counter", "total_bytes", since=(1, 8)),
    Series("kubevirt_vmi_migration_data_total_bytes", "gauge", "total_bytes", since=(1, 5), last=(1, 7)),
    Series("kubevirt_vmi_migration_data_remaining_bytes", "gauge", "remaining_bytes"),
    Series("kubevirt_vmi_migration_data_processed_bytes", "gauge", "processed_bytes"),
    Series("kubevirt_vmi_migration_dirty_memory_rate_bytes", "gauge", "dirty_bytes_per_second"),
    Series("kubevirt_vmi_migration_memory_transfer_rate_bytes", "gauge", "transfer_bytes_per_second", since=(1, 7)),
    Series("kubevirt_vmi_migration_disk_transfer_rate_bytes", "gauge", "transfer_bytes_per_second", last=(1, 6)),
)
DIRTY_RATE_SINCE = (1, 6)
DIRTY_RATE = "kubevirt_vmi_dirty_rate_bytes_per_second"
RESIDENT = "kubevirt_vmi_memory_resident_bytes"
OfRunning = Callable[[str], Awaitable[list[tuple[Object, int]]]]
"""Instances that run on a node, and a value of each."""


@dataclass(slots=True)
class _Endpoint:
    """One node's server."""

    node: str
    address: str
    port: int
    silent: bool = False
    rings: dict[tuple[str, str], deque[tuple[int, JobProgress]]] = field(default_factory=dict)
    dirty: tuple[float, str] = (-1e9, "")
    scrapes: int = 0


def address_of(number: int) -> str:
    """The loopback address of the n-th node, from 127.0.1.1 on."""
    return f"127.0.{1 + number // 254}.{1 + number % 254}"


class Metrics:
    """All nodes' servers. `dirty_rates` is asked at a scrape, at most every three lab seconds; `resident_sets` at each."""

    def __init__(self, clock: LabClock, authority: Authority, install_namespace: str = "kubevirt") -> None:
        self._clock = clock
        self._context = authority.server_context(f"virt-handler.{install_namespace}.svc")
        self._endpoints: dict[str, _Endpoint] = {}
        self._runners: list[web.ServerRunner] = []
        self.dirty_rates: OfRunning | None = None
        self.resident_sets: OfRunning | None = None
        self.release: Callable[[], Release] = lambda: CURRENT
        """Which release's metrics are shown."""

    async def start(self, nodes: Iterable[str]) -> None:
        """Listen for every node."""
        await asyncio.gather(*(self._listen(node, address_of(number)) for number, node in enumerate(nodes)))

    async def stop(self) -> None:
        """Close all servers; safe to call twice."""
        runners, self._runners = self._runners, []
        await asyncio.gather(*(runner.cleanup() for runner in runners))

    def endpoint(self, node: str) -> tuple[str, int]:
        """(IP, port) of a node's server."""
        found = self._endpoints[node]
        return found.address, found.port

    def silence(self, node: str, silent: bool = True) -> None:
        """A node that is off answers nobody."""
        self._endpoints[node].silent = silent

    def sample(self, node: str, namespace: str, name: str, progress: JobProgress) -> None:
        """Remember one sample of a running migration."""
        if (endpoint := self._endpoints.get(node)) is not None:
            ring = endpoint.rings.setdefault((namespace, name), deque(maxlen=RING))
            ring.append((int(self._clock.now().timestamp() * 1000), progress))

    def forget(self, node: str, namespace: str, name: str) -> None:
        """The migration is over."""
        if (endpoint := self._endpoints.get(node)) is not None:
            endpoint.rings.pop((namespace, name), None)

    async def _listen(self, node: str, address: str) -> None:
        endpoint = _Endpoint(node, address, 0)

        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            return await self._answer(endpoint, request)

        runner = web.ServerRunner(web.Server(answer, access_log=None), shutdown_timeout=0.5)
        await runner.setup()
        self._runners.append(runner)
        try:
            site = web.TCPSite(runner, address, 0, ssl_context=self._context)
            await site.start()
        except OSError:
            endpoint.address = "127.0.0.1"
            site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self._context)
            await site.start()
        endpoint.port = int(runner.addresses[-1][1])
        self._endpoints[node] = endpoint

    async def _answer(self, endpoint: _Endpoint, request: web.BaseRequest) -> web.StreamResponse:
        if endpoint.silent:
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=503)
        if request.path != "/metrics":
            return web.Response(status=404)
        endpoint.scrapes += 1
        text = self.exposition(endpoint.node) + await self._resident(endpoint) + await self._dirty(endpoint)
        return web.Response(text=text, content_type="text/plain", charset="utf-8")

    def exposition(self, node: str) -> str:
        """The series of running migrations; the order of a ring's samples changes with every scrape."""
        endpoint = self._endpoints[node]
        lines = []
        for series in SERIES:
            if not series.since <= self.release().minor <= series.last:
                continue
            lines.append(f"# TYPE {series.name} {series.kind}")
            for (space, who), ring in endpoint.rings.items():
                turn = endpoint.scrapes % len(ring)
                samples = [*ring][turn:] + [*ring][:turn]
                for moment, progress in samples:
                    value = getattr(progress, series.member)
                    if value is not None:
                        where = f'namespace="{space}",name="{who}",node="{node}"'
                        lines.append(f"{series.name}{{{where}}} {value} {moment}")
        return "\n".join(lines) + "\n"

    async def _dirty(self, endpoint: _Endpoint) -> str:
        now_s = self._clock.monotonic()
        if self.dirty_rates is None or self.release().minor < DIRTY_RATE_SINCE:
            return ""
        if now_s - endpoint.dirty[0] > DIRTY_RATE_LIFETIME_S:
            endpoint.dirty = now_s, await _gauge(DIRTY_RATE, endpoint.node, self.dirty_rates)
        return endpoint.dirty[1]

    async def _resident(self, endpoint: _Endpoint) -> str:
        return await _gauge(RESIDENT, endpoint.node, self.resident_sets) if self.resident_sets is not None else ""


async def _gauge(series: str, node: str, values: OfRunning) -> str:
    """A series of the instances that run on a node; without timestamps, as KubeVirt shows it."""
    try:
        found = await values(node)
    except Exception:
        LOG.exception("%s of %s", series, node)
        found = []
    lines = [f"{series}{{{_labels(node, each)}}} {value}" for each, value in found]
    return "\n".join([f"# TYPE {series} gauge", *lines]) + "\n"


def _labels(node: str, instance: Object) -> str:
    pairs = {"node": node, "namespace": namespace(instance), "name": name(instance)}
    for key, value in labels(instance).items():
        clean = "".join(each if each.isalnum() else "_" for each in key)
        pairs[f"kubernetes_vmi_label_{clean}"] = value
    escaped = {
        key: value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for key, value in pairs.items()
    }
    return ",".join(f'{key}="{value}"' for key, value in escaped.items())
