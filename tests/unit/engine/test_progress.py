"""The plan's status while moves are in flight: seldom written, never going back."""

from support.stage import DB1, Stage
from whimbrel.domain.resources import MIGRATION_PLANS
from whimbrel.domain.samples import MigrationSample

GIB = 1024**3


def a_copying_stage() -> Stage:
    stage = Stage()
    stage.plan()
    stage.copying()
    stage.seconds += 20
    stage.settle()
    return stage


def sample(stage: Stage, remaining_bytes: int) -> None:
    stage.samples[DB1] = MigrationSample(stage.world.now, remaining_bytes=remaining_bytes)


def reports(stage: Stage) -> int:
    return stage.kinds(MIGRATION_PLANS).count("ReplaceStatus MigrationPlan")


def test_progress_is_written_at_most_every_fifteen_seconds() -> None:
    stage = a_copying_stage()
    sample(stage, 2 * GIB)
    stage.settle()
    before, instants = reports(stage), 60

    for second in range(instants):
        stage.seconds += 1
        sample(stage, 2 * GIB - second * 20 * 1024**2)
        stage.settle()

    assert 1 <= reports(stage) - before <= instants // 15


def test_while_nothing_changes_nothing_is_written_although_moves_are_in_flight() -> None:
    stage = a_copying_stage()
    stage.settle()
    before = len(stage.written)

    for _ in range(20):
        stage.seconds += 5
        stage.settle()

    assert len(stage.written) == before


def test_progress_that_has_to_wait_for_its_turn_asks_to_be_looked_at_again() -> None:
    stage = a_copying_stage()
    sample(stage, GIB)
    stage.settle()
    stage.seconds += 12

    sample(stage, GIB // 2)
    decisions = stage.tick()

    assert decisions.writes == ()
    assert decisions.wake_after_s == 3.0


def test_progress_never_goes_backwards_although_the_guest_dirties_faster_than_it_is_copied() -> None:
    stage = a_copying_stage()
    seen: list[tuple[int, int]] = []

    for remaining_mib in (2000, 1000, 1500, 300, 1900):
        sample(stage, remaining_mib * 1024**2)
        stage.seconds += 16
        stage.settle()
        status = stage.status_of()
        seen.append((status["percent"], status["active"][0]["percent"]))

    assert seen == sorted(seen)
    assert seen[-1][1] == 85


def test_the_percentage_does_not_fall_when_a_further_attempt_begins_anew() -> None:
    stage = a_copying_stage()
    sample(stage, GIB // 2)
    stage.seconds += 16
    stage.settle()
    before = stage.status_of()["percent"]

    stage.samples.clear()
    stage.fail(abortStatus="Succeeded")
    stage.settle()
    stage.seconds += 16
    stage.settle()

    assert before > 0
    assert stage.status_of()["percent"] >= before


def test_a_move_in_flight_shows_its_phase_its_rung_and_what_is_left() -> None:
    stage = a_copying_stage()

    sample(stage, 512 * 1024**2)
    stage.seconds += 16
    stage.settle()

    assert stage.status_of()["active"] == [
        {
            "virtualMachine": "default/db1",
            "sourceNode": "node-1",
            "targetNode": "node-2",
            "phase": "Copying",
            "rung": "PreCopy",
            "attempt": 1,
            "percent": 75,
            "remainingMib": 512,
        }
    ]
