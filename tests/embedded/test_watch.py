"""Watches: from a version on, with selectors, bookmarks, ends and 410."""

import asyncio
from typing import Any

import pytest

from whimbrel_lab.controlplane.client import RawClient
from whimbrel_lab.controlplane.embedded import EmbeddedControlPlane


async def test_a_watch_from_a_list_sees_exactly_what_came_after_it(client: RawClient, widgets: str, build: Any) -> None:
    await client.create(widgets, build.widget("before"))
    version = (await client.get(widgets)).body["metadata"]["resourceVersion"]
    await client.create(widgets, build.widget("after"))
    await client.patch(f"{widgets}/before", {"spec": {"size": 2}})
    await client.delete(f"{widgets}/after")

    async with client.watch(widgets, resourceVersion=version) as stream:
        history = await stream.take(3)
        await client.create(widgets, build.widget("live"))
        live = await stream.take(1)

    assert history == [("ADDED", "after"), ("MODIFIED", "before"), ("DELETED", "after")]
    assert live == [("ADDED", "live")]


@pytest.mark.parametrize("params", [{}, {"resourceVersion": "0"}])
async def test_a_watch_without_a_version_begins_with_what_is_there(
    client: RawClient, widgets: str, build: Any, params: dict[str, str]
) -> None:
    await client.create(widgets, build.widget("there"))

    async with client.watch(widgets, **params) as stream:
        there = await stream.take(1)
        await client.delete(f"{widgets}/there")
        gone = await stream.take(1)

    assert there + gone == [("ADDED", "there"), ("DELETED", "there")]


async def test_a_deleted_object_comes_in_its_last_state_under_a_new_version(
    client: RawClient, widgets: str, build: Any
) -> None:
    created = (await client.create(widgets, build.widget(size=9))).body

    async with client.watch(widgets, resourceVersion=created["metadata"]["resourceVersion"]) as stream:
        await client.delete(f"{widgets}/one")
        event = await stream.next()

    assert event is not None
    assert event["object"]["spec"] == created["spec"]
    assert int(event["object"]["metadata"]["resourceVersion"]) > int(created["metadata"]["resourceVersion"])


async def test_an_object_enters_and_leaves_a_selective_watch_with_its_labels(
    client: RawClient, widgets: str, build: Any
) -> None:
    version = (await client.get(widgets)).body["metadata"]["resourceVersion"]
    await client.create(widgets, build.widget())

    async with client.watch(widgets, resourceVersion=version, labelSelector="app=x") as stream:
        await client.patch(f"{widgets}/one", {"metadata": {"labels": {"app": "x"}}})
        await client.patch(f"{widgets}/one", {"spec": {"size": 2}})
        await client.patch(f"{widgets}/one", {"metadata": {"labels": {"app": "y"}}})
        events = await stream.take(3)

    assert events == [("ADDED", "one"), ("MODIFIED", "one"), ("DELETED", "one")]


async def test_a_watch_by_field_and_one_of_a_namespace_see_only_theirs(client: RawClient, build: Any) -> None:
    async with (
        client.watch("/api/v1/configmaps", fieldSelector="metadata.name=b") as named,
        client.watch("/api/v1/namespaces/kube-system/configmaps") as placed,
    ):
        await client.create("/api/v1/namespaces/default/configmaps", build.config_map("a"))
        await client.create("/api/v1/namespaces/default/configmaps", build.config_map("b"))
        await client.create("/api/v1/namespaces/kube-system/configmaps", build.config_map("c"))

        assert await named.take(1) == [("ADDED", "b")]
        assert await placed.take(1) == [("ADDED", "c")]


async def test_bookmarks_come_when_asked_for_and_move_on_with_other_kinds(
    client: RawClient, widgets: str, config_maps: str, build: Any
) -> None:
    version = (await client.get(widgets)).body["metadata"]["resourceVersion"]

    async with client.watch(widgets, resourceVersion=version, allowWatchBookmarks="true") as stream:
        latest = (await client.create(config_maps, build.config_map())).body["metadata"]["resourceVersion"]
        bookmark = await stream.next()

    assert bookmark is not None
    assert (bookmark["type"], bookmark["object"]["kind"]) == ("BOOKMARK", "Widget")
    assert bookmark["object"]["metadata"]["resourceVersion"] == latest


