"""Somebody deletes a move that the operator still needs."""

from support.stage import a_copying_stage, key_of
from whimbrel.domain.resources import VIRTUAL_MACHINE_MOVES


def test_a_deleted_move_in_flight_leaves_no_migration_behind() -> None:
    stage = a_copying_stage()
    stage.delete(VIRTUAL_MACHINE_MOVES, key_of(stage.move()))
    stage.seconds += 60

    stage.settle()

    assert "deletionTimestamp" in stage.unfinished()["metadata"]


def test_a_deleted_move_is_made_anew_and_continues_above_the_attempts_that_were_begun() -> None:
    stage = a_copying_stage()
    stage.delete(VIRTUAL_MACHINE_MOVES, key_of(stage.move()))
    stage.seconds += 60

    stage.settle()

    assert stage.move()["spec"]["attempt"]["number"] == 2


def test_a_deleted_move_whose_attempts_are_all_spent_says_so_and_begins_nothing() -> None:
    stage = a_copying_stage(migration={"attempts": 1})
    stage.delete(VIRTUAL_MACHINE_MOVES, key_of(stage.move()))
    stage.seconds += 60
    stage.settle()
    stage.carry_out_abort()

    stage.settle()

    assert stage.outcome() == ("Skipped", "AttemptsSpent")
    assert len(stage.migrations()) <= 1
