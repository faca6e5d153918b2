"""What a simulated cluster consists of, and its raw objects as a cluster that has been running for a while shows them.

Used by whoever sets up a `World`: benches and property tests.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from whimbrel.domain.records import Key
from whimbrel.domain.resources import (
    HOST_PROFILES,
    INSTANCES,
    KUBEVIRTS,
    MIGRATION_PLANS,
    NAMESPACES,
    NODES,
    PODS,
    VIRTUAL_MACHINES,
)
from whimbrel.simulation.fluid import ZSTD_RATIO, Memory
from whimbrel.simulation.kubevirt.launchers import launcher
from whimbrel.simulation.kubevirt.values import MACHINE_FINALIZER, NODE_LABEL, UNPAUSED_GATE, timestamp
from whimbrel.simulation.world import Object, World

GIB = 1024**3
MIB = 1024**2
SETUP = "setup"
CPU_MODEL = "Cascadelake-Server"


@dataclass(frozen=True, slots=True)
class HostShape:
    """A node and its migration link."""

    name: str
    memory_bytes: int = 64 * GIB
    cpu: int = 64
    link_mbps: int = 10_000
    labels: Mapping[str, str] = field(default_factory=dict)
    ready: bool = True
    unschedulable: bool = False


@dataclass(frozen=True, slots=True)
class GuestShape:
    """A running virtual machine: how much memory it has, how it rewrites a working set of it, and how small zstd makes it."""

    name: str
    node: str
    namespace: str = "default"
    memory_bytes: int = 2 * GIB
    touched_bytes: int = GIB
    working_set_mib: int = 16
    dirty_mib_per_second: int = 8
    zstd_ratio: float = ZSTD_RATIO
    labels: Mapping[str, str] = field(default_factory=dict)
    live_migratable: bool = True
    cpu_model: str = CPU_MODEL
    agent: bool = True

    @property
    def key(self) -> Key:
        """Key of the machine and of its instance."""
        return Key(self.namespace, self.name)

    @property
    def memory(self) -> Memory:
        """Its memory, for the fluid model."""
        touched = min(self.touched_bytes, self.memory_bytes)
        working_set = min(self.working_set_mib * MIB, touched)
        return Memory(self.memory_bytes, touched, working_set, self.dirty_mib_per_second * MIB, self.zstd_ratio)


@dataclass(frozen=True, slots=True)
class Topology:
    """Hosts, guests and how KubeVirt is configured (`spec.configuration.migrations`)."""

    hosts: Sequence[HostShape]
    guests: Sequence[GuestShape]
    migrations: Mapping[str, Any] = field(default_factory=dict)
    version: str = "v1.9.0"
    feature_gates: Sequence[str] = ()


def populate(world: World, topology: Topology) -> None:
    """Creates the objects of a cluster in which all guests run."""
    for namespace in sorted({"kubevirt", "default"} | {guest.namespace for guest in topology.guests}):
        world.create(SETUP, NAMESPACES, {"metadata": {"name": namespace, "labels": {"name": namespace}}})
    kubevirt = world.create(SETUP, KUBEVIRTS, _kubevirt(topology))
    for host in topology.hosts:
        world.create(SETUP, NODES, _node(host))
    for guest in topology.guests:
        machine = world.create(SETUP, VIRTUAL_MACHINES, _machine(guest))
        instance = world.create(SETUP, INSTANCES, _instance(guest, machine, world))
        pod = world.create(SETUP, PODS, _source_pod(instance, kubevirt, guest.node))
        shown = {**instance["status"], "activePods": {pod["metadata"]["uid"]: guest.node}}
        world.replace(SETUP, INSTANCES, guest.key, {**instance, "status": shown})


def a_profile(
    name: str = "all", *, node_selector: Mapping[str, str] | None = None, enabled: bool = True, link_mbps: int = 10_000,
    outbound: int = 2, inbound: int = 2,
) -> Object:  # fmt: skip
    """A HostProfile's raw object."""
    return {
        "metadata": {"name": name},
        "spec": {
            "nodeSelector": dict(node_selector or {}),
            "migration": {
                "enabled": enabled,
                "network": {"linkSpeedMbps": link_mbps},
                "limits": {"parallelOutbound": outbound, "parallelInbound": inbound},
            },
        },
    }


def a_plan(name: str, spec: Mapping[str, Any], namespace: str = "default") -> Object:
    """A MigrationPlan's raw object."""
    return {"metadata": {"name": name, "namespace": namespace}, "spec": spec}


def apply(world: World, *documents: Object, actor: str = "user") -> None:
    """Creates profiles and plans as a user does: by what their spec says they are."""
    for document in documents:
        resource = HOST_PROFILES if "nodeSelector" in document["spec"] else MIGRATION_PLANS
        world.create(actor, resource, document)


