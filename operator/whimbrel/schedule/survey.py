"""What all plans of one tick share: hosts, the ledger, the evidence about each move, selections and claims."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from whimbrel.api.migration_plan import FINALIZER, PlanPhase
from whimbrel.api.virtual_machine_move import MovePhase
from whimbrel.domain.naming import LABEL_PLAN_UID
from whimbrel.domain.records import Key, Move, Plan
from whimbrel.inventory.claims import claims
from whimbrel.inventory.hosts import Host, effective_hosts
from whimbrel.inventory.ledger import Ledger
from whimbrel.inventory.selection import Selection, select
from whimbrel.inventory.snapshot import Snapshot
from whimbrel.lifecycle.evidence import Evidence, gather, phase_of

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

    unfinished_plans: frozenset[str]
    """UIDs of plans of which a migration has not ended, be its move there or not."""

    def has_unfinished(self, plan: Plan) -> bool:
        """Whether a migration of the plan has not ended."""
        return plan.uid in self.unfinished_plans

    def moves_of(self, plan: Plan) -> tuple[Move, ...]:
        """The plan's moves, sorted by key."""
        return self.moves.get(plan.uid, ())


def survey(snapshot: Snapshot) -> Survey:
    """Look at a snapshot once, for all plans."""
    plans = tuple(sorted(snapshot.plans.values(), key=lambda plan: (plan.created_at, plan.uid)))
    moves: dict[str, list[Move]] = defaultdict(list)
    for key in sorted(snapshot.moves):
        moves[snapshot.moves[key].plan_uid].append(snapshot.moves[key])
    selections = {
        plan.uid: select(plan, snapshot) for plan in plans if still_chooses(plan) and not rests(plan, snapshot)
    }
    names_by_uid = {migration.uid: key for key, migration in snapshot.migrations.items()}
    evidence = {
        key: gather(move, snapshot.migrations, names_by_uid, snapshot.instances, snapshot.now)
        for key, move in snapshot.moves.items()
    }
    return Survey(
        snapshot=snapshot,
        hosts=effective_hosts(snapshot),
        ledger=Ledger.of(snapshot),
        plans=plans,
        moves={uid: tuple(of_plan) for uid, of_plan in moves.items()},
        evidence=evidence,
        phases={key: phase_of(of_move) for key, of_move in evidence.items()},
        selections=selections,
        unfinished_plans=frozenset(
            migration.labels.get(LABEL_PLAN_UID, "")
            for migration in snapshot.migrations.values()
            if not migration.final
        ),
        claims=claims(snapshot, {plan.key: selections[plan.uid] for plan in plans if plan.uid in selections}),
    )


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
