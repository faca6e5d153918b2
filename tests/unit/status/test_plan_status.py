"""The status of a plan: counts, progress, conditions, and when it is worth a write."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.builders import GIB, NOW, a_migration, a_move, a_plan, an_instance
from whimbrel.api.migration_plan import MigrationPlanStatus, PlanPhase
from whimbrel.api.virtual_machine_move import MovePhase
from whimbrel.domain.conditions import Claim
from whimbrel.domain.samples import MigrationSample
from whimbrel.lifecycle.evidence import gather, migration_key
from whimbrel.status.arrivals import MAX_ACTIVE, Arrival
from whimbrel.status.plan import Course, Tracked, report

PLAN = a_plan()
PLANNED, APPROVED = Claim("Planned", True, "Quoted"), Claim("Approved", True, "NotRequired")


def a_course(phase: str = "Running", reason: str = "Migrating", *, stalled: bool = False) -> Course:
    return Course(PlanPhase(phase), reason, "A message.", PLANNED, APPROVED, stalled)


def tracked(
    phase: MovePhase, name: str = "db1", memory_bytes: int = GIB, remaining_bytes: int | None = None
) -> Tracked:
    instance = an_instance(name, memory_bytes=memory_bytes)
    move = a_move(PLAN, instance)
    migration = a_migration(instance, migration_key(move, 1).name)
    sample = None if remaining_bytes is None else MigrationSample(NOW, remaining_bytes=remaining_bytes)
    return Tracked(gather(move, {migration.key: migration}, {}, {instance.key: instance}, NOW), phase, sample)


def reported(
    moves: list[Tracked],
    stored: MigrationPlanStatus | None = None,
    course: Course | None = None,
    *,
    not_running: int = 0,
    after_s: float = 0,
) -> MigrationPlanStatus | None:
    """The status to write, or None."""
    write, _, _ = report(
        PLAN,
        stored or MigrationPlanStatus(),
        course or a_course(),
        None,
        moves,
        not_running,
        (),
        NOW + timedelta(seconds=after_s),
    )
    return None if write is None else MigrationPlanStatus.model_validate(write.body["status"])


def condition(status: MigrationPlanStatus | None, kind: str) -> tuple[str, str]:
    assert status is not None
    return next((str(c.status), c.reason) for c in status.conditions if c.type == kind)


@pytest.mark.parametrize(
    ("phase", "reason", "ready", "reconciling", "finished"),
    [
        ("Pending", "Quoting", "False", "True", "False"),
        ("Running", "Migrating", "False", "True", "False"),
        ("Suspended", "Suspended", "False", "True", "False"),
        ("Quoted", "DryRun", "True", "False", "True"),
        ("Succeeded", "AllMoved", "True", "False", "True"),
        ("Failed", "SomeFailed", "False", "False", "True"),
    ],
)
def test_every_end_is_finished_so_that_waiting_for_it_never_hangs(
    phase: str, reason: str, ready: str, reconciling: str, finished: str
) -> None:
    status = reported([], course=a_course(phase, reason))

    assert condition(status, "Ready") == (ready, reason)
    assert condition(status, "Reconciling") == (reconciling, reason)
    assert condition(status, "Finished") == (finished, reason)


def test_a_plan_that_somebody_must_mend_is_stalled_and_not_reconciling() -> None:
    status = reported([], course=a_course("Blocked", "NonMigratable", stalled=True))

    assert condition(status, "Stalled") == ("True", "NonMigratable")
    assert condition(status, "Reconciling")[0] == "False"


phases = st.lists(st.sampled_from([p for p in MovePhase if p != MovePhase.MOVING]), max_size=12)


@given(phases, st.integers(0, 5))
def test_every_move_is_counted_once(every: list[MovePhase], not_running: int) -> None:
    status = reported([tracked(phase, f"db{n}") for n, phase in enumerate(every)], not_running=not_running)

    assert status is not None
    counts = status.moves
    parts = (
        counts.waiting, counts.active, counts.blocked, counts.succeeded, counts.failed, counts.skipped, counts.cancelled,
        counts.unverified,
    )  # fmt: skip
    assert sum(parts) == counts.total == len(every) + not_running
    assert status.progress == f"{counts.total - counts.waiting - counts.active - counts.blocked}/{counts.total}"


@given(phases, st.integers(0, 100))
def test_the_percentage_is_never_below_what_was_reported_and_a_hundred_only_at_the_end(
    every: list[MovePhase], before: int
) -> None:
    stored = MigrationPlanStatus(percent=min(99, before))

    running = reported([tracked(phase, f"db{n}") for n, phase in enumerate(every)], stored)
    done = reported([], stored, a_course("Succeeded", "AllMoved"))

    assert running is not None
    assert stored.percent <= running.percent <= 99
    assert done is not None
    assert done.percent == 100


def test_the_percentage_is_by_memory_and_counts_what_is_copied_in_flight() -> None:
    moves = [
        tracked(MovePhase.SUCCEEDED, "small", GIB),
        tracked(MovePhase.COPYING, "big", 3 * GIB, remaining_bytes=GIB),
        tracked(MovePhase.WAITING, "later", 4 * GIB),
    ]

    status = reported(moves)

    assert status is not None
    assert status.percent in (36, 37)
    assert status.active[0].percent == 66


@given(st.lists(st.integers(0, 2 * GIB), min_size=1, max_size=8))
def test_a_moves_own_percentage_never_goes_back_within_an_attempt(samples: list[int]) -> None:
    stored, seen = MigrationPlanStatus(), []

    for number, remaining in enumerate(samples):
        after = reported([tracked(MovePhase.COPYING, remaining_bytes=remaining)], stored, after_s=number * 15)
        stored = after or stored
        assert stored.active[0].percent is not None
        seen.append(stored.active[0].percent)

    assert seen == sorted(seen)


def test_at_most_thirty_two_active_moves_are_shown_but_all_are_counted() -> None:
    status = reported([tracked(MovePhase.COPYING, f"db{n:02d}") for n in range(40)])

    assert status is not None
    assert len(status.active) == MAX_ACTIVE == 32
    assert status.moves.active == 40


def settled(moves: list[Tracked], course: Course | None = None) -> MigrationPlanStatus:
    status = reported(moves, course=course)
    assert status is not None
    return status


def test_what_the_status_says_already_is_not_written_again() -> None:
    moves = [tracked(MovePhase.COPYING, remaining_bytes=GIB // 2)]
    stored = settled(moves)

    assert report(PLAN, stored, a_course(), None, moves, 0, (), NOW + timedelta(hours=1)) == (None, None, None)


def test_progress_waits_for_its_fifteen_seconds_and_a_transition_does_not() -> None:
    stored = settled([tracked(MovePhase.COPYING, remaining_bytes=GIB // 2)])
    further = [tracked(MovePhase.COPYING, remaining_bytes=GIB // 4)]

    assert reported(further, stored, after_s=14.5) is None
    assert reported(further, stored, after_s=15) is not None
    assert reported(further, stored, a_course("Suspended", "Suspended"), after_s=1) is not None


def test_a_transition_is_announced_and_progress_is_not() -> None:
    stored = settled([tracked(MovePhase.COPYING, remaining_bytes=GIB // 2)])
    moves: list[Any] = [tracked(MovePhase.COPYING, remaining_bytes=GIB // 4)]
    later = NOW + timedelta(seconds=15)

    _, progress, _ = report(PLAN, stored, a_course(), None, moves, 0, (), later)
    _, failure, _ = report(PLAN, stored, a_course("Failed", "SomeFailed"), None, moves, 0, (), later)

    assert progress is None
    assert failure is not None
    assert (failure.reason, failure.warning) == ("SomeFailed", True)


def test_begin_and_end_are_told_once_and_stay() -> None:
    began = settled([tracked(MovePhase.STARTING)])
    ended = reported([tracked(MovePhase.SUCCEEDED)], began, a_course("Succeeded", "AllMoved"), after_s=60)

    assert ended is not None
    assert (ended.started_at, ended.finished_at) == (NOW, NOW + timedelta(seconds=60))


def test_the_plan_and_its_only_move_show_the_same_percentage() -> None:
    copying = tracked(MovePhase.COPYING, memory_bytes=4 * GIB, remaining_bytes=GIB)
    foretold = copying._replace(arrival=Arrival(NOW, None, None, percent=40))

    for moves, percent in ([copying], 75), ([foretold], 40):
        status = reported(moves)
        assert status is not None
        assert (status.percent, [each.percent for each in status.active]) == (percent, [percent])
