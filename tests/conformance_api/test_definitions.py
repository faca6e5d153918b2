"""CustomResourceDefinitions: what is served when, what is refused, versions, and changes of a schema."""

import copy
from typing import Any

import pytest

from support.api_servers import PATIENCE_S, Server
from whimbrel_lab.controlplane.client import JSON_PATCH, RawClient

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


async def test_a_definition_is_served_once_it_is_established_and_gone_with_its_objects(
    server: Server, client: RawClient, build: Any
) -> None:
    path = "/apis/example.com/v1/things"
    await server.define(build.definition(kind="Thing", scope="Cluster"))
    created = await client.create(path, {**build.widget(), "kind": "Thing"})
    definition = (await client.get(f"{DEFINITIONS}/things.example.com")).body
    async with client.watch(path) as stream:
        await stream.next()
        marked = await client.delete(f"{DEFINITIONS}/things.example.com")
        event = await stream.next(PATIENCE_S)
        await server.until_gone(f"{DEFINITIONS}/things.example.com")
        end = await stream.next(PATIENCE_S)
    await server.until(path, 404)

    conditions = {each["type"]: each["status"] for each in definition["status"]["conditions"]}
    assert (conditions["NamesAccepted"], conditions["Established"]) == ("True", "True")
    assert definition["status"]["storedVersions"] == ["v1"]
    assert definition["spec"]["names"]["singular"] == "thing"
    assert "finalizers" not in definition["metadata"]
    assert marked.body["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
    assert created.code == 201
    assert "deletionTimestamp" in marked.body["metadata"]
    assert event is not None
    assert (event["type"], event["object"]["metadata"]["name"]) == ("DELETED", "one")
    assert end is None
    assert (await client.get("/apis/example.com/v1")).code == 200


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"scope": "Galaxy"}, "spec.scope"),
        ({"group": "other.com"}, "metadata.name"),
        ({"versions": []}, "spec.versions"),
        ({"conversion": {"strategy": "Wish"}}, "spec.conversion.strategy"),
    ],
)
async def test_a_definition_that_cannot_be_served_is_refused(
    client: RawClient, build: Any, change: dict[str, Any], field: str
) -> None:
    definition = build.definition(kind="Thing")
    definition["spec"] |= change

    answer = await client.create(DEFINITIONS, definition)

    assert (answer.code, field in answer.causes) == (422, True)


async def test_a_schema_that_is_not_structural_is_refused(client: RawClient, build: Any) -> None:
    schema = {"type": "object", "properties": {"spec": {"properties": {}}, "list": {"type": "array"}}}

    answer = await client.create(DEFINITIONS, build.definition(kind="Thing", schema=schema))

    assert set(answer.causes) == {
        "spec.validation.openAPIV3Schema.properties[spec].type",
        "spec.validation.openAPIV3Schema.properties[list].items",
    }


async def test_two_versions_share_their_objects_and_each_shows_its_own_fields(
    server: Server, client: RawClient, build: Any
) -> None:
    newer, older = server.custom("editions"), server.custom("editions", "v1beta1")
    await client.create(newer, {**build.widget(label="abc"), "kind": "Edition"})

    shown = (await client.get(f"{older}/one")).body
    listed = (await client.get(older)).body
    changed = await client.patch(f"{older}/one", {"spec": {"size": 3}})
    stored = (await client.get(f"{newer}/one")).body

    assert (shown["apiVersion"], "label" in shown["spec"]) == ("example.com/v1beta1", False)
    assert listed["items"][0]["apiVersion"] == "example.com/v1beta1"
    assert changed.body["apiVersion"] == "example.com/v1beta1"
    assert (stored["apiVersion"], stored["spec"]["size"]) == ("example.com/v1", 3)


async def test_objects_stored_under_an_older_schema_are_read_under_the_new_one(
    server: Server, client: RawClient, build: Any
) -> None:
    definition = build.definition(kind="Memo")
    await server.define(definition)
    memos = server.custom("memos")
    before = (await client.create(memos, {**build.widget(label="abc"), "kind": "Memo"})).body
    schema = copy.deepcopy(definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    del schema["properties"]["spec"]["properties"]["label"]
    schema["properties"]["spec"]["properties"]["weight"] = {"type": "integer", "default": 7}
    change = [{"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema", "value": schema}]

    await client.patch(f"{DEFINITIONS}/memos.example.com", change, JSON_PATCH)
    after = await server.until_seen(f"{memos}/one", lambda memo: "weight" in memo.get("spec", {}))

    assert (after["spec"]["weight"], "label" in after["spec"]) == (7, False)
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
