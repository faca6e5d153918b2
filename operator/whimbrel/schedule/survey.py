"""What all plans of one tick share: hosts, the ledger, the evidence about each move, selections and claims."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from whimbrel.api.migration_plan import FINALIZER, PlanPhase
from whimbrel.api.virtual_machine_move import MovePhase
from whimbrel.domain.naming import LABEL_PLAN_UID
from whimbrel.domain.records import Instance, Key, Move, Plan
from whimbrel.inventory.claims import claims
from whimbrel.inventory.hosts import Host, effective_hosts
from whimbrel.inventory.ledger import Ledger
from whimbrel.inventory.selection import Roster, Selection, select
from whimbrel.inventory.snapshot import Snapshot
from whimbrel.lifecycle.evidence import IN_FLIGHT, Evidence, gather, phase_of

OUTLOOK_INTERVAL_S = 10.0
"""Quotes are made anew at most this often: searching is for the outlook, each event only admits."""


@dataclass(frozen=True, slots=True)
class Survey:
    """One tick's view of the snapshot; nothing in it changes while the tick decides."""

    snapshot: Snapshot
    hosts: Mapping[str, Host]
    ledger: Ledger
    plans: tuple[Plan, ...]
    """Oldest first."""
    moves: Mapping[str, tuple[Move, ...]]
    """By UID of the plan, sorted by key."""
    evidence: Mapping[Key, Evidence]
    """By key of the move."""
    phases: Mapping[Key, MovePhase]
    """By key of the move."""
    selections: Mapping[str, Selection]
    """By UID of the plan; only of plans that are quoted at this tick."""
    claims: Mapping[str, str]
    """UID of the instance → UID of the plan that has it."""

    in_flight: Mapping[str, tuple[Move, ...]]
    """Those of `moves` whose phase is in flight."""
    names_by_uid: Mapping[str, Key]
    """Keys of all migrations by their UIDs."""
    unfinished_plans: frozenset[str]
    """UIDs of plans of which a migration has not ended, be its move there or not. One whose guest is gone has, although
    KubeVirt may leave its finalizer on for ever.
    """

    def has_unfinished(self, plan: Plan) -> bool:
        """Whether a migration of the plan has not ended."""
        return plan.uid in self.unfinished_plans

    def moves_of(self, plan: Plan) -> tuple[Move, ...]:
        """The plan's moves, sorted by key."""
        return self.moves.get(plan.uid, ())

    def in_flight_of(self, plan: Plan) -> tuple[Move, ...]:
        """Those of them that are in flight."""
        return self.in_flight.get(plan.uid, ())


def survey(snapshot: Snapshot, before: Survey | None = None) -> Survey:
    """Look at a snapshot once, for all plans.

    `before`: the survey of an earlier snapshot. What was found out from the very same records is taken from it, which
    changes no answer: records are frozen, and what says the time is never taken over.
    """
    plans = tuple(sorted(snapshot.plans.values(), key=lambda plan: (plan.created_at, plan.uid)))
    roster = Roster(snapshot)
    selections = {
        plan.uid: select(plan, snapshot, roster) for plan in plans if still_chooses(plan) and not rests(plan, snapshot)
    }
    names_by_uid = {migration.uid: key for key, migration in snapshot.migrations.items()}
    moves = _moves(snapshot, before)
    evidence, phases = {}, {}
    for key, found, phase in _looked_at(snapshot, names_by_uid, before):
        evidence[key], phases[key] = found, phase
    flying = {uid: tuple(move for move in of_plan if phases[move.key] in IN_FLIGHT) for uid, of_plan in moves.items()}
    return Survey(
        snapshot=snapshot,
        hosts=effective_hosts(snapshot),
        ledger=Ledger.of(snapshot, None if before is None else before.ledger),
        plans=plans,
        moves=moves,
        evidence=evidence,
        phases=phases,
        selections=selections,
        claims=_claims(snapshot, plans, selections, before),
        in_flight=flying,
        names_by_uid=names_by_uid,
        unfinished_plans=frozenset(
            migration.labels.get(LABEL_PLAN_UID, "")
            for migration in snapshot.migrations.values()
            if not (migration.final or (migration.deleting and migration.instance_key not in snapshot.instances))
        ),
    )


def _moves(snapshot: Snapshot, before: Survey | None) -> Mapping[str, tuple[Move, ...]]:
    if before is not None and snapshot.moves is before.snapshot.moves:
        return before.moves
    found: dict[str, list[Move]] = defaultdict(list)
    for key in sorted(snapshot.moves):
        move = snapshot.moves[key]
        found[move.plan_uid].append(move)
    return {uid: tuple(of_plan) for uid, of_plan in found.items()}


def _looked_at(
    snapshot: Snapshot, names_by_uid: Mapping[str, Key], before: Survey | None
) -> Iterator[tuple[Key, Evidence, MovePhase]]:
    """Each move's evidence and phase: those of before where the same records stand there. Not of a move in flight: its
    limits are of time. What takes thousands of moves at each event is inlined here.
    """
    instances, migrations, now = snapshot.instances, snapshot.migrations, snapshot.now
    known, phases = ({}, {}) if before is None else (before.evidence, before.phases)
    named = {} if before is None else before.names_by_uid
    for key, move in snapshot.moves.items():
        held = known.get(key)
        if (
            held is not None
            and held.move is move
            and held.instance is instances.get(move.instance_key)
            and held.migration is migrations.get(held.migration_key)
            and (phase := phases[key]) not in IN_FLIGHT
            and _state_is_whose_it_was(held.instance, names_by_uid, named)
        ):
            yield key, held, phase
        else:
            found = gather(move, migrations, names_by_uid, instances, now)
            yield key, found, phase_of(found)


def _state_is_whose_it_was(instance: Instance | None, now: Mapping[str, Key], before: Mapping[str, Key]) -> bool:
    """Whether the migration that an instance shows last has the name that it had, or none as then."""
    if instance is None or instance.migration is None:
        return True
    return now.get(instance.migration.migration_uid) == before.get(instance.migration.migration_uid)


def _claims(
    snapshot: Snapshot, plans: tuple[Plan, ...], selections: Mapping[str, Selection], before: Survey | None
) -> Mapping[str, str]:
    if (
        before is not None
        and not selections
        and not before.selections
        and snapshot.plans is before.snapshot.plans
        and snapshot.moves is before.snapshot.moves
        and snapshot.migrations is before.snapshot.migrations
    ):
        return before.claims
    return claims(snapshot, {plan.key: selections[plan.uid] for plan in plans if plan.uid in selections})


def still_chooses(plan: Plan) -> bool:
    """Whether the plan may still begin anything: valid, not finished, not being deleted."""
    return plan.plan is not None and plan.status.finished_at is None and not plan.deleting


def rests(plan: Plan, snapshot: Snapshot) -> bool:
    """Whether the plan's stored quote stands at this tick: it is of this spec, was judged, and no outlook is due or possible.

    A plan that is Pending was not judged: its quote is being written, or it names what is not there.
    """
    return (
        (not snapshot.outlook_due or snapshot.capabilities is None)
        and plan.plan is not None
        and plan.plan.status.quote is not None
        and plan.plan.status.phase != PlanPhase.PENDING
        and plan.plan.status.observed_generation == plan.generation
        and FINALIZER in plan.finalizers
    )
