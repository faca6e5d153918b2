"""Moves in flight: from what each needs to the write that answers it."""

from collections.abc import Iterator
from dataclasses import replace

from whimbrel.api.migration_plan import MigrationPlanSpec
from whimbrel.api.virtual_machine_move import (
    MOST_LABEL_PAIRS,
    AbortRecord,
    AttemptOutcome,
    AttemptRecord,
    AttemptSpec,
    MovePhase,
)
from whimbrel.domain.decision import Announcement, ReplaceStatus, Write
from whimbrel.domain.naming import ANNOTATION_MIGRATION
from whimbrel.domain.records import Instance, Plan
from whimbrel.domain.resources import INSTANCES, VIRTUAL_MACHINES
from whimbrel.forecast import Knowledge
from whimbrel.inventory.rates import slower_link
from whimbrel.ladder.consent import disturbs_beyond
from whimbrel.ladder.served import spared
from whimbrel.lifecycle import writes
from whimbrel.lifecycle.evidence import STARTED, Evidence
from whimbrel.lifecycle.needs import AbortMigration, LookAgain, RecordAbort, RecordEnd, RecordStarted, needs
from whimbrel.lifecycle.outcome import PLAN_DELETED, receipt
from whimbrel.lifecycle.overruled import CONSENT_VIOLATED, OVERRULED, overruled
from whimbrel.preflight.owner import vetoed
from whimbrel.schedule.coming import Ahead
from whimbrel.schedule.docket import attempts_permitted
from whimbrel.schedule.move_status import changed, closed
from whimbrel.schedule.outlook import attempt_for
from whimbrel.schedule.survey import Survey
from whimbrel.schedule.together import quote
from whimbrel.schedule.verdicts import verdict
from whimbrel.schedule.watching import Watched, gate_opens_s, hopeless, learned, watched
from whimbrel.schedule.weighing import NoRungFits, detects_stalls, permitted_for, price_in_words, refused

Followed = Write | Announcement | LookAgain

MAX_HISTORY = 16
ENDED_ON_ITS_WAY = "EndedOnItsWay"
"""Reason of a move that ended on the host of a detour."""


def follow(plan: Plan, evidence: Evidence, survey: Survey, ahead: Ahead) -> Iterator[Followed]:
    """The writes, events and waits of one move whose attempt was begun; at most one write. `ahead` is told of what follows."""
    found = watched(evidence, survey.snapshot) if _copies(evidence, survey) else None
    if found is not None and (due_s := gate_opens_s(found, evidence.now)) is not None:
        yield LookAgain(due_s)
    for need in needs(evidence, _unwanted(plan, evidence, survey, found)):
        match need:
            case LookAgain():
                yield need
            case RecordStarted():
                yield from _started(evidence, survey)
            case RecordAbort(reason, message):
                yield from _abort_recorded(evidence, reason, message)
            case AbortMigration(why) if evidence.migration is not None:
                yield writes.delete_migration(evidence.migration, why)
            case RecordEnd(conclusion):
                record = _learned(conclusion.record, evidence, survey)
                yield from _ended(plan, evidence, record, survey, ahead, final=conclusion.final)


def _copies(evidence: Evidence, survey: Survey) -> bool:
    """Whether memory is being copied while the guest runs: what its samples say decides whether it may go on."""
    return survey.phases[evidence.move.key] is MovePhase.COPYING


def _learned(record: AttemptRecord, evidence: Evidence, survey: Survey) -> AttemptRecord:
    found = watched(evidence, survey.snapshot)
    return learned(record, found, survey.snapshot.courses.get(evidence.move.instance_key, ()))


