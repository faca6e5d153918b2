"""What kubectl reads: tables, ages, JSONPath, discovery and OpenAPI."""

from typing import Any

import pytest

from whimbrel_lab.controlplane.client import RawClient
from whimbrel_lab.controlplane.embedded import EmbeddedControlPlane
from whimbrel_lab.controlplane.embedded.discovery import VERSION
from whimbrel_lab.controlplane.embedded.jsonpath import compile_path
from whimbrel_lab.controlplane.embedded.protobuf import decode
from whimbrel_lab.controlplane.embedded.tables import age, human_duration

TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}


async def test_a_table_has_the_columns_of_the_definition(client: RawClient, widgets: str, build: Any) -> None:
    await client.create(widgets, build.widget(size=4, at="2020-01-01T00:00:00Z"))
    await client.create(widgets, build.widget("two"))
    conditions = [{"type": "Other", "status": "False"}, {"type": "Ready", "status": "True"}]
    await client.patch(f"{widgets}/one/status", {"status": {"conditions": conditions}})

    table = (await client.send("GET", widgets, headers=TABLE)).body

    assert table["kind"] == "Table"
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Size", "Ready", "At", "Age"]
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
    assert "object" not in none.body["rows"][0]


async def test_nodes_and_pods_read_as_in_any_cluster(client: RawClient, pods: str, build: Any) -> None:
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "n1"},
        "spec": {"unschedulable": True},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }
    await client.create("/api/v1/nodes", node)
    await client.create(pods, build.pod())
    statuses = [{"name": "main", "ready": True, "restartCount": 2}]
    await client.patch(f"{pods}/one/status", {"status": {"phase": "Running", "containerStatuses": statuses}})

    nodes = (await client.send("GET", "/api/v1/nodes", headers=TABLE)).body["rows"]
    listed = (await client.send("GET", pods, headers=TABLE)).body["rows"]

    assert nodes[0]["cells"][:3] == ["n1", "Ready,SchedulingDisabled", "<none>"]
    assert listed[0]["cells"][:4] == ["one", "1/1", "Running", "2"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"),
        (0, "0s"),
        (119, "119s"),
        (300, "5m"),
        (310, "5m10s"),
        (3600, "60m"),
        (4 * 3600, "4h"),
        (4 * 3600 + 60, "4h1m"),
        (30 * 3600, "30h"),
        (3 * 86400 + 7200, "3d2h"),
        (100 * 86400, "100d"),
        (3 * 365 * 86400, "3y"),
        (3 * 365 * 86400 + 86400, "3y1d"),
        (9 * 365 * 86400 + 86400, "9y"),
    ],
)
def test_durations_read_as_kubectl_writes_them(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text


def test_an_age_of_what_is_no_time_is_unknown() -> None:
    assert (age(None, 0), age("yesterday", 0), age("1970-01-01T00:00:00Z", 60)) == ("<unknown>", "<unknown>", "60s")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (".spec.size", 3),
        ("spec.size", 3),
        (".spec.missing", None),
        (".items[0].name", "a"),
        (".items[-1].name", "b"),
        (".items[*].name", "a"),
        ('.items[?(@.name=="b")].value', True),
        (".items[?(@.name!='a')].name", "b"),
        (".items[?(@.value)].name", "a"),
        (".items[?(@.rank==2)].name", "b"),
        (r".metadata.labels.whimbrel\.dev/plan", "p"),
        (".metadata.labels['whimbrel.dev/plan']", "p"),
    ],
)
def test_json_paths_find_what_kubectl_would(path: str, expected: Any) -> None:
    document = {
        "spec": {"size": 3},
        "items": [{"name": "a", "value": False, "rank": 1}, {"name": "b", "value": True, "rank": 2}],
        "metadata": {"labels": {"whimbrel.dev/plan": "p"}},
    }

    assert compile_path(path)(document) == expected


def test_a_json_path_that_cannot_be_read_says_where() -> None:
    with pytest.raises(ValueError, match="from character 2 on"):
        compile_path(".a[?b]")


async def test_discovery_shows_custom_kinds_with_their_names_and_subresources(client: RawClient) -> None:
    groups = {group["name"]: group for group in (await client.get("/apis")).body["groups"]}
    resources = {each["name"]: each for each in (await client.get("/apis/example.com/v1")).body["resources"]}

    assert groups["example.com"]["preferredVersion"]["groupVersion"] == "example.com/v1"
    assert (resources["widgets"]["kind"], resources["widgets"]["shortNames"]) == ("Widget", ["wd"])
    assert resources["widgets/status"]["verbs"] == ["get", "patch", "update"]
    assert (await client.get("/api")).body["versions"] == ["v1"]
    assert (await client.get("/apis/example.com")).body["kind"] == "APIGroup"


async def test_aggregated_discovery_tells_the_same(client: RawClient) -> None:
    accept = {"Accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"}

    answer = await client.send("GET", "/apis", headers=accept)

    groups = {item["metadata"]["name"]: item for item in answer.body["items"]}
    widget = groups["example.com"]["versions"][0]["resources"][0]
    assert answer.headers["Content-Type"].endswith("v=v2;as=APIGroupDiscoveryList")
    assert (widget["resource"], widget["scope"], widget["subresources"][0]["subresource"]) == (
        "widgets",
        "Namespaced",
        "status",
    )


async def test_openapi_shows_the_schema_and_that_fields_are_validated(client: RawClient) -> None:
    index = (await client.get("/openapi/v3")).body["paths"]
    path, _, query = index["apis/example.com/v1"]["serverRelativeURL"].partition("?")
    document = (await client.get(path, hash=query.partition("=")[2])).body
    swagger = (await client.get("/openapi/v2")).body

    schema = document["components"]["schemas"]["com.example.v1.Widget"]
    patch = document["paths"]["/apis/example.com/v1/namespaces/{namespace}/widgets/{name}"]["patch"]
    assert schema["properties"]["spec"]["properties"]["size"]["maximum"] == 100
    assert "fieldValidation" in [each["name"] for each in patch["parameters"]]
    assert "com.example.v1.Widget" in swagger["definitions"]
    assert (await client.get("/openapi/v3/apis/none/v1")).code == 404


async def test_the_server_says_that_it_is_healthy_and_what_it_is(
    plane: EmbeddedControlPlane, client: RawClient
) -> None:
    health = [(await client.get(path)).text for path in ("/healthz", "/livez", "/readyz")]
    version = (await client.get("/version")).body

    assert health == ["ok"] * 3
    assert version == VERSION
    assert version["gitVersion"].startswith("v1.36.")
    assert "embedded" in version["gitVersion"]


def test_kubectls_protobuf_is_read() -> None:
    metadata = b"\x0a\x03one" + b"\x5a\x06\x0a\x01k\x12\x01v"
    config_map = b"\x0a" + bytes([len(metadata)]) + metadata + b"\x12\x06\x0a\x01a\x12\x01b"
    identity = b"\x0a\x02v1\x12\x09ConfigMap"
    body = b"k8s\x00\x0a" + bytes([len(identity)]) + identity + b"\x12" + bytes([len(config_map)]) + config_map

    assert decode(body) == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "one", "labels": {"k": "v"}},
        "data": {"a": "b"},
    }


def test_protobuf_of_another_kind_is_refused_with_a_way_out() -> None:
    identity = b"\x0a\x07apps/v1\x12\x0aDeployment"
    body = b"k8s\x00\x0a" + bytes([len(identity)]) + identity

    with pytest.raises(Exception, match="kubectl apply -f"):
        decode(body)
