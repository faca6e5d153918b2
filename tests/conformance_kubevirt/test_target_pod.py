"""The target pod: what it is made of, where it may run, how long it may wait (contract §1.1, §6.3, §6.4)."""

from collections.abc import Awaitable, Callable

import pytest

from support.kubevirt_scenarios import (
    JOB,
    PENDING_TIMEOUT,
    UNSCHEDULABLE_TIMEOUT,
    events_of,
    instance_of,
    launchers_of,
    migration_of,
    moved,
    phases_of,
    settled,
    target_pod,
    told,
)
from whimbrel_lab.lab import Lab

MakeLab = Callable[..., Awaitable[Lab]]
Object = dict[str, object]


async def a_target(lab: Lab, node: str = "node-2") -> dict[str, object]:
    """The target pod of a migration that is under way."""
    lab.stall_pods(node)
    migration = await lab.in_phase(await lab.create_foreign_migration("vm-1", node=node), "Scheduling")
    pod = target_pod(lab, migration)
    assert pod is not None
    return pod


async def test_a_target_pod_is_the_instances_own_and_says_for_which_migration(make_lab: MakeLab) -> None:
    lab = await make_lab()
    lab.stall_pods("node-2")
    migration = await lab.in_phase(await lab.create_foreign_migration("vm-1", node="node-2"), "Scheduling")

    pod, instance = target_pod(lab, migration), instance_of(lab, "vm-1")
    assert pod is not None
    labels, annotations = pod["metadata"]["labels"], pod["metadata"]["annotations"]
    assert pod["metadata"]["name"].startswith("virt-launcher-vm-1-")
    (owner,) = pod["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == (
        "VirtualMachineInstance", instance["metadata"]["uid"], True,
    )  # fmt: skip
    assert labels["kubevirt.io"] == "virt-launcher"
    assert labels["kubevirt.io/created-by"] == instance["metadata"]["uid"]
    assert labels[JOB] == migration["metadata"]["uid"]
    assert labels["kubevirt.io/nodeName"] == "node-1"
    assert labels["app"] == "app-1"
    assert labels["vm.kubevirt.io/name"] == "vm-1"
    assert annotations["kubevirt.io/migrationJobName"] == migration["metadata"]["name"]
    assert annotations["kubevirt.io/domain"] == "vm-1"
    assert annotations["kubevirt.io/migrationTransportUnix"] == "true"
    assert int(annotations["kubevirt.io/memory-overhead-bytes"]) > 0
    assert {"conditionType": "kubevirt.io/virtual-machine-unpaused"} in pod["spec"]["readinessGates"]


