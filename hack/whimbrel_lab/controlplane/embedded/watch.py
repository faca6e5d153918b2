"""Watches: history from a version on, then what happens, as newline-delimited JSON.

A watch keeps its place in the table's history and is only woken; nothing is queued per client. What is waiting is sent
in one piece.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

from whimbrel_lab.controlplane.embedded.errors import ApiError, Object, expired, forbidden_field, invalid
from whimbrel_lab.controlplane.embedded.faults import Faults, Target
from whimbrel_lab.controlplane.embedded.kinds import Catalog, Kind
from whimbrel_lab.controlplane.embedded.listing import not_a_version, number, predicate_of
from whimbrel_lab.controlplane.embedded.selectors import Predicate
from whimbrel_lab.controlplane.embedded.storage import Change, Record, Storage, TooOld, encode
from whimbrel_lab.controlplane.embedded.views import View

DEFAULT_TIMEOUT_S = 1800
_MAXIMUM_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class WatchRequest:
    """What to watch, and how to show it."""

    kind: Kind
    namespace: str
    after: int | None
    predicate: Predicate | None
    bookmarks: bool
    timeout_s: float
    view: View
    target: Target


def watch_request(kind: Kind, namespace: str, query: Mapping[str, str], view: View, target: Target) -> WatchRequest:
    """Read the parameters; 422 for streaming lists, which this server does not offer."""
    if query.get("sendInitialEvents"):
        text = "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"
        raise invalid("meta.k8s.io", "ListOptions", "", [forbidden_field("sendInitialEvents", text)])
    if query.get("resourceVersionMatch"):
        text = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        raise invalid("meta.k8s.io", "ListOptions", "", [forbidden_field("resourceVersionMatch", text)])
    asked = query.get("resourceVersion", "")
    if asked and not asked.isdigit():
        # kube-apiserver's storage finds this out, too late to say that it is the client's fault.
        raise ApiError(500, "", not_a_version(asked))
    return WatchRequest(
        kind=kind,
        namespace=namespace,
        after=int(asked) if asked not in ("", "0") else None,
        predicate=predicate_of(kind, query),
        bookmarks=query.get("allowWatchBookmarks", "") in ("1", "true", "True"),
        timeout_s=number(query, "timeoutSeconds") or DEFAULT_TIMEOUT_S,
        view=view,
        target=target,
    )


class Watches:
    """The open watches of the server; ends them all when the server stops."""

    def __init__(self, storage: Storage, catalog: Catalog, faults: Faults, bookmark_interval_s: float) -> None:
        self._storage = storage
        self._catalog = catalog
        self._faults = faults
        self._bookmark_interval_s = bookmark_interval_s
        self._open: set[asyncio.Event] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._closing = False
        faults.on_change(self.wake)

    @property
    def count(self) -> int:
        """How many watches are open."""
        return len(self._open)

    async def idle(self) -> None:
        """Until no watch is open."""
        await self._idle.wait()

    def wake(self) -> None:
        for event in self._open:
            event.set()

    def close(self) -> None:
        """End every open watch."""
        self._closing = True
        self.wake()

    async def stream(self, request: WatchRequest) -> AsyncIterator[bytes]:
        """Pieces of the stream, each of whole lines. Ends on timeout, stop, faults, a vanished kind or a 410."""
        table = self._storage.table(request.kind.resource)
        waker = asyncio.Event()
        table.wakers.add(waker)
        self._open.add(waker)
        self._idle.clear()
        try:
            async for piece in self._pieces(request, waker):
                yield piece
        finally:
            table.wakers.discard(waker)
            self._open.discard(waker)
            if not self._open:
                self._idle.set()

    async def _pieces(self, request: WatchRequest, waker: asyncio.Event) -> AsyncIterator[bytes]:
        storage, kind = self._storage, request.kind
        table = storage.table(kind.resource)
        lines = _Lines(request, self._faults)
        place = storage.version
        if request.after is None:
            present = [Change("ADDED", record, None) for record in storage.records(kind.resource)]
            for piece in lines.pieces(present):
                yield piece
        elif request.after < storage.compacted:
            yield gone(f"too old resource version: {request.after} ({storage.compacted})")
            return
        else:
            place = request.after
        ends_at = time.monotonic() + request.timeout_s
        bookmark_at = time.monotonic() + self._bookmark_interval_s
        while True:
            waker.clear()
            if self._faults.any and (fault := self._faults.strike_stream(request.target)):
                if fault.watch == "gone":
                    yield gone(f"too old resource version: {place} ({storage.version})")
                elif fault.watch == "stall":
                    await self._silence(waker, ends_at)
                return
            try:
                changes = table.changes_after(place)
            except TooOld:
                yield gone(f"too old resource version: {place} ({storage.version})")
                return
            place = max(storage.version, place)
            for piece in lines.pieces(changes):
                yield piece
            if waker.is_set():
                continue
            now = time.monotonic()
            served = self._catalog.stored(kind.resource) is not None
            over = now >= ends_at or self._closing or not served
            if request.bookmarks and (now >= bookmark_at or over) and not self._closing:
                yield _bookmark(kind, place)
                bookmark_at = now + self._bookmark_interval_s
            if over:
                return
            until = min(ends_at, bookmark_at) if request.bookmarks else ends_at
            await _wait(waker, until - now)

    async def _silence(self, waker: asyncio.Event, ends_at: float) -> None:
        while not self._closing and (left_s := ends_at - time.monotonic()) > 0:
            waker.clear()
            await _wait(waker, left_s)


async def _wait(waker: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(max(0.0, timeout_s)):
            await waker.wait()
    except TimeoutError:
        pass


class _Lines:
    """Changes as lines for one client."""

    def __init__(self, request: WatchRequest, faults: Faults) -> None:
        self._request = request
        self._faults = faults
        self._encode: Callable[[Kind, Record], bytes] = request.view.one

    def pieces(self, changes: list[Change]) -> list[bytes]:
        """The lines of the changes that this watch sees, joined to pieces of about 1 MiB."""
        pieces: list[bytes] = []
        lines: list[bytes] = []
        size = 0
        for change in changes:
            for line in self._lines(change):
                lines.append(line)
                size += len(line)
            if size > _MAXIMUM_PIECE_BYTES:
                pieces.append(b"".join(lines))
                lines, size = [], 0
        if lines:
            pieces.append(b"".join(lines))
        return pieces

    def _lines(self, change: Change) -> list[bytes]:
        request = self._request
        record = change.record
        if request.namespace and record.key[0] != request.namespace:
            return []
        kind_of_event: str | None = change.type
        if request.predicate is not None:
            kind_of_event = _type_for(change, request.predicate)
            if kind_of_event is None:
                return []
        line = b'{"type":"%s","object":%s}\n' % (
            kind_of_event.encode() if kind_of_event else b"", self._encode(request.kind, record)
        )  # fmt: skip
        if self._faults.any and (fault := self._faults.strike_event(request.target)):
            return [] if fault.drop_events else [line, line]
        return [line]


def _type_for(change: Change, predicate: Predicate) -> str | None:
    """An object that begins to match is added to this watch, one that ceases to is deleted from it."""
    matched = change.previous is not None and predicate(change.previous.object)
    matches = change.type != "DELETED" and predicate(change.record.object)
    if matches:
        return "MODIFIED" if matched else "ADDED"
    return "DELETED" if matched else None


def gone(message: str) -> bytes:
    """A 410 inside the stream."""
    return encode({"type": "ERROR", "object": expired(message).status()}) + b"\n"


def _bookmark(kind: Kind, version: int) -> bytes:
    body: Object = {
        "kind": kind.kind,
        "apiVersion": kind.api_version,
        "metadata": {"resourceVersion": str(version), "creationTimestamp": None},
    }
    return encode({"type": "BOOKMARK", "object": body}) + b"\n"
