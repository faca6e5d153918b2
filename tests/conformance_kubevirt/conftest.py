"""Labs for the scenarios of KubeVirt's contract: on the stand-in, and on KubeVirt's own virt-controller where one is given.

WHIMBREL_VIRT_CONTROLLER names the program. Then each scenario runs twice; nothing is left out otherwise.
"""

import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from support.kubevirt_definitions import VARIABLE as SCHEMAS
from support.kubevirt_definitions import definitions
from support.shared_server import shared_server
from whimbrel_lab.controlplane.real.plane import RealControlPlane
from whimbrel_lab.controlplane.real.server import Endpoint
from whimbrel_lab.kubevirt.standin import USERS
from whimbrel_lab.lab import Lab
from whimbrel_lab.topology import LabGuest, LabHost, Timing, Topology

MIB = 1024**2
SPEED = 20.0
QUICK = Timing(pod_start_s=0.3, target_preparation_s=0.1, termination_s=0.2)
STAND_IN, VIRT_CONTROLLER = "stand-in", "virt-controller"
VARIABLE = "WHIMBREL_VIRT_CONTROLLER"
PROGRAM = Path(os.environ[VARIABLE]).absolute() if os.environ.get(VARIABLE) else None
BACK_ENDS = [STAND_IN, *([pytest.param(VIRT_CONTROLLER, marks=pytest.mark.control_plane)] if PROGRAM else [])]
MakeLab = Callable[..., Awaitable[Lab]]


def pytest_report_header() -> str:
    """Says on what the scenarios run."""
    if not PROGRAM:
        return f"kubevirt: the stand-in ({VARIABLE} names no virt-controller to hold it to)"
    return f"kubevirt: the stand-in, and {PROGRAM} with schemas from {os.environ.get(SCHEMAS) or 'the lab'}"


@pytest.fixture(scope="session")
def kubevirt_server() -> Iterator[Endpoint]:
    """A real API server with all of KubeVirt's kinds, for the whole run."""
    with shared_server(definitions(Topology((LabHost("any"),)).version)) as endpoint:
        yield endpoint


@pytest.fixture(params=BACK_ENDS)
async def make_lab(request: pytest.FixtureRequest) -> AsyncIterator[MakeLab]:
    """`await make_lab(guests=…, link_mib=…, …)`: a lab with node-1 to node-3, its guests on node-1."""
    server = request.getfixturevalue("kubevirt_server") if request.param == VIRT_CONTROLLER else None
    async with AsyncExitStack() as stack:
        yield _maker(stack, server)


@pytest.fixture
async def make_stand_in() -> AsyncIterator[MakeLab]:
    """The same on the stand-in alone, for what only other releases do."""
    async with AsyncExitStack() as stack:
        yield _maker(stack, None)


def _maker(stack: AsyncExitStack, server: Endpoint | None) -> MakeLab:
    async def make(
        *, guests: int = 1, hosts: int = 3, link_mib: int = 100, timing: Timing = QUICK,
        of_guest: dict[str, Any] | None = None, of_host: dict[str, Any] | None = None, **topology: Any,
    ) -> Lab:  # fmt: skip
        link = link_mib * MIB
        machines = tuple(
            LabHost(f"node-{n}", link_bytes_per_second=link, **(of_host or {})) for n in range(1, hosts + 1)
        )
        fleet = tuple(
            LabGuest(f"vm-{n}", host="node-1", labels={"app": f"app-{n}"}, **(of_guest or {}))
            for n in range(1, guests + 1)
        )
        shape = Topology(hosts=machines, guests=fleet, timing=timing, heartbeats=False, **topology)
        if server is None:
            return await stack.enter_async_context(Lab(shape, speed=SPEED))
        plane, namespace = RealControlPlane(USERS.values(), server), f"test-{uuid.uuid4().hex[:8]}"
        lab = Lab(shape, control_plane=plane, virt_controller=PROGRAM, definitions=(), namespace=namespace)
        return await stack.enter_async_context(lab)

    return make
