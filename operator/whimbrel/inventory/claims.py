"""Claims: which of several plans has a virtual machine. The older one; but what has begun stays where it began."""

from collections.abc import Iterator, Mapping
from datetime import datetime

from whimbrel.api.virtual_machine_move import TERMINAL_PHASES, MovePhase
from whimbrel.domain.naming import LABEL_INSTANCE_UID, LABEL_PLAN_UID
from whimbrel.domain.records import Key, Move, Plan
from whimbrel.inventory.selection import Selection
from whimbrel.inventory.snapshot import Snapshot

_NOT_BEGUN = frozenset({MovePhase.BLOCKED, MovePhase.WAITING})


def claims(snapshot: Snapshot, selections: Mapping[Key, Selection]) -> Mapping[str, str]:
    """By instance UID the UID of the plan that has it; `selections` by key of the plan.

    Claimants are plans that may still act (valid, unfinished, neither deleting nor a dry run), by selection or by an
    unfinished move. A plan of any state keeps what it has begun and not finished: an attempt spent, or a migration of it
    in flight. Among equals the older has it: creation time, then UID.
    """
    ranked: dict[str, tuple[bool, datetime, str]] = {}

    def claim(instance_uid: str, rank: tuple[bool, datetime, str]) -> None:
        if instance_uid and (instance_uid not in ranked or rank < ranked[instance_uid]):
            ranked[instance_uid] = rank

    plans = {plan.uid: plan for plan in snapshot.plans.values()}
    acting = {uid for uid, plan in plans.items() if _acts(plan)}
    done = {
        (move.plan_uid, move.instance_uid)
        for move in snapshot.moves.values()
        if move.move.status.phase in TERMINAL_PHASES
    }
    for key, selection in selections.items():
        plan = snapshot.plans.get(key)
        if plan is not None and plan.uid in acting:
            for instance in selection.instances:
                if (plan.uid, instance.uid) not in done:
                    claim(instance.uid, (True, plan.created_at, plan.uid))
    for move in snapshot.moves.values():
        if move.move.status.phase in TERMINAL_PHASES:
            continue
        owner, begun = plans.get(move.plan_uid), _begun(move)
        if begun or move.plan_uid in acting:
            claim(move.instance_uid, (not begun, owner.created_at if owner else move.created_at, move.plan_uid))
    for instance_uid, plan_uid in _in_flight(snapshot):
        owner = plans.get(plan_uid)
        if owner is not None:
            claim(instance_uid, (False, owner.created_at, plan_uid))
    return {instance_uid: plan_uid for instance_uid, (_, _, plan_uid) in ranked.items()}


def _acts(plan: Plan) -> bool:
    return (
        plan.plan is not None
        and not plan.deleting
        and not plan.plan.spec.dry_run
        and plan.plan.status.finished_at is None
    )


def _begun(move: Move) -> bool:
    return bool(move.move.status.history) or move.move.status.phase not in _NOT_BEGUN


def _in_flight(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    """(instance UID, plan UID) of migrations of ours that have not ended."""
    for migration in snapshot.migrations.values():
        if not migration.final and LABEL_PLAN_UID in migration.labels:
            yield migration.labels.get(LABEL_INSTANCE_UID, ""), migration.labels[LABEL_PLAN_UID]
