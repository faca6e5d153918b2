"""What a move in flight needs now: one step at a time, each answered before the next."""

from datetime import timedelta
from typing import Any

from support.builders import NOW, a_migration, a_migration_state, a_move, a_plan, an_attempt, an_instance
from whimbrel.domain.naming import LABEL_ATTEMPT, LABEL_INSTANCE_UID, LABEL_PLAN_UID
from whimbrel.domain.records import MigrationState
from whimbrel.lifecycle.evidence import Evidence, gather, migration_key
from whimbrel.lifecycle.needs import (
    STARTING_LIMIT_S,
    AbortMigration,
    LookAgain,
    RecordAbort,
    RecordEnd,
    RecordStarted,
    needs,
)

PLAN = a_plan()
UID = "uid-of-our-migration"
UNWANTED = ("PlanDeleted", "The plan was deleted.")
STARTED = {"phase": "Moving", "reason": "Started"}
ABORT = {"number": 1, "reason": "PlanDeleted", "message": "gone", "requestedAt": "2026-03-01T12:00:00Z"}


def moving(
    state: MigrationState | None,
    status: dict[str, Any] | None = None,
    after_s: float = 0,
    attempt: int = 1,
    **migration: Any,
) -> Evidence:
    instance = an_instance(migration=state)
    move = a_move(PLAN, instance, status=status)
    labels = {LABEL_PLAN_UID: move.plan_uid, LABEL_INSTANCE_UID: move.instance_uid, LABEL_ATTEMPT: str(attempt)}
    key = migration_key(move, attempt)
    found = a_migration(instance, key.name, uid=UID, target="node-2", labels=labels, **migration)
    return gather(move, {key: found}, {UID: key}, {instance.key: instance}, NOW + timedelta(seconds=after_s))


def kinds(evidence: Evidence, unwanted: tuple[str, str] | None = None) -> list[type]:
    return [type(need) for need in needs(evidence, unwanted)]


def test_an_attempt_that_has_begun_says_so_once() -> None:
    assert kinds(moving(a_migration_state(UID))) == [RecordStarted]
    assert kinds(moving(a_migration_state(UID), STARTED)) == []


def test_a_further_attempt_says_that_it_has_begun_although_its_move_is_moving_already() -> None:
    waited = {"phase": "Moving", "reason": "NotConverged", "attempt": an_attempt(2)}

    assert kinds(moving(a_migration_state(UID), waited, attempt=2)) == [RecordStarted]
    assert kinds(moving(a_migration_state(UID), {**waited, **STARTED}, attempt=2)) == []


def test_an_abort_is_recorded_before_it_is_asked_for() -> None:
    assert kinds(moving(a_migration_state(UID)), UNWANTED) == [RecordAbort]
    assert kinds(moving(a_migration_state(UID), {"phase": "Moving", "abort": ABORT}), UNWANTED) == [AbortMigration]


def test_an_abort_that_was_asked_for_is_waited_for() -> None:
    assert kinds(moving(a_migration_state(UID), {"abort": ABORT}, deleting=True), UNWANTED) == []


def test_nobody_elses_deletion_is_repeated() -> None:
    assert kinds(moving(a_migration_state(UID), deleting=True), UNWANTED) == []


def test_a_guest_in_post_copy_needs_nothing_but_patience() -> None:
    assert kinds(moving(a_migration_state(UID, mode="PostCopy")), UNWANTED) == []
    assert kinds(moving(a_migration_state(UID, mode="PostCopy"), {"abort": ABORT}), UNWANTED) == []


def test_what_has_ended_is_recorded_even_if_nobody_wants_it_any_more() -> None:
    assert kinds(moving(a_migration_state(UID, failed=True, completed=True), phase="Failed"), UNWANTED) == [RecordEnd]


def test_a_start_is_given_up_after_its_limit_and_looked_at_again_just_then() -> None:
    early = moving(None, STARTED, after_s=STARTING_LIMIT_S - 1, phase="Scheduling")
    late = moving(None, STARTED, after_s=STARTING_LIMIT_S, phase="Scheduling")

    assert list(needs(early, None)) == [LookAgain(1.0)]
    (given_up,) = needs(late, None)
    assert isinstance(given_up, RecordAbort)
    assert given_up.reason == "StartTimeout"
    assert "Scheduling" in given_up.message


def test_a_copy_may_take_longer_than_a_start() -> None:
    assert kinds(moving(a_migration_state(UID), STARTED, after_s=10 * STARTING_LIMIT_S)) == []
