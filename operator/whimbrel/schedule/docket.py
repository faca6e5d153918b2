"""What of a plan is to be quoted: the virtual machines that it selects and that have not begun. Called by `engine`.

All dockets of a tick are quoted together, by `together.quotes`; `review` then looks at each plan with its lines.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from whimbrel.api.migration_plan import Approval, MigrationPlanSpec, NonMigratable, PlanPhase
from whimbrel.api.quote import Quote
from whimbrel.api.virtual_machine_move import TERMINAL_PHASES, AttemptOutcome, AttemptRecord
from whimbrel.domain.records import Plan
from whimbrel.lifecycle.evidence import Evidence
from whimbrel.schedule.survey import Survey, rests
from whimbrel.schedule.together import Asked

MOST_DETOURS = 2
"""Of one move: so often it may be brought to another host on its way."""


@dataclass(frozen=True, slots=True)
class Docket:
    """A plan that is quoted at this tick, and its moves by UID of the instance."""

    plan: Plan
    spec: MigrationPlanSpec
    evidence: Mapping[str, Evidence]
    started: bool
    """Whether anything of it has begun or ended: what it moves is fixed from then on."""
    open_moves: dict[str, Evidence]
    """Moves whose next attempt may still be specified."""
    selected: frozenset[str]
    asked: Asked


def docket(plan: Plan, spec: MigrationPlanSpec, survey: Survey) -> Docket | None:
    """What of the plan is to be quoted; None where its stored quote stands, or none can be made."""
    if rests(plan, survey.snapshot) or survey.snapshot.capabilities is None:
        return None
    selection = survey.selections[plan.uid]
    evidence = {move.instance_uid: survey.evidence[move.key] for move in survey.moves_of(plan)}
    started = plan.status.started_at is not None or any(begun(e) or terminal(e) for e in evidence.values())
    open_moves = {uid: e for uid, e in evidence.items() if not (begun(e) or terminal(e) or beyond_attempts(e, spec))}
    selected = {instance.uid: instance for instance in selection.instances}
    on_its_way = {uid: e.instance for uid, e in open_moves.items() if _on_its_way(e) and e.instance is not None}
    far = {uid for uid in on_its_way if _detours(open_moves[uid].move.move.status.history) >= MOST_DETOURS}
    selected |= on_its_way
    subjects = [i for uid, i in selected.items() if uid in open_moves or (not started and uid not in evidence)]
    if not started and selection.problems:
        subjects = []
    attempts = {uid: e.attempt for uid, e in open_moves.items() if e.attempt is not None}
    block = spec.virtual_machines.non_migratable == NonMigratable.BLOCK
    asked = Asked(
        plan_uid=plan.uid,
        spec=spec,
        instances=subjects,
        keep={uid: final for uid, attempt in attempts.items() if (final := attempt.stays_on)},
        via={uid: attempt.target_node for uid, attempt in attempts.items() if attempt.detour},
        on_their_way=frozenset(on_its_way),
        far_travelled=frozenset(far),
        namespace=plan.key.namespace,
        generation=plan.generation,
        shut=not permitted(plan, spec) or (block and not started and bool(selection.not_running)),
        promised="" if started or spec.approval == Approval.AUTOMATIC else plan.approved_hash,
        stood_blocked=plan.status.phase == PlanPhase.BLOCKED,
        busy=started and any(begun(e) and not terminal(e) for e in evidence.values()),
        leaving=_left(survey) if on_its_way else frozenset(),
        rungs={uid: attempt.rung for uid, attempt in attempts.items() if attempt.number == 1},
        underway=frozenset(uid for uid, e in open_moves.items() if e.move.move.status.history),
    )
    return Docket(plan, spec, evidence, started, open_moves, frozenset(selected), asked)


def permitted(plan: Plan, spec: MigrationPlanSpec) -> bool:
    """Whether people let the plan start something: no dry run, not suspended, and approved as it was quoted."""
    stored = plan.status
    current = stored.quote if stored.observed_generation == plan.generation else None
    return not (spec.dry_run or spec.suspend) and approved(plan, spec, current)


def approved(plan: Plan, spec: MigrationPlanSpec, quote: Quote | None) -> bool:
    """Whether the plan needs no approval, or has that of this quote."""
    return spec.approval == Approval.AUTOMATIC or (quote is not None and plan.approved_hash == quote.hash)


def _left(survey: Survey) -> frozenset[str]:
    """Nodes that somebody is leaving, or is just about to."""
    moving = (e.attempt.source_node for e in survey.evidence.values() if e.attempt and begun(e) and not terminal(e))
    return frozenset(moving).union(name for name in survey.hosts if survey.ledger.outbound(name))


def begun(evidence: Evidence) -> bool:
    """Whether the current attempt was begun, or is just about to be (its labels are set)."""
    return evidence.spent or evidence.label_on_instance == evidence.migration_key.name


def terminal(evidence: Evidence) -> bool:
    """Whether the move is over."""
    return evidence.move.move.status.phase in TERMINAL_PHASES


def beyond_attempts(evidence: Evidence, spec: MigrationPlanSpec) -> bool:
    """Whether the next attempt is above what an edit of the plan left."""
    permitted = attempts_permitted(spec, evidence.move.move.status.history)
    return evidence.attempt is not None and evidence.attempt.number > permitted


def _on_its_way(evidence: Evidence) -> bool:
    """Whether it has reached a detour: it goes on, wherever it is now."""
    history = evidence.move.move.status.history
    return evidence.same_guest and _detours(history) > 0


def _detours(history: Iterable[AttemptRecord]) -> int:
    return sum(record.outcome is AttemptOutcome.SUCCEEDED for record in history)


def attempts_permitted(spec: MigrationPlanSpec, history: Iterable[AttemptRecord]) -> int:
    """How many attempts one virtual machine may have: a detour that was reached is part of the way, not a failure."""
    return spec.migration.attempts + _detours(history)
