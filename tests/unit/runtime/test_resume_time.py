"""How long guests take to run again is measured with each cut; what was seen worst holds for a while."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.builders import NOW, a_migration_state, an_instance
from whimbrel.domain.records import Instance, Key
from whimbrel.runtime.resume_time import REMEMBERED, REMEMBERED_S, ResumeTime

UID = "uid-of-the-migration"
DB1 = Key("default", "db1")


def seen(**more: object) -> dict[Key, Instance]:
    """The instance, with a migration state like this."""
    told = {"migration_uid": UID, "mode": "Paused", **more}
    return {DB1: an_instance(migration=a_migration_state(**told))}  # type: ignore[arg-type]


def measured(resume: ResumeTime, *seconds: float) -> float:
    for took_s in seconds:
        resume.decided(UID, DB1, 100.0)
        resume.look(seen(failed=True, completed=True, ended_at=NOW), 100.0 + took_s)
    return resume.seconds


def test_before_anything_was_measured_three_seconds_hold() -> None:
    assert ResumeTime().seconds == 3.0


def test_a_longer_time_holds_at_once_and_a_shorter_one_only_after_twenty() -> None:
    resume = ResumeTime()

    assert measured(resume, 4.5) == 4.5
    assert measured(resume, *[1.5] * (REMEMBERED - 1)) == 4.5
    assert measured(resume, 1.5) == 1.5


@given(st.lists(st.floats(-1e9, 1e9), max_size=30))
def test_it_is_never_below_one_second_nor_above_thirty(seconds: list[float]) -> None:
    assert 1.0 <= measured(ResumeTime(), *seconds) <= 30.0


@pytest.mark.parametrize(
    "end", [{"failed": True}, {"ended_at": NOW}, {"abort_status": "Succeeded"}, {"failed": True, "completed": True}]
)
def test_the_time_ends_when_the_migration_state_shows_the_end(end: dict[str, object]) -> None:
    resume = ResumeTime()
    resume.decided(UID, DB1, 10.0)

    resume.look(seen(abort_requested=True), 14.0)
    assert resume.seconds == 3.0
    resume.look(seen(**end), 16.0)
    resume.look(seen(**end), 30.0)
    assert resume.seconds == 6.0


def test_the_first_decision_counts_when_the_server_had_to_be_asked_again() -> None:
    resume = ResumeTime()
    resume.decided(UID, DB1, 10.0)
    resume.decided(UID, DB1, 14.0)

    resume.look(seen(failed=True), 17.0)

    assert resume.seconds == 7.0


def test_an_abort_that_takes_longer_than_thirty_seconds_counts_as_that() -> None:
    resume = ResumeTime()
    resume.decided(UID, DB1, 10.0)

    resume.look(seen(abort_requested=True), 41.0)

    assert resume.seconds == 30.0


@pytest.mark.parametrize(
    "instances",
    [{}, seen(migration_uid="another"), seen(completed=True, ended_at=NOW)],
    ids=["gone", "next", "arrived"],
)
def test_a_guest_that_arrived_or_is_gone_tells_nothing(instances: dict[Key, Instance]) -> None:
    resume = ResumeTime()
    resume.decided(UID, DB1, 10.0)

    resume.look(instances, 20.0)
    resume.look(seen(failed=True), 39.0)

    assert resume.seconds == 3.0


def test_a_migration_that_was_gone_before_is_not_measured() -> None:
    resume = ResumeTime()
    resume.decided(UID, DB1, 10.0)
    resume.dropped(UID)

    resume.look(seen(failed=True), 20.0)

    assert resume.seconds == 3.0


def test_what_took_long_once_is_forgotten_after_an_hour() -> None:
    resume = ResumeTime()
    assert measured(resume, 30.0) == 30.0

    resume.look({}, 130.0 + REMEMBERED_S)
    assert resume.seconds == 30.0
    resume.look({}, 131.0 + REMEMBERED_S)

    assert resume.seconds == 3.0
