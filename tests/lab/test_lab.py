"""The lab itself: virtual machines start, metrics are read as from a cluster, nothing is written while nothing happens."""

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable

import aiohttp
import pytest

from whimbrel.simulation.kubevirt.values import Object, status
from whimbrel_lab import fleet
from whimbrel_lab.kubevirt.client import Client
from whimbrel_lab.kubevirt.standin import USERS
from whimbrel_lab.lab import Lab, LabError
from whimbrel_lab.topology import GIB, LabGuest, LabHost, Topology, TopologyError

MakeLab = Callable[..., Awaitable[Lab]]


async def scraped(lab: Lab, node: str) -> list[str]:
    """The lines of a node's metrics, verified as KubeVirt's own clients do."""
    bundle = (lab.read("ConfigMap", "kubevirt-ca", "kubevirt") or {})["data"]["ca-bundle"]
    trusted = ssl.create_default_context(cadata=bundle)
    pod = lab.read("Pod", f"virt-handler-{node}", "kubevirt") or {}
    (port,) = [each["containerPort"] for each in pod["spec"]["containers"][0]["ports"] if each["name"] == "metrics"]
    async with aiohttp.ClientSession() as session:
        url = f"https://{pod['status']['podIP']}:{port}/metrics"
        async with session.get(url, ssl=trusted, server_hostname="virt-handler.kubevirt.svc") as answer:
            return (await answer.text()).splitlines()


async def test_a_virtual_machine_made_by_hand_comes_to_run(make_lab: MakeLab) -> None:
    lab = await make_lab(guests=1)
    shape = Topology(hosts=lab.topology.hosts, guests=(LabGuest("new", host="node-3"),))

    for document in fleet.storage(shape.guests[0]):
        await lab.client.create(document)
    await lab.client.create(fleet.machine(shape.guests[0], shape))

    def ready() -> bool:
        return bool(status(lab.read("VirtualMachine", "new") or {}).get("ready"))

    await lab.wait_until(ready, 10)
    instance = lab.read("VirtualMachineInstance", "new") or {}
    assert instance["status"]["nodeName"] == "node-3"
    reached = [each["phase"] for each in instance["status"]["phaseTransitionTimestamps"]]
    assert reached == ["Scheduling", "Scheduled", "Running"]
    assert await lab.hypervisor.guest_state("node-3", "new") == "Running"


async def test_an_instance_deleted_comes_back_as_another_one(make_lab: MakeLab) -> None:
    lab = await make_lab(guests=1)
    before = (lab.read("VirtualMachineInstance", "vm-1") or {})["metadata"]["uid"]

    await lab.restart_vm("vm-1")

    def back() -> bool:
        instance = lab.read("VirtualMachineInstance", "vm-1")
        return (
            instance is not None and instance["metadata"]["uid"] != before and instance["status"]["phase"] == "Running"
        )

    await lab.wait_until(back, 10)


async def test_progress_of_a_migration_is_on_its_source_and_gone_when_it_is_over(make_lab: MakeLab) -> None:
    lab = await make_lab(guests=1, link_mib=1)
    name = "kubevirt_vmi_migration_data_remaining_bytes"
    series = f'{name}{{namespace="default",name="vm-1",node="node-1"}}'
    migration = await lab.in_phase(await lab.create_foreign_migration("vm-1", node="node-2"), "Running")

    async def sampled() -> bool:
        return sum(line.startswith(series) for line in await scraped(lab, "node-1")) >= 2

    await lab.wait_until(sampled, 10)
    lines = [line for line in await scraped(lab, "node-1") if line.startswith(series)]
    assert all(len(line.split()) == 3 for line in lines)
    assert not any(line.startswith(series) for line in await scraped(lab, "node-2"))
    await lab.delete_migration(migration)
    await lab.wait_until(lambda: not lab.migrations_of("vm-1"), 10)
    assert not any(line.startswith(series) for line in await scraped(lab, "node-1"))


async def test_dirty_rates_are_shown_for_guests_that_do_not_migrate(make_lab: MakeLab) -> None:
    lab = await make_lab(guests=1, of_guest={"dirty_bytes_per_second": 3 * 1024**2})

    lines = [line for line in await scraped(lab, "node-1") if line.startswith("kubevirt_vmi_dirty_rate")]

    assert lines == [
        'kubevirt_vmi_dirty_rate_bytes_per_second{node="node-1",namespace="default",name="vm-1",'
        'kubernetes_vmi_label_app="app-1",kubernetes_vmi_label_vm_kubevirt_io_name="vm-1",'
        'kubernetes_vmi_label_kubevirt_io_nodeName="node-1"} 3145728'
    ]


async def test_the_metrics_certificate_names_no_address(make_lab: MakeLab) -> None:
    lab = await make_lab(guests=1)
    bundle = (lab.read("ConfigMap", "kubevirt-ca", "kubevirt") or {})["data"]["ca-bundle"]
    address, port = lab.standin.metrics.endpoint("node-1")

    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await session.get(f"https://{address}:{port}/metrics", ssl=ssl.create_default_context(cadata=bundle))


@pytest.mark.parametrize(
    ("blocker", "reason"),
    [
        ("HostDevice", "HostDeviceNotLiveMigratable"),
        ("SharedDisk", "DisksNotLiveMigratable"),
        ("BridgedPodNetwork", "InterfaceNotLiveMigratable"),
        ("Sev", "SEVNotLiveMigratable"),
    ],
)
async def test_a_blocked_virtual_machine_says_kubevirts_own_reason(
    make_lab: MakeLab, blocker: str, reason: str
) -> None:
    lab = await make_lab(guests=1, of_guest={"blocker": blocker})

    instance = lab.read("VirtualMachineInstance", "vm-1") or {}

    told = {each["type"]: each for each in instance["status"]["conditions"]}
    assert (told["LiveMigratable"]["status"], told["LiveMigratable"]["reason"]) == ("False", reason)


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
