"""Watches, as only the embedded server lets them be seen: its history, its bookmarks, its open streams."""

import asyncio
from typing import Any

from whimbrel_lab.controlplane.client import RawClient
from whimbrel_lab.controlplane.embedded import EmbeddedControlPlane


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


async def test_a_watch_further_behind_than_the_history_is_answered_410(build: Any) -> None:
    async with EmbeddedControlPlane(history=5) as plane, RawClient(plane.url) as client:
        version = str(plane.storage.version)
        for number in range(20):
            plane.storage.put("configmaps", build.config_map(f"c{number}", namespace="default", uid="u"))

        async with client.watch("/api/v1/configmaps", resourceVersion=version) as stream:
            error = await stream.next()

    assert error is not None
    assert error["object"]["code"] == 410


async def test_a_client_that_goes_leaves_no_watch_behind(plane: EmbeddedControlPlane, client: RawClient) -> None:
    async with client.watch("/api/v1/pods", allowWatchBookmarks="true") as stream:
        await stream.next()
        assert plane.watches.count == 1
    async with asyncio.timeout(5):
        await plane.watches.idle()

    assert plane.watches.count == 0


async def test_a_watch_ends_after_its_timeout_with_a_last_bookmark(client: RawClient, widgets: str) -> None:
    async with client.watch(widgets, timeoutSeconds="1", allowWatchBookmarks="true") as stream:
        types = []
        while event := await stream.next():
            types.append(event["type"])

    assert set(types) == {"BOOKMARK"}
