"""KubeApi: the verbs of the API server on raw objects, for kinds known beforehand.

Uses `kubernetes.aio` for authentication and HTTP, its dynamic client for requests, and no discovery. Every failure becomes an
`errors.ApiError`; nothing is retried here, since only the caller knows whether trying again is right.
"""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import aiohttp
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.dynamic.client import DynamicClient

from whimbrel import __version__
from whimbrel.domain.records import Key
from whimbrel.domain.resources import Resource
from whimbrel.kube.errors import ApiError, Garbled, Gone, Silent, TimedOut, Unavailable, from_body, from_status
from whimbrel.kube.telemetry import Telemetry

Raw = dict[str, Any]

WRITE_TIMEOUT_S = 10.0
LIST_TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 10.0
PAGE_SIZE = 100
"""Small: the objects of a page are ten times as large in memory as what is kept of them."""
JSON_PATCH = "application/json-patch+json"
STRICT = (("fieldValidation", "Strict"),)
OPENAPI = "/openapi/v3"


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list. `version` is the version of the whole list; `more` continues it."""

    items: Sequence[Raw]
    version: str
    more: str


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """ADDED, MODIFIED, DELETED or BOOKMARK, with the object."""

    type: str
    object: Raw


def path_of(resource: Resource, namespace: str = "", name: str = "", subresource: str = "") -> str:
    """Path of a collection, an object, or its subresource. Without a namespace: of the whole cluster."""
    parts = ["apis", resource.group, resource.version] if resource.group else ["api", resource.version]
    if resource.namespaced and namespace:
        parts += ["namespaces", namespace]
    parts.append(resource.plural)
    parts += [part for part in (name, subresource) if part]
    return "/" + "/".join(parts)


class KubeApi:
    """Raw objects in, raw objects out. Close it, or use it as an async context manager."""

    def __init__(self, configuration: Any, telemetry: Telemetry) -> None:
        self._client = ApiClient(configuration)
        self._client.user_agent = f"whimbrel/{__version__}"
        self._dynamic = DynamicClient(self._client)
        self._telemetry = telemetry

    async def __aenter__(self) -> "KubeApi":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()

    async def get(self, resource: Resource, key: Key, *, timeout_s: float = WRITE_TIMEOUT_S) -> Raw:
        """Reads one object, from the server's newest state."""
        return await self._call("get", resource.kind, path_of(resource, *key), timeout_s=timeout_s)

    async def list_page(
        self, resource: Resource, *, limit: int = PAGE_SIZE, more: str = "", namespace: str = ""
    ) -> Page:
        """One page of the newest state; raises Gone where the continue token has expired."""
        query = [("limit", str(limit))] + ([("continue", more)] if more else [])
        body = await self._call(
            "list", resource.kind, path_of(resource, namespace), query=query, timeout_s=LIST_TIMEOUT_S
        )
        metadata = body.get("metadata") or {}
        return Page(
            items=body.get("items") or (),
            version=str(metadata.get("resourceVersion") or ""),
            more=str(metadata.get("continue") or ""),
        )

    async def openapi(self, group_version: str = "") -> Raw:
        """The OpenAPI v3 document of a group version such as `apis/kubevirt.io/v1`; without one the index of all."""
        path = f"{OPENAPI}/{group_version}" if group_version else OPENAPI
        return await self._call("get", "OpenAPI", path, timeout_s=LIST_TIMEOUT_S)

    async def create(self, resource: Resource, namespace: str, body: Mapping[str, Any]) -> Raw:
        """POST. AlreadyExists where the name is taken; Invalid, not a field dropped in silence, where one is not served."""
        return await self._call("create", resource.kind, path_of(resource, namespace), query=STRICT, body=body)

    async def replace(self, resource: Resource, key: Key, body: Mapping[str, Any]) -> Raw:
        """PUT; `body` carries the resourceVersion that it supposes. Invalid where a field of it is not served."""
        return await self._call("update", resource.kind, path_of(resource, *key), query=STRICT, body=body)

    async def replace_status(self, resource: Resource, key: Key, body: Mapping[str, Any]) -> Raw:
        """PUT of the status; `body` carries the resourceVersion that it supposes. Invalid where a field is not served."""
        return await self._call("update", resource.kind, path_of(resource, *key, "status"), query=STRICT, body=body)

    async def patch(self, resource: Resource, key: Key, operations: Sequence[Mapping[str, Any]]) -> Raw:
        """JSON patch; Invalid where one of its tests fails, or what it adds is not served."""
        path = path_of(resource, *key)
        return await self._call(
            "patch", resource.kind, path, query=STRICT, body=list(operations), content_type=JSON_PATCH
        )

    async def delete(self, resource: Resource, key: Key, uid: str) -> Raw:
        """DELETE of the object with this UID; Conflict where another has its name.

        Answers with the object where finalizers hold it, else perhaps only with a `Status`.
        """
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        return await self._call("delete", resource.kind, path_of(resource, *key), body=options)

    async def watch(
        self,
        resource: Resource,
        version: str,
        *,
        idle_s: float,
        lifetime_s: float,
        opened: Callable[[], None] = lambda: None,
    ) -> AsyncGenerator[WatchEvent, None]:
        """Events after `version`, bookmarks included, until the server closes the stream.

        `opened` is called when the server accepts. Raises Silent when nothing came for `idle_s`, Gone where only a new
        list helps, Garbled for an undecodable frame.
        """
        query = [
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("resourceVersion", version),
            ("timeoutSeconds", str(int(lifetime_s))),
        ]
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=idle_s)
        response = await self._request("watch", resource.kind, path_of(resource), query=query, timeout=timeout)
        opened()
        try:
            async with aclosing(_lines(response)) as lines:
                async for line in lines:
                    yield _event(line)
        except TimeoutError as error:
            raise Silent(f"nothing was heard for {idle_s:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise _network_error(error) from error
        finally:
            response.close()

    async def _call(
        self,
        verb: str,
        kind: str,
        path: str,
        *,
        query: Sequence[tuple[str, str]] = (),
        body: object = None,
        content_type: str = "application/json",
        timeout_s: float = WRITE_TIMEOUT_S,
    ) -> Raw:
        timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=min(CONNECT_TIMEOUT_S, timeout_s))
        response = await self._request(
            verb, kind, path, query=query, body=body, content_type=content_type, timeout=timeout
        )
        try:
            answer = json.loads(await response.read())
        except ValueError as error:
            raise Garbled(f"{verb} {path}: the answer is not JSON: {error}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise _network_error(error) from error
        if not isinstance(answer, dict):
            raise Garbled(f"{verb} {path}: the answer is no object")
        return answer

    async def _request(
        self,
        verb: str,
        kind: str,
        path: str,
        *,
        timeout: aiohttp.ClientTimeout,
        query: Sequence[tuple[str, str]] = (),
        body: object = None,
        content_type: str = "application/json",
    ) -> aiohttp.ClientResponse:
        began, code = time.monotonic(), "200"
        try:
            response: aiohttp.ClientResponse = await self._dynamic.request(
                _HTTP[verb],
                path,
                body=_plain(body),
                query_params=list(query),
                header_params={"Accept": "application/json"},
                content_type=content_type,
                serialize=False,
                _request_timeout=timeout,
            )
            code = str(response.status)
            return response
        except ApiException as error:
            headers = error.headers or {}
            translated = from_body(int(error.status or 0), error.body, headers.get("Retry-After"))
            code = str(translated.code)
            raise translated from None
        except (aiohttp.ClientError, OSError) as error:
            failure = _network_error(error)
            code = "timeout" if isinstance(failure, TimedOut) else "network"
            raise failure from error
        except asyncio.CancelledError:
            code = "cancelled"
            raise
        finally:
            self._telemetry.api_requests.labels(verb, kind, code).inc()
            if verb != "watch":
                self._telemetry.api_seconds.labels(verb).observe(time.monotonic() - began)


_HTTP = {
    "get": "get",
    "list": "get",
    "watch": "get",
    "create": "post",
    "update": "put",
    "patch": "patch",
    "delete": "delete",
}


def _network_error(error: Exception) -> Unavailable:
    if isinstance(error, TimeoutError):
        return TimedOut("the API server did not answer in time")
    return Unavailable(f"the API server cannot be reached: {str(error) or type(error).__name__}")


def _plain(value: object) -> object:
    """Mappings and sequences of any type as what JSON knows; the client's own conversion loses read-only mappings."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


async def _lines(response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    """Frames of a watch. Own splitting: a line may be longer than the reader's buffer."""
    pending = bytearray()
    async for chunk in response.content.iter_any():
        pending += chunk
        if b"\n" not in chunk:
            continue
        *complete, rest = pending.split(b"\n")
        pending = bytearray(rest)
        for line in complete:
            if line.strip():
                yield bytes(line)
    if pending.strip():
        raise Garbled("the watch ended in the middle of an event")


def _event(line: bytes) -> WatchEvent:
    try:
        frame = json.loads(line)
        kind, body = frame["type"], frame["object"]
        metadata = body["metadata"] if kind != "ERROR" else {}
        if not isinstance(metadata, dict):
            raise TypeError("metadata is no object")
    except (ValueError, KeyError, TypeError) as error:
        raise Garbled(f"an event of the watch cannot be read: {error!r}") from error
    if kind == "ERROR":
        failure = from_status(int(body.get("code") or 500), body)
        raise failure if isinstance(failure, (Gone, Unavailable)) else _retyped(failure)
    return WatchEvent(kind, body)


def _retyped(failure: ApiError) -> ApiError:
    """An in-stream error says nothing of permissions or kinds; those are judged by the next list."""
    return failure if failure.code == 429 else Unavailable(failure.message, reason=failure.reason)
