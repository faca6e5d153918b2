"""How an attempt ended, verified against the instance, the node and the launcher. Called by `engine` while Verifying."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from whimbrel.api.text import printable
from whimbrel.api.virtual_machine_move import (
    AttemptOutcome,
    AttemptRecord,
    AttemptSpec,
    Measure,
    MeasureSource,
    Receipt,
)
from whimbrel.domain.records import Instance, MigrationState
from whimbrel.lifecycle.evidence import Evidence
from whimbrel.lifecycle.guard import MONITOR_LAG_S
from whimbrel.lifecycle.overruled import overruled, violated

PLAN_DELETED = "PlanDeleted"
"""Reason of an abort that somebody asked for by deleting the plan."""
LOOK_AGAIN_S = 5.0
STARTING_LIMIT_S = 1200
"""How long KubeVirt may take from the migration to the start of the copy. KubeVirt's own limits (5 and 15 min) come first,
but not for all causes: a quota, a second launcher, its queue or a dead virt-handler can hold a migration up for ever."""
INSTANCE_LAG_S = 10
"""How much later than a failed migration its instance may tell why: the two come by different watches."""
LONGEST_FAILURE_REASON = 1024
"""Characters of KubeVirt's own words that are recorded: what follows from the failure must find room beside them."""
VERIFY_LIMIT_S = 60
"""How long after KubeVirt's end the node, the launcher and the guest agent may take to agree."""


@dataclass(frozen=True, slots=True)
class Conclusion:
    """An attempt that ended. `final` is true where no further attempt can help (the guest is not there any more)."""

    record: AttemptRecord
    final: bool = False


@dataclass(frozen=True, slots=True)
class NotYet:
    """The end is not established yet; look again after so many seconds even if nothing changes."""

    wake_after_s: float


def conclude(evidence: Evidence, attempt: AttemptSpec) -> Conclusion | NotYet:
    """The end of the current attempt (`attempt`), which must have been begun."""
    ended = evidence.instance is not None and evidence.instance.phase not in ("Running", "")
    if evidence.instance is None or (evidence.same_guest and ended and evidence.instance.deleting):
        return _ended(
            evidence, attempt, AttemptOutcome.FAILED, "VirtualMachineGone", "The instance was deleted.", final=True
        )
    if not evidence.same_guest:
        message = "Another instance has the name now: the virtual machine was restarted."
        return _ended(evidence, attempt, AttemptOutcome.FAILED, "VirtualMachineReplaced", message, final=True)
    if ended:
        message = f"The instance is {evidence.instance.phase}."
        return _ended(evidence, attempt, AttemptOutcome.FAILED, "VirtualMachineStopped", message, final=True)
    if evidence.migration is not None and not evidence.migration_is_ours:
        message = f"{evidence.migration.key} exists and is not this attempt; its number is spent."
        return _ended(evidence, attempt, AttemptOutcome.NAME_TAKEN, "NameTaken", message)
    state = evidence.state
    if state is not None and state.completed and not state.failed:
        return _verified(evidence, attempt, state, evidence.instance)
    migration = evidence.migration
    if migration is None:
        return (
            _vanished(evidence, attempt, state)
            if state is not None and not state.failed
            else _failed(evidence, attempt, state)
        )
    if migration.phase == "Succeeded":
        if not _superseded(evidence) and _waited_s(evidence, migration.final_at) < VERIFY_LIMIT_S:
            return NotYet(LOOK_AGAIN_S)  # the instance that we see is older than the end of its migration
        message = "KubeVirt reports success, but the instance does not confirm it."
        return _ended(evidence, attempt, AttemptOutcome.UNVERIFIED, "Unverified", message)
    if state is not None and not state.failed and not migration.final:
        return NotYet(LOOK_AGAIN_S)
    told = state is not None and state.failed
    if (
        migration.handed_off
        and not told
        and not _superseded(evidence)
        and _waited_s(evidence, migration.final_at) < INSTANCE_LAG_S
    ):
        return NotYet(LOOK_AGAIN_S)  # the instance knows the reason, and its news are late
    return _failed(evidence, attempt, state)


def _waited_s(evidence: Evidence, since: datetime | None) -> float:
    return (evidence.now - since).total_seconds() if since is not None else VERIFY_LIMIT_S


def begun_at(evidence: Evidence) -> datetime:
    """A time that is no later than the begin of the current attempt, for limits where KubeVirt gives none."""
    status = evidence.move.move.status
    if evidence.abort_recorded and status.abort is not None:
        return status.abort.requested_at
    ended_at = status.history[-1].ended_at if status.history else None
    return ended_at or evidence.move.created_at


def _vanished(evidence: Evidence, attempt: AttemptSpec, state: MigrationState) -> Conclusion | NotYet:
    """The migration object is gone while its copy goes on: the instance will tell, within KubeVirt's own limits."""
    longest_s = 2 * attempt.deadline_seconds + VERIFY_LIMIT_S + (STARTING_LIMIT_S if state.started_at is None else 0)
    if _waited_s(evidence, state.started_at or begun_at(evidence)) < longest_s:
        return NotYet(LOOK_AGAIN_S)
    message = f"The migration object vanished, and the instance did not tell within {longest_s} s how it ended."
    return _ended(evidence, attempt, AttemptOutcome.UNVERIFIED, "Unverified", message)


