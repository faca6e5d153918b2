"""Builders of records of KubeVirt's and Kubernetes' objects; tests import them from `support.builders`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from whimbrel.domain.naming import HOSTNAME_LABEL
from whimbrel.domain.records import (
    Capabilities,
    Condition,
    CpuDemand,
    Instance,
    Key,
    KubeVirt,
    Migration,
    MigrationConfiguration,
    MigrationState,
    Namespace,
    Node,
    Pod,
    Policy,
    Taint,
    VirtualMachine,
)

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
"""The instant at which builders' snapshots are taken."""
BORN = NOW - timedelta(days=1)
"""When builders' objects were created."""

GIB = 1024**3
MIB = 1024**2

LIVE_MIGRATABLE = Condition("True")


def node_labels(name: str = "node-1") -> dict[str, str]:
    """Labels of a node as KubeVirt's node labeller leaves them."""
    return {
        HOSTNAME_LABEL: name,
        "kubernetes.io/arch": "amd64",
        "kubevirt.io/schedulable": "true",
        "cpu-vendor.node.kubevirt.io/Intel": "true",
        "host-model-cpu.node.kubevirt.io/Cascadelake-Server": "true",
        "host-model-required-features.node.kubevirt.io/vmx": "true",
        "cpu-model.node.kubevirt.io/Haswell": "true",
        "cpu-model.node.kubevirt.io/Cascadelake-Server": "true",
        "cpu-model-migration.node.kubevirt.io/Haswell": "true",
        "cpu-model-migration.node.kubevirt.io/Cascadelake-Server": "true",
        "cpu-feature.node.kubevirt.io/vmx": "true",
        "cpu-feature.node.kubevirt.io/aes": "true",
    }


def a_node(
    name: str = "node-1",
    *,
    labels: Mapping[str, str] | None = None,
    without: Iterable[str] = (),
    ready: bool = True,
    unschedulable: bool = False,
    taints: Sequence[Taint] = (),
    memory_bytes: int = 64 * GIB,
    cpu_millicores: int = 32_000,
    pods: int = 110,
    architecture: str = "amd64",
    heartbeat_at: datetime | None = NOW,
) -> Node:
    """A healthy node with KubeVirt's labels; `labels` are added, the keys `without` removed."""
    every = node_labels(name) | {"kubernetes.io/arch": architecture} | dict(labels or {})
    return Node(
        key=Key("", name),
        uid=f"uid-node-{name}",
        labels={key: value for key, value in every.items() if key not in set(without)},
        ready=ready,
        unschedulable=unschedulable,
        taints=tuple(taints),
        allocatable_memory_bytes=memory_bytes,
        allocatable_cpu_millicores=cpu_millicores,
        allocatable_pods=pods,
        heartbeat_at=heartbeat_at,
    )


def a_namespace(name: str = "default", *, labels: Mapping[str, str] | None = None, deleting: bool = False) -> Namespace:
    """A namespace."""
    return Namespace(
        Key("", name),
        f"uid-namespace-{name}",
        {"kubernetes.io/metadata.name": name} | dict(labels or {}),
        deleting,
    )


def a_virtual_machine(
    name: str = "db1",
    namespace: str = "default",
    *,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    running: bool = True,
) -> VirtualMachine:
    """A VirtualMachine that is meant to run."""
    return VirtualMachine(Key(namespace, name), f"uid-vm-{name}", dict(labels or {}), dict(annotations or {}), running)


def a_migration_state(
    migration_uid: str,
    source: str = "node-1",
    target: str = "node-2",
    *,
    mode: str = "PreCopy",
    target_pod: str = "",
    started_at: datetime | None = NOW,
    ended_at: datetime | None = None,
    completed: bool = False,
    failed: bool = False,
    failure_reason: str = "",
    abort_requested: bool = False,
    abort_status: str = "",
    policy_name: str = "",
    configuration: MigrationConfiguration | None = None,
) -> MigrationState:
    """`status.migrationState` of an instance whose memory is being copied."""
    return MigrationState(
        migration_uid=migration_uid,
        source_node=source,
        target_node=target,
        target_pod=target_pod,
        mode=mode,
        started_at=started_at,
        ended_at=ended_at,
        completed=completed,
        failed=failed,
        failure_reason=failure_reason,
        abort_requested=abort_requested,
        abort_status=abort_status,
        policy_name=policy_name,
        configuration=configuration if configuration is not None else KUBEVIRT_CONFIGURATION,
    )


