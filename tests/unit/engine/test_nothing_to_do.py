"""What need not move, what cannot go on for now, and what is still under way although its record is gone."""

from support.stage import Stage, a_copying_stage, key_of
from whimbrel.domain.records import Key
from whimbrel.domain.resources import HOST_PROFILES, MIGRATION_PLANS, VIRTUAL_MACHINE_MOVES
from whimbrel.simulation.topology import GuestShape

PLAN = Key("default", "plan")


def test_a_virtual_machine_that_is_on_a_wanted_node_already_stays_and_holds_up_nobody() -> None:
    stage = Stage(GuestShape("db1", "node-1"), GuestShape("db2", "node-2"))
    stage.plan(virtualMachines={"names": ["db1", "db2"]}, target={"nodeNames": ["node-2"]})

    stage.settle()

    assert stage.outcome("db2") == ("Skipped", "AlreadyThere")
    assert len(stage.migrations("db1")) == 1


def test_a_plan_that_finds_all_in_place_ends_well_with_nothing_to_do() -> None:
    stage = Stage(GuestShape("db2", "node-2"))
    stage.plan(virtualMachines={"names": ["db2"]}, target={"nodeNames": ["node-2", "node-3"]})

    stage.settle()

    assert (stage.status_of()["phase"], stage.reason()) == ("Succeeded", "NothingToDo")


def test_a_virtual_machine_that_is_selected_by_its_node_leaves_it_for_another_target() -> None:
    stage = Stage(GuestShape("db1", "node-1"))
    stage.plan(virtualMachines={"onNodes": {"names": ["node-1"]}}, target={"nodeNames": ["node-1", "node-2"]})

    stage.settle()

    assert stage.move()["spec"]["attempt"]["targetNode"] == "node-2"


def test_a_further_attempt_that_cannot_begin_for_now_says_why_and_goes_on_when_it_can() -> None:
    stage = Stage()
    stage.plan(leave=False)
    stage.settle()
    (profile,) = stage.world.objects(HOST_PROFILES)
    stage.edit(HOST_PROFILES, profile, "spec", "migration", "enabled", value=False)
    stage.not_converged()

    stage.settle()
    blocked = stage.move()["status"]
    stage.edit(HOST_PROFILES, profile, "spec", "migration", "enabled", value=True)
    stage.settle()

    assert (blocked["phase"], blocked["reason"]) == ("Blocked", "SourceNotEnabled")
    assert blocked["verdicts"]
    assert stage.unfinished()["metadata"]["labels"]["whimbrel.dev/attempt"] == "2"


def test_a_plan_is_neither_finished_nor_released_while_a_migration_of_it_runs_whose_move_was_deleted() -> None:
    stage = a_copying_stage()
    stage.delete(VIRTUAL_MACHINE_MOVES, key_of(stage.move()))

    stage.settle()

    assert "finishedAt" not in stage.status_of()
    assert stage.body(MIGRATION_PLANS, PLAN)["metadata"]["finalizers"]
