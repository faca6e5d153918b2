"""Reads what virt-handlers' metrics tell of running migrations and of guests that run.

KubeVirt's API shows no bytes; virt-handler's metrics do. Its certificate names no address: it is verified as
`virt-handler.<namespace>.svc` against the CA in ConfigMap `kubevirt-ca`. Absence is fine: samples explain, and a forecast
without readings is wider.
"""

import asyncio
import logging
import ssl
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime

import aiohttp

from whimbrel.domain.records import Key
from whimbrel.domain.resources import (
    CONFIG_MAPS,
    HOST_PROFILES,
    INSTANCES,
    KUBEVIRTS,
    MIGRATION_PLANS,
    MIGRATIONS,
    PODS,
    VIRTUAL_MACHINE_MOVES,
)
from whimbrel.kube.api import KubeApi
from whimbrel.kube.errors import ApiError
from whimbrel.kube.exposition import courses, newest, readings
from whimbrel.kube.scrape_targets import (
    NODES_AT_A_TIME,
    Target,
    addresses,
    awaited_nodes,
    in_flight,
    next_nodes,
    running_guests,
)
from whimbrel.kube.store import Store
from whimbrel.kube.telemetry import Telemetry

log = logging.getLogger("whimbrel.metrics")

CA_CONFIG_MAP = "kubevirt-ca"
CA_KEY = "ca-bundle"
CA_LIFETIME_S = 600.0
SCRAPE_TIMEOUT_S = 4.0
LARGEST_ANSWER_BYTES = 16 << 20
AT_ONCE = 8


class MetricsReader:
    """Every `interval_s` one GET per virt-handler that matters; none where nobody plans and nothing of ours is in flight.

    At most `nodes_at_a_time` in one interval, those of our migrations apart; 0: only those.
    """

    def __init__(
        self,
        api: KubeApi,
        store: Store,
        telemetry: Telemetry,
        *,
        interval_s: float = 5.0,
        nodes_at_a_time: int = NODES_AT_A_TIME,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self.problem = ""
        """Why a virt-handler could not be read last time, or empty."""
        self._api, self._store, self._telemetry = api, store, telemetry
        self._interval_s, self._nodes_at_a_time, self._beat = interval_s, nodes_at_a_time, beat
        self._trust: tuple[ssl.SSLContext, str] | None = None
        self._trust_until = 0.0
        self._read_at_s: dict[str, float] = {}
        """When each node with guests was asked last, whatever it answered."""
        self._failures: dict[str, str] = {}
        """Nodes that could not be read last time, and why."""
        self._hurry = asyncio.Event()
        self._awaiting: list[asyncio.Event] = []

    async def run(self) -> None:
        """Until cancelled."""
        connector = aiohttp.TCPConnector(limit=AT_ONCE, force_close=False, keepalive_timeout=30)
        async with aiohttp.ClientSession(connector=connector) as session:
            while True:
                self._beat()
                self._hurry.clear()
                awaiting, self._awaiting = self._awaiting, []
                await self.read_once(session)
                for read in awaiting:
                    read.set()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._hurry.wait(), self._interval_s)

    async def read_anew(self, at_most_s: float) -> None:
        """Returns when a read that began after the call has ended, or after that time: who decides right after a start would
        otherwise take every guest for one of which nothing is told. While `run` runs.
        """
        read = asyncio.Event()
        self._awaiting.append(read)
        self._hurry.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(read.wait(), at_most_s)

    async def read_once(self, session: aiohttp.ClientSession) -> None:
        """Reads all virt-handlers that matter now, and feeds the store."""
        kubevirts = self._store.records(KUBEVIRTS)
        if not kubevirts:
            return
        namespace = min(kubevirts).namespace
        wanted = list(self._targets(namespace))
        if not wanted or (trust := await self._trusted(namespace)) is None:
            return
        limit = asyncio.Semaphore(AT_ONCE)

        async def one(target: Target) -> None:
            async with limit:
                text = await self._read(session, target, *trust)
            if text is not None:
                self._feed(target, text, datetime.now(UTC))

        await asyncio.gather(*(one(target) for target in wanted))
        self.problem = next(iter(self._failures.values()), "")

    def _targets(self, namespace: str) -> Iterable[Target]:
        """Source nodes of our migrations first, then others as far as the budget goes; all of them count as read."""
        records = self._store.records
        instances = records(INSTANCES)
        flights = in_flight(records(MIGRATIONS), instances)
        planned = bool(records(MIGRATION_PLANS) or records(HOST_PROFILES))
        if not flights and not planned:
            return
        running, handlers = running_guests(instances), addresses(records(PODS).values(), namespace)
        now_s = time.monotonic()
        chosen = sorted(flights.keys() & handlers.keys())
        if planned:
            awaited = awaited_nodes(records(VIRTUAL_MACHINE_MOVES).values(), instances)
            candidates = (running.keys() & handlers.keys()) - flights.keys()
            chosen += next_nodes(candidates, awaited, self._read_at_s, now_s, self._nodes_at_a_time - len(chosen))
        self._read_at_s = {node: at for node, at in self._read_at_s.items() if node in running}
        self._read_at_s |= dict.fromkeys(chosen, now_s)
        self._failures = {node: why for node, why in self._failures.items() if node in self._read_at_s}
        for node in chosen:
            yield Target(node, handlers[node], flights.get(node, {}), running.get(node, ()))

    def _feed(self, target: Target, text: bytes, now: datetime) -> None:
        if target.flights:
            found = courses(text, now, {key: flight.began for key, flight in target.flights.items()})
            self._store.sample({key: newest(course) for key, course in found.items()})
            for key, course in found.items():
                flight = target.flights[key]
                if flight.began is not None:  # before that the samples may be an earlier migration's; they come again
                    self._store.follow(key, flight.migration_uid, course)
        self._store.tell(readings(text, now, target.node, target.running))

    async def _read(
        self, session: aiohttp.ClientSession, target: Target, context: ssl.SSLContext, server_name: str
    ) -> bytes | None:
        """The exposition text of a virt-handler; None where it cannot be had."""
        ip, port = target.address.ip, target.address.port
        host = f"[{ip}]" if ":" in ip else ip
        timeout = aiohttp.ClientTimeout(total=SCRAPE_TIMEOUT_S)
        try:
            async with session.get(
                f"https://{host}:{port}/metrics",
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
            why = f"virt-handler of {target.node} at {host}:{port}: {str(error) or type(error).__name__}"
            self._failed(why, known=self._failures.get(target.node, ""))
            self._failures[target.node] = why
            return None
        self._failures.pop(target.node, None)
        self._telemetry.scrapes.labels("ok").inc()
        return text

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
            why = f"ConfigMap {namespace}/{CA_CONFIG_MAP} (virt-handler's CA): {error}"
            self._failed(why, known=self.problem)
            self.problem = why
            return None
        self._trust = context, f"virt-handler.{namespace}.svc"
        self._trust_until = time.monotonic() + CA_LIFETIME_S
        return self._trust

    def _failed(self, why: str, known: str) -> None:
        self._telemetry.scrapes.labels("failed").inc()
        if why != known:
            log.info("No progress in bytes and no readings of guests for now: %s", why)


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    """The body, at most LARGEST_ANSWER_BYTES of it."""
    text = bytearray()
    async for chunk in response.content.iter_chunked(1 << 16):
        text += chunk
        if len(text) > LARGEST_ANSWER_BYTES:
            raise ValueError(f"answered more than {LARGEST_ANSWER_BYTES} bytes")
    return bytes(text)
