"""Merge, JSON and strategic patches, over HTTP and as pure functions."""

import copy
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from whimbrel_lab.controlplane.client import APPLY, JSON_PATCH, STRATEGIC, RawClient
from whimbrel_lab.controlplane.embedded.patch import equal, json_patch, merge
from whimbrel_lab.controlplane.embedded.strategic import strategic_merge

KEYS = st.sampled_from(["a", "b", "c/d", "e~f"])
SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "x", "y"])
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3))
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=4)


def without_nulls(value: Any) -> Any:
    return {k: without_nulls(v) for k, v in value.items() if v is not None} if isinstance(value, dict) else value


def difference(old: Any, new: Any) -> Any:
    """The merge patch that turns old into new; both without nulls in their objects."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    patch = {key: None for key in old if key not in new}
    for key, value in new.items():
        if key not in old or not equal(old[key], value):
            patch[key] = difference(old.get(key), value)
    return patch


@given(OBJECTS, OBJECTS)
def test_a_merge_patch_of_a_difference_makes_the_one_into_the_other(old: Any, new: Any) -> None:
    old, new = without_nulls(old), without_nulls(new)

    assert equal(merge(old, difference(old, new)), new)


@given(OBJECTS, OBJECTS)
def test_a_merge_patch_twice_is_a_merge_patch_once_and_leaves_its_target_alone(target: Any, patch: Any) -> None:
    before = copy.deepcopy(target)

    once = merge(target, patch)

    assert equal(merge(once, patch), once)
    assert equal(target, before)


@given(OBJECTS, KEYS, VALUES)
def test_what_a_json_patch_adds_is_there_and_can_be_taken_away(target: Any, key: str, value: Any) -> None:
    before = copy.deepcopy(target)
    pointer = "/" + key.replace("~", "~0").replace("/", "~1")

    added = json_patch(target, [{"op": "add", "path": pointer, "value": value}])
    removed = json_patch(added, [{"op": "test", "path": pointer, "value": value}, {"op": "remove", "path": pointer}])

    assert equal(added[key], value)
    assert equal(removed, {name: each for name, each in before.items() if name != key})
    assert equal(target, before)


def test_json_patches_move_and_copy_and_append() -> None:
    target = {"a": [1, 2, 3], "b": {}}

    patched = json_patch(
        target,
        [
            {"op": "add", "path": "/a/-", "value": 4},
            {"op": "copy", "from": "/a/0", "path": "/b/first"},
            {"op": "move", "from": "/a/1", "path": "/b/second"},
            {"op": "replace", "path": "/a/0", "value": 9},
        ],
    )

    assert patched == {"a": [9, 3, 4], "b": {"first": 1, "second": 2}}


def test_a_strategic_patch_merges_lists_by_their_key_and_keeps_their_order() -> None:
    pod = {"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}], "tolerations": [1]}}

    patched = strategic_merge(
        pod,
        {
            "spec": {
                "$setElementOrder/containers": [{"name": "b"}, {"name": "c"}],
                "containers": [{"name": "b", "image": "2"}, {"name": "a", "$patch": "delete"}, {"name": "c"}],
                "tolerations": [2],
            }
        },
    )

    assert patched["spec"] == {"containers": [{"name": "b", "image": "2"}, {"name": "c"}], "tolerations": [2]}


def test_a_strategic_patch_can_replace_and_drop_from_primitive_lists() -> None:
    target = {"metadata": {"finalizers": ["x", "y"]}, "data": {"a": 1}}

    patched = strategic_merge(
        target,
        {
            "metadata": {"$deleteFromPrimitiveList/finalizers": ["x"], "finalizers": ["z"]},
            "data": {"$patch": "replace", "b": 2},
        },
    )

    assert patched == {"metadata": {"finalizers": ["y", "z"]}, "data": {"b": 2}}


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


async def test_a_json_patch_that_is_none_is_a_bad_request(client: RawClient, widgets: str, build: Any) -> None:
    await client.create(widgets, build.widget())

    assert (await client.patch(f"{widgets}/one", {"op": "add"}, JSON_PATCH)).code == 400


async def test_custom_resources_take_no_strategic_patch_and_nobody_takes_apply(
    client: RawClient, widgets: str, config_maps: str, build: Any
) -> None:
    await client.create(widgets, build.widget())
    await client.create(config_maps, build.config_map())

    strategic = await client.patch(f"{widgets}/one", {"spec": {"size": 2}}, STRATEGIC)
    applied = await client.patch(
        f"{config_maps}/one", json.dumps(build.config_map()), APPLY, fieldManager="x", force="true"
    )
    built_in = await client.patch(f"{config_maps}/one", {"data": {"more": "x"}}, STRATEGIC)

    assert (strategic.code, strategic.body["reason"]) == (415, "UnsupportedMediaType")
    assert "application/merge-patch+json" in strategic.body["message"]
    assert (applied.code, "server-side apply" in applied.body["message"]) == (415, True)
    assert built_in.body["data"] == {"key": "value", "more": "x"}


async def test_a_patch_of_what_is_not_there_is_not_found(client: RawClient, widgets: str) -> None:
    assert (await client.patch(f"{widgets}/none", {"spec": {}})).code == 404


async def test_a_patch_that_breaks_the_schema_is_refused(client: RawClient, widgets: str, build: Any) -> None:
    await client.create(widgets, build.widget())

    answer = await client.patch(f"{widgets}/one", {"spec": {"size": "large"}})

    assert answer.causes == {
        "spec.size": 'Invalid value: "string": spec.size in body must be of type integer: "string"'
    }
