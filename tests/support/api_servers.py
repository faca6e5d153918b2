"""The two API servers as the conformance suite sees them: one surface, whatever is behind it."""

import asyncio
import base64
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import aiohttp

from support.widgets import DEFINITIONS
from whimbrel_lab.certs import authority
from whimbrel_lab.controlplane.admission import Webhook
from whimbrel_lab.controlplane.client import Answer, RawClient
from whimbrel_lab.controlplane.embedded import EmbeddedControlPlane, Fault, rbac_authorizer
from whimbrel_lab.controlplane.plane import write_kubeconfig
from whimbrel_lab.controlplane.real import webhooks as https
from whimbrel_lab.controlplane.real.server import Endpoint
from whimbrel_lab.controlplane.users import Access
from whimbrel_lab.kubevirt.client import Client

Object = dict[str, Any]
PATIENCE_S = 30.0
FLOW = "flowcontrol.apiserver.k8s.io"


async def eventually(ask: Callable[[], Awaitable[Answer]], test: Callable[[Answer], bool]) -> Answer:
    """Ask until the answer is so: roles, schemas, webhooks and priorities are in force a moment after their write."""
    async with asyncio.timeout(PATIENCE_S):
        while not test(answer := await ask()):
            pass
    return answer


class Backend(Protocol):
    """What differs between the servers beside HTTP."""

    name: str

    def access(self) -> Access:
        """The administrator's."""

    async def register(self, webhooks: list[Webhook]) -> Callable[[], Awaitable[None]]:
        """Call these webhooks from now on."""

    async def forget(self) -> str:
        """Forget the past; a version that is now too old."""

    async def turn_away(self, user: str, name: str) -> Callable[[], Awaitable[None]]:
        """Have the server too busy for one user; returns how to take that back."""


class Embedded:
    """The one in the process, with the roles of its storage in force."""

    name = "embedded"

    def __init__(self, plane: EmbeddedControlPlane) -> None:
        self.plane = plane
        plane.authorizer = rbac_authorizer(plane.storage)

    def access(self) -> Access:
        return self.plane.access()

    async def register(self, webhooks: list[Webhook]) -> Callable[[], Awaitable[None]]:
        return await self.plane.register(webhooks)

    async def forget(self) -> str:
        self.plane.compact()
        return str(self.plane.storage.version - 1)

    async def turn_away(self, user: str, name: str) -> Callable[[], Awaitable[None]]:
        fault = self.plane.faults.add(Fault(client=user, status=429, retry_after_s=1, times=None))

        async def relent() -> None:
            self.plane.faults.remove(fault)

        return relent