def _unwanted(plan: Plan, evidence: Evidence, survey: Survey, found: Watched | None) -> tuple[str, str] | None:
    """Why the attempt must not go on, or None. `found`: what the samples of its running copy say."""
    if plan.deleting:
        return PLAN_DELETED, "The plan was deleted."
    state, attempt = evidence.state, evidence.attempt
    if attempt is not None and (stray := _landed_astray(attempt, evidence, survey)):
        return "TargetNotAllowed", stray
    if attempt is not None and plan.plan is not None:
        terms = plan.plan.spec.migration
        if evidence.instance is not None:
            terms = permitted_for(evidence.instance, terms, survey.snapshot)
        beyond = disturbs_beyond(attempt, terms, passes_devices_through=_spared(evidence, survey))
        if beyond:
            return "ConsentWithdrawn", f"It could {', '.join(beyond)}; plan and owner do not permit it any more."
    if evidence.instance is not None and vetoed(evidence.instance, survey.snapshot.virtual_machines):
        return "ConsentWithdrawn", f"Its owner forbids moving it, by the annotation {ANNOTATION_MIGRATION}."
    if state is not None and attempt is not None:
        why = overruled(attempt, state, stall_detection=detects_stalls(survey.snapshot))
        if why is not None:
            return why
    return hopeless(found, evidence.now) if found is not None else None


def _spared(evidence: Evidence, survey: Survey) -> bool:
    return evidence.instance is not None and spared(evidence.instance, survey.snapshot.capabilities)


def _landed_astray(attempt: AttemptSpec, evidence: Evidence, survey: Survey) -> str:
    """Where the target launcher was bound to a node that was not allowed, in words; empty where it was not.

    Seen as soon as the scheduler has chosen: before the hand-off a delete leaves the guest untouched.
    """
    pod = survey.ledger.arrival(evidence.migration) if evidence.migration is not None else None
    node = (evidence.state.target_node if evidence.state is not None else "") or (pod.node if pod is not None else "")
    if not node or node in attempt.landing_nodes:
        return ""
    if attempt.names_target:
        return f"Its target pod is on {node}, not on {attempt.target_node}."
    return f"The scheduler chose {node}, which was not allowed when this attempt was specified; the guest stays where it is."


def _started(evidence: Evidence, survey: Survey) -> Iterator[Followed]:
    attempt = evidence.attempt
    if attempt is None:
        return
    stored = evidence.move.move.status
    message = f"{attempt.source_node} to {_target(attempt)}, {attempt.rung}."
    status = stored.model_copy(
        update={"phase": MovePhase.MOVING, "reason": STARTED, "message": message, "verdicts": (), "verdicts_omitted": 0}
    )
    yield from changed(evidence.move, status, f"attempt {attempt.number} has begun")
    yield _announce(evidence, survey, "MigrationStarted", f"Live migration from {message}")


def _abort_recorded(evidence: Evidence, reason: str, message: str) -> Iterator[Followed]:
    attempt = evidence.attempt
    if attempt is None:
        return
    record = AbortRecord(
        number=attempt.number,
        migration_uid=evidence.migration.uid if evidence.migration is not None else "",
        reason=reason,
        message=message,
        requested_at=evidence.now.replace(microsecond=0),
    )
    stored = evidence.move.move.status
    status = stored.model_copy(
        update={"phase": MovePhase.MOVING, "reason": reason, "message": message, "abort": record}
    )
    yield from changed(evidence.move, status, f"abort attempt {attempt.number}: {reason}")