def an_instance(
    name: str = "db1",
    namespace: str = "default",
    *,
    uid: str = "",
    node: str = "node-1",
    created_at: datetime = BORN,
    deleting: bool = False,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    phase: str = "Running",
    active_pods: Sequence[tuple[str, str]] | None = None,
    live_migratable: Condition | None = LIVE_MIGRATABLE,
    paused: Condition | None = None,
    agent_connected: bool = False,
    memory_bytes: int = GIB,
    architecture: str = "amd64",
    cpu_model: str = "host-model",
    cpu_features: Sequence[tuple[str, str]] = (),
    node_selector: Mapping[str, str] | None = None,
    owner_vm: str | None = None,
    evacuation_node: str = "",
    block_migration: bool = False,
    migration: MigrationState | None = None,
    resource_version: str = "1",
) -> Instance:
    """A running guest of 1 GiB on node-1, owned by a VirtualMachine of its name (`owner_vm=""`: bare)."""
    uid = uid or f"uid-{namespace}-{name}"
    return Instance(
        key=Key(namespace, name),
        uid=uid,
        created_at=created_at,
        deleting=deleting,
        labels=dict(labels or {}),
        annotations=dict(annotations or {}),
        phase=phase,
        node=node,
        active_pods=tuple(active_pods) if active_pods is not None else ((f"pod-{uid}", node),),
        live_migratable=live_migratable,
        paused=paused,
        agent_connected=agent_connected,
        memory_bytes=memory_bytes,
        architecture=architecture,
        cpu=CpuDemand(cpu_model, tuple(sorted(cpu_features))),
        node_selector=dict(node_selector or {}),
        owner_vm=name if owner_vm is None else owner_vm,
        evacuation_node=evacuation_node,
        local_disk_bytes=None if block_migration else 0,
        migration=migration,
        resource_version=resource_version,
    )


def a_pod(
    name: str = "web",
    namespace: str = "default",
    *,
    uid: str = "",
    node: str = "node-1",
    labels: Mapping[str, str] | None = None,
    phase: str = "Running",
    deleting: bool = False,
    memory_bytes: int = GIB,
    cpu_millicores: int = 100,
    instance_uid: str = "",
    migration_uid: str = "",
    handler: bool = False,
    ip: str = "",
    metrics_port: int = 0,
) -> Pod:
    """A running pod that is nobody's launcher."""
    return Pod(
        key=Key(namespace, name),
        uid=uid or f"pod-{namespace}-{name}",
        labels=dict(labels or {}),
        node=node,
        phase=phase,
        deleting=deleting,
        memory_bytes=memory_bytes,
        cpu_millicores=cpu_millicores,
        instance_uid=instance_uid,
        migration_uid=migration_uid,
        handler=handler,
        ip=ip,
        metrics_port=metrics_port,
    )


def a_launcher(
    instance: Instance,
    *,
    node: str | None = None,
    migration_uid: str = "",
    memory_bytes: int | None = None,
    cpu_millicores: int = 100,
    phase: str = "Running",
) -> Pod:
    """The launcher of an instance; with `migration_uid` the target launcher of that migration."""
    name = f"virt-launcher-{instance.key.name}{'-' + migration_uid if migration_uid else ''}"
    return a_pod(
        name,
        instance.key.namespace,
        uid=f"pod-{instance.uid}{'-' + migration_uid if migration_uid else ''}",
        node=instance.node if node is None else node,
        labels={"kubevirt.io": "virt-launcher"},
        phase=phase,
        memory_bytes=instance.memory_bytes + 200 * MIB if memory_bytes is None else memory_bytes,
        cpu_millicores=cpu_millicores,
        instance_uid=instance.uid,
        migration_uid=migration_uid,
    )


