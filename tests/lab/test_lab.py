"""The lab itself: virtual machines start, metrics are read as from a cluster, nothing is written while nothing happens."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from whimbrel.simulation.kubevirt.values import Object, status
from whimbrel_lab.kubevirt.client import Client
from whimbrel_lab.kubevirt.standin import USERS
from whimbrel_lab.lab import Lab, LabError
from whimbrel_lab.topology import GIB, LabGuest, LabHost, Topology, TopologyError

MakeLab = Callable[..., Awaitable[Lab]]


async def test_objects_made_at_once_are_what_the_api_server_would_have_stored(make_lab: MakeLab) -> None:
    lab = await make_lab(guests=1)

    def stored(kind: str, name: str) -> Object:
        found = lab.read(kind, name) or {}
        found["metadata"].pop("resourceVersion")
        found["metadata"].pop("annotations", None)
        return found

    before = {kind: stored(kind, "vm-1") for kind in ("VirtualMachine", "VirtualMachineInstance")}
    async with Client(lab.plane.access(USERS["controller"])) as client:
        for kind in before:
            await client.patch(kind, "vm-1", "default", {"metadata": {"annotations": {"touched": "yes"}}})

    assert {kind: stored(kind, "vm-1") for kind in before} == before


async def test_nothing_is_written_while_nothing_happens(make_lab: MakeLab) -> None:
    lab = await make_lab(guests=4)
    migration = await lab.create_foreign_migration("vm-1")
    await lab.ended(migration)
    await lab.wait_until(lambda: (lab.read("VirtualMachine", "vm-1") or {})["status"].get("ready", False), 5)
    again = await lab.create_foreign_migration("vm-2")
    await lab.ended(again)

    def settled() -> bool:
        machines = [status(each).get("ready") for each in lab.items("VirtualMachine")]
        return all(machines) and not any(
            "kubevirt.io/migrationTargetNodeName" in each["metadata"]["labels"]
            for each in lab.items("VirtualMachineInstance")
        )

    await lab.wait_until(settled, 5)
    idle = await lab.quiet(0.5, timeout_s=5)
    assert idle


async def test_a_thousand_virtual_machines_are_up_within_twenty_seconds() -> None:
    hosts = tuple(LabHost(f"n{number}", memory_bytes=512 * GIB) for number in range(20))
    guests = tuple(LabGuest(f"vm-{number}", host=f"n{number % 20}") for number in range(1000))
    began = time.monotonic()

    async with Lab(Topology(hosts=hosts, guests=guests)) as lab:
        assert time.monotonic() - began < 20
        assert len(lab.items("VirtualMachineInstance")) == 1000
        assert lab.items("VirtualMachineInstanceMigration") == []


def test_a_topology_that_cannot_be_is_refused_in_words() -> None:
    with pytest.raises(TopologyError, match="is to run on attic; there are node-1"):
        Topology(hosts=(LabHost("node-1"),), guests=(LabGuest("vm-1", host="attic"),))
    with pytest.raises(TopologyError, match="same name: node-1"):
        Topology(hosts=(LabHost("node-1"), LabHost("node-1")))


def test_real_guests_do_not_run_faster_than_the_clock() -> None:
    shape = Topology(hosts=(LabHost("node-1"),))

    with pytest.raises(LabError, match=r"speed 1|cannot be used here"):
        Lab(shape, hypervisor="libvirt", speed=5)
    with pytest.raises(LabError, match="there is no hypervisor 'xen'"):
        Lab(shape, hypervisor="xen")


@pytest.mark.kubectl
async def test_kubectl_shows_the_labs_machines(make_lab: MakeLab) -> None:
    lab = await make_lab(guests=1)
    command = ("kubectl", "--kubeconfig", str(lab.kubeconfig), "get", "vm,vmi", "-A")
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    shown = (await process.communicate())[0].decode()

    assert process.returncode == 0
    assert "virtualmachineinstance.kubevirt.io/vm-1" in shown
    assert "node-1" in shown
