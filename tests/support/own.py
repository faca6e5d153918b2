"""Builders of records of our own kinds; tests import them from `support.builders`."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from support.foreign import BORN, GIB, MIB, NOW
from whimbrel.api import HostProfile, MigrationPlan, VirtualMachineMove
from whimbrel.api.host_profile import NodeSelection
from whimbrel.api.scalars import format_timestamp
from whimbrel.domain.naming import move_name
from whimbrel.domain.records import Instance, Key, Move, Plan, Profile


def a_profile(
    name: str = "standard",
    *,
    node_selector: Mapping[str, str] | None = None,
    node_names: Sequence[str] | None = None,
    enabled: bool = True,
    link_speed_mbps: int = 1000,
    network: Mapping[str, Any] | None = None,
    outbound: int = 2,
    inbound: int = 2,
    share_percent: int = 100,
    baseline: str = "",
    performance_counters: str = "",
    status: Mapping[str, Any] | None = None,
    error: str = "",
    created_at: datetime = BORN,
) -> Profile:
    """A HostProfile that enables migration on all nodes; with `error` one that breaks a rule."""
    document = {
        "spec": {
            "nodeSelector": dict(node_selector or {}),
            "nodeNames": node_names,
            "migration": {
                "enabled": enabled,
                "network": {"linkSpeedMbps": link_speed_mbps, **(network or {})},
                "limits": {"parallelOutbound": outbound, "parallelInbound": inbound, "sharePercent": share_percent},
            },
            "cpu": {"baseline": baseline or None, "performanceCounters": performance_counters or None},
        },
        "status": dict(status or {}),
    }
    return Profile(
        key=Key("", name),
        uid=f"uid-profile-{name}",
        generation=1,
        resource_version="1",
        created_at=created_at,
        profile=None if error else HostProfile.model_validate(document),
        selection=NodeSelection.model_validate(document["spec"]),
        error=error,
    )


def a_plan(
    name: str = "plan",
    namespace: str = "default",
    *,
    uid: str = "",
    virtual_machines: Mapping[str, Any] | None = None,
    target: Mapping[str, Any] | None = None,
    migration: Mapping[str, Any] | None = None,
    approval: str = "Automatic",
    suspend: bool = False,
    dry_run: bool = False,
    status: Mapping[str, Any] | None = None,
    generation: int = 1,
    created_at: datetime = BORN,
    deleting: bool = False,
    finalizers: Sequence[str] = (),
    approved_hash: str = "",
    resource_version: str = "1",
    error: str = "",
) -> Plan:
    """A plan that empties node-1. Parts are JSON as a user writes it; with `error` one that breaks a rule."""
    document = {
        "spec": {
            "virtualMachines": dict(virtual_machines or {"onNodes": {"names": ["node-1"]}}),
            "target": dict(target or {}),
            "migration": dict(migration or {}),
            "approval": approval,
            "suspend": suspend,
            "dryRun": dry_run,
        },
        "status": dict(status or {}),
    }
    return Plan(
        key=Key(namespace, name),
        uid=uid or f"uid-plan-{name}",
        generation=generation,
        resource_version=resource_version,
        created_at=created_at,
        deleting=deleting,
        finalizers=tuple(finalizers),
        approved_hash=approved_hash,
        plan=None if error else MigrationPlan.model_validate(document),
        error=error,
    )


def an_attempt(
    number: int = 1,
    *,
    rung: str = "PreCopy",
    source: str = "node-1",
    target: str = "node-2",
    hostname: str = "",
    bandwidth_bytes_per_second: int = 59 * MIB,
    completion_timeout_per_gib: int = 50,
    policy_name: str = "whimbrel-0123456789abcdef",
    policy_labels: int = 1,
    deadline_seconds: int = 100,
    previous_migration_uid: str = "",
    budget_ms: int | None = None,
    unattended_downtime_ms: int | None = None,
) -> dict[str, Any]:
    """The specification of an attempt, as JSON."""
    forecast: dict[str, Any] = {"durationSeconds": 18, "bytes": GIB}
    if budget_ms is not None:
        forecast["budgetMs"] = budget_ms
    if unattended_downtime_ms is not None:
        forecast["unattendedDowntimeMs"] = unattended_downtime_ms
    return {
        "number": number,
        "rung": rung,
        "sourceNode": source,
        "targetNode": target,
        "targetHostname": hostname or target,
        "configuration": {
            "bandwidthBytesPerSecond": bandwidth_bytes_per_second,
            "completionTimeoutPerGib": completion_timeout_per_gib,
            "allowWorkloadDisruption": rung == "Stun",
        },
        "policyName": policy_name,
        "policyLabels": policy_labels,
        "deadlineSeconds": deadline_seconds,
        "previousMigrationUID": previous_migration_uid,
        "forecast": forecast,
    }


def a_move(
    plan: Plan,
    instance: Instance,
    *,
    target: str = "node-2",
    phase: str = "Waiting",
    attempt: Mapping[str, Any] | None = None,
    blocked: bool = False,
    rungs: Sequence[str] = ("PreCopy",),
    status: Mapping[str, Any] | None = None,
    finished_at: datetime | None = None,
    deleting: bool = False,
    generation: int = 1,
    resource_version: str = "1",
    created_at: datetime = NOW,
) -> Move:
    """A move of the plan for the instance; `blocked`: without an attempt. `status` is JSON."""
    specification = None if blocked else dict(attempt or an_attempt(source=instance.node, target=target))
    state: dict[str, Any] = {"phase": "Blocked" if blocked else phase, **dict(status or {})}
    if finished_at is not None:
        state["finishedAt"] = format_timestamp(finished_at)
    document = {
        "spec": {
            "instance": {
                "namespace": instance.key.namespace,
                "name": instance.key.name,
                "uid": instance.uid,
                "memoryBytes": instance.memory_bytes,
            },
            "planGeneration": plan.generation,
            "attempt": specification,
            "rungs": list(rungs),
        },
        "status": state,
    }
    name = move_name(plan.key.name, plan.uid, instance.key.name, instance.uid)
    return Move(
        key=Key(plan.key.namespace, name),
        uid=f"uid-move-{name}",
        generation=generation,
        resource_version=resource_version,
        created_at=created_at,
        deleting=deleting,
        plan_uid=plan.uid,
        plan_name=plan.key.name,
        move=VirtualMachineMove.model_validate(document),
    )
