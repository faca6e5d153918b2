"""The lab on a real API server: the stand-in's KubeVirt, with kube-scheduler binding the launcher pods."""

import pytest

from whimbrel_lab.controlplane.real.plane import RealControlPlane
from whimbrel_lab.controlplane.real.server import Endpoint
from whimbrel_lab.kubevirt.standin import USERS
from whimbrel_lab.lab import Lab
from whimbrel_lab.topology import simple

pytestmark = pytest.mark.control_plane


async def test_a_virtual_machine_moves_and_nothing_of_the_lab_is_left(api_server: Endpoint) -> None:
    for _ in range(2):
        async with Lab(simple(2, 1), control_plane=RealControlPlane(USERS.values(), api_server)) as lab:
            migration = await lab.create_foreign_migration("vm-01", node="node-2")

            assert await lab.ended(migration) == "Succeeded"
            assert lab.node_of("vm-01") == "node-2"
