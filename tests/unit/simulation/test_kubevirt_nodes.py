"""Where pods fit, why instances cannot migrate, and how an instance comes to run."""

from datetime import UTC, datetime
from typing import Any

import pytest

from whimbrel.simulation.kubevirt import admission, instances, machines, migratability, scheduling
from whimbrel.simulation.kubevirt.effects import Create, Remove, Replace, ReplaceStatus
from whimbrel.simulation.kubevirt.values import INSTANCE_FINALIZER, MACHINE_FINALIZER

NOW = datetime(2026, 1, 5, 8, tzinfo=UTC)
Json = dict[str, Any]


def a_node(name: str = "node-1", *, labels: Json | None = None, memory: str = "8Gi", **spec: Any) -> Json:
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
        "spec": spec,
        "status": {
            "allocatable": {"cpu": "4", "memory": memory, "pods": "10"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def a_pod(memory: str = "1Gi", **spec: Any) -> Json:
    resources = {"requests": {"memory": memory, "cpu": "100m"}}
    return {
        "metadata": {"name": "p", "namespace": "shop", "uid": "p", "labels": {}},
        "spec": {"containers": [{"name": "compute", "resources": resources}], **spec},
    }


def why(pod: Json, node: Json) -> str:
    return scheduling.place(pod, [node], {}, ())[1]


def test_a_pod_goes_to_the_node_with_the_most_memory_left() -> None:
    nodes = [a_node("a"), a_node("b"), a_node("c")]
    used = {"a": {"memory": 2**30}, "b": {"memory": 2**29}}

    assert scheduling.place(a_pod(), nodes, used, ()) == ("c", "")
    assert scheduling.place(a_pod(), nodes[:2], used, ()) == ("b", "")


@pytest.mark.parametrize(
    ("pod", "node", "words"),
    [
        (a_pod(nodeSelector={"zone": "b"}), a_node(labels={"zone": "a"}), "node affinity/selector"),
        (a_pod("9Gi"), a_node(), "Insufficient memory"),
        (a_pod(), a_node(unschedulable=True), "unschedulable"),
        (a_pod(), a_node(taints=[{"key": "gpu", "effect": "NoSchedule"}]), "untolerated taint"),
        (a_pod(), {**a_node(), "status": {**a_node()["status"], "conditions": []}}, "not ready"),
    ],
)
def test_a_node_that_does_not_fit_says_why(pod: Json, node: Json, words: str) -> None:
    assert words in why(pod, node)


def test_a_tolerated_taint_is_no_obstacle() -> None:
    tolerations = [{"key": "gpu", "operator": "Exists"}]

    assert why(a_pod(tolerations=tolerations), a_node(taints=[{"key": "gpu", "effect": "NoSchedule"}])) == ""


def test_pods_that_must_not_share_a_node_do_not() -> None:
    rule = {"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": "kubernetes.io/hostname"}
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    pod = a_pod(affinity={"podAntiAffinity": {required: [rule]}})
    other = {"metadata": {"namespace": "shop", "labels": {"app": "db"}}, "spec": {"nodeName": "a"}}

    assert scheduling.place(pod, [a_node("a"), a_node("b")], {}, [other])[0] == "b"


def an_instance(devices: Json | None = None, volumes: list[Json] | None = None, **domain: Any) -> Json:
    spec = {
        "domain": {"memory": {"guest": "64Mi"}, "devices": devices or {}, **domain},
        "networks": [{"name": "default", "pod": {}}] if devices and "interfaces" in devices else [],
        "volumes": volumes or [],
    }
    return {
        "metadata": {"name": "db1", "namespace": "shop", "uid": "vmi-1"},
        "spec": spec,
        "status": {"phase": "Scheduled"},
    }


@pytest.mark.parametrize(
    ("instance", "reason"),
    [
        (an_instance({"interfaces": [{"name": "default", "bridge": {}}]}), "InterfaceNotLiveMigratable"),
        (an_instance(cpu={"model": "host-model"}), "CPUModeLiveMigratable"),
        (an_instance({"hostDevices": [{"deviceName": "x"}]}), "HostDeviceNotLiveMigratable"),
        (an_instance({"gpus": [{"deviceName": "x"}]}), "HostDeviceNotLiveMigratable"),
        (an_instance(launchSecurity={"sev": {}}), "SEVNotLiveMigratable"),
        (
            an_instance(features={"hypervPassthrough": {"enabled": True}}),
            "HypervPassthroughNotLiveMigratable",
        ),
        (
            an_instance(volumes=[{"name": "d", "persistentVolumeClaim": {"claimName": "c"}}]),
            "DisksNotLiveMigratable",
        ),
    ],
)
def test_an_instance_says_why_it_cannot_migrate(instance: Json, reason: str) -> None:
    conditions = migratability.conditions(instance, a_node(), NOW)

    told = {each["type"]: each for each in conditions}
    assert (told["LiveMigratable"]["status"], told["LiveMigratable"]["reason"]) == ("False", reason)
    assert all("lastProbeTime" in each and "lastTransitionTime" in each for each in conditions)


def test_a_masquerading_instance_on_shared_storage_can_migrate() -> None:
    instance = an_instance(
        {"interfaces": [{"name": "default", "masquerade": {}}]},
        [{"name": "d", "persistentVolumeClaim": {"claimName": "c"}}],
    )
    claim = {"accessModes": ["ReadWriteMany"], "claimName": "c"}
    instance["status"]["volumeStatus"] = [{"name": "d", "target": "vda", "persistentVolumeClaimInfo": claim}]

    assert {each["status"] for each in migratability.conditions(instance, a_node(), NOW)} == {"True"}
    assert migratability.migration_method(instance) == "LiveMigration"


def test_a_local_disk_makes_it_a_block_migration() -> None:
    assert migratability.migration_method(an_instance(volumes=[{"name": "c", "containerDisk": {}}])) == "BlockMigration"


def test_a_machine_that_should_run_gets_an_instance_and_a_halted_one_loses_it() -> None:
    machine: Json = {
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine",
        "metadata": {"name": "db1", "namespace": "shop", "uid": "vm-1", "finalizers": [MACHINE_FINALIZER]},
        "spec": {"runStrategy": "Always", "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"domain": {}}}},
    }  # fmt: skip

    (made,) = [each.body for each in machines.step(machine, None, NOW) if isinstance(each, Create)]
    assert made["metadata"]["labels"] == {"app": "db", "vm.kubevirt.io/name": "db1"}

    running = {**made, "metadata": {**made["metadata"], "uid": "vmi-1"}, "status": {"phase": "Running"}}
    machine["spec"]["runStrategy"] = "Halted"
    assert next(type(each) for each in machines.step(machine, running, NOW)) is Remove


def test_an_instance_goes_from_pending_to_scheduled_with_its_launcher() -> None:
    instance: Json = admission.instance_made(
        {
            "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
            "metadata": {"name": "db1", "namespace": "shop", "uid": "vmi-1"},
            "spec": {"domain": {"memory": {"guest": "64Mi"}}},
        }
    )  # fmt: skip

    (pod,) = [each.body for each in instances.step(instance, [], NOW) if isinstance(each, Create)]
    pod["metadata"].update(name="launcher", uid="pod-1")
    bound = {**pod, "spec": {**pod["spec"], "nodeName": "node-1"}}
    (scheduling_,) = [each.body for each in instances.step(instance, [pod], NOW) if isinstance(each, Replace)]
    bound["status"] = {"phase": "Running", "containerStatuses": [{"name": "compute", "state": {"running": {}}}]}
    effects = instances.step(scheduling_, [bound], NOW)

    (scheduled,) = [each.body for each in effects if isinstance(each, Replace)]
    (gated,) = [each.body for each in effects if isinstance(each, ReplaceStatus)]
    assert [each["phase"] for each in scheduled["status"]["phaseTransitionTimestamps"]] == [
        "Scheduling",
        "Scheduled",
    ]
    assert scheduled["status"]["nodeName"] == scheduled["metadata"]["labels"]["kubevirt.io/nodeName"] == "node-1"
    assert scheduled["status"]["activePods"] == {"pod-1": "node-1"}
    assert gated["status"]["conditions"][0]["type"] == "kubevirt.io/virtual-machine-unpaused"


def test_a_deleted_instance_keeps_its_finalizer_until_its_pods_are_gone() -> None:
    instance: Json = {
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
        "metadata": {
            "name": "db1", "namespace": "shop", "uid": "vmi-1", "deletionTimestamp": "2026-01-05T08:00:00Z",
            "finalizers": [INSTANCE_FINALIZER],
        },
        "spec": {"domain": {}}, "status": {"phase": "Succeeded"},
    }  # fmt: skip
    pod = {**a_pod(), "apiVersion": "v1", "kind": "Pod", "status": {"phase": "Succeeded"}}

    kept = [each.body for each in instances.step(instance, [pod], NOW) if isinstance(each, Replace)]
    freed = [each.body for each in instances.step(instance, [], NOW) if isinstance(each, Replace)]

    assert all(each["metadata"]["finalizers"] for each in kept)
    assert freed[0]["metadata"]["finalizers"] == []
