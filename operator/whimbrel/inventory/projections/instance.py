"""VirtualMachineInstance: the guest, what it needs of a node, and how its migration stands (KubeVirt contract §2, §3)."""

from collections.abc import Mapping
from functools import lru_cache
from sys import intern

from whimbrel.domain.records import CpuDemand, Instance, MigrationState
from whimbrel.inventory.projections import configuration, reading
from whimbrel.inventory.projections.changes import changes
from whimbrel.inventory.projections.hardware import hardware
from whimbrel.inventory.projections.interfaces import interfaces
from whimbrel.inventory.projections.reading import Json
from whimbrel.inventory.projections.volumes import volumes

_SHARED_VOLUMES = frozenset({"persistentVolumeClaim", "dataVolume"})
_SMALL_VOLUMES = frozenset(
    {
        "cloudInitNoCloud",
        "cloudInitConfigDrive",
        "configMap",
        "secret",
        "serviceAccount",
        "downwardAPI",
        "downwardMetrics",
        "sysprep",
    }
)
SMALL_VOLUME_BYTES = 4 * 1024 * 1024
"""Bound for a disk that KubeVirt makes of a few documents: Kubernetes objects end at 1.5 MiB."""


def project(raw: Json) -> Instance | None:
    """The record of a VirtualMachineInstance; None for an object without a name."""
    key = reading.key_of(raw)
    if key is None:
        return None
    paused = reading.condition(raw, "Paused")
    agent = reading.condition(raw, "AgentConnected")
    decentralized = reading.condition(raw, "DecentralizedLiveMigrationFailure")
    held = volumes(raw)
    disk_bytes, complete = _local_disks(raw)
    return Instance(
        key=key,
        uid=reading.word(raw, "metadata", "uid"),
        created_at=reading.created_at(raw),
        deleting=reading.deleting(raw),
        labels=reading.labels_of(raw),
        annotations=reading.reserved(raw, "metadata", "annotations"),
        phase=reading.word(raw, "status", "phase"),
        node=reading.word(raw, "status", "nodeName"),
        active_pods=_active_pods(raw),
        live_migratable=reading.condition(raw, "LiveMigratable"),
        paused=paused if paused is not None and paused.status == "True" else None,
        agent_connected=agent is not None and agent.status == "True",
        memory_bytes=_guest_memory(raw),
        architecture=reading.word(raw, "spec", "architecture"),
        cpu=_cpu(raw),
        node_selector=reading.shared(reading.string_map(raw, "spec", "nodeSelector")),
        owner_vm=_owner(raw, key.name),
        evacuation_node=reading.word(raw, "status", "evacuationNodeName"),
        local_disk_bytes=disk_bytes if complete else None,
        migration=_migration_state(raw),
        resource_version=reading.text(raw, "metadata", "resourceVersion"),
        storage_live_migratable=reading.condition(raw, "StorageLiveMigratable"),
        hardware=hardware(raw),
        interfaces=interfaces(raw),
        volumes=held,
        changes=changes(raw),
        told_disk_bytes=disk_bytes,
        hotplugged=any(each.hotplugged for each in held),
        eviction_strategy=reading.word(raw, "spec", "evictionStrategy"),
        selinux_told=_selinux_told(raw),
        decentralized_failure=decentralized if decentralized is not None and decentralized.status == "True" else None,
    )


def _selinux_told(raw: Json) -> bool:
    """Of a guest that came from another cluster the context at its source will do."""
    status = reading.member(raw, "status")
    came_with = reading.text(status, "migrationState", "sourceState", "selinuxContext")
    return bool(reading.text(status, "selinuxContext") or came_with)


def _active_pods(raw: Json) -> tuple[tuple[str, str], ...]:
    pods = reading.member(raw, "status", "activePods")
    return tuple(sorted((intern(str(uid)), reading.word(pods, uid)) for uid in pods))


