"""Builders of what KubeVirt's steps look at: an instance, its migration, its launchers, and views of them."""

from datetime import UTC, datetime
from typing import Any

from whimbrel.simulation.kubevirt import admission
from whimbrel.simulation.kubevirt.effects import Effects, Emit, ReplaceStatus
from whimbrel.simulation.kubevirt.phases import View

Json = dict[str, Any]
NOW = datetime(2026, 1, 5, 8, 0, 0, 700_000, tzinfo=UTC)


def an_instance(**state: Any) -> Json:
    instance: Json = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {
            "name": "db1", "namespace": "shop", "uid": "vmi-1", "labels": {"app": "db"},
            "annotations": {"kubevirt.io/nonroot": "true"},
        },
        "spec": {"domain": {"memory": {"guest": "1Gi"}, "cpu": {"model": "Haswell"}, "devices": {}}},
        "status": {"phase": "Running", "nodeName": "node-1", "runtimeUser": 107},
    }  # fmt: skip
    if state:
        instance["status"]["migrationState"] = state
    return instance


def a_migration(phase: str = "", name: str = "move", *, deleting: bool = False, **spec: Any) -> Json:
    made: Json = admission.migration_made(
        {
            "apiVersion": "kubevirt.io/v1",
            "kind": "VirtualMachineInstanceMigration",
            "metadata": {
                "name": name, "namespace": "shop", "uid": f"uid-{name}", "creationTimestamp": "2026-01-05T08:00:00Z",
                "annotations": {
                    "kubevirt.io/latest-observed-api-version": "v1", "kubevirt.io/storage-observed-api-version": "v1",
                },
            },
            "spec": {"vmiName": "db1", **spec},
        }
    )  # fmt: skip
    if phase:
        made["status"] = {"phase": phase}
    if deleting:
        made["metadata"]["deletionTimestamp"] = "2026-01-05T08:00:00Z"
    return made


def a_pod(name: str, node: str = "", phase: str = "Pending", migration: str = "", **status: Any) -> Json:
    labels = {"kubevirt.io/created-by": "vmi-1"}
    if migration:
        labels["kubevirt.io/migrationJobUID"] = f"uid-{migration}"
    ready = {"containerStatuses": [{"name": "compute", "state": {"running": {}}}]} if phase == "Running" else {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name, "namespace": "shop", "uid": f"uid-{name}", "labels": labels,
            "creationTimestamp": "2026-01-05T08:00:00Z", "annotations": {},
        },
        "spec": {"nodeName": node} if node else {},
        "status": {"phase": phase, **ready, **status},
    }  # fmt: skip


SOURCE = a_pod("source", "node-1", "Running")
TARGET = a_pod("target", "node-2", "Running", migration="move")
NODE = {
    "metadata": {
        "name": "node-1",
        "labels": {
            "cpu-vendor.node.kubevirt.io/Intel": "true",
            "host-model-cpu.node.kubevirt.io/Haswell": "true",
            "host-model-required-features.node.kubevirt.io/vmx": "true",
        },
    }
}


def a_view(migration: Json, instance: Json | None = None, *pods: Json, **more: Any) -> View:
    return View(
        migration,
        an_instance() if instance is None else instance,
        pods or (SOURCE,),
        NOW,
        source_node=NODE,
        **more,
    )


def phase_after(effects: Effects) -> str:
    written = [each.body for each in effects if isinstance(each, ReplaceStatus)]
    return str(written[0]["status"]["phase"]) if written else ""


def events(effects: Effects) -> list[str]:
    return [each.message for each in effects if isinstance(each, Emit)]


def handed(**state: Any) -> Json:
    known = {
        "migrationUid": "uid-move", "sourceNode": "node-1", "targetNode": "node-2", "targetPod": "target",
        "migrationConfiguration": {},
    }  # fmt: skip
    return an_instance(**known, **state)