def _ended(
    plan: Plan, evidence: Evidence, record: AttemptRecord, survey: Survey, ahead: Ahead, *, final: bool
) -> Iterator[Followed]:
    stored = evidence.move.move.status
    history = (*stored.history, record)[-MAX_HISTORY:]
    verified = record.outcome == AttemptOutcome.SUCCEEDED
    unverified = record.outcome == AttemptOutcome.UNVERIFIED
    spec = plan.plan.spec if plan.plan is not None else None
    halfway = verified and evidence.attempt is not None and evidence.attempt.detour
    if halfway and evidence.attempt is not None and not plan.deleting:
        yield from _went_halfway(evidence, evidence.attempt, record, history, survey)
        return
    if not (verified or unverified or final or plan.deleting):
        if spec is None:
            return
        goes_on = record.number < attempts_permitted(spec, stored.history) and not _cannot_be_outbid(evidence, record)
        following = _next_attempt(evidence, history, spec, survey, ahead) if goes_on else None
        if isinstance(following, NoRungFits):
            yield from _given_up(evidence, following, history, survey)
            return
        if following is not None:
            message = f"{record.message} Attempt {following.number} follows: {following.rung} to {_target(following)}."
            status = stored.model_copy(
                update={
                    "phase": MovePhase.MOVING,
                    "reason": record.reason,
                    "message": message,
                    "attempt": following,
                    "history": history,
                }
            )
            yield from changed(evidence.move, status, f"attempt {record.number} ended: {record.reason}")
            yield _announce(evidence, survey, "MigrationRetried", message, warning=True)
            return
    phase = MovePhase.SUCCEEDED if verified else MovePhase.UNVERIFIED if unverified else MovePhase.FAILED
    if plan.deleting and phase == MovePhase.FAILED and not final:
        phase = MovePhase.CANCELLED
    message = record.message
    if halfway:
        phase, message = (
            MovePhase.CANCELLED,
            f"The plan was deleted while it was on its way: it runs on {_node(evidence)}.",
        )
    if phase == MovePhase.FAILED and not final and spec is not None:
        spent = record.number >= attempts_permitted(spec, stored.history)
        why = f"All {spec.migration.attempts} attempts are spent" if spent else "No further attempt follows"
        message = f"{record.message} {why}; it still runs on {_node(evidence)}."
    status = closed(
        evidence.move,
        phase,
        record.reason,
        message,
        evidence.now,
        verdicts=(),
        verdicts_omitted=0,
        history=history,
        receipt=receipt(evidence, record.number, record, _link(evidence, record, survey)),
    )
    yield from changed(evidence.move, status, f"move ended: {phase} ({record.reason})")
    reason = {MovePhase.SUCCEEDED: "Migrated", MovePhase.CANCELLED: "MigrationCancelled"}.get(phase, "MigrationFailed")
    yield _announce(evidence, survey, reason, message, warning=not verified or record.reason == CONSENT_VIOLATED)


def _cannot_be_outbid(evidence: Evidence, record: AttemptRecord) -> bool:
    """Whether somebody's policy would win again: no more reserved labels than these are ever put on an instance."""
    attempt = evidence.attempt
    return record.reason == OVERRULED and attempt is not None and attempt.policy_labels >= MOST_LABEL_PAIRS


def _link(evidence: Evidence, record: AttemptRecord, survey: Survey) -> int | None:
    """Bytes per second of the migration link between the attempt's hosts; None where one of them takes no part any more."""
    source = evidence.attempt.source_node if evidence.attempt is not None else ""
    hosts = [survey.hosts.get(node) for node in (source, record.target_node)]
    declared = [host.migration for host in hosts if host is not None and host.migration is not None]
    return slower_link(*declared) if len(declared) == len(hosts) else None


def _given_up(
    evidence: Evidence, why: NoRungFits, history: tuple[AttemptRecord, ...], survey: Survey
) -> Iterator[Followed]:
    """It stays where it is: a further attempt would very likely fail as well."""
    message = (
        f"{history[-1].message} No further attempt is worth while ({why.found}); it still runs on {_node(evidence)}. "
        f"It would take {why.needed}."
    )
    status = closed(
        evidence.move,
        MovePhase.FAILED,
        why.code,
        message,
        evidence.now,
        verdicts=(verdict(why),),
        history=history,
        receipt=receipt(evidence, history[-1].number),
    )
    yield from changed(evidence.move, status, f"move ended: {why.code}")
    yield _announce(evidence, survey, "MigrationFailed", message, warning=True)


def _went_halfway(
    evidence: Evidence,
    attempt: AttemptSpec,
    record: AttemptRecord,
    history: tuple[AttemptRecord, ...],
    survey: Survey,
) -> Iterator[Followed]:
    """It reached the host on its way. The next outlook says where to from here; until then its source holds it back."""
    instance = evidence.instance
    if instance is None:
        return
    following = _repeated(attempt, instance).model_copy(update={"detour": False})
    message = f"It is on {instance.node}, on its way; attempt {following.number} takes it on."
    status = evidence.move.move.status.model_copy(
        update={
            "phase": MovePhase.MOVING,
            "reason": record.reason,
            "message": message,
            "attempt": following,
            "history": history,
        }
    )
    yield from changed(evidence.move, status, f"attempt {record.number} ended: on its way")
    yield _announce(evidence, survey, "DetourReached", message)


