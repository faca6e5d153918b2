"""The Kubernetes objects of a topology: nodes, KubeVirt's installation, and machines that run already.

Machines, instances and launchers are made by the same pure steps that the stand-in uses, only at once: a thousand running
virtual machines need no thousand starts.
"""

import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from whimbrel.simulation.kubevirt import admission, agents, instances, launchers, machines
from whimbrel.simulation.kubevirt.effects import Replace, ReplaceStatus
from whimbrel.simulation.kubevirt.releases import Release, release
from whimbrel.simulation.kubevirt.values import (
    MACHINE_FINALIZER,
    NODE_LABEL,
    OBSERVED_VERSIONS,
    UNPAUSED_GATE,
    Object,
    clone,
    owner_reference,
    phase_entered,
    timestamp,
    uid,
    with_condition,
)
from whimbrel_lab.clock import LabClock
from whimbrel_lab.kubevirt.guests import guest_annotations
from whimbrel_lab.kubevirt.kubelet import Addresses, running_status
from whimbrel_lab.kubevirt.scheduler import FIRST_NODE_ANNOTATION
from whimbrel_lab.topology import INSTALL_NAMESPACE, LabGuest, LabHost, Topology

ROOT = Path(__file__).resolve().parents[2]
DEFINITIONS = (Path(__file__).resolve().parent / "kubevirt" / "crds", ROOT / "crds")
NETWORK_DEFINITIONS = Path(__file__).resolve().parent / "multus"
"""Of secondary networks, which a cluster may do without."""
REGISTRY = "quay.io/kubevirt"
_CLAIM = "data"


@dataclass(frozen=True, slots=True)
class Running:
    """One running virtual machine as the API server has it."""

    machine: Object
    instance: Object
    pod: Object


class Places:
    """What identifies the objects of one lab: UIDs, creation times, pod addresses."""

    def __init__(self, clock: LabClock, addresses: Addresses) -> None:
        self.clock = clock
        self.addresses = addresses

    def identified(self, document: Object, suffix: str = "") -> Object:
        """The object with what an API server adds to a new one, in place."""
        members = document["metadata"]
        if "name" not in members:
            members["name"] = members["generateName"] + suffix
        members["uid"] = str(uuid.uuid4())
        members["creationTimestamp"] = timestamp(self.clock.now())
        members["generation"] = 1
        return document


def node(host: LabHost, clock: LabClock, *, heartbeat: bool = False) -> Object:
    """A node with the labels that virt-handler's labeller puts on it; with a heartbeat only where more will follow."""
    labels = {
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": host.name,
        "kubernetes.io/os": "linux",
        "kubevirt.io/schedulable": "true",
        f"cpu-vendor.node.kubevirt.io/{host.cpu_vendor}": "true",
        "machine-type.node.kubevirt.io/q35": "true",
    }
    for model in host.cpu_models:
        labels[f"cpu-model.node.kubevirt.io/{model}"] = "true"
        labels[f"cpu-model-migration.node.kubevirt.io/{model}"] = "true"
    for feature in host.cpu_features:
        labels[f"cpu-feature.node.kubevirt.io/{feature}"] = "true"
    if host.cpu_models:
        labels[f"host-model-cpu.node.kubevirt.io/{host.cpu_models[0]}"] = "true"
        for feature in host.cpu_features:
            labels[f"host-model-required-features.node.kubevirt.io/{feature}"] = "true"
    labels.update(host.labels)
    resources = {
        "cpu": str(host.cpu),
        "memory": str(host.memory_bytes),
        "ephemeral-storage": "200Gi",
        "pods": str(host.pods),
        **dict.fromkeys(launchers.DEVICES, "1k"),
    }
    spec: Object = {}
    if host.taints:
        spec["taints"] = [dict(taint) for taint in host.taints]
    if host.unschedulable:
        spec["unschedulable"] = True
    now = clock.now()
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": host.name,
            "labels": labels,
            "annotations": {"kubevirt.io/heartbeat": timestamp(now)} if heartbeat else {},
        },
        "spec": spec,
        "status": {
            "allocatable": resources,
            "capacity": resources,
            "conditions": [
                {
                    "lastHeartbeatTime": timestamp(now),
                    "lastTransitionTime": timestamp(now),
                    "message": "kubelet is posting ready status",
                    "reason": "KubeletReady",
                    "status": "True",
                    "type": "Ready",
                }
            ],
            "nodeInfo": {"architecture": "amd64", "kubeletVersion": "v1.36.0", "operatingSystem": "linux"},
        },
    }


