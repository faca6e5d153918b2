"""A small client of the Kubernetes API: raw objects of the kinds that the stand-in deals with.

One `Client` per identity, so that the API server's counters tell the stand-in's writes from everybody else's.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp

from whimbrel.simulation.kubevirt.values import Object, name, namespace
from whimbrel_lab.controlplane.users import Access

REQUEST_TIMEOUT_S = 30.0
NOT_NOW = 429
"""What a real server may answer to the first look at a kind that was just defined; it says when to look again."""
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


@dataclass(frozen=True, slots=True)
class Route:
    """Where a kind is served."""

    prefix: str
    plural: str
    namespaced: bool = True
    status: bool = False

    @property
    def resource(self) -> str:
        """plural.group, as the embedded server names its storage."""
        parts = self.prefix.split("/")
        return f"{self.plural}.{parts[2]}" if parts[1] == "apis" else self.plural

    @property
    def api_version(self) -> str:
        """`v1`, `kubevirt.io/v1`, …"""
        return self.prefix.removeprefix("/apis/").removeprefix("/api/")


ROUTES: Mapping[str, Route] = {
    "CustomResourceDefinition": Route(
        "/apis/apiextensions.k8s.io/v1", "customresourcedefinitions", namespaced=False, status=True
    ),
    "ConfigMap": Route("/api/v1", "configmaps"),
    "ControllerRevision": Route("/apis/apps/v1", "controllerrevisions"),
    "Event": Route("/api/v1", "events"),
    "HostProfile": Route("/apis/whimbrel.dev/v1alpha1", "hostprofiles", namespaced=False, status=True),
    "KubeVirt": Route("/apis/kubevirt.io/v1", "kubevirts", status=True),
    "Lease": Route("/apis/coordination.k8s.io/v1", "leases"),
    "MigrationPlan": Route("/apis/whimbrel.dev/v1alpha1", "migrationplans", status=True),
    "MigrationPolicy": Route("/apis/migrations.kubevirt.io/v1alpha1", "migrationpolicies", namespaced=False),
    "Namespace": Route("/api/v1", "namespaces", namespaced=False),
    "Node": Route("/api/v1", "nodes", namespaced=False, status=True),
    "PersistentVolume": Route("/api/v1", "persistentvolumes", namespaced=False, status=True),
    "PersistentVolumeClaim": Route("/api/v1", "persistentvolumeclaims", status=True),
    "Pod": Route("/api/v1", "pods", status=True),
    "DaemonSet": Route("/apis/apps/v1", "daemonsets", status=True),
    "VirtualMachine": Route("/apis/kubevirt.io/v1", "virtualmachines", status=True),
    "VirtualMachineInstance": Route("/apis/kubevirt.io/v1", "virtualmachineinstances"),
    "VirtualMachineInstanceMigration": Route("/apis/kubevirt.io/v1", "virtualmachineinstancemigrations", status=True),
    "VirtualMachineMove": Route("/apis/whimbrel.dev/v1alpha1", "virtualmachinemoves", status=True),
}


class RequestRefused(Exception):
    """The API server said no: HTTP code, machine-readable reason, message."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(f"{code} {reason}: {message}")
        self.code = code
        self.reason = reason
        self.message = message

    @property
    def conflict(self) -> bool:
        """The object changed or went meanwhile: look again."""
        return self.code in (404, 409, 410)