def a_handler(node: str, *, ip: str = "127.0.1.1", metrics_port: int = 8443) -> Pod:
    """The virt-handler of a node."""
    return a_pod(
        f"virt-handler-{node}",
        "kubevirt",
        node=node,
        memory_bytes=357 * MIB,
        cpu_millicores=10,
        handler=True,
        ip=ip,
        metrics_port=metrics_port,
        labels={"kubevirt.io": "virt-handler"},
    )


def a_migration(
    instance: Instance,
    name: str = "",
    *,
    uid: str = "",
    phase: str = "Running",
    target: str = "",
    created_at: datetime = NOW,
    deleting: bool = False,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    final_at: datetime | None = None,
    handed_off: bool | None = None,
    resource_version: str = "1",
    deletion_requested_at: datetime | None = None,
) -> Migration:
    """A migration of the instance, nobody's in particular; `target` becomes its added node selector."""
    name = name or f"migrate-{instance.key.name}"
    return Migration(
        key=Key(instance.key.namespace, name),
        uid=uid or f"uid-migration-{name}",
        created_at=created_at,
        deleting=deleting or deletion_requested_at is not None,
        labels=dict(labels or {}),
        annotations=dict(annotations or {}),
        instance_name=instance.key.name,
        added_node_selector={HOSTNAME_LABEL: target} if target else {},
        phase=phase,
        final_at=final_at,
        handed_off=phase in ("PreparingTarget", "TargetReady", "Running", "Succeeded")
        if handed_off is None
        else handed_off,
        resource_version=resource_version,
        deletion_requested_at=deletion_requested_at,
    )


KUBEVIRT_CONFIGURATION = MigrationConfiguration(
    bandwidth_bytes_per_second=0,
    completion_timeout_per_gib=150,
    allow_auto_converge=False,
    allow_post_copy=False,
    allow_workload_disruption=False,
    progress_timeout_s=150,
)
"""KubeVirt's own defaults."""


CAPABILITIES = Capabilities(
    added_node_selector=True,
    policy_fields=frozenset(
        {
            "selectors",
            "allowAutoConverge",
            "allowPostCopy",
            "allowWorkloadDisruption",
            "bandwidthPerMigration",
            "completionTimeoutPerGiB",
        }
    ),
)
"""What KubeVirt 1.6 can be told."""
KUBEVIRT_1_5 = replace(CAPABILITIES, added_node_selector=False)
KUBEVIRT_1_4 = replace(KUBEVIRT_1_5, policy_fields=KUBEVIRT_1_5.policy_fields - {"allowWorkloadDisruption"})


def a_kubevirt(
    *,
    phase: str = "Deployed",
    version: str = "v1.9.0",
    updating: bool = False,
    configuration: MigrationConfiguration = KUBEVIRT_CONFIGURATION,
    per_cluster: int = 5,
    outbound_per_node: int = 2,
    cpu_model: str = "",
    feature_gates: Iterable[str] = (),
) -> KubeVirt:
    """A healthy KubeVirt 1.9 with default configuration."""
    return KubeVirt(
        key=Key("kubevirt", "kubevirt"),
        uid="uid-kubevirt",
        phase=phase,
        version=version,
        updating=updating,
        configuration=configuration,
        parallel_migrations_per_cluster=per_cluster,
        parallel_outbound_per_node=outbound_per_node,
        cpu_model=cpu_model,
        feature_gates=frozenset(feature_gates),
    )


def a_policy(
    name: str = "policy",
    *,
    ours: bool = False,
    instance_pairs: Mapping[str, str] | None = None,
    namespace_pairs: Mapping[str, str] | None = None,
    configuration: MigrationConfiguration | None = None,
    created_at: datetime = BORN,
) -> Policy:
    """A MigrationPolicy; without pairs it has no selectors at all and so matches nothing."""
    return Policy(
        key=Key("", name),
        uid=f"uid-policy-{name}",
        ours=ours,
        instance_pairs=instance_pairs,
        namespace_pairs=namespace_pairs,
        configuration=configuration or MigrationConfiguration(),
        created_at=created_at,
    )
