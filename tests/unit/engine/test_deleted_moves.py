"""Somebody deletes a move that the operator still needs."""

from support.stage import DB1, a_copying_stage, key_of
from whimbrel.domain.resources import INSTANCES, VIRTUAL_MACHINE_MOVES


def test_a_deleted_move_in_flight_leaves_no_migration_behind() -> None:
    stage = a_copying_stage()
    stage.delete(VIRTUAL_MACHINE_MOVES, key_of(stage.move()))
    stage.seconds += 60

    stage.settle()

    assert "deletionTimestamp" in stage.unfinished()["metadata"]


def test_a_deleted_move_is_not_made_anew_after_the_start_and_the_plan_says_that_something_is_missing() -> None:
    stage = a_copying_stage()
    stage.delete(VIRTUAL_MACHINE_MOVES, key_of(stage.move()))
    stage.seconds += 60
    stage.settle()
    stage.carry_out_abort()

    stage.settle()

    assert stage.world.objects(VIRTUAL_MACHINE_MOVES) == {}
    assert stage.reason() == "MoveDeleted"
    assert stage.reason(condition="Finished") == "MoveDeleted"


def test_a_deleted_record_of_a_finished_move_moves_nothing_again() -> None:
    stage = a_copying_stage()
    stage.arrive()
    stage.settle()
    moved = stage.body(INSTANCES, DB1)["status"]["nodeName"]

    stage.delete(VIRTUAL_MACHINE_MOVES, key_of(stage.move()))
    stage.seconds += 60
    stage.settle()

    assert stage.body(INSTANCES, DB1)["status"]["nodeName"] == moved
    assert len(stage.migrations()) <= 1
