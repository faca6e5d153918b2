"""The evidence about one move, and the phase that follows from it.

Phases in flight are never stored: they are what the migration and the instance show. Called by `engine` and `status`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from whimbrel.api.virtual_machine_move import TERMINAL_PHASES, AttemptSpec, MovePhase
from whimbrel.domain import naming
from whimbrel.domain.records import Instance, Key, Migration, MigrationState, Move

IN_FLIGHT = frozenset(
    {
        MovePhase.STARTING,
        MovePhase.COPYING,
        MovePhase.STUNNED,
        MovePhase.POST_COPY,
        MovePhase.ABORTING,
        MovePhase.VERIFYING,
    }
)


@dataclass(frozen=True, slots=True)
class Evidence:
    """A move and what the cluster shows of it."""

    move: Move
    attempt: AttemptSpec | None
    """The current specification; None while the virtual machine cannot move."""
    migration: Migration | None
    """What stands under the name of the current attempt's migration, whoever made it."""
    instance: Instance | None
    """The instance of that name, whatever its UID."""
    moved_by_another: bool
    """Whether the instance's migration state is of a migration that stands under another name: somebody else's."""
    now: datetime

    @property
    def migration_key(self) -> Key:
        """Key of the current attempt's migration."""
        return migration_key(self.move, self.attempt.number if self.attempt else 1)

    @property
    def migration_is_ours(self) -> bool:
        """Whether the migration of that name is the current attempt: our labels, the instance and the target are equal."""
        return (
            self.migration is not None
            and self.attempt is not None
            and self.migration.labels.get(naming.LABEL_PLAN_UID) == self.move.plan_uid
            and self.migration.labels.get(naming.LABEL_INSTANCE_UID) == self.move.instance_uid
            and self.migration.labels.get(naming.LABEL_ATTEMPT) == str(self.attempt.number)
            and self.migration.instance_key == self.move.instance_key
            and self.migration.added_node_selector.get(naming.HOSTNAME_LABEL) == self.attempt.target_hostname
        )

    @property
    def same_guest(self) -> bool:
        """Whether the instance that was quoted is still there."""
        return self.instance is not None and self.instance.uid == self.move.instance_uid

    @property
    def abort_recorded(self) -> bool:
        """Whether an abort of the current attempt was recorded."""
        abort = self.move.move.status.abort
        return abort is not None and self.attempt is not None and abort.number == self.attempt.number

    @property
    def state(self) -> MigrationState | None:
        """The instance's migration state if it is of the current attempt, else None.

        With the migration gone, a state that is not the one seen when the attempt was decided, has its target, and is of
        no migration that is still there, is it.
        """
        state = self.instance.migration if self.instance is not None and self.same_guest else None
        if state is None or self.attempt is None:
            return None
        if self.migration is not None:
            return state if self.migration_is_ours and state.migration_uid == self.migration.uid else None
        changed = state.migration_uid != self.attempt.previous_migration_uid and not self.moved_by_another
        return state if changed and state.target_node == self.attempt.target_node else None

    @property
    def spent(self) -> bool:
        """Whether the current attempt was begun: its migration is there, or left a trace."""
        return self.migration is not None or self.abort_recorded or self.state is not None

    @property
    def label_on_instance(self) -> str:
        """Value of the reserved migration label on the instance, or empty."""
        return self.instance.labels.get(naming.LABEL_MIGRATION, "") if self.instance is not None else ""


def migration_key(move: Move, attempt: int) -> Key:
    """Key of the migration of that attempt."""
    reference = move.move.spec.instance
    return Key(reference.namespace, naming.migration_name(move.plan_uid, reference.name, reference.uid, attempt))


def gather(
    move: Move,
    migrations: Mapping[Key, Migration],
    names_by_uid: Mapping[str, Key],
    instances: Mapping[Key, Instance],
    now: datetime,
) -> Evidence:
    """The evidence about a move among all migrations and instances; `names_by_uid`: the keys of the same migrations."""
    attempt = move.move.status.attempt or move.move.spec.attempt
    key = migration_key(move, attempt.number) if attempt else None
    instance = instances.get(move.instance_key)
    state = instance.migration if instance is not None else None
    handed_off = names_by_uid.get(state.migration_uid) if state is not None else None
    return Evidence(
        move=move,
        attempt=attempt,
        migration=migrations.get(key) if key else None,
        instance=instance,
        moved_by_another=handed_off is not None and handed_off != key,
        now=now,
    )


def phase_of(evidence: Evidence) -> MovePhase:
    """The phase that follows from the evidence."""
    stored = evidence.move.move.status.phase
    if stored in TERMINAL_PHASES:
        return stored
    if evidence.attempt is None:
        return MovePhase.BLOCKED
    migration, state = evidence.migration, evidence.state
    if migration is None:
        return MovePhase.VERIFYING if evidence.spent else _not_begun(stored)
    if not evidence.migration_is_ours or migration.final or (state is not None and (state.completed or state.failed)):
        return MovePhase.VERIFYING
    if state is not None and state.mode == "PostCopy":
        return MovePhase.POST_COPY
    if migration.deleting or evidence.abort_recorded or (state is not None and state.abort_requested):
        return MovePhase.ABORTING
    if state is None:
        return MovePhase.STARTING
    return MovePhase.STUNNED if state.mode == "Paused" else MovePhase.COPYING


def _not_begun(stored: MovePhase) -> MovePhase:
    return MovePhase.BLOCKED if stored == MovePhase.BLOCKED else MovePhase.WAITING
