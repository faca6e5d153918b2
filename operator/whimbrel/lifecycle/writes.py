"""The complete writes of one move, each with its fence.

The migration is built from the specification as the server returned it, never from the decision in hand. Migrations
carry labels and UIDs, never owner references: garbage collection would be an unguarded abort.
"""

from collections.abc import Mapping
from typing import Any

from whimbrel.api.migration_plan import FINALIZER, MigrationPlan
from whimbrel.api.virtual_machine_move import (
    AttemptSpec,
    VirtualMachineMoveSpec,
    VirtualMachineMoveStatus,
)
from whimbrel.domain import naming
from whimbrel.domain.decision import Create, Delete, JsonPatch, LiveGuard, ReplaceSpec, ReplaceStatus
from whimbrel.domain.records import Instance, Key, Migration, Move, Plan
from whimbrel.domain.resources import MIGRATION_PLANS, MIGRATIONS, VIRTUAL_MACHINE_MOVES
from whimbrel.lifecycle.evidence import migration_key

UNSCHEDULABLE_TIMEOUT = "kubevirt.io/migrationUnschedulablePodTimeoutSeconds"
PENDING_TIMEOUT = "kubevirt.io/migrationPendingPodTimeoutSeconds"
"""KubeVirt's annotations of a migration: after so long it gives up its target pod (KubeVirt contract §1.4, §6.4)."""


def add_finalizer(plan: Plan) -> JsonPatch:
    """The plan's finalizer, which precedes its first move: moves and their budgets outlive what they guard."""
    operations: list[dict[str, Any]] = [
        {"op": "test", "path": "/metadata/uid", "value": plan.uid},
        {"op": "test", "path": "/metadata/resourceVersion", "value": plan.resource_version},
        {"op": "add", "path": "/metadata/finalizers", "value": [*plan.finalizers, FINALIZER]},
    ]
    return JsonPatch(MIGRATION_PLANS, plan.key, operations, "guard its moves against the plan's deletion")


def remove_finalizer(plan: Plan) -> JsonPatch:
    """Release the plan: nothing of it is in flight."""
    at = plan.finalizers.index(FINALIZER)
    operations = [
        {"op": "test", "path": "/metadata/uid", "value": plan.uid},
        {"op": "test", "path": f"/metadata/finalizers/{at}", "value": FINALIZER},
        {"op": "remove", "path": f"/metadata/finalizers/{at}"},
    ]
    return JsonPatch(MIGRATION_PLANS, plan.key, operations, "nothing of it is in flight")


def move_key(plan: Plan, instance: Instance) -> Key:
    """Key of the move of this instance under this plan; it lives in the plan's namespace."""
    return Key(plan.key.namespace, naming.move_name(plan.key.name, plan.uid, instance.key.name, instance.uid))


