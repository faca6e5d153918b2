"""The evidence about one move, and the phase that follows from it.

Phases in flight are never stored: they are what the migration and the instance show. Called by `engine` and `status`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from whimbrel.api.virtual_machine_move import TERMINAL_PHASES, AttemptSpec, MovePhase
from whimbrel.domain import naming
from whimbrel.domain.records import Instance, Key, Migration, MigrationState, Move

STARTED = "Started"
"""Reason in a move's status while its current attempt is known to have begun. The phase alone does not tell: it stays
Moving while a further attempt waits."""

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
    """A move, what the cluster shows of it, and what follows from that; made by `gather`.

    Of a move that is not in flight it serves later ticks too, as long as all records in it are the same.
    """

    move: Move
    attempt: AttemptSpec | None
    """The current specification; None while the virtual machine cannot move."""
    migration_key: Key
    """Key of the current attempt's migration."""
    migration: Migration | None
    """What stands under that key, whoever made it."""
    migration_is_ours: bool
    """Whether the migration of that name is the current attempt: our labels, the instance and the named target are equal."""
    instance: Instance | None
    """The instance of that name, whatever its UID."""
    same_guest: bool
    """Whether the instance that was quoted is still there."""
    state: MigrationState | None
    """The instance's migration state if it is of the current attempt, else None."""
    start_recorded: bool
    """Whether the begin of the current attempt was recorded."""
    abort_recorded: bool
    """Whether an abort of the current attempt was recorded."""
    now: datetime
    """When it was gathered; for a move in flight that is at this tick."""

    @property
    def spent(self) -> bool:
        """Whether the current attempt was begun: its migration is there, or left a trace."""
        return self.migration is not None or self.abort_recorded or self.state is not None

    @property
    def target_node(self) -> str:
        """Where the current attempt goes: where it was handed over to, else where it shall or is expected to."""
        shown = self.state.target_node if self.state is not None else ""
        return shown or (self.attempt.target_node if self.attempt is not None else "")

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
    recorded = move.move.status
    attempt = recorded.attempt or move.move.spec.attempt
    key = migration_key(move, attempt.number if attempt is not None else 1)
    migration = migrations.get(key) if attempt is not None else None
    ours = migration is not None and attempt is not None and _is_attempt(migration, move, attempt)
    instance = instances.get(move.instance_key)
    same_guest = instance is not None and instance.uid == move.instance_uid
    state = instance.migration if same_guest and instance is not None else None
    started = recorded.phase == MovePhase.MOVING and recorded.reason == STARTED
    aborted = recorded.abort is not None and attempt is not None and recorded.abort.number == attempt.number
    begun = started or aborted
    if state is not None and (attempt is None or not _is_of(state, attempt, migration, ours, key, names_by_uid, begun)):
        state = None
    return Evidence(
        move=move,
        attempt=attempt,
        migration_key=key,
        migration=migration,
        migration_is_ours=ours,
        instance=instance,
        same_guest=same_guest,
        state=state,
        start_recorded=started,
        abort_recorded=aborted,
        now=now,
    )


def _is_attempt(migration: Migration, move: Move, attempt: AttemptSpec) -> bool:
    return (
        migration.labels.get(naming.LABEL_PLAN_UID) == move.plan_uid
        and migration.labels.get(naming.LABEL_INSTANCE_UID) == move.instance_uid
        and migration.labels.get(naming.LABEL_ATTEMPT) == str(attempt.number)
        and migration.instance_key == move.instance_key
        and migration.added_node_selector.get(naming.HOSTNAME_LABEL)
        == (attempt.target_hostname if attempt.names_target else None)
    )


def _is_of(
    state: MigrationState,
    attempt: AttemptSpec,
    migration: Migration | None,
    ours: bool,
    key: Key,
    names_by_uid: Mapping[str, Key],
    begun: bool,
) -> bool:
    """Whether an instance's migration state is of the attempt whose migration is, or was, under this key.

    With the migration gone, a state that is not the one seen when the attempt was decided, has its target, and is of
    no migration that is still there, is it. Where the scheduler chose the target that says little: anybody's migration
    may have gone there. Then the attempt must have been recorded as begun, or the state show the attempt's own policy.
    An attempt without either is not known again: its guest is quoted from where it is now, never called moved by us.
    """
    if migration is not None:
        return ours and state.migration_uid == migration.uid
    return (
        state.migration_uid != attempt.previous_migration_uid
        and state.target_node in attempt.landing_nodes
        and (attempt.names_target or begun or bool(state.policy_name and state.policy_name == attempt.policy_name))
        and names_by_uid.get(state.migration_uid, key) == key
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
    if migration.deleting and evidence.instance is None:
        # KubeVirt deletes a migration whose instance is gone, and may leave its finalizer on.
        return MovePhase.VERIFYING
    if not evidence.migration_is_ours or migration.final or (state is not None and (state.completed or state.failed)):
        return MovePhase.VERIFYING
    if state is not None and state.mode == "PostCopy":
        return MovePhase.POST_COPY
    if migration.deleting or evidence.abort_recorded or (state is not None and state.abort_requested):
        return MovePhase.ABORTING
    if state is None or state.started_at is None:
        return MovePhase.STARTING
    stunned = state.mode == "Paused" and not _in_its_last_step(evidence.attempt)
    return MovePhase.STUNNED if stunned else MovePhase.COPYING


def _in_its_last_step(attempt: AttemptSpec) -> bool:
    """Whether a pause of this attempt is the end that every copy has: KubeVirt's stall detection tells of that one as well."""
    return attempt.configuration.under_stall_detection and attempt.forecast.budget_ms is None


def _not_begun(stored: MovePhase) -> MovePhase:
    return MovePhase.BLOCKED if stored == MovePhase.BLOCKED else MovePhase.WAITING
