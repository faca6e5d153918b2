"""The API server's audit log as counters: who asked for what how often, by the server's own record."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whimbrel_lab.controlplane.counters import Counters, RequestKey


@dataclass(frozen=True, slots=True)
class Request:
    """One line of the audit log, as far as it is read. `resource` is plural.group, or the path of no resource."""

    user: str
    agent: str
    verb: str
    resource: str
    subresource: str
    namespace: str
    name: str
    code: int
    at: str
    path: str
    answered_at: str = ""
    sent: dict[str, Any] | None = None
    """The body of a write of KubeVirt's kinds or ours."""
    answer: dict[str, Any] | None = None
    """What it was answered with."""

    @property
    def key(self) -> RequestKey:
        """As it is counted."""
        return RequestKey(self.user, self.verb, self.resource, self.subresource)


class AuditLog(Counters):
    """Reads what was appended since it last looked; a watch counts when it begins."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._offset = path.stat().st_size if path.exists() else 0
        self._rest = b""
        self.requests: list[Request] = []
        """Every request since this object was made, as far as read."""

    def snapshot(self) -> Counter[RequestKey]:
        self.read()
        return super().snapshot()

    def since(self, before: Counter[RequestKey]) -> Counter[RequestKey]:
        self.read()
        return super().since(before)

    def read(self) -> None:
        """Take in what is new."""
        if not self._path.exists():
            return
        with self._path.open("rb") as log:
            log.seek(self._offset)
            *lines, self._rest = (self._rest + log.read()).split(b"\n")
            self._offset = log.tell()
        for line in lines:
            for request in _requests(line):
                self.count(request.key)
                self.requests.append(request)


def _requests(line: bytes) -> Iterator[Request]:
    if not line.strip():
        return
    event: dict[str, Any] = json.loads(line)
    watching = event.get("verb") == "watch"
    if event.get("stage") != ("ResponseStarted" if watching else "ResponseComplete"):
        refused = watching and event.get("stage") == "ResponseComplete" and _code(event) >= 400
        if not refused:
            return
    target = event.get("objectRef") or {}
    group = target.get("apiGroup") or ""
    plural = target.get("resource") or ""
    path = str(event.get("requestURI", ""))
    yield Request(
        user=(event.get("impersonatedUser") or event.get("user") or {}).get("username", ""),
        agent=str(event.get("userAgent", "")),
        verb=str(event.get("verb", "")),
        resource=(f"{plural}.{group}" if group else plural) or path.split("?")[0],
        subresource=target.get("subresource") or "",
        namespace=target.get("namespace") or "",
        name=target.get("name") or "",
        code=_code(event),
        at=str(event.get("requestReceivedTimestamp", "")),
        path=path,
        answered_at=str(event.get("stageTimestamp", "")),
        sent=event.get("requestObject"),
        answer=event.get("responseObject"),
    )


def _code(event: dict[str, Any]) -> int:
    return int((event.get("responseStatus") or {}).get("code") or 0)