def definitions(folders: Sequence[Path] = DEFINITIONS, version: str = "") -> list[Object]:
    """CustomResourceDefinitions: the lab's of KubeVirt, as that version serves them, and Whimbrel's own."""
    found = []
    for folder in folders:
        for path in sorted(folder.glob("*.yaml")):
            found += [_served(each, release(version)) for each in yaml.safe_load_all(path.read_text()) if each]
    return found


def _served(definition: Object, of: Release) -> Object:
    """Without what a release does not know yet, in place; the files have what the newest one knows."""
    for version in definition["spec"]["versions"]:
        fields = version["schema"]["openAPIV3Schema"]["properties"]["spec"].get("properties") or {}
        match definition["spec"]["names"]["kind"]:
            case "VirtualMachineInstanceMigration" if not of.added_node_selector:
                del fields["addedNodeSelector"]
            case "MigrationPolicy":
                for unknown in fields.keys() - of.policy_fields:
                    del fields[unknown]
    return definition


def kubevirt(topology: Topology) -> Object:
    """The installation, deployed; its status is written by a second request."""
    configuration: Object = {"migrations": dict(topology.migrations)}
    if topology.feature_gates:
        configuration["developerConfiguration"] = {"featureGates": list(topology.feature_gates)}
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "KubeVirt",
        "metadata": {"name": "kubevirt", "namespace": INSTALL_NAMESPACE},
        "spec": {"configuration": configuration},
        "status": {
            "conditions": with_status("Available", "AllComponentsReady"),
            "observedKubeVirtRegistry": REGISTRY,
            "observedKubeVirtVersion": topology.version,
            "operatorVersion": topology.version,
            "phase": "Deployed",
            "targetKubeVirtRegistry": REGISTRY,
            "targetKubeVirtVersion": topology.version,
        },
    }


def with_status(kind: str, reason: str) -> list[Object]:
    """One condition that holds."""
    return [{"lastProbeTime": None, "lastTransitionTime": None, "reason": reason, "status": "True", "type": kind}]


def handler_daemon_set(hosts: int) -> Object:
    """virt-handler's DaemonSet."""
    labels = {"kubevirt.io": "virt-handler"}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "virt-handler", "namespace": INSTALL_NAMESPACE, "labels": labels},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "virt-handler", "image": f"{REGISTRY}/virt-handler:lab"}]},
            },
        },
        "status": {"desiredNumberScheduled": hosts, "numberReady": hosts},
    }


def handler_pod(host: str, address: str, port: int, clock: LabClock) -> Object:
    """The virt-handler pod of a node; its container port `metrics` is where the node's metrics are."""
    now = clock.now()
    conditions = with_condition(None, "PodScheduled", "True", now)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"virt-handler-{host}",
            "namespace": INSTALL_NAMESPACE,
            "labels": {"kubevirt.io": "virt-handler", "prometheus.kubevirt.io": "true"},
        },
        "spec": {
            "nodeName": host,
            "containers": [
                {
                    "name": "virt-handler",
                    "image": f"{REGISTRY}/virt-handler:lab",
                    "ports": [{"containerPort": port, "name": "metrics", "protocol": "TCP"}],
                    "resources": {"requests": {"cpu": "10m", "memory": "357Mi"}},
                }
            ],
        },
        "status": {
            "conditions": with_condition(conditions, "Ready", "True", now),
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "startTime": timestamp(now),
        },
    }


def machine(guest: LabGuest, topology: Topology) -> Object:
    """The VirtualMachine that a user would have applied."""
    annotations = {**guest_annotations(topology.guest_spec(guest), agent=guest.agent), **guest.annotations}
    annotations[FIRST_NODE_ANNOTATION] = guest.host
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": guest.name, "namespace": guest.namespace, "labels": dict(guest.labels)},
        "spec": {
            "runStrategy": guest.run_strategy,
            "template": {
                "metadata": {"labels": dict(guest.labels), "annotations": annotations},
                "spec": clone({**_instance_spec(guest), **guest.instance_spec}),
            },
        },
    }


def storage(guest: LabGuest) -> Iterator[Object]:
    """The volumes of a machine's disks, and their claims, bound to them."""
    modes = ["ReadWriteOnce"] if guest.blocker == "SharedDisk" else ["ReadWriteMany"]
    claim, volume = f"{guest.name}-{_CLAIM}", f"{guest.namespace}-{guest.name}-{_CLAIM}"
    size = {"storage": "1Gi"}
    yield {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": volume},
        "spec": {
            "accessModes": modes,
            "capacity": size,
            "claimRef": {
                "apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": claim, "namespace": guest.namespace,
            },
            "csi": {"driver": "lab.whimbrel.dev", "volumeHandle": volume},
            "persistentVolumeReclaimPolicy": "Retain",
            "volumeMode": "Block",
        },
        "status": {"phase": "Bound"},
    }  # fmt: skip
    yield {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": claim,
            "namespace": guest.namespace,
            "annotations": {"pv.kubernetes.io/bind-completed": "yes"},
        },
        "spec": {
            "accessModes": modes,
            "resources": {"requests": size},
            "storageClassName": "",
            "volumeMode": "Block",
            "volumeName": volume,
        },
        "status": {"accessModes": modes, "capacity": size, "phase": "Bound"},
    }


