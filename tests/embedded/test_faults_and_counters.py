"""Faults that strike as told, and counters that say who asked for what."""

import asyncio
from typing import Any

import aiohttp
import pytest

from whimbrel_lab.controlplane.client import RawClient
from whimbrel_lab.controlplane.embedded import EmbeddedControlPlane, Fault, RequestKey, User, writes


async def test_an_injected_refusal_strikes_as_often_as_told(
    plane: EmbeddedControlPlane, client: RawClient, widgets: str, build: Any
) -> None:
    fault = plane.faults.add(
        Fault(verb="create", resource="widgets.example.com", status=429, retry_after_s=2, times=2, skip=1)
    )

    answers = [await client.create(widgets, build.widget(f"w{number}")) for number in range(4)]

    assert [answer.code for answer in answers] == [201, 429, 429, 201]
    assert answers[1].headers["Retry-After"] == "2"
    assert answers[1].text == "Too many requests, please try again later.\n"
    assert fault.hits == 2


async def test_a_fault_strikes_only_the_client_it_is_meant_for(
    plane: EmbeddedControlPlane, client: RawClient, config_maps: str
) -> None:
    plane.tokens["secret"] = User("jane")
    plane.faults.add(Fault(client="jane", status=503, times=None))

    async with RawClient(plane.url, token="secret") as jane:
        codes = [(await each.get(config_maps)).code for each in (client, jane, jane)]

    assert codes == [200, 503, 503]


async def test_a_connection_cut_before_the_request_leaves_nothing_and_after_it_leaves_the_object(
    plane: EmbeddedControlPlane, client: RawClient, widgets: str, build: Any
) -> None:
    plane.faults.add(Fault(verb="create", reset="before"))
    with pytest.raises(aiohttp.ClientError):
        await client.create(widgets, build.widget("before"))
    plane.faults.add(Fault(verb="create", reset="after"))
    with pytest.raises(aiohttp.ClientError):
        await client.create(widgets, build.widget("after"))

    listed = await client.get(widgets)

    assert [item["metadata"]["name"] for item in listed.body["items"]] == ["after"]


async def test_latency_delays_the_answer(plane: EmbeddedControlPlane, client: RawClient, widgets: str) -> None:
    loop = asyncio.get_running_loop()
    plane.faults.add(Fault(verb="list", latency_s=0.1))

    began = loop.time()
    await client.get(widgets)

    assert loop.time() - began >= 0.1


async def test_an_open_watch_is_closed_by_a_fault(plane: EmbeddedControlPlane, client: RawClient, widgets: str) -> None:
    async with client.watch(widgets) as stream:
        plane.faults.add(Fault(watch="close", resource="widgets.example.com"))

        assert await stream.next() is None


async def test_an_open_watch_is_told_410_by_a_fault(
    plane: EmbeddedControlPlane, client: RawClient, widgets: str
) -> None:
    async with client.watch(widgets) as stream:
        plane.faults.add(Fault(watch="gone"))
        event = await stream.next()

    assert event is not None
    assert event["object"]["code"] == 410


async def test_a_stalled_watch_says_nothing_more(
    plane: EmbeddedControlPlane, client: RawClient, widgets: str, build: Any
) -> None:
    async with client.watch(widgets, allowWatchBookmarks="true") as stream:
        plane.faults.add(Fault(watch="stall"))
        async with client.watch(widgets) as other:
            await client.create(widgets, build.widget())

            assert await other.take(1) == [("ADDED", "one")]
        with pytest.raises(TimeoutError):
            await stream.next(0.4)


async def test_a_410_can_come_before_the_stream(plane: EmbeddedControlPlane, client: RawClient, widgets: str) -> None:
    plane.faults.add(Fault(verb="watch", status=410))

    answer = await client.get(widgets, watch="true", resourceVersion="1")

    assert (answer.code, answer.body["reason"]) == (410, "Expired")


async def test_events_are_lost_and_doubled_as_told(
    plane: EmbeddedControlPlane, client: RawClient, widgets: str, build: Any
) -> None:
    async with client.watch(widgets) as stream:
        plane.faults.add(Fault(drop_events=True))
        await client.create(widgets, build.widget("lost"))
        await client.create(widgets, build.widget("told"))
        assert await stream.take(1) == [("ADDED", "told")]
        plane.faults.add(Fault(duplicate_events=True))
        await client.create(widgets, build.widget("twice"))

        assert await stream.take(2) == [("ADDED", "twice")] * 2


async def test_requests_are_counted_by_client_verb_resource_and_subresource(
    plane: EmbeddedControlPlane, client: RawClient, widgets: str, build: Any
) -> None:
    plane.tokens["secret"] = User("jane")
    await client.get(widgets)
    before = plane.counters.snapshot()

    async with RawClient(plane.url, token="secret") as jane:
        await jane.create(widgets, build.widget())
        await jane.patch(f"{widgets}/one/status", {"status": {"phase": "Up"}})
        await jane.get(f"{widgets}/one")
    await client.create(widgets, build.widget())
    since = plane.counters.since(before)

    assert since == {
        RequestKey("jane", "create", "widgets.example.com", ""): 1,
        RequestKey("jane", "patch", "widgets.example.com", "status"): 1,
        RequestKey("jane", "get", "widgets.example.com", ""): 1,
        RequestKey("tests", "create", "widgets.example.com", ""): 1,
    }
    assert writes(since) == 3
    assert writes(since, without=["widgets.example.com"]) == 0


async def test_tests_may_read_and_write_the_storage_directly(
    plane: EmbeddedControlPlane, client: RawClient, widgets: str, build: Any
) -> None:
    stored = plane.storage.put("configmaps", build.config_map(namespace="default", uid="u"))
    async with client.watch("/api/v1/configmaps") as stream:
        seen = await stream.next()
        removed = plane.storage.remove("configmaps", "one", "default")
        gone = await stream.next()

    assert seen is not None
    assert gone is not None
    assert seen["object"] == stored
    assert (removed, gone["type"]) == (True, "DELETED")
    assert plane.storage.read("configmaps", "one", "default") is None
    assert plane.storage.remove("configmaps", "one", "default") is False


async def test_loading_creates_and_replaces_and_says_what_it_refuses(plane: EmbeddedControlPlane, build: Any) -> None:
    await plane.load([build.widget(size=1)])
    await plane.load([build.widget(size=2)])

    stored = plane.storage.read("widgets.example.com", "one", "default")

    assert stored is not None
    assert stored["spec"]["size"] == 2
    with pytest.raises(Exception, match="should be greater than or equal to 1"):
        await plane.load([build.widget(size=0)])
    with pytest.raises(Exception, match="is not served"):
        await plane.load([{"apiVersion": "none/v1", "kind": "None"}])
