"""Readings of guests come from a Prometheus that the administrator names; what is wrong with it is told and stops nothing."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from support.raw_objects import a_plan, an_instance
from support.waiting import WaitingStore
from whimbrel.domain.records import Key
from whimbrel.domain.resources import INSTANCES, MIGRATION_PLANS
from whimbrel.kube import prometheus
from whimbrel.kube.exposition import DIRTY_RATE, RESIDENT
from whimbrel.kube.prometheus import PrometheusReader, Source
from whimbrel.kube.telemetry import Telemetry

DB = Key("shop", "db1")
Serve = Callable[[Any], Awaitable[str]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts a Prometheus that answers queries so; answers its URL."""
    runners: list[web.AppRunner] = []

    async def start(answer: Any) -> str:
        app = web.Application()
        app.router.add_get("/base/api/v1/query", answer)
        runner = web.AppRunner(app, access_log=None)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}/base/"

    yield start
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
def planned(store: WaitingStore) -> WaitingStore:
    """db1 runs on node-1, and somebody has a plan."""
    metadata = {"uid": "u", "resourceVersion": "1", "creationTimestamp": "2026-01-01T00:00:00Z"}
    for resource, raw in ((INSTANCES, an_instance("db1")), (MIGRATION_PLANS, a_plan("evening"))):
        store.apply(resource, raw | {"metadata": raw["metadata"] | metadata})
    return store


def a_vector(value: str) -> dict[str, Any]:
    labels = {"namespace": "shop", "name": "db1", "node": "node-1"}
    result = {"metric": labels, "value": [datetime.now(UTC).timestamp(), value]}
    return {"status": "success", "data": {"resultType": "vector", "result": [result]}}


async def read(reader: PrometheusReader) -> None:
    async with aiohttp.ClientSession() as session:
        await reader.read_once(session)


async def test_both_readings_are_in_the_next_snapshot(
    planned: WaitingStore, telemetry: Telemetry, serve: Serve, tmp_path: Path
) -> None:
    asked: list[tuple[str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append((request.query["query"], request.headers.get("Authorization", "")))
        return web.json_response(a_vector("2097152" if request.query["query"] == DIRTY_RATE else "7"))

    token = tmp_path / "token"
    token.write_text("secret\n")

    await read(reader := PrometheusReader(Source(await serve(answer), token_file=token), planned, telemetry))

    told = planned.snapshot(datetime.now(UTC)).readings[DB]
    assert reader.problem == ""
    assert told.dirty_bytes_per_second is not None
    assert told.resident_bytes is not None
    assert (told.node, told.dirty_bytes_per_second.value, told.resident_bytes.value) == ("node-1", 2097152.0, 7.0)
    assert asked == [(DIRTY_RATE, "Bearer secret"), (RESIDENT, "Bearer secret")]
    assert telemetry.registry.get_sample_value("whimbrel_prometheus_reads_total", {"result": "ok"}) == 1


async def test_nothing_is_asked_where_nobody_plans(store: WaitingStore, telemetry: Telemetry) -> None:
    await read(reader := PrometheusReader(Source("http://127.0.0.1:1"), store, telemetry))

    assert reader.problem == ""


async def unauthorized(_: web.Request) -> web.Response:
    return web.Response(status=401, text="who are\nyou?")


async def elsewhere(_: web.Request) -> web.Response:
    raise web.HTTPFound("http://127.0.0.1:1/")


async def a_page(_: web.Request) -> web.Response:
    return web.Response(text="<html>")


async def refusal(_: web.Request) -> web.Response:
    return web.Response(text=json.dumps({"status": "error", "error": "too many samples"}))


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (unauthorized, "it answered 401 Unauthorized: who are you?"),
        (elsewhere, "it answered 302 Found"),
        (a_page, "Expecting value"),
        (refusal, "it refused the query: too many samples"),
    ],
)
async def test_what_is_wrong_is_told_and_what_was_told_before_stays(
    planned: WaitingStore, telemetry: Telemetry, serve: Serve, answer: Any, why: str
) -> None:
    async def sound(_: web.Request) -> web.Response:
        return web.json_response(a_vector("7"))

    await read(PrometheusReader(Source(await serve(sound)), planned, telemetry))

    url = await serve(answer)
    await read(reader := PrometheusReader(Source(url), planned, telemetry))

    assert reader.problem.startswith(f"Prometheus at {url}: {why}")
    assert DB in planned.snapshot(datetime.now(UTC)).readings
    assert telemetry.registry.get_sample_value("whimbrel_prometheus_reads_total", {"result": "failed"}) == 1


@pytest.mark.parametrize(
    ("missing", "why"), [("token_file", "No such file"), ("ca_file", "No such file"), (None, "Cannot connect to host")]
)
async def test_what_is_missing_is_told(
    planned: WaitingStore, telemetry: Telemetry, tmp_path: Path, missing: str | None, why: str
) -> None:
    files = {missing: tmp_path / "none"} if missing else {}

    await read(reader := PrometheusReader(Source("http://127.0.0.1:1", **files), planned, telemetry))

    assert why in reader.problem


async def test_an_answer_without_end_is_given_up(
    planned: WaitingStore, telemetry: Telemetry, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def large(_: web.Request) -> web.Response:
        return web.Response(body=b" " * 5000)

    monkeypatch.setattr(prometheus, "LARGEST_ANSWER_BYTES", 4096)

    await read(reader := PrometheusReader(Source(await serve(large)), planned, telemetry))

    assert reader.problem.endswith("it answered more than 4096 bytes")
