"""What must not lie about: labels, migrations and policies of ours without a current attempt."""

from collections.abc import Iterator, Set
from dataclasses import replace
from datetime import timedelta

from whimbrel.api.virtual_machine_move import TERMINAL_PHASES
from whimbrel.domain import naming
from whimbrel.domain.decision import Delete, Write
from whimbrel.domain.records import Instance, Key, Migration, Move
from whimbrel.domain.resources import MIGRATION_POLICIES, VIRTUAL_MACHINE_MOVES
from whimbrel.ladder.attachment import labels_off, reserved_labels
from whimbrel.ladder.policy import MOST_POLICIES
from whimbrel.lifecycle import writes
from whimbrel.lifecycle.evidence import migration_key
from whimbrel.schedule.survey import Survey

ORPHAN_GRACE_S = 10
"""A migration younger than this is not judged an orphan: its move may not have reached us yet."""


def sweep(survey: Survey, starting: Set[str]) -> Iterator[Write]:
    """Deletes and label removals. `starting`: names of migrations whose labels must stay."""
    snapshot = survey.snapshot
    policies_on_instances: set[str] = set()
    carrying = {key: own for key, instance in snapshot.instances.items() if (own := reserved_labels(instance))}
    for key, own in sorted(carrying.items()):
        policies_on_instances.update(own.values())
        write = labels_off(snapshot.instances[key])
        if own.get(naming.LABEL_MIGRATION) not in starting and write is not None:
            yield write
    for key in sorted(snapshot.migrations):
        migration = snapshot.migrations[key]
        ours = naming.is_our_migration(key.name, migration.instance_name, migration.labels)
        if ours and not migration.final and not migration.deleting:
            yield from _orphan(migration, survey)
    yield from _unused_policies(survey, policies_on_instances, starting)


def _orphan(migration: Migration, survey: Survey) -> Iterator[Delete]:
    """Delete a migration of ours without a current attempt, unless its guest is in post-copy or has arrived already."""
    snapshot = survey.snapshot
    instance = snapshot.instances.get(migration.instance_key)
    if _must_not_be_aborted(migration, instance):
        return
    if snapshot.now - migration.created_at < timedelta(seconds=ORPHAN_GRACE_S):
        return
    plan_namespace = migration.annotations.get(naming.ANNOTATION_PLAN, "/").split("/")[0]
    key = Key(plan_namespace, migration.annotations.get(naming.ANNOTATION_MOVE, ""))
    move = snapshot.moves.get(key)
    if move is None:
        gone = (VIRTUAL_MACHINE_MOVES, key)
        yield replace(writes.delete_migration(migration, f"its move {key} is gone"), unless_exists=gone)
    elif not _is_current(migration, move):
        yield writes.delete_migration(migration, f"its move {key} is finished or at another attempt")
    elif instance is not None and instance.uid != move.instance_uid:
        yield writes.delete_migration(migration, f"{migration.instance_key} is another guest now")


def _is_current(migration: Migration, move: Move) -> bool:
    attempt = move.move.status.attempt or move.move.spec.attempt
    return (
        move.move.status.phase not in TERMINAL_PHASES
        and attempt is not None
        and migration_key(move, attempt.number) == migration.key
    )


def _must_not_be_aborted(migration: Migration, instance: Instance | None) -> bool:
    """Post-copy is irrevocable; and what the nodes have ended, KubeVirt is about to call ended by itself."""
    state = instance.migration if instance is not None else None
    return (
        state is not None
        and state.migration_uid == migration.uid
        and (state.mode == "PostCopy" or state.completed or state.failed)
    )


def _unused_policies(survey: Survey, on_instances: Set[str], starting: Set[str]) -> Iterator[Delete]:
    """Policies of ours that no label names, nor any attempt that may still begin; not asked further than it takes to know.

    At the bound only what starts now keeps its policy: what waits has it made anew, else moves could wait for one another.
    """
    policies = survey.snapshot.policies
    ours = {key.name for key, policy in policies.items() if policy.ours}
    unused, crowded = ours - on_instances, len(ours) >= MOST_POLICIES
    for move in survey.snapshot.moves.values() if unused else ():
        attempt = move.move.status.attempt or move.move.spec.attempt
        if attempt is not None and move.move.status.phase not in TERMINAL_PHASES:
            if not crowded or migration_key(move, attempt.number).name in starting:
                unused.discard(attempt.policy_name)
            if not unused:
                break
    for key in sorted(policies):
        if policies[key].ours and key.name in unused:
            yield Delete(MIGRATION_POLICIES, key, policies[key].uid, "no move needs it any more")
