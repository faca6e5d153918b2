"""Merge, JSON and strategic patches as pure functions; over HTTP they are in tests/conformance_api."""

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

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