def _superseded(evidence: Evidence) -> bool:
    """Whether the instance shows somebody else's migration that began after the current attempt's."""
    shown = evidence.instance.migration if evidence.instance is not None else None
    if shown is None or shown.started_at is None or evidence.migration is None:
        return False
    return shown.migration_uid != evidence.migration.uid and shown.started_at > evidence.migration.created_at


def _failed(evidence: Evidence, attempt: AttemptSpec, state: MigrationState | None) -> Conclusion:
    if state is not None and (wrong := violated(attempt, state)) is not None:
        return _ended(evidence, attempt, AttemptOutcome.FAILED, *wrong, final=True)
    abort = evidence.move.move.status.abort
    if evidence.abort_recorded and abort is not None:
        outcome = AttemptOutcome.CANCELLED if abort.reason == PLAN_DELETED else AttemptOutcome.ABORTED
        return _ended(evidence, attempt, outcome, abort.reason, abort.message)
    if evidence.instance is not None and evidence.instance.deleting:
        message = "The instance was deleted."
        return _ended(evidence, attempt, AttemptOutcome.FAILED, "VirtualMachineGone", message, final=True)
    if state is not None and evidence.instance is not None and evidence.instance.node in attempt.landing_nodes:
        message = f"KubeVirt reports a failure, but the instance is on {evidence.instance.node}; it is not moved again."
        return _ended(evidence, attempt, AttemptOutcome.UNVERIFIED, "Unverified", message)
    if state is None:
        message = "KubeVirt ended the migration before the hand-off; the events of the migration tell why."
        return _ended(evidence, attempt, AttemptOutcome.FAILED, "TargetNotPrepared", message)
    if state.abort_requested:
        suspends = attempt.forecast.budget_ms is not None and not attempt.configuration.under_stall_detection
        if state.mode == "Paused" and suspends:
            message = (
                f"The suspension would have outlasted its budget of {attempt.forecast.budget_ms} ms; it was cut short."
            )
            return _ended(evidence, attempt, AttemptOutcome.ABORTED, "StunBudgetExceeded", message)
        if (cause := overruled(attempt, state)) is not None:  # a guard ended it before the leader had recorded anything
            return _ended(evidence, attempt, AttemptOutcome.ABORTED, *cause)
        return _ended(evidence, attempt, AttemptOutcome.ABORTED, "AbortedByOther", "Somebody deleted the migration.")
    if state.abort_status == "Succeeded":
        message = f"Pre-copy did not converge within {_ran_s(attempt, state)} s; KubeVirt ended the attempt."
        if state.mode == "Paused":
            message = (
                f"The rest was not copied in {attempt.deadline_seconds} s of suspension; KubeVirt ended the attempt."
            )
        return _ended(evidence, attempt, AttemptOutcome.FAILED, "NotConverged", message)
    why = (
        printable(state.failure_reason[:LONGEST_FAILURE_REASON])[:LONGEST_FAILURE_REASON] or "KubeVirt gave no reason."
    )
    return _ended(evidence, attempt, AttemptOutcome.FAILED, "MigrationFailed", why)


def _ran_s(attempt: AttemptSpec, state: MigrationState) -> int:
    """Whole seconds until KubeVirt gave up: its deadline, or before that where its stall detector saw no progress."""
    if state.started_at is None or state.ended_at is None:
        return attempt.deadline_seconds
    return min(attempt.deadline_seconds, max(0, round((state.ended_at - state.started_at).total_seconds())))


def _verified(
    evidence: Evidence, attempt: AttemptSpec, state: MigrationState, instance: Instance
) -> Conclusion | NotYet:
    doubts = tuple(_doubts(evidence, attempt, instance))
    if not doubts:
        reason, message = violated(attempt, state) or ("Verified", "")
        words = f"Runs on {instance.node}. {message}".rstrip()
        return _ended(evidence, attempt, AttemptOutcome.SUCCEEDED, reason, words)
    waited_s = _waited_s(evidence, state.ended_at or state.started_at or begun_at(evidence))
    if waited_s < VERIFY_LIMIT_S:
        return NotYet(min(5.0, VERIFY_LIMIT_S - waited_s))
    return _ended(
        evidence, attempt, AttemptOutcome.UNVERIFIED, "Unverified", "KubeVirt reports success, but " + "; ".join(doubts)
    )


def _doubts(evidence: Evidence, attempt: AttemptSpec, instance: Instance) -> list[str]:
    doubts = []
    if instance.node not in attempt.landing_nodes:
        wanted = attempt.target_node if attempt.names_target else "a node that was allowed"
        doubts.append(f"the instance is on {instance.node}, not on {wanted}")
    nodes = {node for _, node in instance.active_pods}
    if instance.node not in nodes:
        doubts.append(f"no launcher of it is on {instance.node}")
    if instance.paused is not None and instance.paused.status == "True":
        doubts.append("the guest is paused")
    if evidence.move.move.spec.instance.agent_connected and not instance.agent_connected:
        doubts.append("the guest agent has not answered again")
    return doubts


