"""Watches: from a version on, with selectors, bookmarks, ends and 410."""

import asyncio
from typing import Any

import pytest

from support.api_servers import Server
from whimbrel_lab.controlplane.client import RawClient


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


async def test_a_watch_by_field_and_one_of_a_namespace_see_only_theirs(
    server: Server, client: RawClient, config_maps: str, build: Any
) -> None:
    elsewhere = server.path("configmaps", namespace=await server.another_namespace())
    async with (
        client.watch("/api/v1/configmaps", fieldSelector="metadata.name=b") as named,
        client.watch(elsewhere) as placed,
    ):
        await client.create(config_maps, build.config_map("a"))
        await client.create(config_maps, build.config_map("b"))
        await client.create(elsewhere, build.config_map("c"))

        assert await named.take(1) == [("ADDED", "b")]
        assert await placed.take(1) == [("ADDED", "c")]


async def test_a_watch_from_a_compacted_version_is_answered_410_in_the_stream(
    server: Server, client: RawClient, widgets: str, build: Any
) -> None:
    await client.create(widgets, build.widget())
    version = await server.forget()

    async with client.watch(widgets, resourceVersion=version) as stream:
        error, end = await stream.next(), await stream.next()

    assert stream.status == 200
    assert error is not None
    assert (error["type"], error["object"]["code"], error["object"]["reason"]) == ("ERROR", 410, "Expired")
    assert end is None


async def test_an_open_watch_survives_a_compaction(server: Server, client: RawClient, widgets: str, build: Any) -> None:
    async with client.watch(widgets) as stream:
        await client.create(widgets, build.widget())
        await server.forget()
        await client.create(widgets, build.widget("two"))

        assert await stream.take(2) == [("ADDED", "one"), ("ADDED", "two")]


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


async def test_a_bookmark_before_the_end_tells_how_far_a_watch_that_saw_nothing_has_come(
    client: RawClient, widgets: str, build: Any
) -> None:
    version = (await client.get(widgets)).body["metadata"]["resourceVersion"]
    params = {"fieldSelector": "metadata.name=other", "timeoutSeconds": "3", "allowWatchBookmarks": "true"}
    async with client.watch(widgets, resourceVersion=version, **params) as stream:
        latest = (await client.create(widgets, build.widget())).body["metadata"]["resourceVersion"]
        while (bookmark := await stream.next()) and int(bookmark["object"]["metadata"]["resourceVersion"]) < int(
            latest
        ):
            assert bookmark["type"] == "BOOKMARK"

    assert bookmark is not None
    assert (bookmark["type"], bookmark["object"]["kind"]) == ("BOOKMARK", "Widget")
    assert bookmark["object"]["apiVersion"] == "example.com/v1"


async def test_a_watch_ends_after_its_timeout_and_without_being_asked_for_no_bookmark_comes(
    client: RawClient, widgets: str
) -> None:
    async with client.watch(widgets, timeoutSeconds="1") as stream:
        assert await stream.next() is None


async def test_events_can_be_watched_from_a_version_too_and_are_forgotten_too(
    server: Server, client: RawClient
) -> None:
    events = server.path("events")
    involved = {"apiVersion": "v1", "kind": "Pod", "name": "p", "namespace": server.namespace}
    event = {"metadata": {"name": "e"}, "involvedObject": involved, "reason": "Moved", "type": "Normal"}
    begin = (await client.get(events)).body["metadata"]["resourceVersion"]
    await client.create(events, event)

    async with client.watch(events, resourceVersion=begin) as stream:
        seen = await stream.take(1)
    await client.patch(f"{events}/e", {"count": 2})
    await server.forget()
    async with client.watch(events, resourceVersion=begin) as stream:
        error = await stream.next()

    assert seen == [("ADDED", "e")]
    assert error is not None
    assert (error["type"], error["object"]["code"], error["object"]["reason"]) == ("ERROR", 410, "Expired")