def _guest_memory(raw: Json) -> int:
    """What KubeVirt boots the guest with: `memory.guest`, else the memory request, else the limit."""
    domain = reading.member(raw, "spec", "domain")
    return (
        reading.memory_bytes(domain, "memory", "guest")
        or reading.memory_bytes(domain, "resources", "requests", "memory")
        or reading.memory_bytes(domain, "resources", "limits", "memory")
    )


def _local_disks(raw: Json) -> tuple[int, bool]:
    """What the API tells of the sizes of disks that are copied, and whether that is all of them.

    KubeVirt calls any migration a BlockMigration whose guest has a disk that is no claim, be it only cloud-init.
    """
    if reading.word(raw, "status", "migrationMethod") != "BlockMigration":
        return 0, True
    migrated = {
        reading.word(each, "volumeName"): _claimed_bytes(reading.member(each, "sourcePVCInfo"))
        for each in reading.items(raw, "status", "migratedVolumes")
    }
    sizes = [_copied_bytes(volume, migrated) for volume in reading.items(raw, "spec", "volumes")]
    return sum(size or 0 for size in sizes), bool(sizes) and None not in sizes


def _copied_bytes(volume: Json, migrated: Mapping[str, int | None]) -> int | None:
    """Upper bound of what is copied of a volume; None where the API does not tell it."""
    name = reading.word(volume, "name")
    if name in migrated:
        return migrated[name]
    kinds = {str(member) for member in volume} - {"name"}
    if kinds <= _SHARED_VOLUMES or reading.flag(volume, "hostDisk", "shared"):
        return 0
    if kinds <= _SMALL_VOLUMES:
        return SMALL_VOLUME_BYTES
    return next((size for kind in ("emptyDisk", "hostDisk") if (size := _bytes(volume, kind, "capacity"))), None)


def _claimed_bytes(claim: Json) -> int | None:
    return _bytes(claim, "capacity", "storage") or _bytes(claim, "requests", "storage")


def _bytes(document: Json, *path: str) -> int | None:
    """A size; None where it is absent, malformed or nothing."""
    return reading.optional_bytes(document, *path) or None


@lru_cache(maxsize=512)
def _shared_cpu(model: str, features: tuple[tuple[str, str], ...]) -> CpuDemand:
    return CpuDemand(model, features)


def _cpu(raw: Json) -> CpuDemand:
    cpu = reading.member(raw, "spec", "domain", "cpu")
    features = ((reading.word(item, "name"), reading.word(item, "policy")) for item in reading.items(cpu, "features"))
    return _shared_cpu(reading.word(cpu, "model"), tuple(sorted(pair for pair in features if pair[0])))


def _owner(raw: Json, name: str) -> str:
    for reference in reading.items(raw, "metadata", "ownerReferences"):
        if reference.get("kind") == "VirtualMachine" and reading.word(reference, "apiVersion").startswith(
            "kubevirt.io/"
        ):
            owner = reading.text(reference, "name")
            return name if owner == name else owner
    return ""


def _migration_state(raw: Json) -> MigrationState | None:
    state = reading.member(raw, "status", "migrationState")
    if not state:
        return None
    resolved = reading.member(state, "migrationConfiguration")
    return MigrationState(
        migration_uid=reading.text(state, "migrationUid"),
        source_node=reading.word(state, "sourceNode"),
        target_node=reading.word(state, "targetNode"),
        target_pod=reading.text(state, "targetPod"),
        mode=reading.word(state, "mode"),
        started_at=reading.moment(state, "startTimestamp"),
        ended_at=reading.moment(state, "endTimestamp"),
        completed=reading.flag(state, "completed"),
        failed=reading.flag(state, "failed"),
        failure_reason=reading.text(state, "failureReason"),
        abort_requested=reading.flag(state, "abortRequested"),
        abort_status=reading.word(state, "abortStatus"),
        policy_name=reading.text(state, "migrationPolicyName"),
        configuration=configuration.project(resolved) if resolved else None,
    )