def create_move(plan: Plan, key: Key, spec: VirtualMachineMoveSpec) -> Create:
    """The quoted move, owned by its plan."""
    owner = {
        "apiVersion": MigrationPlan.CRD.api_version,
        "kind": MigrationPlan.CRD.kind,
        "name": plan.key.name,
        "uid": plan.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    body = {
        "apiVersion": VIRTUAL_MACHINE_MOVES.api_version,
        "kind": VIRTUAL_MACHINE_MOVES.kind,
        "metadata": {
            "name": key.name,
            "namespace": key.namespace,
            "labels": {naming.LABEL_PLAN_UID: plan.uid, naming.LABEL_INSTANCE_UID: spec.instance.uid},
            "ownerReferences": [owner],
        },
        "spec": spec.to_json(),
    }
    return Create(VIRTUAL_MACHINE_MOVES, key, body, f"quote {spec.instance.namespace}/{spec.instance.name}")


def _metadata(move: Move) -> dict[str, Any]:
    return {
        "name": move.key.name,
        "namespace": move.key.namespace,
        "uid": move.uid,
        "resourceVersion": move.resource_version,
    }


def requote_move(plan: Plan, move: Move, spec: VirtualMachineMoveSpec) -> ReplaceSpec:
    """The move under a new quote; only before its attempt has begun."""
    body = dict(create_move(plan, move.key, spec).body)
    body["metadata"] = {**body["metadata"], **_metadata(move)}
    return ReplaceSpec(VIRTUAL_MACHINE_MOVES, move.key, body, f"quote {move.instance_key} anew")


def delete_move(move: Move, why: str) -> Delete:
    """Delete a move that never began."""
    return Delete(VIRTUAL_MACHINE_MOVES, move.key, move.uid, why)


def move_status(move: Move, status: VirtualMachineMoveStatus, why: str) -> ReplaceStatus | None:
    """The move's status, or None where it already says so."""
    if status == move.move.status:
        return None
    body = {
        "apiVersion": VIRTUAL_MACHINE_MOVES.api_version,
        "kind": VIRTUAL_MACHINE_MOVES.kind,
        "metadata": _metadata(move),
        "spec": move.move.spec.to_json(),
        "status": status.to_json(),
    }
    return ReplaceStatus(VIRTUAL_MACHINE_MOVES, move.key, body, why)


def create_migration(move: Move, attempt: AttemptSpec, labels: Mapping[str, str]) -> Create:
    """The migration of an attempt, guarded by a live read of its instance, which must carry these reserved labels."""
    reference = move.move.spec.instance
    key = migration_key(move, attempt.number)
    annotations = {
        naming.ANNOTATION_PLAN: f"{move.key.namespace}/{move.plan_name}",
        naming.ANNOTATION_MOVE: move.key.name,
        naming.ANNOTATION_DEADLINE_S: str(attempt.deadline_seconds),
        naming.ANNOTATION_POST_COPY: naming.ALLOWED if attempt.configuration.allow_post_copy else naming.NEVER,
    }
    if attempt.configuration.max_downtime_ms is not None:
        annotations[naming.ANNOTATION_LAST_STEP_MS] = str(attempt.configuration.max_downtime_ms)
    if attempt.configuration.allow_workload_disruption and attempt.forecast.budget_ms is not None:
        annotations[naming.ANNOTATION_STUN] = naming.ALLOWED
        annotations[naming.ANNOTATION_BUDGET_MS] = str(attempt.forecast.budget_ms)
    for annotation, seconds in (
        (UNSCHEDULABLE_TIMEOUT, attempt.unschedulable_timeout_seconds),
        (PENDING_TIMEOUT, attempt.pending_timeout_seconds),
    ):
        if seconds is not None:
            annotations[annotation] = str(seconds)
    spec: dict[str, Any] = {"vmiName": reference.name}
    if attempt.names_target:
        spec["addedNodeSelector"] = {naming.HOSTNAME_LABEL: attempt.target_hostname}
    body = {
        "apiVersion": MIGRATIONS.api_version,
        "kind": MIGRATIONS.kind,
        "metadata": {
            "name": key.name,
            "namespace": key.namespace,
            "labels": {
                naming.LABEL_MANAGED: "true",
                naming.LABEL_PLAN_UID: move.plan_uid,
                naming.LABEL_INSTANCE_UID: reference.uid,
                naming.LABEL_ATTEMPT: str(attempt.number),
            },
            "annotations": annotations,
        },
        "spec": spec,
    }
    guard = LiveGuard(
        instance=move.instance_key,
        uid=reference.uid,
        node=attempt.source_node,
        labels=labels,
    )
    return Create(MIGRATIONS, key, body, f"{move.instance_key}: attempt {attempt.number}, {attempt.rung}", guard)


def delete_migration(migration: Migration, why: str) -> Delete:
    """Ask KubeVirt to abort a migration of ours."""
    return Delete(MIGRATIONS, migration.key, migration.uid, why, unless_post_copy=migration.instance_key)
