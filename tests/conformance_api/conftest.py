"""Each test runs on both API servers, in a namespace of its own; what it asserts must hold on both."""

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from support.api_servers import Server, embedded_server, real_server
from support.widgets import DEFINITIONS, Build
from whimbrel_lab.controlplane.client import RawClient
from whimbrel_lab.controlplane.embedded import EmbeddedControlPlane
from whimbrel_lab.controlplane.real.plane import RealControlPlane
from whimbrel_lab.kubevirt.standin import USERS

if TYPE_CHECKING:
    from whimbrel_lab.controlplane.real.server import Endpoint

BACK_ENDS = ("embedded", pytest.param("real", marks=pytest.mark.control_plane))


@pytest.fixture(params=BACK_ENDS)
def back_end(request: pytest.FixtureRequest) -> str:
    """Which server this test runs on; override by parametrising it to run on one only."""
    return str(request.param)


@pytest.fixture(scope="session")
def real_endpoint(api_server: "Endpoint") -> "Endpoint":
    """The real server with the suite's definitions."""

    async def load() -> None:
        plane = RealControlPlane(USERS.values(), api_server)
        await plane.start()
        try:
            await plane.load(DEFINITIONS)
        finally:
            await plane.stop()

    asyncio.run(load())
    return api_server


@pytest.fixture
def endpoint(back_end: str, request: pytest.FixtureRequest) -> "Endpoint | None":
    """The real server where this test runs on it; asked for outside of the test's event loop."""
    found: Endpoint | None = request.getfixturevalue("real_endpoint") if back_end == "real" else None
    return found


@pytest.fixture
async def server(endpoint: "Endpoint | None") -> AsyncIterator[Server]:
    """The server of this test."""
    if endpoint is not None:
        async with real_server(endpoint) as opened:
            yield opened
        return
    async with EmbeddedControlPlane() as plane, embedded_server(plane) as opened:
        yield opened


@pytest.fixture
def client(server: Server) -> RawClient:
    return server.client


@pytest.fixture
def build() -> type[Build]:
    return Build


@pytest.fixture
def widgets(server: Server) -> str:
    return server.custom("widgets")


@pytest.fixture
def config_maps(server: Server) -> str:
    return server.path("configmaps")


@pytest.fixture
def pods(server: Server) -> str:
    return server.path("pods")