class Real:
    """kube-apiserver and what belongs to it, shared by the whole run."""

    name = "real"

    def __init__(self, endpoint: Endpoint, administrator: RawClient) -> None:
        self.endpoint = endpoint
        self._administrator = administrator

    def access(self) -> Access:
        return self.endpoint.access()

    async def register(self, webhooks: list[Webhook]) -> Callable[[], Awaitable[None]]:
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(Client(self.access(), "tests"))
            stack.push_async_callback(await https.serve(webhooks, authority("whimbrel-tests"), client))
            served = stack.pop_all()
        return served.aclose

    async def forget(self) -> str:
        """Compact etcd. The watch caches of custom kinds began later than version 1, so they cannot help either."""
        async with aiohttp.ClientSession(self.endpoint.etcd_url) as session:
            async with session.post("/v3/kv/range", json={"key": base64.b64encode(b"none").decode()}) as answer:
                revision = json.loads(await answer.text())["header"]["revision"]
            async with session.post("/v3/kv/compaction", json={"revision": revision, "physical": True}) as answer:
                text = await answer.text()
                assert answer.status == 200 or "has been compacted" in text, text
        return "1"

    async def turn_away(self, user: str, name: str) -> Callable[[], Awaitable[None]]:
        no_seat = {"nominalConcurrencyShares": 0, "borrowingLimitPercent": 0, "limitResponse": {"type": "Reject"}}
        level = {"type": "Limited", "limited": no_seat}
        subject = {"kind": "User", "user": {"name": user}}
        rule = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": True}
        flow = {
            "priorityLevelConfiguration": {"name": name},
            "matchingPrecedence": 2,
            "rules": [{"subjects": [subject], "resourceRules": [rule]}],
        }
        paths = []
        for kind, plural, spec in (
            ("PriorityLevelConfiguration", "prioritylevelconfigurations", level),
            ("FlowSchema", "flowschemas", flow),
        ):
            path = f"/apis/{FLOW}/v1/{plural}"
            body = {"apiVersion": f"{FLOW}/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}
            made = await self._administrator.create(path, body)
            assert made.code == 201, made.text
            paths.append(f"{path}/{name}")

        async def relent() -> None:
            for path in reversed(paths):
                await self._administrator.delete(path)

        return relent


class Server:
    """An API server as one test has it: a namespace of its own, a client, and everything taken away at the end."""

    def __init__(self, backend: Backend, client: RawClient, stack: AsyncExitStack, namespace: str) -> None:
        self.backend = backend
        self.client = client
        self.namespace = namespace
        self._stack = stack

    @property
    def name(self) -> str:
        """`embedded` or `real`."""
        return self.backend.name

    def unique(self, prefix: str) -> str:
        """A name for a cluster-scoped object."""
        return f"{prefix}-{uuid.uuid4().hex[:8]}"

    def path(self, plural: str, api: str = "/api/v1", namespace: str | None = None) -> str:
        """The collection of a namespaced resource, in the test's namespace or in another."""
        return f"{api}/namespaces/{self.namespace if namespace is None else namespace}/{plural}"

    def custom(self, plural: str, version: str = "v1") -> str:
        """The collection of a custom resource in the test's namespace."""
        return self.path(plural, f"/apis/example.com/{version}")

    async def another_namespace(self) -> str:
        """One more namespace, which goes with the test."""
        name = self.unique("t")
        made = await self.client.create("/api/v1/namespaces", a_namespace(name))
        assert made.code == 201, made.text
        self._stack.push_async_callback(self._abandon, name)
        return name

    async def cluster_object(self, collection: str, body: Object) -> Object:
        """Create a cluster-scoped object, which goes with the test."""
        made = await self.client.create(collection, body)
        assert made.code == 201, made.text
        self.forget_later(f"{collection}/{made.body['metadata']['name']}")
        return made.body

    def forget_later(self, path: str) -> None:
        """Delete what is at this path when the test ends."""
        self._stack.push_async_callback(self.client.delete, path)

    async def define(self, definition: Object) -> None:
        """Serve a custom kind for this test only."""
        name = definition["metadata"]["name"]
        await self.cluster_object("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
        async with self.client.watch(
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", fieldSelector=f"metadata.name={name}"
        ) as stream:
            while (event := await stream.next(PATIENCE_S)) and not _established(event["object"]):
                pass
        group, plural = definition["spec"]["group"], definition["spec"]["names"]["plural"]
        for version in definition["spec"]["versions"]:
            if version["served"]:
                await self.until(f"/apis/{group}/{version['name']}/{plural}", 200)

    async def until(self, path: str, code: int) -> None:
        """Ask until the answer has this code."""
        await eventually(lambda: self.client.get(path), lambda answer: answer.code == code)

    async def until_seen(self, path: str, test: Callable[[Object], bool]) -> Object:
        """Ask until the object is so; the object."""
        return (await eventually(lambda: self.client.get(path), lambda answer: test(answer.body))).body

    async def until_created(self, collection: str, body: Object) -> Object:
        """Try until nothing refuses it any more: a webhook that is gone is called for a moment longer."""
        return await self.until_made(collection, body, lambda _: True)

    async def until_refused(self, collection: str, body: Object) -> None:
        """Try until it is refused: a new schema is not in force at once. Nothing is stored."""
        await eventually(lambda: self.client.create(collection, body, dryRun="All"), lambda answer: answer.code == 422)

    async def until_made(self, collection: str, body: Object, test: Callable[[Object], bool]) -> Object:
        """Try, without storing anything, until an object would be made that is so; then make it."""
        await eventually(
            lambda: self.client.create(collection, body, dryRun="All"),
            lambda answer: answer.code == 201 and test(answer.body),
        )
        return (await self.client.create(collection, body)).body

    async def until_gone(self, path: str) -> None:
        """Until there is no such object; told by a watch."""
        found = await self.client.get(path)
        if found.code == 404:
            return
        collection, _, name = path.rpartition("/")
        version = found.body["metadata"]["resourceVersion"]
        async with self.client.watch(
            collection, resourceVersion=version, fieldSelector=f"metadata.name={name}"
        ) as stream:
            while (event := await stream.next(PATIENCE_S)) and event["type"] != "DELETED":
                pass

    async def register(self, *webhooks: Webhook) -> Callable[[], Awaitable[None]]:
        """Call these webhooks until the returned function is awaited or the test ends."""
        close = await self.backend.register(list(webhooks))
        closed = False

        async def once() -> None:
            nonlocal closed
            if not closed:
                closed = True
                await close()

        self._stack.push_async_callback(once)
        return once

    async def account(self, name: str) -> tuple[str, RawClient]:
        """A new service account of the test's namespace: its user name, and a client with its token."""
        accounts = self.path("serviceaccounts")
        await self.client.create(accounts, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}})
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        answer = await self.client.create(f"{accounts}/{name}/token", request)
        token = answer.body["status"]["token"]
        access = self.backend.access()
        client = await self._stack.enter_async_context(RawClient(access.url, token, tls=access.tls))
        return f"system:serviceaccount:{self.namespace}:{name}", client

    async def turn_away(self, user: str) -> None:
        """Answer this user 429 from about now on, until the test ends."""
        self._stack.push_async_callback(await self.backend.turn_away(user, self.unique("full")))

    async def forget(self) -> str:
        """Forget the past; a version that is now too old."""
        return await self.backend.forget()

    async def expire(self, token: str) -> str:
        """A continue token of a list whose version was forgotten meanwhile."""
        version = await self.forget()
        plain = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        return base64.urlsafe_b64encode(json.dumps({**plain, "rv": int(version)}).encode()).decode().rstrip("=")

    def kubeconfig(self, folder: Path) -> Path:
        """A kubeconfig of the administrator whose namespace is the test's."""
        return write_kubeconfig(folder / "kubeconfig", self.backend.access(), self.namespace)

    async def _abandon(self, namespace: str) -> None:
        """Pods would wait for a kubelet; the rest goes with the namespace, in its own time."""
        await self.client.delete(
            self.path("pods", namespace=namespace),
            {"gracePeriodSeconds": 0, "kind": "DeleteOptions", "apiVersion": "v1"},
        )
        await self.client.delete(f"/api/v1/namespaces/{namespace}")


def a_namespace(name: str) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def _established(definition: Object) -> bool:
    conditions = (definition.get("status") or {}).get("conditions") or ()
    return any((each["type"], each["status"]) == ("Established", "True") for each in conditions)


@asynccontextmanager
async def embedded_server(plane: EmbeddedControlPlane) -> AsyncIterator[Server]:
    """A test's use of an embedded server that runs and has no definitions yet."""
    async with AsyncExitStack() as stack:
        await plane.load(DEFINITIONS)
        backend = Embedded(plane)
        client = await stack.enter_async_context(RawClient(plane.url))
        yield await _opened(backend, client, stack)


@asynccontextmanager
async def real_server(endpoint: Endpoint) -> AsyncIterator[Server]:
    """A test's use of the real server."""
    access = endpoint.access()
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(RawClient(access.url, access.token, tls=access.tls))
        yield await _opened(Real(endpoint, client), client, stack)


async def _opened(backend: Backend, client: RawClient, stack: AsyncExitStack) -> Server:
    server = Server(backend, client, stack, "")
    server.namespace = await server.another_namespace()
    return server