def _ended(
    evidence: Evidence, attempt: AttemptSpec, outcome: AttemptOutcome, reason: str, message: str, *, final: bool = False
) -> Conclusion:
    state = evidence.state
    uid = state.migration_uid if state is not None else ""
    if not uid and evidence.migration is not None and evidence.migration_is_ours:
        uid = evidence.migration.uid
    record = AttemptRecord(
        number=attempt.number,
        rung=attempt.rung,
        target_node=evidence.target_node,
        migration_uid=uid,
        outcome=outcome,
        reason=reason,
        message=message,
        started_at=state.started_at if state is not None else None,
        ended_at=(state.ended_at if state is not None else None) or evidence.now.replace(microsecond=0),
        start_up_seconds=_start_up_s(evidence, state),
        paused_ms=_paused_ms(attempt, state),
    )
    return Conclusion(record, final)


def _start_up_s(evidence: Evidence, state: MigrationState | None) -> int | None:
    if evidence.migration is None or not evidence.migration_is_ours or state is None or state.started_at is None:
        return None
    return max(0, round((state.started_at - evidence.migration.created_at).total_seconds()))


def receipt(
    evidence: Evidence, attempts: int, record: AttemptRecord | None = None, link_bytes_per_second: int | None = None
) -> Receipt:
    """Fact by fact what the move came to, each with its source; nothing estimated stands in a measured column.

    `record`: of the attempt that moved it, with what its samples showed; `link_bytes_per_second`: what the link that it went
    over can carry.
    """
    state = evidence.state
    node = evidence.instance.node if evidence.instance is not None and evidence.same_guest else ""
    unmeasured = Measure(source=MeasureSource.NOT_MEASURED)
    if state is None or not state.completed or state.failed:
        return Receipt(node=node, duration_ms=unmeasured, bytes=unmeasured, downtime_ms=unmeasured, attempts=attempts)
    return Receipt(
        node=node,
        duration_ms=_duration(state.started_at, state.ended_at) or unmeasured,
        bytes=_sampled(record.sent_bytes if record is not None else None),
        downtime_ms=_downtime(evidence.attempt, state) or unmeasured,
        attempts=attempts,
        rung=record.rung if record is not None else None,
        rate_bytes_per_second=_sampled(record.bytes_per_second if record is not None else None),
        link_share_percent=_sampled(_share_percent(record, link_bytes_per_second)),
        throttle_seconds=_throttle(evidence.attempt, evidence.move.move.status.history) or unmeasured,
    )


def _sampled(value: int | None) -> Measure:
    """KubeVirt samples every five seconds, so the end of a copy is missing from its bytes: they are at least these."""
    source = MeasureSource.NOT_MEASURED if value is None else MeasureSource.LAST_SAMPLE
    return Measure(value=value, source=source)


def _share_percent(record: AttemptRecord | None, link_bytes_per_second: int | None) -> int | None:
    if record is None or not record.bytes_per_second or not link_bytes_per_second:
        return None
    return round(100 * record.bytes_per_second / link_bytes_per_second)


def _throttle(attempt: AttemptSpec | None, earlier: tuple[AttemptRecord, ...]) -> Measure | None:
    """None was permitted, so none there was; of one that was permitted KubeVirt tells nothing."""
    throttled = any(record.may_have_throttled for record in earlier)
    if attempt is None or attempt.configuration.allow_auto_converge or throttled:
        return None
    return Measure(value=0, source=MeasureSource.CONFIGURATION)


def _duration(started_at: datetime | None, ended_at: datetime | None) -> Measure | None:
    if started_at is None or ended_at is None or ended_at < started_at:
        return None
    milliseconds = round((ended_at - started_at).total_seconds() * 1000)
    return Measure(value=milliseconds, tolerance=1000, source=MeasureSource.KUBEVIRT_TIMESTAMPS)


def _downtime(attempt: AttemptSpec | None, state: MigrationState) -> Measure | None:
    paused_ms = _paused_ms(attempt, state)
    return None if paused_ms is None else Measure(value=paused_ms, tolerance=1000, source=MeasureSource.PAUSED_MODE)


def _paused_ms(attempt: AttemptSpec | None, state: MigrationState | None) -> int | None:
    """A suspension only: from the computed begin of mode Paused to KubeVirt's end, both in whole seconds. Where KubeVirt raises
    the downtime limit instead, nobody tells when the guest stopped.
    """
    if attempt is None or state is None or state.mode != "Paused" or state.started_at is None or state.ended_at is None:
        return None
    if attempt.configuration.under_stall_detection:
        return None
    began = state.started_at + timedelta(seconds=attempt.deadline_seconds + MONITOR_LAG_S)
    return max(0, round((state.ended_at - began).total_seconds() * 1000))
