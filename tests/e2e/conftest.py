"""End-to-end tests on the model: a test opens a lab of its own with `scene(…, tmp_path)`, or shares its module's `stage`."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from support.lab_scenarios import Scene, guests, profile, scene, topology
from whimbrel_lab.controlplane.real.server import Endpoint
from whimbrel_lab.topology import LabGuest


@pytest.fixture(scope="session", params=["embedded", pytest.param("real", marks=pytest.mark.control_plane)])
def server(request: pytest.FixtureRequest) -> Endpoint | None:
    """Where the API is served: None for the embedded server, of each lab's own; else the real one of the whole run."""
    endpoint: Endpoint | None = request.getfixturevalue("api_server") if request.param == "real" else None
    return endpoint


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory, server: Endpoint | None) -> AsyncIterator[Scene]:
    """One lab for a module: vm-1 … vm-12 on node-1, of which each test takes its own, a profile and a ready operator.

    `stuck` cannot move: a device of its host.
    """
    machines = (*guests(12, touched_mib=24), LabGuest("stuck", "node-1", blocker="HostDevice"))
    async with scene(topology(machines), tmp_path_factory.mktemp("operator"), server=server) as opened:
        await opened.operator()
        await opened.apply(profile())
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def stage(shared: Scene) -> AsyncIterator[Scene]:
    """The module's lab; after each test everything that it left is taken away, and nothing may have been broken."""
    yield shared
    await shared.clear()
    broken = await shared.witness.judged()
    shared.witness.forget()
    assert broken == []
