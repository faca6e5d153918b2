"""The server itself: how fast it comes and goes, whom it asks, and what it says of itself."""

import asyncio
import logging
from typing import Any

import pytest

from support.widgets import RULED
from whimbrel_lab.controlplane.client import RawClient
from whimbrel_lab.controlplane.embedded import EmbeddedControlPlane, Question, User, service_account


async def test_the_server_starts_fast_and_stops_fast_with_open_watches() -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    plane = EmbeddedControlPlane()
    await plane.start()
    started_s = loop.time() - began
    async with RawClient(plane.url) as client, client.watch("/api/v1/pods") as stream:
        began = loop.time()
        await plane.stop()
        stopped_s = loop.time() - began
        ended = await stream.next()

    assert started_s < 0.3
    assert stopped_s < 1.0
    assert ended is None


async def test_the_log_says_once_which_rules_are_not_evaluated(
    plane: EmbeddedControlPlane, build: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        await plane.load([build.definition(kind="Ruled", schema=RULED)])

    assert [record.message for record in caplog.records if "NOT evaluated" in record.message] == [
        "embedded control plane: the schema of ruleds.example.com has x-kubernetes-validations; "
        "they are NOT evaluated here"
    ]


async def test_an_authorizer_of_ones_own_is_asked_about_everybody_but_the_administrator(
    plane: EmbeddedControlPlane, client: RawClient, widgets: str, build: Any
) -> None:
    asked: list[Question] = []

    def only_reading(question: Question) -> bool:
        asked.append(question)
        return question.verb == "list"

    plane.tokens["secret"] = User("jane")
    plane.authorizer = only_reading

    created = await client.create(widgets, build.widget())
    async with RawClient(plane.url, token="secret") as jane:
        codes = [(await jane.get(widgets)).code, (await jane.delete(f"{widgets}/one")).code]

    assert (created.code, codes) == (201, [200, 403])
    assert asked[-1] == Question(User("jane"), "delete", "example.com", "widgets", "", "default", "one")


async def test_a_service_accounts_token_is_that_account(plane: EmbeddedControlPlane, client: RawClient) -> None:
    accounts = "/api/v1/namespaces/default/serviceaccounts"
    await client.create(accounts, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "operator"}})

    token = (await client.create(f"{accounts}/operator/token", {"spec": {}})).body["status"]["token"]

    assert plane.tokens[token] == service_account("default", "operator")
