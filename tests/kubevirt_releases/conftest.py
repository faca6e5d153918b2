"""One lab per release of KubeVirt, on one real API server that serves the release's own definitions."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from support.kubevirt_releases import RELEASES, definitions_of
from support.lab_scenarios import Scene, guests, profile, scene, topology
from whimbrel_lab import fleet
from whimbrel_lab.controlplane.real.server import Endpoint


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=RELEASES)
async def stage(
    request: pytest.FixtureRequest, api_server: Endpoint, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Scene]:
    """vm-1 … vm-4 on the first of three hosts, a profile, and a ready operator under the chart's roles."""
    served = [*definitions_of(request.param), *fleet.definitions(fleet.DEFINITIONS[1:])]
    centre = topology(guests(4), version=request.param)
    folder = tmp_path_factory.mktemp("operator")
    async with scene(centre, folder, server=api_server, definitions=served) as opened:
        await opened.operator()
        await opened.apply(profile())
        yield opened