async def test_a_target_pod_never_shares_its_guests_node(make_lab: MakeLab) -> None:
    lab = await make_lab()

    migration = await lab.create_foreign_migration("vm-1", node="node-1")
    await told(lab, "migrationTargetPodUnschedulable", "currently unschedulable", migration)

    pod = target_pod(lab, migration)
    assert pod is not None
    rules = pod["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    wanted = {"kubevirt.io/created-by": instance_of(lab, "vm-1")["metadata"]["uid"]}
    assert any(
        rule["topologyKey"] == "kubernetes.io/hostname" and rule["labelSelector"]["matchLabels"] == wanted
        for rule in rules
    )
    await lab.delete_migration(migration)


async def test_a_host_model_guest_asks_for_its_source_nodes_model_vendor_and_features(make_lab: MakeLab) -> None:
    lab = await make_lab()

    pod = await a_target(lab)

    wanted = {
        "cpu-model-migration.node.kubevirt.io/Cascadelake-Server": "true",
        "cpu-feature.node.kubevirt.io/vmx": "true",
        "cpu-feature.node.kubevirt.io/avx512f": "true",
        "cpu-vendor.node.kubevirt.io/Intel": "true",
        "kubevirt.io/schedulable": "true",
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": "node-2",
    }
    selector = pod["spec"]["nodeSelector"]  # type: ignore[index]
    assert {key: selector.get(key) for key in wanted} == wanted


async def test_after_a_move_a_host_model_guest_asks_for_what_it_asked_before(make_lab: MakeLab) -> None:
    lab = await make_lab()
    await moved(lab, "vm-1", node="node-2")
    await settled(lab, "vm-1")
    gone = {
        "host-model-cpu.node.kubevirt.io/Cascadelake-Server": None,
        "host-model-cpu.node.kubevirt.io/Haswell": "true",
    }
    await lab.client.patch("Node", "node-2", "", {"metadata": {"labels": gone}})

    pod = await a_target(lab, "node-3")

    asked = [each for each in pod["spec"]["nodeSelector"] if each.startswith("cpu-model-migration")]  # type: ignore[index]
    assert asked == ["cpu-model-migration.node.kubevirt.io/Cascadelake-Server"]


async def test_a_named_model_asks_for_itself_alone(make_lab: MakeLab) -> None:
    lab = await make_lab(of_guest={"cpu_model": "Haswell", "cpu_features": ("avx512f",)})

    pod = await a_target(lab)

    asked = {each for each in pod["spec"]["nodeSelector"] if each.startswith(("cpu-model", "cpu-feature"))}  # type: ignore[index]
    assert asked == {"cpu-model.node.kubevirt.io/Haswell", "cpu-feature.node.kubevirt.io/avx512f"}


async def test_an_added_selector_only_narrows(make_lab: MakeLab) -> None:
    lab = await make_lab(of_guest={"node_selector": {"zone": "east"}}, of_host={"labels": {"zone": "east"}})
    added = {"zone": "west", "kubevirt.io/schedulable": "false", "kubernetes.io/hostname": "node-3"}
    body = {
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstanceMigration",
        "metadata": {"name": "narrowed", "namespace": lab.namespace},
        "spec": {"vmiName": "vm-1", "addedNodeSelector": added},
    }  # fmt: skip

    migration = await lab.client.create(body)
    assert await lab.ended(migration) == "Succeeded"

    pod = target_pod(lab, migration)
    assert pod is not None
    selector = pod["spec"]["nodeSelector"]
    assert (selector["zone"], selector["kubevirt.io/schedulable"]) == ("east", "true")
    assert lab.node_of("vm-1") == "node-3"


async def test_a_migration_nobody_can_host_fails_without_a_reason_on_the_instance(make_lab: MakeLab) -> None:
    lab = await make_lab()

    migration = await lab.create_foreign_migration("vm-1", node="node-9", annotations={UNSCHEDULABLE_TIMEOUT: "3"})

    assert await lab.ended(migration) == "Failed"
    await told(lab, "migrationTargetPodUnschedulable", "currently unschedulable", migration)
    await told(lab, "SuccessfulDelete", "timeout period exceeded", migration)
    await told(lab, "FailedMigration", "removed during active migration", migration)
    assert lab.state_of("vm-1") == {}
    assert set(migration_of(lab, migration)["status"]["migrationState"]) == {"sourcePod"}
    assert len(launchers_of(lab, "vm-1")) == 1


async def test_a_target_pod_that_never_starts_is_given_up_too(make_lab: MakeLab) -> None:
    lab = await make_lab()
    lab.stall_pods("node-2")

    migration = await lab.create_foreign_migration("vm-1", node="node-2", annotations={PENDING_TIMEOUT: "3"})

    assert await lab.ended(migration) == "Failed"
    assert phases_of(migration_of(lab, migration)) == ["Pending", "Scheduling", "Failed"]
    assert await events_of(lab, "migrationTargetPodUnschedulable", migration) == []
    await told(lab, "FailedMigration", "removed during active migration", migration)


async def test_where_no_node_has_the_host_model_the_instance_is_told(make_lab: MakeLab) -> None:
    lab = await make_lab()
    for node in ("node-2", "node-3"):
        gone = {"cpu-model-migration.node.kubevirt.io/Cascadelake-Server": None}
        await lab.client.patch("Node", node, "", {"metadata": {"labels": gone}})

    migration = await lab.create_foreign_migration("vm-1", annotations={UNSCHEDULABLE_TIMEOUT: "3"})

    assert await lab.ended(migration) == "Failed"
    instance = instance_of(lab, "vm-1")
    await told(lab, "NoSuitableNodesForHostModelMigration", "no node is suitable", instance)


@pytest.mark.parametrize("given", [UNSCHEDULABLE_TIMEOUT, PENDING_TIMEOUT])
async def test_an_unschedulable_pod_meets_the_shorter_of_its_two_limits(make_lab: MakeLab, given: str) -> None:
    lab = await make_lab()

    migration = await lab.create_foreign_migration("vm-1", node="node-9", annotations={given: "2"})

    assert await lab.ended(migration) == "Failed"


async def test_the_target_pod_learns_when_its_guest_was_ready(make_lab: MakeLab) -> None:
    lab = await make_lab()

    migration = await moved(lab, "vm-1")
    await settled(lab, "vm-1")

    pod = target_pod(lab, migration)
    assert pod is not None
    since = str(lab.state_of("vm-1")["targetNodeDomainReadyTimestamp"])
    noted = pod["metadata"]["annotations"]["kubevirt.io/migration-target-ready-timestamp"]
    assert noted.startswith(since.replace("T", " ").removesuffix("Z"))

    def follows() -> bool:
        found = target_pod(lab, migration) or pod
        return bool(found["metadata"]["labels"]["kubevirt.io/nodeName"] == found["spec"]["nodeName"])

    await lab.wait_until(follows, 5, "the pod's label names its own node")
