"""One plan at one tick: is its quote complete, what does it wait for, and which of its moves may ask for a turn.

Called by `engine` for each plan that still chooses; `status.course` turns the result into words.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum, auto

from whimbrel.api.migration_plan import (
    FINALIZER,
    Approval,
    MigrationPlanSpec,
    MigrationPlanStatus,
    NonMigratable,
    PlanPhase,
)
from whimbrel.api.quote import Quote
from whimbrel.api.virtual_machine_move import (
    AttemptSpec,
    MovePhase,
)
from whimbrel.domain.decision import Announcement, Write
from whimbrel.domain.naming import LABEL_MIGRATION
from whimbrel.domain.records import Capabilities, Instance, Key, Plan
from whimbrel.inventory.selection import Selection
from whimbrel.lifecycle import writes
from whimbrel.lifecycle.evidence import Evidence
from whimbrel.schedule.candidate import Candidate
from whimbrel.schedule.claimed import told_of_claims
from whimbrel.schedule.docket import Docket, approved, begun, beyond_attempts, permitted, terminal
from whimbrel.schedule.move_status import changed, closed
from whimbrel.schedule.outlook import (
    Line,
)
from whimbrel.schedule.quoting import quote_of, says_as_quoted
from whimbrel.schedule.reasons import NoTarget
from whimbrel.schedule.restating import converge, specified_attempts
from whimbrel.schedule.survey import Survey, rests
from whimbrel.schedule.together import Quoted
from whimbrel.schedule.weighing import permitted_for


class Gate(Enum):
    """What stands between a plan and its next start."""

    PROBLEM = auto()
    """The plan names things that are not there, or selects nothing."""
    UNKNOWN_CAPABILITIES = auto()
    """It has to be quoted anew, and what KubeVirt can be told is not known."""
    QUOTING = auto()
    """The quote is being written down."""
    DRY_RUN = auto()
    BLOCKED = auto()
    """A selected virtual machine cannot move, and the plan says Block."""
    APPROVAL = auto()
    SUSPENDED = auto()
    OPEN = auto()
    DONE = auto()
    """Every move is terminal."""


@dataclass(frozen=True, slots=True)
class Known:
    """What holds of a plan's moves for as long as their evidence, the plan's spec and what KubeVirt can be told stay."""

    spec: MigrationPlanSpec
    capabilities: Capabilities | None
    waiting: Mapping[Key, tuple[Evidence, Candidate | None]]
    """By key of the move: what it was seen by, and the candidate that it makes; None: it does not wait."""


@dataclass(frozen=True, slots=True)
class Review:
    """A plan, its quote, and what it may do now."""

    plan: Plan
    stored: MigrationPlanStatus
    gate: Gate
    selection: Selection
    lines: tuple[Line, ...]
    quote: Quote | None
    writes: tuple[Write | Announcement, ...]
    candidates: tuple[Candidate, ...]
    """Moves that ask for their turn; those that have begun to start hold their slots and come first."""
    known: Known | None = None
    """What the next review may take over."""


def review(
    plan: Plan,
    spec: MigrationPlanSpec,
    stored: MigrationPlanStatus,
    survey: Survey,
    docket: Docket | None,
    quoted: Quoted | None,
    known: Known | None = None,
) -> Review:
    """See which gate is shut, and what the quote has to say anew. `quoted` is of the docket, `known` of an earlier review."""
    if rests(plan, survey.snapshot):
        return _resting(plan, spec, stored, survey, known)
    selection, now = survey.selections[plan.uid], survey.snapshot.now
    if docket is None or quoted is None:
        return Review(plan, stored, Gate.UNKNOWN_CAPABILITIES, selection, (), stored.quote, (), ())
    quoted = replace(quoted, lines=told_of_claims(quoted.lines, plan, survey))
    evidence, started, open_moves, lines = docket.evidence, docket.started, docket.open_moves, quoted.lines
    if not started and selection.problems:
        left_over = [e for uid, e in open_moves.items() if uid not in docket.selected]
        unselected = tuple(_gone(left_over, now, started=False))
        return Review(plan, stored, Gate.PROBLEM, selection, (), stored.quote, unselected, ())
    left = [e for uid, e in open_moves.items() if uid not in docket.selected]
    specified = specified_attempts(lines, open_moves, survey)
    changes: list[Write | Announcement] = [
        *converge(plan, lines, specified, open_moves, survey),
        *_gone(left, now, started=started),
        *_out_of_attempts(list(evidence.values()), spec, now),
    ]
    if FINALIZER not in plan.finalizers:
        return Review(plan, stored, Gate.QUOTING, selection, lines, stored.quote, (writes.add_finalizer(plan),), ())
    settled = len(evidence.keys() - {line.instance.uid for line in lines})
    fresh = quote_of(plan, quoted, specified, settled, selection, survey)
    frozen = started and stored.quote is not None and stored.observed_generation == plan.generation
    current = stored.quote if frozen else fresh
    stuck = quoted.stuck or (bool(selection.not_running) and not started)
    if changes or current is None:
        gate = Gate.QUOTING
    else:
        gate = _gate(
            plan,
            spec,
            current,
            list(evidence.values()),
            stuck=stuck,
            started=started,
            unfinished=survey.has_unfinished(plan),
        )
    readable = current is not None and stored.quote is not None and stored.quote.hash == current.hash
    if gate == Gate.OPEN and readable:
        leave = spec.virtual_machines.non_migratable == NonMigratable.LEAVE
        left_out = tuple(line for line in lines if leave or line.settled)
        changes += _skip(left_out, open_moves, evidence, survey)
    candidates: list[Candidate] = []
    if gate in (Gate.OPEN, Gate.QUOTING) and _goes_on(plan, spec, stored):
        candidates += _begun_candidates(plan, spec, survey)
    if gate == Gate.OPEN and readable:
        candidates += _candidates(plan, spec, lines, open_moves, survey)
    return Review(plan, stored, gate, selection, lines, current, tuple(changes), tuple(candidates))


def _goes_on(plan: Plan, spec: MigrationPlanSpec, stored: MigrationPlanStatus) -> bool:
    """Whether what has begun to start may go on although the quote of the rest is being written anew."""
    return stored.observed_generation == plan.generation and stored.quote is not None and permitted(plan, spec)


def _resting(
    plan: Plan, spec: MigrationPlanSpec, stored: MigrationPlanStatus, survey: Survey, known: Known | None
) -> Review:
    """The same between two outlooks, on the stored quote: what was blocked stays so, what waits may ask for its turn.

    Before anything of a plan that has to be approved has begun, its moves may be quoted anew and the plan not say so yet: the
    first of them starts where they all say what the stored quote says, else when an outlook has looked at both.
    """
    evidence = [survey.evidence[move.key] for move in survey.moves_of(plan)]
    started = stored.started_at is not None or any(begun(e) or terminal(e) for e in evidence)
    nothing = Selection()
    if stored.quote is None:
        return Review(plan, stored, Gate.QUOTING, nothing, (), None, (), ())
    gate = _gate(
        plan,
        spec,
        stored.quote,
        evidence,
        stuck=stored.phase == PlanPhase.BLOCKED,
        started=started,
        unfinished=survey.has_unfinished(plan),
    )
    candidates: list[Candidate] = []
    capabilities = survey.snapshot.capabilities
    holds = known is not None and known.spec == spec and known.capabilities == capabilities
    before = known.waiting if known is not None and holds else {}
    waiting: dict[Key, tuple[Evidence, Candidate | None]] = {}
    if gate == Gate.OPEN:
        candidates += _begun_candidates(plan, spec, survey)
    unseen = spec.approval is Approval.MANUAL and not started
    waits = (e.move.move.spec for e in evidence if survey.phases[e.move.key] is MovePhase.WAITING)
    if (
        gate == Gate.OPEN
        and (not unseen or says_as_quoted(stored.quote, tuple(waits)))
        and not _may_be_stuck(plan, spec, survey)
    ):
        for e in evidence:
            held = before.get(e.move.key)
            candidate = held[1] if held is not None and held[0] is e else _waiting(plan, spec, e, survey)
            if candidate is not None:
                candidates.append(candidate)
            waiting[e.move.key] = e, candidate
    return Review(
        plan, stored, gate, nothing, (), stored.quote, (), tuple(candidates), Known(spec, capabilities, waiting)
    )


def _waiting(plan: Plan, spec: MigrationPlanSpec, evidence: Evidence, survey: Survey) -> Candidate | None:
    """The candidate that a move makes which has not begun and may; by what is known of it alone, whoever else waits."""
    waits = survey.phases[evidence.move.key] is MovePhase.WAITING and evidence.same_guest
    if not waits or begun(evidence) or beyond_attempts(evidence, spec):
        return None
    if evidence.attempt is None or evidence.instance is None:
        return None
    return _candidate(plan, spec, evidence, evidence.attempt, evidence.instance, survey, begun=False)


def _may_be_stuck(plan: Plan, spec: MigrationPlanSpec, survey: Survey) -> bool:
    """Whether only an outlook can tell that no blocked move holds up the others."""
    block = spec.virtual_machines.non_migratable == NonMigratable.BLOCK
    return block and any(survey.phases[move.key] is MovePhase.BLOCKED for move in survey.moves_of(plan))


def _gate(
    plan: Plan,
    spec: MigrationPlanSpec,
    current: Quote,
    evidence: list[Evidence],
    *,
    stuck: bool,
    started: bool,
    unfinished: bool,
) -> Gate:
    """The first gate that is shut, once the quote is written down.

    `stuck`: something selected cannot move for good. `unfinished`: a migration of the plan has not ended, be its move
    there or not.
    """
    if started and not unfinished and all(terminal(e) for e in evidence):
        return Gate.DONE
    if spec.dry_run:
        return Gate.DRY_RUN
    if spec.virtual_machines.non_migratable == NonMigratable.BLOCK and stuck:
        return Gate.BLOCKED
    if not approved(plan, spec, current):
        return Gate.APPROVAL
    if spec.suspend:
        return Gate.SUSPENDED
    return Gate.OPEN if evidence or unfinished else Gate.DONE


def _out_of_attempts(evidence: list[Evidence], spec: MigrationPlanSpec, now: datetime) -> Iterator[Write]:
    """Moves whose next attempt is above what an edit of the plan left."""
    for e in evidence:
        if not begun(e) and not terminal(e) and beyond_attempts(e, spec):
            most = spec.migration.attempts
            message = f"The plan permits {most} attempts now, and so many were begun."
            yield from _skipped(e, "AttemptsSpent", message, now)


def _gone(left: list[Evidence], now: datetime, *, started: bool) -> Iterator[Write]:
    """Moves of which nothing is in flight and whose virtual machine is not selected any more, or not the one quoted.

    Before the plan started they are deleted, afterwards they end.
    """
    for evidence in left:
        if not started:
            yield writes.delete_move(evidence.move, "not selected any more")
            continue
        if evidence.same_guest:
            message = "It does not match the plan's terms any more; it stays where it is."
            yield from _skipped(evidence, "NoLongerSelected", message, now)
        elif evidence.instance is None:
            message = "The instance that was quoted does not run any more."
            yield from _skipped(evidence, "VirtualMachineGone", message, now)
        else:
            message = "Another instance has the name now: the virtual machine was restarted."
            yield from _skipped(evidence, "VirtualMachineReplaced", message, now)


def _skip(
    lines: tuple[Line, ...], open_moves: dict[str, Evidence], evidence: Mapping[str, Evidence], survey: Survey
) -> list[Write]:
    """Moves that cannot be, where the plan leaves them; those that only lack room wait until the plan is still, and everything
    else that is under way: whoever leaves makes room.
    """
    now, blocked = survey.snapshot.now, _blocked_uids(lines)
    busy = bool(survey.ledger.leaving()) or any(not terminal(e) and uid not in blocked for uid, e in evidence.items())
    skipped: list[Write] = []
    for line in lines:
        move = open_moves.get(line.instance.uid)
        if line.target is None and move is not None and not (line.capacity_only and busy):
            stored = move.move.move.status
            skipped += _skipped(move, stored.reason or NoTarget.__name__, stored.message, now)
    return skipped


def _blocked_uids(lines: tuple[Line, ...]) -> frozenset[str]:
    return frozenset(line.instance.uid for line in lines if line.target is None)


def _skipped(evidence: Evidence, reason: str, message: str, now: datetime) -> Iterator[Write]:
    """A move that ends without having moved; one that has begun is called failed."""
    stored = evidence.move.move.status
    begun = bool(stored.history) or stored.phase == MovePhase.MOVING
    phase = MovePhase.FAILED if begun else MovePhase.SKIPPED
    status = closed(evidence.move, phase, reason, message, now)
    yield from changed(evidence.move, status, f"{phase}: {reason}")


def _candidates(
    plan: Plan, spec: MigrationPlanSpec, lines: tuple[Line, ...], open_moves: dict[str, Evidence], survey: Survey
) -> Iterator[Candidate]:
    for line in lines:
        evidence = open_moves.get(line.instance.uid)
        if evidence is not None and line.target is not None and evidence.attempt is not None:
            yield _candidate(
                plan, spec, evidence, evidence.attempt, line.instance, survey, begun=False, in_turn=line.in_turn
            )


def _begun_candidates(plan: Plan, spec: MigrationPlanSpec, survey: Survey) -> Iterator[Candidate]:
    """Moves whose labels are set and whose migration is not there yet: they hold their slots."""
    for move in survey.moves_of(plan):
        evidence = survey.evidence[move.key]
        instance, attempt = evidence.instance, evidence.attempt
        if (
            instance is not None
            and LABEL_MIGRATION in instance.labels
            and attempt is not None
            and evidence.same_guest
            and survey.phases[move.key] is MovePhase.WAITING
            and evidence.label_on_instance == evidence.migration_key.name
        ):
            found = _candidate(plan, spec, evidence, attempt, instance, survey, begun=True)
            if not found.beyond:
                yield found


def _candidate(
    plan: Plan,
    spec: MigrationPlanSpec,
    evidence: Evidence,
    attempt: AttemptSpec,
    instance: Instance,
    survey: Survey,
    *,
    begun: bool,
    in_turn: bool = False,
) -> Candidate:
    return Candidate.of(
        plan,
        spec,
        evidence.move,
        attempt,
        instance,
        evidence.migration_key,
        survey.snapshot.capabilities,
        begun=begun,
        in_turn=in_turn,
        permitted=permitted_for(instance, spec.migration, survey.snapshot),
    )
