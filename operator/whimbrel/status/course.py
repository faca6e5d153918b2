"""Where a plan stands, in words: phase, reason, message, and the conditions Planned and Approved.

Messages are stable (no counters, no times), because each change of one is a write. Called by `engine`.
"""

from whimbrel.api.migration_plan import Approval, MigrationPlanSpec, MigrationPlanStatus, PlanPhase
from whimbrel.api.quote import Quote
from whimbrel.api.virtual_machine_move import MovePhase
from whimbrel.domain.conditions import Claim
from whimbrel.domain.records import Plan
from whimbrel.inventory.projections.validation import INVALID_SPEC
from whimbrel.schedule.candidate import UNKNOWN_CAPABILITIES, Wait
from whimbrel.schedule.outlook import ALREADY_THERE
from whimbrel.schedule.review import Gate, Review
from whimbrel.status.plan import Course, Tracked

_NOT_PLANNED = Claim("Planned", False, "NotQuoted", "No quote yet.")
_NO_APPROVAL = Claim("Approved", False, "NotQuoted", "There is no quote to approve yet.")


def invalid(plan: Plan) -> Course:
    """A plan whose stored spec breaks a rule."""
    message = f"{plan.error[:4000]}. Correct the plan and apply it again."
    return Course(PlanPhase.BLOCKED, INVALID_SPEC, message, _NOT_PLANNED, _NO_APPROVAL, stalled=True)


def frozen(stored: MigrationPlanStatus) -> Course:
    """A finished plan whose spec was changed afterwards."""
    message = "The spec is frozen because this plan has finished; create a new plan."
    approved, finished = _stored(stored, "Approved"), _stored(stored, "Finished")
    return Course(
        stored.phase,
        "SpecFrozen",
        message,
        _planned(stored.quote),
        approved,
        stalled=True,
        finished=finished,
    )


def cancelling(stored: MigrationPlanStatus) -> Course:
    """A plan that is being deleted while moves of it are in flight."""
    message = "The plan was deleted; its unfinished moves are being cancelled."
    return Course(
        PlanPhase.CANCELLING,
        "PlanDeleted",
        message,
        _planned(stored.quote),
        _stored(stored, "Approved"),
    )


def course(
    review: Review, spec: MigrationPlanSpec, moves: tuple[Tracked, ...], waits: tuple[Wait, ...], *, moving: bool
) -> Course:
    """A plan that still chooses, or has just come to its end. `moving`: something of it is in flight or about to be."""
    planned, approved = _planned(review.quote), _approved(review, spec)

    def at(phase: PlanPhase, reason: str, message: str, *, stalled: bool = False) -> Course:
        return Course(phase, reason, message, planned, approved, stalled)

    match review.gate:
        case Gate.PROBLEM:
            first = review.selection.problems[0]
            text = " ".join(f"{p.field}: {p.message}. {p.remedy}" for p in review.selection.problems[:10])
            nothing = Claim("Planned", False, first.code, text)
            return Course(PlanPhase.PENDING, first.code, text, nothing, _NO_APPROVAL, stalled=True)
        case Gate.UNKNOWN_CAPABILITIES:
            return at(PlanPhase.PENDING, UNKNOWN_CAPABILITIES.reason, UNKNOWN_CAPABILITIES.message)
        case Gate.QUOTING:
            if review.stored.started_at is not None:
                return at(PlanPhase.RUNNING, "Migrating", "Virtual machines are moving.")
            phase = review.stored.phase if review.stored.quote is not None else PlanPhase.PENDING
            return at(phase if phase != PlanPhase.RUNNING else PlanPhase.PENDING, "Quoting", "The quote is being made.")
        case Gate.DRY_RUN if moving:
            message = "Nothing new starts while spec.dryRun is true; moves in flight finish."
            return at(PlanPhase.RUNNING, "DryRun", message)
        case Gate.DRY_RUN:
            return at(PlanPhase.QUOTED, "DryRun", "Quoted; nothing moves because spec.dryRun is true.")
        case Gate.BLOCKED if moving:
            message = "Nothing new starts while a selected virtual machine cannot move; moves in flight finish."
            return at(PlanPhase.RUNNING, "NonMigratable", message)
        case Gate.BLOCKED if review.stored.started_at is not None:
            message = (
                "A virtual machine that has not begun cannot move, so nothing more starts (nonMigratable: Block). Its "
                "VirtualMachineMove names every reason; mend them, exclude it, or set nonMigratable: Leave."
            )
            return at(PlanPhase.BLOCKED, "NonMigratable", message, stalled=True)
        case Gate.BLOCKED:
            message = (
                "A selected virtual machine cannot move, so none does (nonMigratable: Block). Its VirtualMachineMove and "
                "the quote name every reason; mend them, exclude it, or set nonMigratable: Leave."
            )
            if review.quote is not None and review.quote.conflicts:
                message = f"{review.quote.conflicts[0].message} {message}"
            return at(PlanPhase.BLOCKED, "NonMigratable", message, stalled=True)
        case Gate.APPROVAL:
            quote_hash = review.quote.hash if review.quote is not None else ""
            message = f"Read the quote, then approve it: set the annotation whimbrel.dev/approve to {quote_hash}."
            if review.plan.approved_hash:
                message = f"The annotation whimbrel.dev/approve names another quote. {message}"
            return at(PlanPhase.AWAITING_APPROVAL, "AwaitingApproval", message)
        case Gate.SUSPENDED:
            message = "Nothing new starts while spec.suspend is true; moves in flight finish."
            return at(PlanPhase.SUSPENDED, "Suspended", message)
        case Gate.DONE:
            return _finished(planned, approved, moves, review.quote)
        case Gate.OPEN if waits and not moving:
            return at(PlanPhase.RUNNING, waits[0].reason, f"Nothing moves now. {waits[0].message}")
        case Gate.OPEN:
            return at(PlanPhase.RUNNING, "Migrating", "Virtual machines are moving.")