def ended_on_its_way(evidence: Evidence, survey: Survey) -> Iterator[ReplaceStatus | Announcement]:
    """It stays on the host that it has come to: no way leads on, and the plan's target admits that host."""
    instance, stored = evidence.instance, evidence.move.move.status
    if instance is None or not stored.history:
        return
    last = stored.history[-1]
    message = (
        f"It stays on {instance.node}, where it had come on its way: the way on has closed, and the plan's target admits "
        f"{instance.node} too."
    )
    shown = instance.migration
    moved = replace(
        evidence, attempt=None, state=shown if shown is not None and shown.migration_uid == last.migration_uid else None
    )
    status = closed(
        evidence.move,
        MovePhase.SUCCEEDED,
        ENDED_ON_ITS_WAY,
        message,
        evidence.now,
        verdicts=(),
        receipt=receipt(moved, last.number, last),
    )
    yield from changed(evidence.move, status, f"move ended on its way, on {instance.node}")
    yield _announce(evidence, survey, "Migrated", message)


def _target(attempt: AttemptSpec) -> str:
    return (
        attempt.target_node
        if attempt.names_target
        else f"a node that the scheduler chooses ({attempt.target_node} is expected)"
    )


def _node(evidence: Evidence) -> str:
    return evidence.instance.node if evidence.instance is not None else "no node"


def _next_attempt(
    evidence: Evidence, history: tuple[AttemptRecord, ...], spec: MigrationPlanSpec, survey: Survey, ahead: Ahead
) -> AttemptSpec | NoRungFits | None:
    """The specification of the next attempt: another target where the last one does not fit any more beside all that is
    still to come. Or why there is none: what was tried has shown that no rung would do.

    Where no target fits now, the last one stands: admission waits with the reason, and the next outlook, which places
    everybody together, repairs it.
    """
    last, instance = evidence.attempt, evidence.instance
    if last is None or instance is None:
        return None
    if survey.snapshot.capabilities is None:
        return _repeated(last, instance)
    ledger = survey.ledger if last.detour else ahead.ledger  # a stop on the way takes room that others have later
    keep, taught = {instance.uid: last.target_node}, _taught(evidence, history, survey)
    (line,) = quote([instance], spec, survey.hosts, ledger, survey.snapshot, keep, taught)
    if line.load is not None and (choice := line.choice(history)).offer is None:
        return refused(choice, price_in_words(line.load, line.terms, history))
    following = attempt_for(line, last.number + 1, history, survey.snapshot) or _repeated(last, instance)
    ahead.specify(instance, following.target_node)
    if last.detour and following.target_node == last.target_node:
        return following.model_copy(update={"detour": True, "final_node": last.final_node})
    return following


def _taught(evidence: Evidence, history: tuple[AttemptRecord, ...], survey: Survey) -> Knowledge:
    """What all moves teach, the attempt that has just ended included: its record is not stored yet."""
    document = evidence.move.move
    ended = document.model_copy(update={"status": document.status.model_copy(update={"history": history})})
    moves = {**survey.snapshot.moves, evidence.move.key: replace(evidence.move, move=ended)}
    return Knowledge.of(moves.values(), evidence.now)


def _repeated(last: AttemptSpec, instance: Instance) -> AttemptSpec:
    previous = instance.migration.migration_uid if instance.migration is not None else ""
    return last.model_copy(update={"number": last.number + 1, "previous_migration_uid": previous})


def _announce(evidence: Evidence, survey: Survey, reason: str, message: str, *, warning: bool = False) -> Announcement:
    """An event on the VirtualMachine, where its owner looks; on the instance where it has none."""
    instance: Instance | None = evidence.instance
    machine = instance.machine(survey.snapshot.virtual_machines) if instance is not None else None
    if machine is not None:
        return Announcement(VIRTUAL_MACHINES, machine.key, machine.uid, reason, message, warning)
    return Announcement(INSTANCES, evidence.move.instance_key, evidence.move.instance_uid, reason, message, warning)
