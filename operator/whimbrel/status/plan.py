"""The status of a MigrationPlan: what was quoted, what happens, what came of it.

Transitions are written at once; progress at most every 15 s. Called by `engine` once per plan and tick.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from whimbrel.api.ladder import Rung
from whimbrel.api.migration_plan import ActiveMove, Counts, MigrationPlanStatus, PlanPhase, WaitSummary
from whimbrel.api.quote import Quote
from whimbrel.api.virtual_machine_move import TERMINAL_PHASES, MovePhase
from whimbrel.domain.conditions import Claim, conditions
from whimbrel.domain.decision import Announcement, ReplaceStatus
from whimbrel.domain.quantities import MIB
from whimbrel.domain.records import Plan
from whimbrel.domain.resources import MIGRATION_PLANS
from whimbrel.domain.samples import MigrationSample
from whimbrel.lifecycle.evidence import IN_FLIGHT, Evidence
from whimbrel.status.arrivals import MAX_ACTIVE, Arrival, PlanArrival
from whimbrel.status.score import plan_receipt

REPORT_INTERVAL_S = 15

FINISHED = frozenset({PlanPhase.SUCCEEDED, PlanPhase.FAILED})


@dataclass(frozen=True, slots=True)
class Course:
    """Where a plan stands. `reason` is the stable code, `message` says what to do next and holds no counters."""

    phase: PlanPhase
    reason: str
    message: str
    planned: Claim
    approved: Claim
    stalled: bool = False
    finished: Claim | None = None
    """How the plan ended, where `reason` is about something else."""


class Tracked(NamedTuple):
    """One move with its phase, and the newest sample of its migration."""

    evidence: Evidence
    phase: MovePhase
    sample: MigrationSample | None
    arrival: Arrival | None = None
    """When its copy will end; None where nothing tells."""


def report(
    plan: Plan,
    stored: MigrationPlanStatus,
    course: Course,
    quote: Quote | None,
    moves: Sequence[Tracked],
    not_running: int,
    waits: tuple[WaitSummary, ...],
    now: datetime,
    arrival: PlanArrival | None = None,
) -> tuple[ReplaceStatus | None, Announcement | None, float | None]:
    """The status to write, the event to announce, and when to look again; each None where there is none."""
    counts = _counts(moves, not_running)
    active = _active(moves, stored.active)
    whole = now.replace(microsecond=0)
    begun = any(t.phase in IN_FLIGHT or t.phase == MovePhase.SUCCEEDED for t in moves)
    finished = course.phase in FINISHED
    ends = (arrival.p50_at, arrival.p90_at) if arrival is not None and not finished else (None, None)
    essential = MigrationPlanStatus(
        observed_generation=plan.generation,
        phase=course.phase,
        message=course.message[:4096],
        progress=stored.progress,
        percent=stored.percent,
        reported_at=stored.reported_at,
        started_at=stored.started_at or (whole if begun else None),
        finished_at=stored.finished_at or (whole if finished else None),
        quote=quote,
        moves=stored.moves,
        active=stored.active,
        eta_p50=stored.eta_p50,
        eta_p90=stored.eta_p90,
        receipt=stored.receipt
        or (plan_receipt(stored, quote, [t.evidence.move.move for t in moves], whole) if finished else None),
        waits=stored.waits,
        conditions=conditions(stored.conditions, _claims(course), plan.generation, now),
    )
    done = counts.total - counts.waiting - counts.active - counts.blocked
    percent = 100 if finished else max(stored.percent, _percent(moves))
    progress = f"{done}/{counts.total}"
    due_s: float = REPORT_INTERVAL_S
    if stored.reported_at is not None:
        due_s = (stored.reported_at + timedelta(seconds=REPORT_INTERVAL_S) - now).total_seconds()
    fresh = {
        "moves": counts, "active": active, "percent": percent, "progress": progress, "waits": waits,
        "eta_p50": ends[0], "eta_p90": ends[1],
    }  # fmt: skip
    stale = any(getattr(stored, name) != value for name, value in fresh.items())
    transition = essential != stored
    if not transition and not (stale and (stored.reported_at is None or due_s <= 0)):
        return None, None, max(0.1, due_s) if stale else None
    status = essential.model_copy(update={**fresh, "reported_at": whole})
    body = {
        "apiVersion": MIGRATION_PLANS.api_version,
        "kind": MIGRATION_PLANS.kind,
        "metadata": {
            "name": plan.key.name,
            "namespace": plan.key.namespace,
            "uid": plan.uid,
            "resourceVersion": plan.resource_version,
        },
        "status": status.to_json(),
    }
    write = ReplaceStatus(MIGRATION_PLANS, plan.key, body, f"plan is {course.phase} ({course.reason})")
    announcement = None
    if stored.phase != course.phase or _reason(stored) != course.reason:
        warning = course.stalled or course.phase == PlanPhase.FAILED
        announcement = Announcement(
            MIGRATION_PLANS, plan.key, plan.uid, course.reason, f"{course.phase}: {course.message}", warning
        )
    return write, announcement, None


def _reason(stored: MigrationPlanStatus) -> str:
    return next((c.reason for c in stored.conditions if c.type == "Ready"), "")


def _claims(course: Course) -> Iterable[Claim]:
    finished = course.phase in FINISHED
    ready = course.phase in (PlanPhase.SUCCEEDED, PlanPhase.QUOTED)
    settled = finished or course.phase == PlanPhase.QUOTED
    yield Claim("Ready", ready, course.reason, course.message)
    yield Claim("Reconciling", not settled and not course.stalled, course.reason, course.message)
    yield Claim("Stalled", course.stalled, course.reason, course.message)
    yield course.planned
    yield course.approved
    yield course.finished or Claim("Finished", settled, course.reason, course.message)


def _counts(moves: Sequence[Tracked], not_running: int) -> Counts:
    phases = Counter(tracked.phase for tracked in moves)
    return Counts(
        total=len(moves) + not_running,
        waiting=phases[MovePhase.WAITING],
        active=sum(phases[phase] for phase in IN_FLIGHT),
        blocked=phases[MovePhase.BLOCKED],
        succeeded=phases[MovePhase.SUCCEEDED],
        failed=phases[MovePhase.FAILED],
        skipped=phases[MovePhase.SKIPPED] + not_running,
        cancelled=phases[MovePhase.CANCELLED],
        unverified=phases[MovePhase.UNVERIFIED],
    )


def _copied_percent(tracked: Tracked) -> int | None:
    """Of all that its copy has sent and will send; where no forecast tells how much that is, of its memory."""
    if tracked.arrival is not None:
        return tracked.arrival.percent
    memory = tracked.evidence.move.memory_bytes
    sample = tracked.sample
    if sample is None or sample.remaining_bytes is None or memory == 0:
        return None
    return max(0, min(99, 100 * (memory - sample.remaining_bytes) // memory))


def _percent(moves: Sequence[Tracked]) -> int:
    """Share of all memory that is where it shall be, or will not move; moves in flight by what of them has gone over."""
    total = sum(max(1, t.evidence.move.memory_bytes) for t in moves)
    done = 0
    for tracked in moves:
        memory = max(1, tracked.evidence.move.memory_bytes)
        if tracked.phase in TERMINAL_PHASES:
            done += 100 * memory
        elif tracked.phase in IN_FLIGHT:
            done += memory * (_copied_percent(tracked) or 0)
    return min(99, done // total) if total else 0


def _active(moves: Sequence[Tracked], before: Sequence[ActiveMove]) -> tuple[ActiveMove, ...]:
    reported = {(a.virtual_machine, a.attempt): a.percent for a in before}
    rows = []
    for tracked in moves:
        attempt = tracked.evidence.attempt
        if tracked.phase not in IN_FLIGHT or attempt is None:
            continue
        name = str(tracked.evidence.move.instance_key)
        remaining = tracked.sample.remaining_bytes if tracked.sample is not None else None
        told = tracked.arrival
        seen = [p for p in (_copied_percent(tracked), reported.get((name, attempt.number))) if p is not None]
        rows.append(
            ActiveMove(
                virtual_machine=name,
                source_node=attempt.source_node,
                target_node=tracked.evidence.target_node,
                phase=tracked.phase,
                rung=Rung(attempt.rung),
                attempt=attempt.number,
                percent=max(seen, default=None),
                remaining_mib=remaining // MIB if remaining is not None else None,
                eta_p50=told.p50_at if told is not None else None,
                eta_p90=told.p90_at if told is not None else None,
            )
        )
        if len(rows) == MAX_ACTIVE:
            break
    return tuple(rows)