async def test_a_watch_ends_after_its_timeout_with_a_last_bookmark(client: RawClient, widgets: str) -> None:
    async with client.watch(widgets, timeoutSeconds="1", allowWatchBookmarks="true") as stream:
        types = []
        while event := await stream.next():
            types.append(event["type"])

    assert set(types) == {"BOOKMARK"}


async def test_without_being_asked_for_no_bookmark_comes(client: RawClient, widgets: str) -> None:
    async with client.watch(widgets, timeoutSeconds="1") as stream:
        assert await stream.next() is None


async def test_a_watch_from_a_compacted_version_is_answered_410_in_the_stream(
    plane: EmbeddedControlPlane, client: RawClient, widgets: str, build: Any
) -> None:
    version = (await client.get(widgets)).body["metadata"]["resourceVersion"]
    await client.create(widgets, build.widget())
    plane.compact()

    async with client.watch(widgets, resourceVersion=version) as stream:
        error, end = await stream.next(), await stream.next()

    assert stream.status == 200
    assert error is not None
    assert (error["type"], error["object"]["code"], error["object"]["reason"]) == ("ERROR", 410, "Expired")
    assert end is None


async def test_an_open_watch_survives_a_compaction(
    plane: EmbeddedControlPlane, client: RawClient, widgets: str, build: Any
) -> None:
    async with client.watch(widgets) as stream:
        await client.create(widgets, build.widget())
        plane.compact()
        await client.create(widgets, build.widget("two"))

        assert await stream.take(2) == [("ADDED", "one"), ("ADDED", "two")]


async def test_a_watch_further_behind_than_the_history_is_answered_410(build: Any) -> None:
    async with EmbeddedControlPlane(history=5) as plane, RawClient(plane.url) as client:
        version = str(plane.storage.version)
        for number in range(20):
            plane.storage.put("configmaps", build.config_map(f"c{number}", namespace="default", uid="u"))

        async with client.watch("/api/v1/configmaps", resourceVersion=version) as stream:
            error = await stream.next()

    assert error is not None
    assert error["object"]["code"] == 410


async def test_streaming_lists_are_refused_as_by_a_server_without_them(client: RawClient, widgets: str) -> None:
    answer = await client.get(
        widgets,
        watch="true",
        sendInitialEvents="true",
        resourceVersionMatch="NotOlderThan",
        allowWatchBookmarks="true",
    )

    assert (answer.code, answer.body["reason"]) == (422, "Invalid")
    assert "sendInitialEvents is forbidden for watch" in answer.causes["sendInitialEvents"]


async def test_a_version_that_is_no_number_is_a_bad_request(client: RawClient, widgets: str) -> None:
    assert (await client.get(widgets, watch="true", resourceVersion="x")).code == 400


async def test_every_watcher_gets_every_event_in_order(client: RawClient, widgets: str, build: Any) -> None:
    expected = [("ADDED", f"w{number}") for number in range(50)]
    async with asyncio.TaskGroup() as group:
        tasks = []
        opened = asyncio.Barrier(11)

        async def follow() -> list[tuple[str, str]]:
            async with client.watch(widgets) as stream:
                await opened.wait()
                return await stream.take(50)

        tasks = [group.create_task(follow()) for _ in range(10)]
        await opened.wait()
        for number in range(50):
            await client.create(widgets, build.widget(f"w{number}"))

    assert all(task.result() == expected for task in tasks)


async def test_a_client_that_goes_leaves_no_watch_behind(plane: EmbeddedControlPlane, client: RawClient) -> None:
    async with client.watch("/api/v1/pods", allowWatchBookmarks="true") as stream:
        await stream.next()
        assert plane.watches.count == 1
    async with asyncio.timeout(5):
        await plane.watches.idle()

    assert plane.watches.count == 0


async def test_the_watches_of_a_kind_end_when_its_definition_goes(client: RawClient, widgets: str, build: Any) -> None:
    await client.create(widgets, build.widget())
    async with client.watch(widgets) as stream:
        await client.delete("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com")
        events = await stream.take(2)
        end = await stream.next()

    assert events == [("ADDED", "one"), ("DELETED", "one")]
    assert end is None
