"""What fails in a lab is told, and never keeps the rest from being taken down."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import aiohttp
import pytest

from support import shared_server as shared
from whimbrel_lab.certs import authority
from whimbrel_lab.controlplane.real import webhooks
from whimbrel_lab.controlplane.real.server import ControlPlaneFailed
from whimbrel_lab.lab import Lab, LabError
from whimbrel_lab.topology import simple


async def fail() -> None:
    raise ZeroDivisionError("by zero")


async def test_a_part_of_the_stand_in_that_fails_is_told_at_once_and_its_webhooks_are_taken_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lab = Lab(simple(1, 0))
    closed: list[str] = []

    async def noted(name: str, what: Callable[[], Awaitable[None]]) -> None:
        closed.append(name)
        await what()

    async def waiting() -> None:
        async with lab:
            standin = lab.standin
            close, running = standin._close_admission, standin._task
            assert close is not None
            assert running is not None
            standin._close_admission = partial(noted, "admission", close)
            monkeypatch.setattr(standin.metrics, "stop", partial(noted, "metrics", standin.metrics.stop))
            running.cancel()
            standin._task = asyncio.create_task(fail())
            await lab.wait_until(lambda: False, 60)

    with pytest.raises(LabError, match="stand-in has ended: ZeroDivisionError") as told:
        await asyncio.wait_for(waiting(), 10)

    assert isinstance(told.value.__cause__, ZeroDivisionError)
    assert closed == ["metrics", "admission"]


class Refusing:
    """A client whose first DELETE fails, and whose probes are answered by no webhook."""

    def __init__(self) -> None:
        self.deleted: list[str] = []

    async def send(self, method: str, path: str, _body: object = None) -> dict[str, Any]:
        if method == "DELETE":
            self.deleted.append(path.split("/")[4])
            if len(self.deleted) == 1:
                raise aiohttp.ClientConnectionError("gone")
        return {}


async def test_webhooks_that_do_not_come_into_force_are_named_and_both_configurations_deleted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(webhooks, "IN_FORCE_WITHIN_S", 0.1)
    client = Refusing()

    with pytest.raises(ControlPlaneFailed, match=r"mutating\.in-force.*it is not called") as told:
        await webhooks.serve([], authority(), client)  # type: ignore[arg-type]

    assert sorted(client.deleted) == sorted(webhooks.CONFIGURATIONS)
    assert "ClientConnectionError" in told.value.__notes__[0]


class BadEnd:
    """A control plane that cannot be taken down."""

    def __init__(self, _users: object) -> None:
        self.endpoint = object()

    async def start(self) -> None: ...

    async def load(self, _documents: Sequence[object]) -> None: ...

    async def stop(self) -> None:
        raise ZeroDivisionError("by zero")


def test_a_shared_server_that_cannot_be_taken_down_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "RealControlPlane", BadEnd)

    with pytest.raises(ZeroDivisionError), shared.shared_server([]):
        pass
