"""Phases are derived from what the migration and the instance show."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.builders import NOW, a_migration, a_migration_state, a_move, a_plan, an_attempt, an_instance
from whimbrel.api.virtual_machine_move import TERMINAL_PHASES, MovePhase
from whimbrel.domain.naming import LABEL_ATTEMPT, LABEL_INSTANCE_UID, LABEL_MIGRATION, LABEL_PLAN_UID
from whimbrel.domain.records import Instance, Migration, MigrationState, Move
from whimbrel.lifecycle.evidence import IN_FLIGHT, Evidence, gather, migration_key, phase_of

PLAN = a_plan()
UID = "uid-of-our-migration"


def ours(move: Move, instance: Instance, attempt: int = 1, **changed: Any) -> Migration:
    """The migration of an attempt, as we create it."""
    labels = {
        LABEL_PLAN_UID: move.plan_uid,
        LABEL_INSTANCE_UID: move.instance_uid,
        LABEL_ATTEMPT: str(attempt),
        **changed.pop("labels", {}),
    }
    name = migration_key(move, attempt).name
    return a_migration(instance, name, uid=UID, target=changed.pop("target", "node-2"), labels=labels, **changed)


def evidence(move: Move, *records: Instance | Migration) -> Evidence:
    instances = {record.key: record for record in records if isinstance(record, Instance)}
    migrations = {record.key: record for record in records if isinstance(record, Migration)}
    names = {migration.uid: key for key, migration in migrations.items()}
    return gather(move, migrations, names, instances, NOW)


def phase(state: MigrationState | None, move_status: dict[str, Any] | None = None, **migration: Any) -> MovePhase:
    """The phase with a migration of ours and this state on the instance."""
    instance = an_instance(migration=state)
    move = a_move(PLAN, instance, status=move_status)
    return phase_of(evidence(move, instance, ours(move, instance, **migration)))


def test_a_move_without_a_migration_waits() -> None:
    instance = an_instance()

    assert phase_of(evidence(a_move(PLAN, instance), instance)) == MovePhase.WAITING


def test_a_move_without_a_target_is_blocked() -> None:
    instance = an_instance()

    assert phase_of(evidence(a_move(PLAN, instance, blocked=True), instance)) == MovePhase.BLOCKED


def test_a_migration_that_kubevirt_has_not_handed_to_the_nodes_is_starting() -> None:
    assert phase(None, phase="Pending") == MovePhase.STARTING


def test_the_state_of_an_earlier_migration_says_nothing_about_this_one() -> None:
    assert phase(a_migration_state("uid-of-an-earlier-one", completed=True)) == MovePhase.STARTING


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("PreCopy", "Copying"), ("", "Copying"), ("Paused", "Stunned"), ("PostCopy", "PostCopy")],
)
def test_once_handed_over_the_mode_tells(mode: str, expected: str) -> None:
    assert phase(a_migration_state(UID, mode=mode)) == expected


def test_a_deleted_migration_is_aborting_until_it_has_ended() -> None:
    assert phase(a_migration_state(UID), deleting=True) == MovePhase.ABORTING
    assert phase(a_migration_state(UID, failed=True, completed=True), deleting=True) == MovePhase.VERIFYING


def test_an_abort_that_was_recorded_or_asked_for_is_aborting() -> None:
    record = {"number": 1, "reason": "PlanDeleted", "requestedAt": "2026-03-01T12:00:00Z"}

    assert phase(a_migration_state(UID), {"abort": record}) == MovePhase.ABORTING
    assert phase(a_migration_state(UID, abort_requested=True)) == MovePhase.ABORTING


def test_an_abort_of_an_earlier_attempt_says_nothing_about_this_one() -> None:
    record = {"number": 1, "reason": "ConfigurationMismatch", "requestedAt": "2026-03-01T12:00:00Z"}
    instance = an_instance()
    move = a_move(PLAN, instance, status={"attempt": an_attempt(2), "abort": record})

    assert phase_of(evidence(move, instance, ours(move, instance, 2))) == MovePhase.STARTING


def test_post_copy_is_post_copy_even_when_somebody_asked_for_an_abort() -> None:
    assert phase(a_migration_state(UID, mode="PostCopy", abort_requested=True), deleting=True) == MovePhase.POST_COPY


@pytest.mark.parametrize("ended", ["Succeeded", "Failed"])
def test_a_migration_that_has_ended_is_verified(ended: str) -> None:
    assert phase(None, phase=ended) == MovePhase.VERIFYING


def test_a_guest_that_has_arrived_is_verified_before_kubevirts_last_word() -> None:
    assert phase(a_migration_state(UID, completed=True), phase="Running") == MovePhase.VERIFYING


def test_a_migration_that_is_gone_but_left_its_trace_on_the_instance_is_verified() -> None:
    instance = an_instance(migration=a_migration_state("unknown", target="node-2", failed=True))

    assert phase_of(evidence(a_move(PLAN, instance), instance)) == MovePhase.VERIFYING


@pytest.mark.parametrize(
    ("previous", "target"), [("unknown", "node-2"), ("", "node-3")], ids=["known before", "another target"]
)
def test_a_trace_that_was_there_before_or_leads_elsewhere_is_not_of_this_attempt(previous: str, target: str) -> None:
    instance = an_instance(migration=a_migration_state("unknown", target=target, failed=True))
    move = a_move(PLAN, instance, attempt=an_attempt(previous_migration_uid=previous))

    assert phase_of(evidence(move, instance)) == MovePhase.WAITING


def test_a_trace_of_a_migration_that_still_stands_under_another_name_is_somebody_elses() -> None:
    instance = an_instance(migration=a_migration_state("theirs", target="node-2"))
    foreign = a_migration(instance, "by-hand", uid="theirs")

    assert phase_of(evidence(a_move(PLAN, instance), instance, foreign)) == MovePhase.WAITING


def test_a_trace_on_another_guest_of_the_same_name_says_nothing() -> None:
    quoted = an_instance(uid="first")
    now = an_instance(uid="second", migration=a_migration_state("unknown", target="node-2"))

    assert phase_of(evidence(a_move(PLAN, quoted), now)) == MovePhase.WAITING


@pytest.mark.parametrize(
    "difference",
    [
        {"target": "node-3"},
        {"labels": {LABEL_PLAN_UID: "another"}},
        {"labels": {LABEL_INSTANCE_UID: "another"}},
        {"labels": {LABEL_ATTEMPT: "7"}},
    ],
)
def test_a_migration_of_our_name_is_ours_only_if_labels_guest_and_target_are(difference: dict[str, Any]) -> None:
    instance = an_instance()
    move = a_move(PLAN, instance)

    found = evidence(move, instance, ours(move, instance, **difference))

    assert not found.migration_is_ours
    assert phase_of(found) == MovePhase.VERIFYING
    assert evidence(move, instance, ours(move, instance)).migration_is_ours


def test_what_has_ended_stays_ended_whatever_the_cluster_shows() -> None:
    for ended in TERMINAL_PHASES:
        assert phase(a_migration_state(UID), {"phase": ended}) == ended


flags = st.booleans()
states = st.none() | st.builds(
    a_migration_state,
    st.sampled_from([UID, "other", ""]),
    target=st.sampled_from(["node-2", "node-3"]),
    mode=st.sampled_from(["", "PreCopy", "PostCopy", "Paused"]),
    completed=flags,
    failed=flags,
    abort_requested=flags,
)


@settings(max_examples=100)
@given(
    states,
    st.sampled_from(["", "Pending", "Scheduling", "TargetReady", "Running", "Succeeded", "Failed"]),
    st.sampled_from(list(MovePhase)),
    flags,
    flags,
    flags,
    flags,
)
def test_every_evidence_has_a_phase_and_one_in_flight_means_that_something_was_begun(
    state: MigrationState | None,
    reported: str,
    stored: MovePhase,
    there: bool,
    alive: bool,
    deleting: bool,
    aborted: bool,
) -> None:
    instance = an_instance(migration=state)
    record = {"number": 1, "reason": "X", "requestedAt": "2026-03-01T12:00:00Z"}
    move = a_move(PLAN, instance, status={"phase": stored, **({"abort": record} if aborted else {})})
    migration = ours(move, instance, phase=reported, deleting=deleting)
    found = evidence(move, *([migration] if there else []), *([instance] if alive else []))

    result = phase_of(found)

    assert result != MovePhase.MOVING
    assert (result in IN_FLIGHT) == (found.spent and stored not in TERMINAL_PHASES)
    assert result not in TERMINAL_PHASES or result == stored


def test_the_label_on_an_instance_tells_which_migration_it_is_for() -> None:
    instance = an_instance(labels={LABEL_MIGRATION: "whimbrel-db1-1"})

    assert evidence(a_move(PLAN, instance), instance).label_on_instance == "whimbrel-db1-1"
    assert evidence(a_move(PLAN, instance)).label_on_instance == ""


def test_the_evidence_is_of_the_further_attempt_once_there_is_one() -> None:
    instance = an_instance()
    move = a_move(PLAN, instance, status={"attempt": an_attempt(2, target="node-3")})

    found = evidence(move, instance, ours(move, instance, 1), ours(move, instance, 2, target="node-3"))

    assert found.migration_key == migration_key(move, 2)
    assert found.migration_is_ours
