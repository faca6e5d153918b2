"""Definitions of KubeVirt's kinds for its own virt-controller, which lists and watches more of them than the lab has.

KubeVirt's real schemas are taken from the folder that WHIMBREL_KUBEVIRT_CRDS names, a file per release; they are never part
of this repository. The kinds that no scenario touches are served without a schema.
"""

import os
from pathlib import Path
from typing import Any

import yaml

from whimbrel_lab import fleet

Object = dict[str, Any]
VARIABLE = "WHIMBREL_KUBEVIRT_CRDS"
UNTOUCHED = (
    ("kubevirt.io", "v1", "VirtualMachineInstanceReplicaSet", "Namespaced"),
    ("kubevirt.io", "v1", "VirtualMachineInstancePreset", "Namespaced"),
    ("pool.kubevirt.io", "v1beta1", "VirtualMachinePool", "Namespaced"),
    ("clone.kubevirt.io", "v1beta1", "VirtualMachineClone", "Namespaced"),
    ("snapshot.kubevirt.io", "v1beta1", "VirtualMachineSnapshot", "Namespaced"),
    ("snapshot.kubevirt.io", "v1beta1", "VirtualMachineSnapshotContent", "Namespaced"),
    ("snapshot.kubevirt.io", "v1beta1", "VirtualMachineRestore", "Namespaced"),
    ("export.kubevirt.io", "v1", "VirtualMachineExport", "Namespaced"),
    ("instancetype.kubevirt.io", "v1beta1", "VirtualMachineInstancetype", "Namespaced"),
    ("instancetype.kubevirt.io", "v1beta1", "VirtualMachineClusterInstancetype", "Cluster"),
    ("instancetype.kubevirt.io", "v1beta1", "VirtualMachinePreference", "Namespaced"),
    ("instancetype.kubevirt.io", "v1beta1", "VirtualMachineClusterPreference", "Cluster"),
    ("backup.kubevirt.io", "v1alpha1", "VirtualMachineBackup", "Namespaced"),
    ("backup.kubevirt.io", "v1alpha1", "VirtualMachineBackupTracker", "Namespaced"),
    ("plugin.kubevirt.io", "v1alpha1", "Plugin", "Cluster"),
)
"""(group, version, kind, scope)"""


def definitions(version: str) -> list[Object]:
    """All that virt-controller and the lab want served."""
    _, own = fleet.DEFINITIONS
    return [*_kubevirts(version), *(_without_schema(*each) for each in UNTOUCHED), *fleet.definitions((own,))]


def _kubevirts(version: str) -> list[Object]:
    folder = os.environ.get(VARIABLE)
    if not folder:
        return fleet.definitions(fleet.DEFINITIONS[:1])
    found = yaml.safe_load_all((Path(folder) / f"{version}.yaml").read_text())
    return [each for each in found if each]


def _without_schema(group: str, version: str, kind: str, scope: str) -> Object:
    plural = kind.lower() + "s"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    served: Object = {"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "names": {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower()},
            "scope": scope,
            "versions": [served],
        },
    }
