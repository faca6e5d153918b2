"""Reads what a Prometheus that the administrator names knows of guests that run, instead of asking each virt-handler.

Two instant queries (https://prometheus.io/docs/prometheus/latest/querying/api/). The time of a value is that of the query: it
may be as much older as that Prometheus looks back, five minutes unless told otherwise. Absence is fine, as of any reading.
"""

import asyncio
import json
import logging
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp

from whimbrel.domain.records import Key
from whimbrel.domain.resources import HOST_PROFILES, INSTANCES, MIGRATION_PLANS
from whimbrel.domain.samples import GuestReadings
from whimbrel.kube.exposition import GUEST_MEMBERS, Point, guest_readings, plausible
from whimbrel.kube.scrape_targets import homes
from whimbrel.kube.store import Store
from whimbrel.kube.telemetry import Telemetry

log = logging.getLogger("whimbrel.prometheus")

INTERVAL_S = 30.0
UNPLANNED_S = 1.0
"""How soon the first plan or profile is noticed."""
QUERY_TIMEOUT_S = 15.0
LARGEST_ANSWER_BYTES = 64 << 20
LONGEST_REMARK = 200


@dataclass(frozen=True, slots=True)
class Source:
    """Where it is and how to prove who is who. The files are read anew at each turn, since both are rotated."""

    url: str
    ca_file: Path | None = None
    """Certificates that verify it; None: those that the system trusts."""
    token_file: Path | None = None
    """A bearer token; None: it asks for none."""


class PrometheusReader:
    """Asks every 30 s, where somebody plans. What goes wrong is told and explains; it stops nothing."""

    def __init__(
        self, source: Source, store: Store, telemetry: Telemetry, *, beat: Callable[[], None] = lambda: None
    ) -> None:
        self.problem = ""
        """Why the last queries failed, or empty."""
        self._source, self._store, self._telemetry, self._beat = source, store, telemetry, beat

    async def run(self) -> None:
        """Until cancelled."""
        async with aiohttp.ClientSession() as session:
            while True:
                self._beat()
                await self.read_once(session)
                await asyncio.sleep(INTERVAL_S if self._planned else UNPLANNED_S)

    async def read_once(self, session: aiohttp.ClientSession) -> None:
        """Asks for both series, and feeds the store."""
        if not self._planned:
            return
        problem = ""
        try:
            context, headers = await asyncio.to_thread(_credentials, self._source)
            for series in GUEST_MEMBERS:
                answer = await self._ask(session, series, context, headers)
                # Of a large cluster the answer has megabytes: parsed beside the event loop.
                told = await asyncio.to_thread(readings, answer, series, datetime.now(UTC), self._homes())
                self._store.tell(told)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            problem = f"Prometheus at {self._source.url}: {str(error) or type(error).__name__}"
            if problem != self.problem:
                log.info("No readings of guests for now: %s", problem)
        self._telemetry.prometheus_reads.labels("failed" if problem else "ok").inc()
        self.problem = problem

    @property
    def _planned(self) -> bool:
        return bool(self._store.records(MIGRATION_PLANS) or self._store.records(HOST_PROFILES))

    def _homes(self) -> Mapping[Key, str]:
        return homes(self._store.records(INSTANCES))

    async def _ask(
        self, session: aiohttp.ClientSession, series: str, context: ssl.SSLContext, headers: Mapping[str, str]
    ) -> bytes:
        timeout = aiohttp.ClientTimeout(total=QUERY_TIMEOUT_S)
        async with session.get(
            f"{self._source.url.rstrip('/')}/api/v1/query",
            params={"query": series},
            headers=headers,
            ssl=context,
            timeout=timeout,
            allow_redirects=False,
        ) as response:
            if response.status != 200:
                remark = (await response.content.read(LONGEST_REMARK)).decode("utf-8", "replace")
                raise ValueError(f"it answered {response.status} {response.reason}: {' '.join(remark.split())}")
            text = bytearray()
            async for chunk in response.content.iter_chunked(1 << 16):
                text += chunk
                if len(text) > LARGEST_ANSWER_BYTES:
                    raise ValueError(f"it answered more than {LARGEST_ANSWER_BYTES} bytes")
            return bytes(text)


def readings(answer: bytes, series: str, now: datetime, home_of: Mapping[Key, str]) -> dict[Key, GuestReadings]:
    """What an answer tells of guests where they run. Pure.

    Single values that cannot be are left out; raises ValueError where the whole is no answer to an instant query.
    """
    try:
        document = json.loads(answer)
    except RecursionError:
        raise ValueError("its answer is nested too deeply") from None
    match document:
        case {"status": "success", "data": {"resultType": "vector", "result": list(results)}}:
            return guest_readings(_points(results, series, now), home_of)
        case {"status": "error", "error": str(why)}:
            raise ValueError(f"it refused the query: {why[:LONGEST_REMARK]}")
        case _:
            raise ValueError("its answer is not that of an instant query")


def _points(results: list[Any], series: str, now: datetime) -> Iterator[Point]:
    for result in results:
        match result:
            case {"metric": dict(labels), "value": [int() | float() as second, str(text)]}:
                pass
            case _:
                continue
        try:
            value, at = float(text), datetime.fromtimestamp(second, UTC)
        except (ValueError, OverflowError, OSError):
            continue
        namespace, name, node = (_label(labels, label) for label in ("namespace", "name", "node"))
        if namespace and name and plausible(value, at, now):
            yield Point(series.encode(), Key(namespace, name), node, value, at)


def _label(labels: Mapping[str, Any], name: str) -> str:
    """A label as virt-handler exported it: where a Prometheus puts its own in its place, it keeps that one beside."""
    found = labels.get(f"exported_{name}", labels.get(name))
    return found if isinstance(found, str) else ""


def _credentials(source: Source) -> tuple[ssl.SSLContext, Mapping[str, str]]:
    context = ssl.create_default_context(cafile=source.ca_file)
    if source.token_file is None:
        return context, {}
    token = source.token_file.read_text().strip()
    if not token or not token.isascii() or not token.isprintable():
        raise ValueError(f"{source.token_file} holds no token")
    return context, {"Authorization": f"Bearer {token}"}