class Client:
    """An async context manager; `access` says who asks. `heard` is told of each object that a write was answered with."""

    def __init__(
        self, access: Access, user_agent: str = "whimbrel-lab", heard: Callable[[Object], None] | None = None
    ) -> None:
        self._heard = heard
        self._url = access.url
        self._tls = access.tls
        self._headers = {"User-Agent": user_agent, "Content-Type": "application/json"}
        if access.token:
            self._headers["Authorization"] = f"Bearer {access.token}"
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
        connector = aiohttp.TCPConnector(limit=0, ssl=self._tls or True)
        self._session = aiohttp.ClientSession(headers=self._headers, timeout=timeout, connector=connector)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(self, kind: str, name: str, namespace: str = "") -> Object:
        """One object; RequestRefused 404 where there is none."""
        return await self._request("GET", self._path(kind, namespace, name))

    async def find(self, kind: str, name: str, namespace: str = "") -> Object | None:
        """One object, or None."""
        try:
            return await self.get(kind, name, namespace)
        except RequestRefused as refused:
            if refused.code == 404:
                return None
            raise

    async def list(self, kind: str, namespace: str = "", labels: str = "") -> tuple[list[Object], str]:
        """All objects and the version to watch from."""
        params = {"labelSelector": labels} if labels else None
        answer = await self._request("GET", self._path(kind, namespace), params=params)
        route = ROUTES[kind]
        for item in answer["items"]:
            item.setdefault("apiVersion", route.api_version)
            item.setdefault("kind", kind)
        return answer["items"], answer["metadata"]["resourceVersion"]

    async def create(self, body: Object) -> Object:
        """Create the object in its namespace."""
        return self._told(await self._request("POST", self._path(body["kind"], namespace(body)), body=body))

    async def replace(self, body: Object) -> Object:
        """PUT the object; RequestRefused 409 when it changed since it was read."""
        path = self._path(body["kind"], namespace(body), name(body))
        return self._told(await self._request("PUT", path, body=body))

    async def replace_status(self, body: Object) -> Object:
        """PUT the object's status."""
        path = self._path(body["kind"], namespace(body), name(body)) + "/status"
        return self._told(await self._request("PUT", path, body=body))

    async def patch(self, kind: str, name: str, namespace: str, change: Object) -> Object:
        """A merge patch."""
        headers = {"Content-Type": "application/merge-patch+json"}
        path = self._path(kind, namespace, name)
        return self._told(await self._request("PATCH", path, body=change, headers=headers))

    def _told(self, answer: Object) -> Object:
        if self._heard is not None:
            self._heard(answer)
        return answer

    async def delete(
        self, kind: str, name: str, namespace: str = "", uid: str = "", grace_period_s: int | None = None
    ) -> None:
        """Delete the object, if it still has that UID."""
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if uid:
            options["preconditions"] = {"uid": uid}
        if grace_period_s is not None:
            options["gracePeriodSeconds"] = grace_period_s
        await self._request("DELETE", self._path(kind, namespace, name), body=options)

    async def bind(self, pod: Object, node: str) -> None:
        """The scheduler's word: this pod runs on that node."""
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name(pod), "namespace": namespace(pod)},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        await self._request("POST", self._path("Pod", namespace(pod), name(pod)) + "/binding", body=body)

    async def delete_all(self, kind: str, namespace: str = "") -> None:
        """Delete all objects of a kind, pods without grace."""
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0}
        await self._request("DELETE", self._path(kind, namespace), body=options)

    async def send(self, method: str, path: str, body: Object | None = None) -> Object:
        """Any request, for what has no verb here."""
        return await self._request(method, path, body=body)

    async def watch(self, kind: str, version: str) -> AsyncIterator[tuple[str, Object]]:
        """(type, object) of every change after a version, until the server ends the stream."""
        assert self._session is not None
        params = {"watch": "1", "resourceVersion": version, "allowWatchBookmarks": "true"}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=REQUEST_TIMEOUT_S)
        path = self._url + self._path(kind, "")
        async with self._session.get(path, params=params, timeout=timeout) as answer:
            if answer.status != 200:
                raise _refused(answer.status, await answer.read())
            rest = b""
            async for chunk in answer.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if line.strip():
                        event = json.loads(line)
                        yield event["type"], event["object"]

    async def _request(
        self,
        method: str,
        path: str,
        *,
        body: Object | None = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Object:
        assert self._session is not None, "use the client as a context manager"
        encoded = None if body is None else _encode(body).encode()
        while True:
            async with self._session.request(
                method, self._url + path, data=encoded, params=params, headers=headers
            ) as answer:
                raw = await answer.read()
                if answer.status < 400:
                    decoded: Object = json.loads(raw) if raw else {}
                    return decoded
                if answer.status != NOT_NOW or method != "GET":
                    raise _refused(answer.status, raw)
                wait_s = float(answer.headers.get("Retry-After", 1))
            await asyncio.sleep(wait_s)

    @staticmethod
    def _path(kind: str, namespace: str, name: str = "") -> str:
        route = ROUTES[kind]
        scope = f"/namespaces/{namespace}" if namespace and route.namespaced else ""
        return f"{route.prefix}{scope}/{route.plural}" + (f"/{name}" if name else "")


def _refused(code: int, raw: bytes) -> RequestRefused:
    try:
        status: Any = json.loads(raw)
        return RequestRefused(code, str(status.get("reason", "")), str(status.get("message", "")))
    except (ValueError, AttributeError):
        return RequestRefused(code, "", raw[:200].decode(errors="replace"))
