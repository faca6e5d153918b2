"""The clients that the operator is built on – Kopf and kubernetes.aio – against both servers."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes.aio import client as kubernetes_client
from kubernetes.aio import config as kubernetes_config
from kubernetes.aio.dynamic import DynamicClient
from kubernetes.aio.dynamic.exceptions import ConflictError, NotFoundError, UnprocessibleEntityError

from support.api_servers import Server
from support.kopf_operator import Operator
from whimbrel_lab.controlplane.client import RawClient


@pytest.fixture
async def dynamic(server: Server, tmp_path: Path) -> AsyncIterator[Any]:
    path = server.kubeconfig(tmp_path)
    configuration = kubernetes_client.Configuration()
    await kubernetes_config.load_kube_config(str(path), client_configuration=configuration)
    async with kubernetes_client.ApiClient(configuration) as api:
        yield await DynamicClient(api, cache_file=str(tmp_path / "discovery.json"))


async def test_the_dynamic_client_discovers_reads_and_writes(server: Server, dynamic: Any, build: Any) -> None:
    widgets = await dynamic.resources.get(api_version="example.com/v1", kind="Widget")

    created = await widgets.create(body=build.widget(), namespace=server.namespace)
    patched = await widgets.patch(
        body={"spec": {"size": 2}}, name="one", namespace=server.namespace, content_type="application/merge-patch+json"
    )
    status = await widgets.status.replace(
        body={**patched.to_dict(), "status": {"phase": "Up"}}, name="one", namespace=server.namespace
    )
    page = await widgets.get(namespace=server.namespace, limit=1)
    with pytest.raises(ConflictError):
        await widgets.replace(body=created.to_dict(), namespace=server.namespace)
    with pytest.raises(UnprocessibleEntityError):
        await widgets.create(body=build.widget("bad", size=0), namespace=server.namespace)
    await widgets.delete(name="one", namespace=server.namespace)
    with pytest.raises(NotFoundError):
        await widgets.get(name="one", namespace=server.namespace)

    assert (created.spec.color, patched.spec.size, status.status.phase) == ("Red", 2, "Up")
    assert [item.metadata.name for item in page.items] == ["one"]


async def test_the_dynamic_client_watches_raw(server: Server, dynamic: Any, build: Any) -> None:
    maps = await dynamic.resources.get(api_version="v1", kind="ConfigMap")
    await maps.create(body=build.config_map(), namespace=server.namespace)

    response = await maps.get(
        namespace=server.namespace,
        serialize=False,
        query_params=[("watch", "true"), ("timeoutSeconds", "1")],
    )
    lines = (await response.read()).splitlines()

    assert [b'"type":"ADDED"' in line for line in lines] == [True]


async def test_the_typed_client_reads_pods_and_nodes(
    server: Server, client: RawClient, pods: str, dynamic: Any, build: Any
) -> None:
    name = server.unique("n")
    await server.cluster_object("/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
    await client.create(pods, build.pod(nodeName=name))
    core = kubernetes_client.CoreV1Api(dynamic.client)

    listed = await core.list_pod_for_all_namespaces(field_selector=f"spec.nodeName={name}")
    nodes = await core.list_node()

    assert [each.metadata and each.metadata.name for each in listed.items] == ["one"]
    assert name in [each.metadata and each.metadata.name for each in nodes.items]


async def test_kopf_lists_watches_and_writes_a_status(
    server: Server, client: RawClient, widgets: str, build: Any
) -> None:
    for name in ("a", "b", "c"):
        await client.create(widgets, build.widget(name))

    async with Operator(server.backend.access(), server.namespace) as operator:
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
