"""What virt-handler writes on the source and the target node. Each function returns the instance as it should be stored.

They change only their own members; the caller reads, applies, replaces, and repeats after a conflict.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from whimbrel.simulation.kubevirt.migratability import conditions, migration_method
from whimbrel.simulation.kubevirt.values import (
    EVICTION_SOURCE_ANNOTATION,
    NODE_LABEL,
    TARGET_NODE_LABEL,
    Object,
    clone,
    name,
    phase_entered,
    set_label,
    spec,
    status,
    timestamp,
    with_condition,
    without_condition,
)

ABORTED = "Live migration has been aborted"
FILESYSTEM_OVERHEAD = "0.055"
"""KubeVirt's default share of a file system that its own tables take."""
LIBVIRT_ROLE, MEMORY_ROLE, BLOCK_ROLE = 0, 49152, 49153


def guest_running(
    instance: Object,
    node: Mapping[str, Any],
    now: datetime,
    *,
    kubevirt: Mapping[str, Any] | None = None,
    address: str = "",
    claims: Mapping[str, Mapping[str, Any]] | None = None,
    agent: bool = False,
) -> Object:
    """The guest was started; `claims` are the volume claims by name, `agent`: a guest agent answers."""
    running: Object = clone(instance)
    members = running["status"]
    phase_entered(running, "Running", now)
    if volumes := _volume_status(running, claims or {}):
        members["volumeStatus"] = volumes
    members["conditions"] = conditions(running, node, now, kubevirt)
    if agent:
        members["conditions"] = with_condition(members["conditions"], "AgentConnected", "True", now)
    members["migrationMethod"] = migration_method(running)
    members["selinuxContext"] = "none"
    members["machine"] = {"type": (spec(running)["domain"].get("machine") or {}).get("type", "q35")}
    members["interfaces"] = _interfaces(running, address)
    return running


def target_prepared(instance: Object, address: str, ports: Sequence[int]) -> Object:
    """The target's launcher and proxies listen: on two ports, on three when disks are copied too."""
    prepared: Object = clone(instance)
    roles = [LIBVIRT_ROLE, MEMORY_ROLE]
    if prepared["status"].get("migrationMethod") == "BlockMigration":
        roles.append(BLOCK_ROLE)
    prepared["status"]["migrationState"].update(
        targetNodeAddress=address,
        targetDirectMigrationNodePorts={str(port): role for port, role in zip(ports, roles, strict=False)},
    )
    return prepared


def started(instance: Object, now: datetime) -> Object:
    """The source's launcher began to copy."""
    begun: Object = clone(instance)
    begun["status"]["migrationState"].update(startTimestamp=timestamp(now), mode="PreCopy")
    return begun


def mode_changed(instance: Object, mode: str) -> Object:
    """The monitor suspended the guest or switched to post-copy."""
    changed: Object = clone(instance)
    changed["status"]["migrationState"]["mode"] = mode
    return changed


def abort_progress(instance: Object, abort_status: str) -> Object:
    """`Aborting` when the abort began, `Failed` when the hypervisor refused it."""
    changed: Object = clone(instance)
    changed["status"]["migrationState"]["abortStatus"] = abort_status
    return changed


def failed(instance: Object, now: datetime, reason: str, *, aborted: bool = False) -> Object:
    """The source reports the end without success; after an abort the reason is always the same."""
    ended: Object = clone(instance)
    state = ended["status"]["migrationState"]
    state.setdefault("startTimestamp", timestamp(now))
    state.update(completed=True, failed=True, endTimestamp=timestamp(now), failureReason=reason)
    if aborted:
        state["abortStatus"] = "Succeeded"
    return ended


def domain_seen(instance: Object, now: datetime) -> Object:
    """The target sees the guest, active."""
    seen: Object = clone(instance)
    seen["status"]["migrationState"].update(
        targetNodeDomainDetected=True, targetNodeDomainReadyTimestamp=timestamp(now)
    )
    return seen


def moved(instance: Object, now: datetime, address: str = "") -> Object:
    """The target takes the instance over: its node, its interfaces, the end of the migration; not yet completed."""
    over: Object = clone(instance)
    members = over["status"]
    target = members["migrationState"]["targetNode"]
    members["migrationState"]["endTimestamp"] = timestamp(now)
    members["nodeName"] = target
    set_label(over, NODE_LABEL, target)
    members.pop("evacuationNodeName", None)
    (over["metadata"].get("annotations") or {}).pop(EVICTION_SOURCE_ANNOTATION, None)
    members["migrationTransport"] = "Unix"
    members["interfaces"] = _interfaces(over, address)
    members.pop("migratedVolumes", None)
    members.pop("launcherContainerImageVersion", None)
    if overhead := members["migrationState"].get("targetMemoryOverhead"):
        members.setdefault("memory", {})["memoryOverhead"] = overhead
    kept = without_condition(members.get("conditions"), "MigrationRequired")
    members["conditions"] = without_condition(kept, "VolumesChange")
    return over


def completed(instance: Object) -> Object:
    """The target's last word."""
    done: Object = clone(instance)
    done["status"]["migrationState"]["completed"] = True
    return done


def released(instance: Object) -> Object:
    """The label that named the target node is taken away, after success and after failure."""
    free: Object = clone(instance)
    set_label(free, TARGET_NODE_LABEL, None)
    return free


def ended(instance: Object, now: datetime, phase: str = "Succeeded", reason: str = "") -> Object:
    """The guest is gone from its node."""
    over: Object = clone(instance)
    phase_entered(over, phase, now)
    if reason:
        over["status"]["reason"] = reason
    return over


def _interfaces(instance: Mapping[str, Any], address: str) -> list[Object]:
    devices = (spec(instance).get("domain") or {}).get("devices") or {}
    reported = []
    for index, interface in enumerate(devices.get("interfaces") or ()):
        one: Object = {"infoSource": "domain", "name": interface["name"], "podInterfaceName": f"eth{index}"}
        if index == 0 and address:
            one["ipAddress"] = address
            one["ipAddresses"] = [address]
        reported.append(one)
    return reported


def _volume_status(instance: Mapping[str, Any], claims: Mapping[str, Mapping[str, Any]]) -> list[Object]:
    listed = []
    for index, volume in enumerate(spec(instance).get("volumes") or ()):
        one: Object = {"name": volume["name"], "target": f"vd{chr(ord('a') + index)}"}
        claim = (volume.get("persistentVolumeClaim") or {}).get("claimName") or (volume.get("dataVolume") or {}).get(
            "name"
        )
        if claim is not None and claim in claims:
            one["persistentVolumeClaimInfo"] = _claim_info(claims[claim])
        listed.append(one)
    return sorted(listed, key=lambda one: str(one["name"]))


def _claim_info(claim: Mapping[str, Any]) -> Object:
    """What virt-controller tells of a claim, so that virt-handler need not ask for it."""
    wanted, bound = spec(claim), status(claim)
    info: Object = {"accessModes": list(wanted.get("accessModes") or ())}
    if capacity := bound.get("capacity"):
        info["capacity"] = clone(capacity)
    info.update(claimName=name(claim), filesystemOverhead=FILESYSTEM_OVERHEAD)
    if asked := (wanted.get("resources") or {}).get("requests"):
        info["requests"] = clone(asked)
    if mode := wanted.get("volumeMode"):
        info["volumeMode"] = mode
    return info
