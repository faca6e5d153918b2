"""Labs for the scenarios of KubeVirt's contract: on the stand-in, and on KubeVirt's own virt-controller where one is given."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from whimbrel_lab.lab import Lab
from whimbrel_lab.topology import LabGuest, LabHost, Timing, Topology

MIB = 1024**2
SPEED = 20.0
QUICK = Timing(pod_start_s=0.3, target_preparation_s=0.1, termination_s=0.2)
MakeLab = Callable[..., Awaitable[Lab]]


@pytest.fixture
async def make_lab() -> AsyncIterator[MakeLab]:
    """`await make_lab(guests=…, link_mib=…, …)`: a lab with node-1 to node-3, its guests on node-1."""
    async with AsyncExitStack() as stack:

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
            return await stack.enter_async_context(Lab(shape, speed=SPEED))

        yield make
