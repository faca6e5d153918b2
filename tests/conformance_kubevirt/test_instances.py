"""A virtual machine's start, and what its instance shows of itself (contract §2.1, §2.3, §11.2, §11.4)."""

from collections.abc import Awaitable, Callable

import pytest

from support.kubevirt_scenarios import condition_of, instance_of, launchers_of, moved, phases_of, settled
from whimbrel.simulation.kubevirt.values import status
from whimbrel_lab import fleet
from whimbrel_lab.lab import INSTANCE, Lab
from whimbrel_lab.topology import LabGuest, Topology

MakeLab = Callable[..., Awaitable[Lab]]


async def test_a_virtual_machine_made_by_hand_comes_to_run_and_moves(make_lab: MakeLab) -> None:
    lab = await make_lab(guests=0)
    shape = Topology(hosts=lab.topology.hosts, guests=(LabGuest("new", host="node-3"),)).placed_in(lab.namespace)

    for document in fleet.storage(shape.guests[0]):
        await lab.client.create(document)
    await lab.client.create(fleet.machine(shape.guests[0], shape))

    def ready() -> bool:
        return bool(status(lab.read("VirtualMachine", "new") or {}).get("ready"))

    await lab.wait_until(ready, 20)
    instance = instance_of(lab, "new")
    assert phases_of(instance)[-3:] == ["Scheduling", "Scheduled", "Running"]
    assert instance["metadata"]["labels"]["kubevirt.io/nodeName"] == instance["status"]["nodeName"]
    assert instance["status"]["migrationTransport"] == "Unix"
    assert condition_of(instance, "LiveMigratable")["status"] == "True"
    assert condition_of(instance, "Ready")["status"] == "True"
    (pod,) = launchers_of(lab, "new")
    assert condition_of(pod, "kubevirt.io/virtual-machine-unpaused")["status"] == "True"
    assert instance["status"]["activePods"] == {pod["metadata"]["uid"]: pod["spec"]["nodeName"]}
    home = instance["status"]["nodeName"]
    assert await lab.hypervisor.guest_state(home, "new") == "Running"
    await moved(lab, "new")
    assert lab.node_of("new") != home


async def test_an_instance_deleted_comes_back_as_another_one(make_lab: MakeLab) -> None:
    lab = await make_lab()
    before = instance_of(lab, "vm-1")["metadata"]["uid"]

    await lab.restart_vm("vm-1")

    def back() -> bool:
        instance = lab.read(INSTANCE, "vm-1")
        return (
            instance is not None and instance["metadata"]["uid"] != before and instance["status"]["phase"] == "Running"
        )

    await lab.wait_until(back, 30)
    assert "migrationState" not in instance_of(lab, "vm-1")["status"]


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
    lab = await make_lab(of_guest={"blocker": blocker})

    told = condition_of(instance_of(lab, "vm-1"), "LiveMigratable")

    assert (told["status"], told["reason"]) == ("False", reason)


async def test_the_machine_says_that_it_migrates_for_as_long_as_it_does(make_lab: MakeLab) -> None:
    lab = await make_lab(link_mib=1)
    migration = await lab.in_phase(await lab.create_foreign_migration("vm-1"), "Running")

    def printable() -> str:
        return str(status(lab.read("VirtualMachine", "vm-1") or {}).get("printableStatus"))

    await lab.wait_until(lambda: printable() == "Migrating", 5)
    await lab.delete_migration(migration)
    await lab.wait_until(lambda: printable() == "Running", 20)


async def test_an_instance_learns_what_its_next_launcher_runs_as(make_lab: MakeLab) -> None:
    lab = await make_lab()

    await moved(lab, "vm-1")
    await settled(lab, "vm-1")

    await lab.wait_until(lambda: "launcherContainerImageVersion" in instance_of(lab, "vm-1")["status"], 5)
    instance = instance_of(lab, "vm-1")
    assert instance["status"]["runtimeUser"] == 107
    assert instance["metadata"]["annotations"]["kubevirt.io/nonroot"] == "true"
    assert instance["status"]["launcherContainerImageVersion"].startswith("quay.io/kubevirt/virt-launcher")
    assert "kubevirt.io/outdatedLauncherImage" not in instance["metadata"]["labels"]
