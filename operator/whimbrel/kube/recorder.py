"""Kubernetes Events: written on transitions, never twice within two minutes, and never more than the buckets allow.

Writing is somebody else's time: `announce` only queues; `run` sends. Events explain; nothing depends on them.
"""

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from whimbrel.api.text import printable
from whimbrel.domain.decision import Announcement
from whimbrel.domain.records import Key
from whimbrel.domain.resources import EVENTS, Resource
from whimbrel.kube.api import KubeApi
from whimbrel.kube.errors import ApiError, Throttled
from whimbrel.kube.telemetry import Telemetry

log = logging.getLogger("whimbrel.recorder")

REPORTING_CONTROLLER = "whimbrel.dev/operator"
DEDUPE_S = 120.0
NOTE_LENGTH = 1024
"""events.k8s.io/v1 refuses a longer note."""
QUEUE_LENGTH = 512
REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class Reference:
    """An object that an Event is about."""

    resource: Resource
    key: Key
    uid: str

    def raw(self) -> dict[str, str]:
        """As an ObjectReference."""
        reference = {
            "apiVersion": self.resource.api_version,
            "kind": self.resource.kind,
            "name": self.key.name,
            "uid": self.uid,
        }
        return reference | ({"namespace": self.key.namespace} if self.key.namespace else {})


class TokenBucket:
    """Permits `burst` at once and `per_s` in the long run."""

    __slots__ = ("_at", "_burst", "_per_s", "_tokens")

    def __init__(self, burst: float, per_s: float) -> None:
        self._burst, self._per_s = burst, per_s
        self._tokens, self._at = burst, 0.0

    def take(self, now: float) -> bool:
        """Whether one more is permitted at this monotonic time; takes it if so."""
        self._tokens = min(self._burst, self._tokens + max(0.0, now - self._at) * self._per_s)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class EventRecorder:
    """Says on the objects themselves what became of them."""

    def __init__(
        self,
        api: KubeApi,
        telemetry: Telemetry,
        instance: str,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api, self._telemetry, self._instance, self._clock = api, telemetry, instance[:128], clock
        self._all = TokenBucket(burst=50, per_s=10)
        self._per_object: OrderedDict[str, TokenBucket] = OrderedDict()
        self._said: OrderedDict[tuple[str, str, str], float] = OrderedDict()
        self._queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(QUEUE_LENGTH)

    def announce(self, announcement: Announcement, related: Reference | None = None) -> bool:
        """Queues an Event. False where it was said already, or too much is being said."""
        now = self._clock()
        what = (announcement.uid, announcement.reason, announcement.message)
        last = self._said.get(what)
        if last is not None and now - last < DEDUPE_S:
            return self._count("repeated")
        bucket = self._per_object.setdefault(announcement.uid, TokenBucket(burst=20, per_s=0.1))
        self._per_object.move_to_end(announcement.uid)
        if not bucket.take(now) or not self._all.take(now) or self._queue.full():
            return self._count("dropped")
        self._said[what] = now
        self._said.move_to_end(what)
        while len(self._said) > REMEMBERED:
            self._said.popitem(last=False)
        while len(self._per_object) > REMEMBERED:
            self._per_object.popitem(last=False)
        self._queue.put_nowait(self._body(announcement, related))
        return True

    async def run(self) -> None:
        """Sends what was announced, until cancelled."""
        while True:
            await self._send(await self._queue.get())

    async def flush(self, within_s: float) -> None:
        """Sends what is still queued, for so long at most; for the end of the process."""
        try:
            async with asyncio.timeout(within_s):
                while not self._queue.empty():
                    await self._send(self._queue.get_nowait())
        except TimeoutError:
            log.debug("%d Events were not sent before the end.", self._queue.qsize())

    async def _send(self, body: dict[str, Any]) -> None:
        try:
            await self._api.create(EVENTS, body["metadata"]["namespace"], body)
            self._count("sent")
        except Throttled as error:
            self._count("failed")
            await asyncio.sleep(min(error.retry_after_s, 5.0))
        except ApiError as error:
            self._count("failed")
            log.debug("An Event could not be written: %s", error)

    def _count(self, result: str) -> bool:
        self._telemetry.events.labels(result).inc()
        return False

    def _body(self, said: Announcement, related: Reference | None) -> dict[str, Any]:
        now = datetime.now(UTC)
        unique = "\0".join((said.uid, said.reason, said.message, now.isoformat()))
        digest = hashlib.sha256(unique.encode()).hexdigest()[:16]
        body: dict[str, Any] = {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {
                "name": f"{said.key.name[:230]}.{digest}",
                "namespace": said.key.namespace or "default",
            },
            "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "reportingController": REPORTING_CONTROLLER,
            "reportingInstance": self._instance,
            "type": "Warning" if said.warning else "Normal",
            "reason": said.reason[:128],
            "action": said.action[:128],
            "note": _shortened(printable(said.message)),
            "regarding": Reference(said.resource, said.key, said.uid).raw(),
        }
        return body | ({"related": related.raw()} if related else {})


def _shortened(text: str) -> str:
    encoded = text.encode()
    if len(encoded) <= NOTE_LENGTH:
        return text
    return encoded[: NOTE_LENGTH - 4].decode("utf-8", "ignore") + "…"
