"""How an attempt ended: verified against node, launcher and guest, and never called better than it was."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from support.builders import NOW, a_migration, a_migration_state, a_move, a_plan, an_attempt, an_instance
from whimbrel.api.ladder import Rung
from whimbrel.api.virtual_machine_move import AttemptOutcome, AttemptRecord, MeasureSource
from whimbrel.domain.naming import LABEL_ATTEMPT, LABEL_INSTANCE_UID, LABEL_PLAN_UID
from whimbrel.domain.records import Condition, Instance, MigrationState
from whimbrel.lifecycle.evidence import Evidence, gather, migration_key
from whimbrel.lifecycle.outcome import VERIFY_LIMIT_S, Conclusion, NotYet, conclude, receipt

PLAN = a_plan()
UID = "uid-of-our-migration"
ENDED = NOW + timedelta(seconds=20)
ABORT = {"number": 1, "reason": "ConfigurationMismatch", "message": "too much", "requestedAt": "2026-03-01T12:00:00Z"}


def ended(
    instance: Instance | None,
    *,
    status: dict[str, Any] | None = None,
    attempt: dict[str, Any] | None = None,
    now_after_s: float = 0,
    phase: str = "Failed",
    gone: bool = False,
    quoted: Instance | None = None,
    created_at: Any = NOW,
    target: str = "node-2",
) -> Evidence:
    """The evidence after the end of an attempt from node-1 to node-2."""
    about = quoted or instance or an_instance()
    move = a_move(PLAN, about, attempt=attempt or an_attempt(), status=status)
    labels = {LABEL_PLAN_UID: move.plan_uid, LABEL_INSTANCE_UID: move.instance_uid, LABEL_ATTEMPT: "1"}
    key = migration_key(move, 1)
    found = a_migration(about, key.name, uid=UID, target=target, labels=labels, phase=phase, created_at=created_at)
    return gather(
        move,
        {} if gone else {key: found},
        {} if gone else {UID: key},
        {instance.key: instance} if instance is not None else {},
        ENDED + timedelta(seconds=now_after_s),
    )


def arrived(**changed: Any) -> Instance:
    state = a_migration_state(UID, completed=True, ended_at=ENDED)
    return an_instance(**{"node": "node-2", "active_pods": [("new", "node-2")], "migration": state, **changed})


def stayed(**state: Any) -> Instance:
    return an_instance(migration=a_migration_state(UID, failed=True, completed=True, ended_at=ENDED, **state))


def verdict(evidence: Evidence) -> tuple[str, str]:
    found = concluded(evidence)
    return str(found.record.outcome), found.record.reason


def concluded(evidence: Evidence) -> Conclusion:
    assert evidence.attempt is not None
    found = conclude(evidence, evidence.attempt)
    assert isinstance(found, Conclusion)
    return found


def test_a_guest_that_runs_at_its_target_under_a_launcher_there_has_moved() -> None:
    assert verdict(ended(arrived(), phase="Succeeded")) == ("Succeeded", "Verified")


@pytest.mark.parametrize(
    ("changed", "doubt"),
    [
        ({"node": "node-3", "active_pods": [("new", "node-3")]}, "not on node-2"),
        ({"active_pods": [("old", "node-1")]}, "no launcher"),
        ({"paused": Condition("True")}, "paused"),
    ],
)
def test_a_success_that_does_not_look_like_one_is_waited_for_and_then_called_unverified(
    changed: dict[str, Any], doubt: str
) -> None:
    early = ended(arrived(**changed), phase="Succeeded", now_after_s=VERIFY_LIMIT_S - 1)
    late = ended(arrived(**changed), phase="Succeeded", now_after_s=VERIFY_LIMIT_S)

    assert early.attempt is not None
    assert conclude(early, early.attempt) == NotYet(1.0)
    assert verdict(late) == ("Unverified", "Unverified")
    assert doubt in concluded(late).record.message


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"abort_status": "Succeeded"}, ("Failed", "NotConverged")),
        ({"abort_status": "Succeeded", "abort_requested": True}, ("Aborted", "AbortedByOther")),
        ({"failure_reason": "Target pod is down"}, ("Failed", "MigrationFailed")),
    ],
)
def test_a_failure_is_called_by_what_the_nodes_say(state: dict[str, Any], expected: tuple[str, str]) -> None:
    assert verdict(ended(stayed(**state))) == expected


def test_kubevirts_own_words_are_passed_on() -> None:
    assert concluded(ended(stayed(failure_reason="Target pod is down"))).record.message == "Target pod is down"


def test_an_abort_of_ours_is_told_by_its_record_whatever_the_nodes_say() -> None:
    assert verdict(ended(stayed(abort_status="Succeeded"), status={"abort": ABORT})) == (
        "Aborted",
        "ConfigurationMismatch",
    )


def test_what_was_aborted_because_its_plan_was_deleted_is_cancelled() -> None:
    assert verdict(ended(stayed(), status={"abort": {**ABORT, "reason": "PlanDeleted"}})) == (
        "Cancelled",
        "PlanDeleted",
    )


def test_a_guest_that_arrived_although_an_abort_was_asked_for_has_moved() -> None:
    assert verdict(ended(arrived(), status={"abort": ABORT}, gone=True)) == ("Succeeded", "Verified")


def test_a_migration_that_ended_before_the_hand_off_says_where_to_look() -> None:
    found = concluded(ended(an_instance()))

    assert (found.record.reason, found.record.migration_uid) == ("TargetNotPrepared", UID)
    assert "events" in found.record.message


def test_the_end_of_an_earlier_migration_is_not_taken_for_this_ones() -> None:
    instance = an_instance(migration=a_migration_state("earlier", completed=True, ended_at=NOW))

    assert verdict(ended(instance)) == ("Failed", "TargetNotPrepared")


@pytest.mark.parametrize(
    ("instance", "reason"),
    [
        (None, "VirtualMachineGone"),
        (an_instance(uid="another"), "VirtualMachineReplaced"),
        (an_instance(phase="Failed"), "VirtualMachineStopped"),
        (an_instance(phase="Succeeded", deleting=True), "VirtualMachineGone"),
        (an_instance(deleting=True), "VirtualMachineGone"),
    ],
)
def test_without_the_guest_no_further_attempt_can_help(instance: Instance | None, reason: str) -> None:
    found = concluded(ended(instance, quoted=an_instance()))

    assert (found.record.reason, found.final) == (reason, True)


def test_a_name_that_somebody_elses_migration_has_is_spent() -> None:
    assert verdict(ended(an_instance(), target="node-3")) == ("NameTaken", "NameTaken")


def test_while_the_launcher_still_works_on_a_vanished_migration_the_end_is_open() -> None:
    evidence = ended(an_instance(migration=a_migration_state(UID)), gone=True)

    assert evidence.attempt is not None
    assert conclude(evidence, evidence.attempt) == NotYet(5.0)


def test_the_record_has_kubevirts_times() -> None:
    record = concluded(ended(arrived(), phase="Succeeded", now_after_s=7)).record

    assert (record.started_at, record.ended_at, record.migration_uid) == (NOW, ENDED, UID)


# Receipts


def a_receipt(state: MigrationState, record: AttemptRecord | None = None, **attempt: Any) -> Any:
    return receipt(ended(arrived(migration=state), attempt=an_attempt(**attempt)), 1, record)


def finished(**changed: Any) -> MigrationState:
    return a_migration_state(UID, **{"completed": True, "ended_at": ENDED, **changed})


def test_a_duration_is_kubevirts_own_to_the_second() -> None:
    measure = a_receipt(finished()).duration_ms

    assert (measure.value, measure.tolerance, measure.source) == (20_000, 1000, MeasureSource.KUBEVIRT_TIMESTAMPS)


def test_bytes_and_rate_are_those_that_samples_of_the_attempt_showed() -> None:
    shown = AttemptRecord(
        number=1, rung=Rung.PRE_COPY, outcome=AttemptOutcome.SUCCEEDED, sent_bytes=7, bytes_per_second=3
    )

    seen, unseen = a_receipt(finished(), shown), a_receipt(finished())

    assert (seen.bytes.value, seen.rate_bytes_per_second.value) == (7, 3)
    assert seen.bytes.source == MeasureSource.LAST_SAMPLE
    assert unseen.bytes.source == unseen.rate_bytes_per_second.source == MeasureSource.NOT_MEASURED


def test_a_downtime_is_told_only_of_a_suspension_and_from_its_earliest_begin() -> None:
    assert a_receipt(finished()).downtime_ms.source == MeasureSource.NOT_MEASURED

    measure = a_receipt(finished(mode="Paused"), rung="Stun", deadline_seconds=15).downtime_ms
    assert (measure.value, measure.source) == (4000, MeasureSource.PAUSED_MODE)


def test_a_guest_that_an_earlier_attempt_may_have_throttled_is_not_told_as_never_throttled() -> None:
    def throttled(*history: dict[str, Any]) -> int | None:
        evidence = ended(arrived(migration=finished()))
        status = evidence.move.move.status.model_copy(
            update={"history": tuple(AttemptRecord.model_validate(record) for record in history)}
        )
        moved = replace(evidence.move, move=evidence.move.move.model_copy(update={"status": status}))
        return receipt(replace(evidence, move=moved), 2).throttle_seconds.value

    throttling = {"number": 1, "rung": Rung.AUTO_CONVERGE, "outcome": AttemptOutcome.FAILED}
    assert throttled() == throttled(throttling) == throttled({**throttling, "rung": "PreCopy", "startedAt": NOW}) == 0
    assert throttled({**throttling, "startedAt": NOW}) is None


@pytest.mark.parametrize(
    "changed", [{"started_at": None}, {"ended_at": None}, {"ended_at": NOW - timedelta(seconds=9)}]
)
def test_what_cannot_be_told_is_not_measured_instead_of_guessed(changed: dict[str, Any]) -> None:
    measure = a_receipt(finished(**changed)).duration_ms

    assert (measure.value, measure.source) == (None, MeasureSource.NOT_MEASURED)


def test_a_failed_move_has_a_receipt_without_figures() -> None:
    found = receipt(ended(stayed()), 3)

    assert {found.duration_ms.source, found.bytes.source, found.downtime_ms.source} == {MeasureSource.NOT_MEASURED}
    assert (found.node, found.attempts) == ("node-1", 3)


FLOATING = {**an_attempt(), "allowedNodes": ["node-2", "node-3"]}
"""An attempt whose target the scheduler chooses; node-2 is expected."""
BEGUN = {"phase": "Moving", "reason": "Started"}
WAITED = {"phase": "Moving", "reason": "NotConverged"}
"""What a move says while a further attempt waits."""


def landed(node: str, **changed: Any) -> Instance:
    state = a_migration_state(UID, target=node, completed=True, ended_at=ENDED, **changed)
    return an_instance(node=node, active_pods=[("new", node)], migration=state)


def test_where_the_scheduler_chooses_any_allowed_node_is_a_success_and_the_record_names_it() -> None:
    found = concluded(ended(landed("node-3"), attempt=FLOATING, target="", phase="Succeeded"))

    assert (found.record.outcome, found.record.target_node) == ("Succeeded", "node-3")
    assert found.record.message == "Runs on node-3."


def test_where_the_scheduler_chose_a_node_that_is_not_allowed_the_success_is_doubted() -> None:
    found = concluded(
        ended(landed("node-4"), attempt=FLOATING, target="", phase="Succeeded", now_after_s=VERIFY_LIMIT_S)
    )

    assert (found.record.outcome, found.record.target_node) == ("Unverified", "node-4")
    assert "not on a node that was allowed" in found.record.message


def test_a_migration_that_names_a_target_is_not_the_attempt_that_leaves_the_choice() -> None:
    assert verdict(ended(arrived(), attempt=FLOATING, target="node-2", phase="Succeeded")) == ("NameTaken", "NameTaken")
    assert verdict(ended(arrived(), target="", phase="Succeeded")) == ("NameTaken", "NameTaken")


def test_somebody_elses_vanished_migration_to_an_allowed_node_is_not_taken_for_ours() -> None:
    guest = landed("node-3", policy_name="foreign")

    assert not ended(guest, attempt=FLOATING, gone=True).spent
    assert ended(guest, attempt=FLOATING, gone=True, status=BEGUN).spent


def further(state: dict[str, Any], **attempt: Any) -> dict[str, Any]:
    """A status with a second attempt whose target the scheduler chooses."""
    return {**state, "attempt": {**FLOATING, **attempt, "number": 2}}


def test_a_migration_that_was_there_and_gone_while_a_further_attempt_waited_is_not_taken_for_it() -> None:
    guest = landed("node-3", policy_name="foreign")

    assert not ended(guest, attempt=FLOATING, gone=True, status=further(WAITED)).spent
    assert not ended(landed("node-3"), attempt=FLOATING, gone=True, status=further(WAITED, policyName="")).spent


def test_a_further_attempt_that_vanished_is_known_by_its_policy_or_by_the_record_that_it_began() -> None:
    by_policy = ended(
        landed("node-3", policy_name=FLOATING["policyName"]), attempt=FLOATING, gone=True, status=further(WAITED)
    )
    by_record = ended(landed("node-3"), attempt=FLOATING, gone=True, status=further(BEGUN, policyName=""))

    for found in (by_policy, by_record):
        assert verdict(found) == ("Succeeded", "Verified")
        assert concluded(found).record.number == 2


def test_a_further_attempt_whose_abort_was_recorded_is_known_without_a_policy() -> None:
    status = {**further(WAITED, policyName=""), "abort": {**ABORT, "number": 2}}

    assert verdict(ended(landed("node-3"), attempt=FLOATING, gone=True, status=status)) == ("Succeeded", "Verified")


def test_a_vanished_migration_is_known_by_the_attempts_own_policy() -> None:
    guest = landed("node-3", policy_name=FLOATING["policyName"])

    assert verdict(ended(guest, attempt=FLOATING, gone=True)) == ("Succeeded", "Verified")


@pytest.mark.parametrize(
    ("mode", "done"), [("PostCopy", "switched the guest to post-copy"), ("Paused", "suspended the guest")]
)
def test_what_was_done_to_a_guest_without_consent_is_never_tried_again_and_never_passed_over(
    mode: str, done: str
) -> None:
    found = concluded(ended(stayed(mode=mode, abort_requested=True, policy_name="theirs")))

    assert (found.record.outcome, found.record.reason) == (AttemptOutcome.FAILED, "ConsentViolatedByForeignPolicy")
    assert found.final
    assert f"Under MigrationPolicy theirs KubeVirt {done}" in found.record.message

    moved = concluded(ended(arrived(migration=finished(mode=mode, policy_name="theirs")), phase="Succeeded"))
    assert (moved.record.outcome, moved.record.reason) == (AttemptOutcome.SUCCEEDED, "ConsentViolatedByForeignPolicy")
    assert done in moved.record.message


def test_a_suspension_that_kubevirt_ended_by_itself_did_not_converge() -> None:
    stun = an_attempt(rung="Stun")
    stun["configuration"] |= {"allowWorkloadDisruption": True}

    assert verdict(ended(stayed(abort_status="Succeeded", mode="Paused"), attempt=stun)) == ("Failed", "NotConverged")


@pytest.mark.parametrize(("last_step_ms", "reason"), [(None, "StunBudgetExceeded"), (300, "AbortedByOther")])
def test_a_last_step_that_somebody_ended_is_no_budget_exceeded(last_step_ms: int | None, reason: str) -> None:
    stun = an_attempt(rung="Stun")
    stun["configuration"] |= {"allowWorkloadDisruption": True, "maxDowntimeMs": last_step_ms}
    stun["forecast"] |= {"budgetMs": 5000}

    found = ended(stayed(abort_requested=True, mode="Paused", configuration=None), attempt=stun)

    assert verdict(found) == ("Aborted", reason)


@pytest.mark.parametrize("rung", ["Stun", "PostCopy"])
def test_what_the_plan_permitted_is_no_violation(rung: str) -> None:
    permitted = an_attempt(rung=rung)
    permitted["configuration"] |= {"allowPostCopy": rung == "PostCopy", "allowWorkloadDisruption": True}
    mode = "PostCopy" if rung == "PostCopy" else "Paused"

    moved = concluded(ended(arrived(migration=finished(mode=mode)), phase="Succeeded", attempt=permitted))

    assert moved.record.reason == "Verified"