def _kubevirt(topology: Topology) -> Object:
    configuration: dict[str, Any] = {"migrations": dict(topology.migrations)}
    if topology.feature_gates:
        configuration["developerConfiguration"] = {"featureGates": list(topology.feature_gates)}
    return {
        "metadata": {"name": "kubevirt", "namespace": "kubevirt"},
        "spec": {"configuration": configuration},
        "status": {
            "phase": "Deployed",
            "observedKubeVirtVersion": topology.version,
            "targetKubeVirtVersion": topology.version,
        },
    }


def _node(host: HostShape) -> Object:
    offered = {
        "cpu": str(host.cpu),
        "memory": str(host.memory_bytes),
        "pods": "500",
        "ephemeral-storage": "200Gi",
        "devices.kubevirt.io/kvm": "1k",
        "devices.kubevirt.io/tun": "1k",
        "devices.kubevirt.io/vhost-net": "1k",
    }
    return {
        "metadata": {
            "name": host.name,
            "labels": {
                "kubernetes.io/hostname": host.name,
                "kubernetes.io/arch": "amd64",
                "kubevirt.io/schedulable": "true",
                "cpu-vendor.node.kubevirt.io/Intel": "true",
                f"host-model-cpu.node.kubevirt.io/{CPU_MODEL}": "true",
                f"cpu-model.node.kubevirt.io/{CPU_MODEL}": "true",
                f"cpu-model-migration.node.kubevirt.io/{CPU_MODEL}": "true",
                **host.labels,
            },
        },
        "spec": {"unschedulable": True} if host.unschedulable else {},
        "status": {
            "allocatable": offered,
            "capacity": dict(offered),
            "conditions": [{"type": "Ready", "status": "True" if host.ready else "False", "reason": "KubeletReady"}],
        },
    }


def _domain(guest: GuestShape) -> Object:
    return {
        "cpu": {"cores": 2, "sockets": 1, "threads": 1, "model": guest.cpu_model},
        "memory": {"guest": f"{guest.memory_bytes // MIB}Mi"},
        "resources": {},
    }


def _machine(guest: GuestShape) -> Object:
    return {
        "metadata": {
            "name": guest.name,
            "namespace": guest.namespace,
            "labels": dict(guest.labels),
            "finalizers": [MACHINE_FINALIZER],
        },
        "spec": {"runStrategy": "Always", "template": {"spec": {"architecture": "amd64", "domain": _domain(guest)}}},
        "status": {"printableStatus": "Running", "ready": True},
    }


def _instance(guest: GuestShape, machine: Object, world: World) -> Object:
    movable = {"type": "LiveMigratable", "status": "True" if guest.live_migratable else "False"}
    if not guest.live_migratable:
        movable |= {
            "reason": "DisksNotLiveMigratable",
            "message": "cannot migrate VMI: PVC disk-0 is not shared, live migration requires that all PVCs must be "
            "shared (using ReadWriteMany access mode)",
        }
    kinds = [{"type": "Ready", "status": "True"}, movable]
    kinds += [{"type": "AgentConnected", "status": "True"}] if guest.agent else []
    since = timestamp(world.now)
    return {
        "metadata": {
            "name": guest.name,
            "namespace": guest.namespace,
            "labels": {**guest.labels, NODE_LABEL: guest.node},
            "finalizers": ["kubevirt.io/foregroundDeleteVirtualMachine"],
            "ownerReferences": [
                {
                    "apiVersion": "kubevirt.io/v1",
                    "kind": "VirtualMachine",
                    "name": guest.name,
                    "uid": machine["metadata"]["uid"],
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": {"architecture": "amd64", "domain": _domain(guest), "evictionStrategy": "LiveMigrate"},
        "status": {
            "phase": "Running",
            "nodeName": guest.node,
            "migrationMethod": "LiveMigration",
            "migrationTransport": "Unix",
            "selinuxContext": "none",
            "conditions": [{"lastProbeTime": None, "lastTransitionTime": since, **each} for each in kinds],
        },
    }


def _source_pod(instance: Object, kubevirt: Object, node: str) -> Object:
    pod = launcher(instance, kubevirt)
    pod["spec"]["nodeName"] = node
    ready = {"status": "True", "lastProbeTime": None, "lastTransitionTime": None}
    pod["status"] = {
        "phase": "Running",
        "podIP": "10.0.0.1",
        "containerStatuses": [{"name": "compute", "ready": True, "state": {"running": {}}}],
        "conditions": [{"type": UNPAUSED_GATE, **ready}, {"type": "Ready", **ready}],
    }
    return pod
