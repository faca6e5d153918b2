"""What kubectl reads: tables, discovery, OpenAPI, health and version."""

import json
from typing import Any

from support.api_servers import Server
from whimbrel_lab.controlplane.client import RawClient

TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}


async def test_a_table_has_the_columns_of_the_definition(client: RawClient, widgets: str, build: Any) -> None:
    await client.create(widgets, build.widget(size=4, at="2020-01-01T00:00:00Z"))
    await client.create(widgets, build.widget("two"))
    conditions = [{"type": "Other", "status": "False"}, {"type": "Ready", "status": "True"}]
    await client.patch(f"{widgets}/one/status", {"status": {"conditions": conditions}})

    table = (await client.send("GET", widgets, headers=TABLE)).body

    assert table["kind"] == "Table"
    assert [(column["name"], column["type"]) for column in table["columnDefinitions"]] == [
        ("Name", "string"), ("Size", "integer"), ("Ready", "string"), ("At", "date"), ("Age", "date")
    ]  # fmt: skip
    first, second = (row["cells"] for row in table["rows"])
    assert first[:3] == ["one", 4, "True"]
    assert first[3].endswith("d")
    assert second[:4] == ["two", 1, None, None]
    assert second[4].endswith("s")
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"


async def test_a_watched_table_has_a_row_per_event(client: RawClient, widgets: str, build: Any) -> None:
    await client.create(widgets, build.widget())

    async with client.session.get(widgets, params={"watch": "1"}, headers=TABLE) as response:
        line = await response.content.readline()
        response.close()

    assert b'"type":"ADDED"' in line
    assert b'"kind":"Table"' in line


async def test_rows_carry_as_much_of_the_object_as_asked(client: RawClient, widgets: str, build: Any) -> None:
    await client.create(widgets, build.widget())

    whole = await client.send("GET", widgets, headers=TABLE, params={"includeObject": "Object"})
    none = await client.send("GET", widgets, headers=TABLE, params={"includeObject": "None"})

    assert whole.body["rows"][0]["object"]["spec"]["size"] == 1
    assert none.body["rows"][0]["object"] is None


async def test_nodes_pods_and_config_maps_read_as_in_any_cluster(
    server: Server, client: RawClient, pods: str, config_maps: str, build: Any
) -> None:
    name = server.unique("n")
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        "spec": {"unschedulable": True},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }
    await server.cluster_object("/api/v1/nodes", node)
    await client.create(pods, build.pod())
    await client.create(config_maps, build.config_map())
    running = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
    statuses = [{"name": "main", "image": "", "imageID": "", "ready": True, "restartCount": 2, "state": running}]
    await client.patch(f"{pods}/one/status", {"status": {"phase": "Running", "containerStatuses": statuses}})

    nodes = (await client.send("GET", f"/api/v1/nodes/{name}", headers=TABLE)).body["rows"]
    maps = (await client.send("GET", config_maps, headers=TABLE)).body["rows"]
    listed = (await client.send("GET", pods, headers=TABLE)).body["rows"]

    assert maps[0]["cells"][:2] == ["one", 1]
    assert nodes[0]["cells"][:3] == [name, "Ready,SchedulingDisabled", "<none>"]
    assert listed[0]["cells"][:4] == ["one", "1/1", "Running", "2"]


async def test_discovery_shows_custom_kinds_with_their_names_and_subresources(client: RawClient) -> None:
    groups = {group["name"]: group for group in (await client.get("/apis")).body["groups"]}
    resources = {each["name"]: each for each in (await client.get("/apis/example.com/v1")).body["resources"]}

    assert groups["example.com"]["preferredVersion"]["groupVersion"] == "example.com/v1"
    assert (resources["widgets"]["kind"], resources["widgets"]["shortNames"]) == ("Widget", ["wd"])
    assert set(resources["widgets"]["verbs"]) == {
        "create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"
    }  # fmt: skip
    assert resources["widgets/status"]["verbs"] == ["get", "patch", "update"]
    assert (await client.get("/api")).body["versions"] == ["v1"]
    assert (await client.get("/apis/example.com")).body["kind"] == "APIGroup"


async def test_aggregated_discovery_tells_the_same(client: RawClient) -> None:
    accept = {"Accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"}

    answer = await client.send("GET", "/apis", headers=accept)

    groups = {item["metadata"]["name"]: item for item in answer.body["items"]}
    resources = {each["resource"]: each for each in groups["example.com"]["versions"][0]["resources"]}
    widget = resources["widgets"]
    assert answer.headers["Content-Type"].endswith("v=v2;as=APIGroupDiscoveryList")
    assert (widget["resource"], widget["scope"], widget["subresources"][0]["subresource"]) == (
        "widgets",
        "Namespaced",
        "status",
    )


async def test_openapi_shows_the_schema_and_that_fields_are_validated(client: RawClient) -> None:
    index = json.loads((await client.get("/openapi/v3")).text)["paths"]
    path, _, query = index["apis/example.com/v1"]["serverRelativeURL"].partition("?")
    document = (await client.get(path, hash=query.partition("=")[2])).body
    swagger = (await client.get("/openapi/v2")).body

    schema = document["components"]["schemas"]["com.example.v1.Widget"]
    patch = document["paths"]["/apis/example.com/v1/namespaces/{namespace}/widgets/{name}"]["patch"]
    assert schema["properties"]["spec"]["properties"]["size"]["maximum"] == 100
    assert "fieldValidation" in [each["name"] for each in patch["parameters"]]
    assert "com.example.v1.Widget" in swagger["definitions"]
    assert (await client.get("/openapi/v3/apis/none/v1")).code == 404


async def test_the_server_says_that_it_is_healthy_and_what_it_is(client: RawClient) -> None:
    health = [(await client.get(path)).text for path in ("/healthz", "/livez", "/readyz")]
    version = (await client.get("/version")).body

    assert health == ["ok"] * 3
    assert (version["major"], version["minor"]) == ("1", "36")
    assert version["gitVersion"].startswith("v1.36.")
