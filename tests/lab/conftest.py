"""Labs on the model hypervisor, at a speed at which a minute takes three seconds."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from whimbrel_lab.lab import Lab
from whimbrel_lab.topology import LabGuest, LabHost, Timing, Topology

MIB = 1024**2
SPEED = 20.0
MakeLab = Callable[..., Awaitable[Lab]]


@pytest.fixture
async def make_lab() -> AsyncIterator[MakeLab]:
    """`await make_lab(guests=…, link_mib=…, …)`: a lab with node-1 to node-3, its guests on node-1."""
    async with AsyncExitStack() as stack:

        async def make(
            *, guests: int = 2, hosts: int = 3, link_mib: int = 40, timing: Timing | None = None, speed: float = SPEED,
            of_guest: dict[str, Any] | None = None, **topology: Any,
        ) -> Lab:  # fmt: skip
            link = link_mib * MIB
            machines = tuple(LabHost(f"node-{n}", link_bytes_per_second=link) for n in range(1, hosts + 1))
            fleet = tuple(
                LabGuest(f"vm-{n}", host="node-1", labels={"app": f"app-{n}"}, **(of_guest or {}))
                for n in range(1, guests + 1)
            )
            shape = Topology(hosts=machines, guests=fleet, timing=timing or Timing(), **topology)
            return await stack.enter_async_context(Lab(shape, speed=speed))

        yield make