def _finished(planned: Claim, approved: Claim, moves: tuple[Tracked, ...], quote: Quote | None) -> Course:
    phases = [tracked.phase for tracked in moves]
    left_out = quote is not None and quote.not_running > 0
    if quote is not None and len(phases) < quote.virtual_machines - quote.not_running:
        message = (
            "A VirtualMachineMove of this plan was deleted, so what became of its virtual machine is not recorded."
        )
        return Course(PlanPhase.FAILED, "MoveDeleted", message, planned, approved)
    bad = sum(phases.count(p) for p in (MovePhase.FAILED, MovePhase.UNVERIFIED, MovePhase.CANCELLED))
    moved, skipped = phases.count(MovePhase.SUCCEEDED), phases.count(MovePhase.SKIPPED)
    if bad:
        message = f"{moved} of {len(phases)} moved, {bad} did not; their VirtualMachineMoves say why."
        return Course(PlanPhase.FAILED, "SomeFailed", message, planned, approved)
    there = sum(tracked.evidence.move.move.status.reason == ALREADY_THERE for tracked in moves)
    if not moved and there == len(phases) and there and not left_out:
        message = "Every selected virtual machine is where the plan wants it already."
        return Course(PlanPhase.SUCCEEDED, "NothingToDo", message, planned, approved)
    if not moved:
        message = "No selected virtual machine could move; the quote names every reason."
        return Course(PlanPhase.FAILED, "NothingMoved", message, planned, approved)
    if skipped or left_out:
        message = (
            f"{moved} moved; the others could not and were left where they are, their VirtualMachineMoves say why."
        )
        return Course(PlanPhase.SUCCEEDED, "SomeLeft", message, planned, approved)
    return Course(
        PlanPhase.SUCCEEDED,
        "AllMoved",
        f"All {moved} virtual machines moved." if moved > 1 else "The virtual machine moved.",
        planned,
        approved,
    )


def _planned(quote: Quote | None) -> Claim:
    if quote is None:
        return _NOT_PLANNED
    message = (
        "The quote says what will move, where to, how long and with what pause. From the first start on the set of virtual "
        "machines is fixed; an edit acts on what has not begun."
    )
    return Claim("Planned", True, "Quoted", message)


def _approved(review: Review, spec: MigrationPlanSpec) -> Claim:
    if review.quote is None:
        return _NO_APPROVAL
    if spec.approval == Approval.AUTOMATIC:
        return Claim("Approved", True, "NotRequired", "The plan needs no approval.")
    if review.plan.approved_hash == review.quote.hash:
        return Claim("Approved", True, "Approved", "The annotation whimbrel.dev/approve names this quote.")
    if review.plan.approved_hash:
        message = "The annotation whimbrel.dev/approve names another quote; this one needs an approval of its own."
        return Claim("Approved", False, "QuoteChanged", message)
    return Claim(
        "Approved", False, "AwaitingApproval", "The annotation whimbrel.dev/approve must name the quote's hash."
    )


def _stored(stored: MigrationPlanStatus, condition: str) -> Claim:
    for held in stored.conditions:
        if held.type == condition:
            return Claim(held.type, held.status == "True", held.reason, held.message)
    return Claim(condition, False, "NotQuoted", "")
