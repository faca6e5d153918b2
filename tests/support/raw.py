"""Raw objects as an API server sends them, for what reads them."""

from typing import Any

INSTANCE: dict[str, Any] = {
    "metadata": {
        "name": "db1",
        "namespace": "shop",
        "uid": "0c6d0a4e-0000-4000-8000-000000000001",
        "creationTimestamp": "2026-03-01T12:00:00Z",
        "resourceVersion": "4711",
        "labels": {"app": "db", "kubevirt.io/nodeName": "node-1"},
        "annotations": {"whimbrel.dev/graphics": "Automatic", "kubevirt.io/latest-observed-api-version": "v1"},
        "ownerReferences": [{"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "name": "db1", "uid": "x"}],
    },
    "spec": {
        "architecture": "amd64",
        "nodeSelector": {"zone": "a"},
        "domain": {
            "cpu": {
                "cores": 2,
                "model": "Haswell",
                "features": [{"name": "vmx"}, {"name": "aes", "policy": "require"}],
            },
            "memory": {"guest": "4Gi"},
            "resources": {"requests": {"memory": "2Gi"}},
        },
    },
    "status": {
        "phase": "Running",
        "nodeName": "node-1",
        "activePods": {"pod-2": "", "pod-1": "node-1"},
        "migrationMethod": "BlockMigration",
        "evacuationNodeName": "node-1",
        "conditions": [
            {"type": "LiveMigratable", "status": "False", "reason": "DisksNotLiveMigratable", "message": "PVC d"},
            {"type": "Paused", "status": "True", "reason": "PausedByUser"},
            {"type": "AgentConnected", "status": "True"},
        ],
        "migrationState": {
            "migrationUid": "m-1",
            "sourceNode": "node-1",
            "targetNode": "node-2",
            "mode": "Paused",
            "startTimestamp": "2026-03-01T12:00:05Z",
            "abortRequested": True,
            "migrationPolicyName": "p",
            "migrationConfiguration": {
                "bandwidthPerMigration": "64Mi",
                "completionTimeoutPerGiB": 150,
                "allowPostCopy": False,
                "allowWorkloadDisruption": True,
                "progressTimeout": 150,
            },
        },
    },
}
"""A VirtualMachineInstance with a bit of everything that KubeVirt writes."""


def owned_by_an_instance(uid: str, **changed: Any) -> list[dict[str, Any]]:
    """The owner references of a launcher of the instance of this UID."""
    reference = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "name": "db1", "uid": uid}
    return [{**reference, "controller": True, **changed}]
