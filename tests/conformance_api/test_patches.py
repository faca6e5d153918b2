"""Merge, JSON and strategic patches."""

from typing import Any

from whimbrel_lab.controlplane.client import JSON_PATCH, STRATEGIC, RawClient


async def test_a_merge_patch_changes_what_it_names(client: RawClient, widgets: str, build: Any) -> None:
    await client.create(widgets, build.widget(label="abc", tags=["a", "b"]))

    answer = await client.patch(f"{widgets}/one", {"spec": {"label": None, "tags": ["c"], "size": 5}})

    assert answer.body["spec"] == {"size": 5, "color": "Red", "tags": ["c"]}


async def test_a_patch_that_changes_nothing_writes_nothing(client: RawClient, widgets: str, build: Any) -> None:
    created = await client.create(widgets, build.widget())

    answer = await client.patch(f"{widgets}/one", {"spec": {"size": 1}})

    assert answer.body == created.body


async def test_a_merge_patch_with_a_stale_version_is_a_conflict(client: RawClient, widgets: str, build: Any) -> None:
    created = await client.create(widgets, build.widget())
    version = created.body["metadata"]["resourceVersion"]
    await client.patch(f"{widgets}/one", {"spec": {"size": 2}})

    answer = await client.patch(f"{widgets}/one", {"metadata": {"resourceVersion": version}, "spec": {"size": 3}})

    assert (answer.code, answer.body["reason"]) == (409, "Conflict")


async def test_a_json_patch_whose_test_fails_is_invalid_and_changes_nothing(
    client: RawClient, widgets: str, build: Any
) -> None:
    await client.create(widgets, build.widget())
    patch = [
        {"op": "test", "path": "/metadata/uid", "value": "another"},
        {"op": "replace", "path": "/spec/size", "value": 2},
    ]

    answer = await client.patch(f"{widgets}/one", patch, JSON_PATCH)

    assert (answer.code, answer.body["reason"]) == (422, "Invalid")
    assert answer.body["message"] == "the server rejected our request due to an error in our request"
    assert (await client.get(f"{widgets}/one")).body["spec"]["size"] == 1


async def test_a_json_patch_whose_test_holds_is_done(client: RawClient, widgets: str, build: Any) -> None:
    created = await client.create(widgets, build.widget())
    patch = [
        {"op": "test", "path": "/metadata/uid", "value": created.body["metadata"]["uid"]},
        {"op": "add", "path": "/metadata/labels", "value": {"whimbrel.dev/policy-0": "x"}},
    ]

    answer = await client.patch(f"{widgets}/one", patch, JSON_PATCH)

    assert answer.body["metadata"]["labels"] == {"whimbrel.dev/policy-0": "x"}


async def test_a_patch_that_is_none_is_refused(client: RawClient, widgets: str, build: Any) -> None:
    await client.create(widgets, build.widget())

    no_list = await client.patch(f"{widgets}/one", {"op": "add"}, JSON_PATCH)
    unknown = await client.patch(f"{widgets}/one", [{"op": "shuffle", "path": "/spec"}], JSON_PATCH)
    no_object = await client.patch(f"{widgets}/one", [])
    no_type = await client.patch(f"{widgets}/one", {}, "application/json")

    assert [each.code for each in (no_list, unknown, no_object, no_type)] == [400, 422, 400, 415]
    assert no_list.body["message"].startswith("error decoding patch: json: cannot unmarshal object")
    assert no_object.body["message"].startswith("error decoding patch: json: cannot unmarshal array")


async def test_built_in_kinds_take_strategic_patches_and_custom_ones_do_not(
    client: RawClient, widgets: str, config_maps: str, build: Any
) -> None:
    await client.create(widgets, build.widget())
    await client.create(config_maps, build.config_map())

    strategic = await client.patch(f"{widgets}/one", {"spec": {"size": 2}}, STRATEGIC)
    built_in = await client.patch(f"{config_maps}/one", {"data": {"more": "x"}}, STRATEGIC)

    assert (strategic.code, strategic.body["reason"]) == (415, "UnsupportedMediaType")
    assert "application/merge-patch+json" in strategic.body["message"]
    assert built_in.body["data"] == {"key": "value", "more": "x"}


async def test_a_patch_of_what_is_not_there_is_not_found(client: RawClient, widgets: str) -> None:
    assert (await client.patch(f"{widgets}/none", {"spec": {}})).code == 404


async def test_a_patch_that_breaks_the_schema_is_refused(client: RawClient, widgets: str, build: Any) -> None:
    await client.create(widgets, build.widget())

    answer = await client.patch(f"{widgets}/one", {"spec": {"size": "large"}})

    assert answer.causes == {
        "spec.size": 'Invalid value: "string": spec.size in body must be of type integer: "string"'
    }
