"""A machine that only lacks the room that somebody is just leaving is not given up."""

from support.stage import Stage
from whimbrel.simulation.topology import GuestShape

GIB = 1 << 30


def test_who_waits_for_the_room_that_another_leaves_is_not_skipped_and_moves_when_it_is_free() -> None:
    guests = [GuestShape("db1", "node-1", memory_bytes=40 * GIB), GuestShape("z", "node-2", memory_bytes=40 * GIB)]
    stage = Stage(*guests)
    stage.foreign_migration("z")
    stage.hand_off("z", to="node-3")
    stage.plan(virtualMachines={"names": ["db1"], "nonMigratable": "Leave"}, target={"nodeNames": ["node-2"]})

    stage.settle()
    stage.seconds += 20
    stage.settle()

    assert stage.move("db1")["status"]["phase"] == "Blocked"
    stage.copy("z")
    stage.arrive("z")
    stage.seconds += 20
    stage.settle()
    assert len(stage.migrations("db1")) == 1


def test_a_migration_that_never_gets_anywhere_holds_up_no_plan_for_good() -> None:
    guests = [GuestShape("db1", "node-1", memory_bytes=40 * GIB), GuestShape("z", "node-2", memory_bytes=40 * GIB)]
    stage = Stage(*guests)
    stage.node("node-3", unschedulable=True)
    stage.foreign_migration("z")
    stage.plan(virtualMachines={"names": ["db1"], "nonMigratable": "Leave"}, target={"nodeNames": ["node-2"]})

    stage.settle()
    stage.seconds += 3600
    stage.settle()

    assert stage.move("db1")["status"]["phase"] == "Skipped"
