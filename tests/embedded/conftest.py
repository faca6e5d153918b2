"""A fresh embedded control plane per test, with a small custom kind, and a client that shows raw answers.

What any API server must do is in tests/conformance_api; here is what only this one has.
"""

from collections.abc import AsyncIterator

import pytest

from support.widgets import Build, a_definition
from whimbrel_lab.controlplane.client import RawClient
from whimbrel_lab.controlplane.embedded import EmbeddedControlPlane


@pytest.fixture
def build() -> type[Build]:
    return Build


@pytest.fixture
async def plane() -> AsyncIterator[EmbeddedControlPlane]:
    async with EmbeddedControlPlane(bookmark_interval_s=0.2) as running:
        await running.load([a_definition()])
        yield running


@pytest.fixture
async def client(plane: EmbeddedControlPlane) -> AsyncIterator[RawClient]:
    async with RawClient(plane.url) as opened:
        yield opened


@pytest.fixture
def widgets() -> str:
    return "/apis/example.com/v1/namespaces/default/widgets"


@pytest.fixture
def config_maps() -> str:
    return "/api/v1/namespaces/default/configmaps"


@pytest.fixture
def pods() -> str:
    return "/api/v1/namespaces/default/pods"