def running(guest: LabGuest, topology: Topology, installation: Object, host: Object, where: Places) -> Running:
    """Machine, instance and launcher as they are after a start."""
    clock, now = where.clock, where.clock.now()
    made_machine = where.identified(machine(guest, topology))
    made_machine["metadata"]["finalizers"] = [MACHINE_FINALIZER]
    instance = where.identified(admission.instance_made(machines.instance_of(made_machine)))
    instance["metadata"]["annotations"].update(OBSERVED_VERSIONS)
    pod = where.identified(launchers.launcher(instance, installation), suffix="lab00")
    pod["spec"]["nodeName"] = guest.host
    pod["spec"].update(schedulerName="default-scheduler")
    address = where.addresses.next()
    pod["status"] = running_status(pod, clock, address)
    gate = {"type": UNPAUSED_GATE, "status": "True", "lastProbeTime": None, "lastTransitionTime": None}
    pod["status"]["conditions"] = with_condition([*pod["status"]["conditions"], gate], "Ready", "True", now)
    for reached in ("Scheduling", "Scheduled"):
        phase_entered(instance, reached, now)
    members = instance["status"]
    members.update(activePods={uid(pod): guest.host}, nodeName=guest.host, migrationTransport="Unix")
    instance["metadata"]["labels"][NODE_LABEL] = guest.host
    claims = {each["metadata"]["name"]: each for each in storage(guest) if each["kind"] == "PersistentVolumeClaim"}
    instance = agents.guest_running(
        instance, host, now, kubevirt=installation, address=address, claims=claims, agent=guest.agent
    )
    for effect in instances.step(instance, [pod], now, installation):
        if isinstance(effect, Replace) and effect.body["kind"] == "VirtualMachineInstance":
            instance = effect.body
    for effect in machines.step(made_machine, instance, now):
        if isinstance(effect, ReplaceStatus):
            made_machine = effect.body
    return Running(made_machine, instance, pod)


def revision(made_machine: Object) -> Object:
    """What a machine's instance was started from; only KubeVirt's own virt-controller looks at it."""
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": machines.revision_name(made_machine),
            "namespace": made_machine["metadata"]["namespace"],
            "ownerReferences": [owner_reference(made_machine)],
        },
        "data": {"spec": made_machine["spec"]},
        "revision": made_machine["metadata"]["generation"],
    }


def renamed(document: Object, owner: Object, stored: Object) -> Object:
    """The object with its owner's UID, wherever it stands, as the server has stored the owner."""
    before, after = uid(owner), uid(stored)
    if before == after:
        return document
    made: Object = json.loads(json.dumps(document).replace(before, after))
    return made


def _instance_spec(guest: LabGuest) -> Object:
    devices: Object = {
        "disks": [{"disk": {"bus": "virtio"}, "name": _CLAIM}],
        "interfaces": [{"masquerade": {}, "name": "default"}],
    }
    cpu: Object = {"cores": guest.cores, "model": guest.cpu_model}
    if guest.cpu_features:
        cpu["features"] = [{"name": feature, "policy": "require"} for feature in guest.cpu_features]
    domain: Object = {"cpu": cpu, "devices": devices, "memory": {"guest": _memory(guest.memory_bytes)}}
    if guest.blocker == "HostDevice":
        devices["hostDevices"] = [{"deviceName": "vendor.example/licence-dongle", "name": "dongle"}]
    if guest.blocker == "BridgedPodNetwork":
        devices["interfaces"] = [{"bridge": {}, "name": "default"}]
    if guest.blocker == "Sev":
        domain["launchSecurity"] = {"sev": {}}
    spec: dict[str, Any] = {
        "domain": domain,
        "evictionStrategy": guest.eviction_strategy,
        "networks": [{"name": "default", "pod": {}}],
        "terminationGracePeriodSeconds": 30,
        "volumes": [{"name": _CLAIM, "persistentVolumeClaim": {"claimName": f"{guest.name}-{_CLAIM}"}}],
    }
    if guest.node_selector:
        spec["nodeSelector"] = dict(guest.node_selector)
    return spec


def _memory(memory_bytes: int) -> str:
    return f"{memory_bytes // 1024**2}Mi" if memory_bytes % 1024**2 == 0 else str(memory_bytes)
