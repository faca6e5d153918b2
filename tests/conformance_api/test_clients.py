"""The clients that the operator is built on – Kopf and kubernetes.aio – against the embedded server."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import kopf
import pytest
from kubernetes.aio import client as kubernetes_client
from kubernetes.aio import config as kubernetes_config
from kubernetes.aio.dynamic import DynamicClient
from kubernetes.aio.dynamic.exceptions import ConflictError, NotFoundError, UnprocessibleEntityError

from whimbrel_lab.controlplane.client import RawClient
from whimbrel_lab.controlplane.embedded import EmbeddedControlPlane, Fault


@pytest.fixture
async def dynamic(plane: EmbeddedControlPlane, tmp_path: Path) -> AsyncIterator[Any]:
    path = plane.write_kubeconfig(tmp_path / "kubeconfig")
    configuration = kubernetes_client.Configuration()
    await kubernetes_config.load_kube_config(str(path), client_configuration=configuration)
    async with kubernetes_client.ApiClient(configuration) as api:
        yield await DynamicClient(api, cache_file=str(tmp_path / "discovery.json"))


async def test_the_dynamic_client_discovers_reads_and_writes(dynamic: Any, build: Any) -> None:
    widgets = await dynamic.resources.get(api_version="example.com/v1", kind="Widget")

    created = await widgets.create(body=build.widget(), namespace="default")
    patched = await widgets.patch(
        body={"spec": {"size": 2}}, name="one", namespace="default", content_type="application/merge-patch+json"
    )
    status = await widgets.status.replace(
        body={**patched.to_dict(), "status": {"phase": "Up"}}, name="one", namespace="default"
    )
    page = await widgets.get(limit=1)
    with pytest.raises(ConflictError):
        await widgets.replace(body=created.to_dict(), namespace="default")
    with pytest.raises(UnprocessibleEntityError):
        await widgets.create(body=build.widget("bad", size=0), namespace="default")
    await widgets.delete(name="one", namespace="default")
    with pytest.raises(NotFoundError):
        await widgets.get(name="one", namespace="default")

    assert (created.spec.color, patched.spec.size, status.status.phase) == ("Red", 2, "Up")
    assert [item.metadata.name for item in page.items] == ["one"]


async def test_the_dynamic_client_watches_raw(dynamic: Any, build: Any) -> None:
    maps = await dynamic.resources.get(api_version="v1", kind="ConfigMap")
    await maps.create(body=build.config_map(), namespace="default")

    response = await maps.get(
        namespace="default",
        serialize=False,
        query_params=[("watch", "true"), ("allowWatchBookmarks", "true"), ("timeoutSeconds", "1")],
    )
    lines = (await response.read()).splitlines()

    assert b'"type":"ADDED"' in lines[0]
    assert b'"type":"BOOKMARK"' in lines[-1]


async def test_the_typed_client_reads_pods_and_nodes(plane: EmbeddedControlPlane, dynamic: Any, build: Any) -> None:
    pod = build.pod(nodeName="n1")
    pod["metadata"]["namespace"] = "default"
    await plane.load([pod, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}])
    core = kubernetes_client.CoreV1Api(dynamic.client)

    pods = await core.list_pod_for_all_namespaces(field_selector="spec.nodeName=n1")
    nodes = await core.list_node()

    assert ([each.metadata.name for each in pods.items], [each.metadata.name for each in nodes.items]) == (
        ["one"],
        ["n1"],
    )


class Operator:
    """A Kopf operator of one kind in its own thread: `on.event` alone, and what it saw."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._loop = asyncio.get_running_loop()
        self.seen: asyncio.Queue[tuple[str | None, str]] = asyncio.Queue()
        self._ready = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    async def __aenter__(self) -> "Operator":
        self._thread.start()
        assert await asyncio.to_thread(self._ready.wait, 10)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.to_thread(self._thread.join, 20)

    def _run(self) -> None:
        registry = kopf.OperatorRegistry()
        settings = kopf.OperatorSettings()
        settings.posting.enabled = False
        settings.watching.chunk_size = 2
        settings.networking.request_timeout = 5

        @kopf.on.login(registry=registry)
        def login(**_: Any) -> kopf.ConnectionInfo:
            return kopf.ConnectionInfo(server=self._url, default_namespace="default")

        @kopf.on.event("example.com", "v1", "widgets", registry=registry, id="seen")
        async def seen(type: str | None, name: str | None, spec: kopf.Spec, patch: kopf.Patch, **_: Any) -> None:
            if spec["size"] == 9 and type != "DELETED":
                patch.status["phase"] = "Large"
            self._loop.call_soon_threadsafe(self.seen.put_nowait, (type, name or ""))

        asyncio.run(
            kopf.operator(
                registry=registry,
                settings=settings,
                standalone=True,
                clusterwide=True,
                ready_flag=self._ready,
                stop_flag=self._stop,
            )
        )

    async def next(self) -> tuple[str | None, str]:
        async with asyncio.timeout(10):
            return await self.seen.get()


async def test_kopf_lists_watches_and_writes_a_status(
    plane: EmbeddedControlPlane, client: RawClient, widgets: str, build: Any
) -> None:
    for name in ("a", "b", "c"):
        await client.create(widgets, build.widget(name))

    async with Operator(plane.url) as operator:
        listed = [await operator.next() for _ in range(3)]
        await client.create(widgets, build.widget("large", size=9))
        created = await operator.next()
        echoed = await operator.next()
        status = (await client.get(f"{widgets}/large")).body["status"]
        await client.delete(f"{widgets}/a")
        deleted = await operator.next()

    assert sorted(listed) == [(None, "a"), (None, "b"), (None, "c")]
    assert (created, echoed, deleted) == (("ADDED", "large"), ("MODIFIED", "large"), ("DELETED", "a"))
    assert status == {"phase": "Large"}


async def test_kopf_lists_again_after_a_410_and_goes_on_after_a_closed_watch(
    plane: EmbeddedControlPlane, client: RawClient, widgets: str, build: Any
) -> None:
    await client.create(widgets, build.widget("a"))

    async with Operator(plane.url) as operator:
        await operator.next()
        plane.faults.add(Fault(watch="gone", resource="widgets.example.com"))
        relisted = await operator.next()
        plane.faults.add(Fault(watch="close", resource="widgets.example.com"))
        await client.create(widgets, build.widget("b"))
        resumed = await operator.next()

    assert (relisted, resumed) == ((None, "a"), ("ADDED", "b"))
