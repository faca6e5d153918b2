"""A plain HTTP client of any Kubernetes API server, which shows answers as they came: code, headers, document.

For tests that hold a server to its contract; the lab and the operator use real clients.
"""

import asyncio
import io
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp

Document = dict[str, Any]
MERGE, JSON_PATCH = "application/merge-patch+json", "application/json-patch+json"
STRATEGIC, APPLY = "application/strategic-merge-patch+json", "application/apply-patch+yaml"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of the server; `body` is empty when it was no JSON object."""

    code: int
    body: Document
    headers: Mapping[str, str]
    warnings: tuple[str, ...]
    text: str

    @property
    def causes(self) -> dict[str, str]:
        """Field → message of a refusal's causes."""
        causes = (self.body.get("details") or {}).get("causes") or ()
        return {cause.get("field", ""): cause.get("message", "") for cause in causes}


class EventStream:
    """The events of one watch."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status

    async def next(self, timeout_s: float = 5.0) -> Document | None:
        """The next event, None when the stream ended; TimeoutError when neither comes."""
        async with asyncio.timeout(timeout_s):
            line = await self._response.content.readline()
        event: Document | None = json.loads(line) if line else None
        return event

    async def take(self, count: int) -> list[tuple[str, str]]:
        """(type, name) of the next events."""
        events = [await self.next() for _ in range(count)]
        return [(each["type"], each["object"]["metadata"].get("name", "")) for each in events if each]


class RawClient:
    """An async context manager; paths begin with a slash."""

    def __init__(
        self, url: str, token: str | None = None, agent: str = "tests", tls: ssl.SSLContext | None = None
    ) -> None:
        self._url = url
        self._tls = tls
        self._headers = {"User-Agent": agent, "Accept": "application/json"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        # A line of a watch may hold a whole object.
        self._session = aiohttp.ClientSession(
            base_url=self._url, headers=self._headers, read_bufsize=4 << 20, timeout=aiohttp.ClientTimeout(30),
            connector=aiohttp.TCPConnector(ssl=self._tls or True),
        )  # fmt: skip
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    @property
    def session(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("the client is used outside of its context")
        return self._session

    async def send(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        params: Mapping[str, str] | None = None,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Any request. A body that is neither bytes nor text is sent as JSON."""
        text = body if isinstance(body, (bytes, str)) or body is None else json.dumps(body)
        data = None if text is None else io.BytesIO(text.encode() if isinstance(text, str) else text)
        sent = {**(headers or {}), **({"Content-Type": content_type} if data is not None else {})}
        async with self.session.request(method, path, data=data, params=params, headers=sent) as response:
            raw = await response.read()
            is_json = "json" in response.headers.get("Content-Type", "")
            return Answer(
                response.status,
                json.loads(raw) if is_json and raw else {},
                response.headers,
                tuple(response.headers.getall("Warning", ())),
                raw.decode(errors="replace"),
            )

    async def get(self, path: str, **params: str) -> Answer:
        return await self.send("GET", path, params=params)

    async def create(self, path: str, body: object, **params: str) -> Answer:
        return await self.send("POST", path, body, params=params)

    async def replace(self, path: str, body: object, **params: str) -> Answer:
        return await self.send("PUT", path, body, params=params)

    async def patch(self, path: str, body: object, content_type: str = MERGE, **params: str) -> Answer:
        return await self.send("PATCH", path, body, params=params, content_type=content_type)

    async def delete(self, path: str, body: object = None, **params: str) -> Answer:
        return await self.send("DELETE", path, body, params=params)

    @asynccontextmanager
    async def watch(self, path: str, **params: str) -> AsyncIterator[EventStream]:
        """Open a watch; it is cut when the context ends."""
        response = await self.session.get(path, params={"watch": "true", **params})
        try:
            yield EventStream(response)
        finally:
            response.close()
