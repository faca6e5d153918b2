"""Conditions: the time of a transition changes only with the status."""

from datetime import timedelta

from support.builders import NOW
from whimbrel.domain.conditions import Claim, conditions

LATER = NOW + timedelta(hours=1, microseconds=5)


def test_a_condition_that_stays_true_keeps_its_time_though_reason_and_message_change() -> None:
    stored = conditions((), [Claim("Ready", True, "Quoted", "a")], 1, NOW)

    (ready,) = conditions(stored, [Claim("Ready", True, "AllMoved", "b")], 2, LATER)

    assert ready.last_transition_time == NOW
    assert (ready.reason, ready.message, ready.observed_generation) == ("AllMoved", "b", 2)


def test_a_condition_that_turns_has_a_new_time_in_whole_seconds() -> None:
    stored = conditions((), [Claim("Ready", False, "Quoting")], 1, NOW)

    (ready,) = conditions(stored, [Claim("Ready", True, "AllMoved")], 1, LATER)

    assert ready.last_transition_time == LATER.replace(microsecond=0)


def test_unknown_is_a_status_of_its_own() -> None:
    (ready,) = conditions((), [Claim("Ready", None, "NotSeen")], 1, NOW)

    assert ready.status == "Unknown"


def test_conditions_are_sorted_so_that_equal_claims_are_equal_documents() -> None:
    claims = [Claim("Stalled", False, "X"), Claim("Approved", True, "Y"), Claim("Ready", True, "Z")]

    assert conditions((), claims, 1, NOW) == conditions((), reversed(claims), 1, NOW)


def test_saying_the_same_again_changes_nothing() -> None:
    claims = [Claim("Ready", True, "AllMoved", "Done.")]
    stored = conditions((), claims, 1, NOW)

    assert conditions(stored, claims, 1, LATER) == stored


def test_a_message_that_is_too_long_for_the_schema_is_cut() -> None:
    (ready,) = conditions((), [Claim("Ready", True, "X", "x" * 10_000)], 1, NOW)

    assert len(ready.message) == 4096
