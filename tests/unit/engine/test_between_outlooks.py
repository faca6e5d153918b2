"""Between two outlooks nothing is quoted anew: what was held back stays held back, what waits is admitted."""

from support.stage import Stage, emptying
from whimbrel.domain.records import Key
from whimbrel.domain.resources import INSTANCES, MIGRATION_PLANS, MIGRATIONS, NODES
from whimbrel.simulation.topology import GIB, GuestShape

PLAN = Key("default", "plan")
STUCK = GuestShape("stuck", "node-1", live_migratable=False)


def a_resting_stage(*guests: GuestShape, **profile: int) -> Stage:
    stage = Stage(*guests, profile=profile or None)
    stage.outlook_due = False
    return stage


def test_a_new_plan_is_quoted_at_once_and_starts_without_waiting_for_the_next_outlook() -> None:
    stage = a_resting_stage()
    stage.plan()

    stage.settle()

    assert len(stage.migrations()) == 1


def test_a_plan_that_is_blocked_by_one_virtual_machine_starts_no_other() -> None:
    stage = a_resting_stage(GuestShape("db1", "node-1"), STUCK)
    stage.plan(**emptying(leave=False))

    stage.settle()

    assert stage.status_of()["phase"] == "Blocked"
    assert not stage.world.objects(MIGRATIONS)


def test_a_running_plan_in_which_a_virtual_machine_becomes_immovable_starts_no_other() -> None:
    stage = a_resting_stage(*(GuestShape(f"db{n}", "node-1") for n in (1, 2, 3)), outbound=1)
    stage.plan(**emptying(leave=False))
    stage.settle()
    (first,) = (m["spec"]["vmiName"] for m in stage.world.objects(MIGRATIONS).values())
    second, _third = sorted({"db1", "db2", "db3"} - {first})
    broken = [
        {"type": "LiveMigratable", "status": "False", "reason": "DisksNotLiveMigratable", "message": "not shared"}
    ]
    stage.edit(INSTANCES, Key("default", second), "status", "conditions", value=broken)

    stage.outlook_due = True
    stage.tick()
    stage.outlook_due = False
    stage.hand_off(first)
    stage.copy(first)
    stage.arrive(first)
    stage.settle()

    assert len(stage.world.objects(MIGRATIONS)) == 1


def test_a_plan_that_names_what_is_gone_starts_nothing_though_it_was_quoted_before() -> None:
    stage = a_resting_stage()
    stage.plan(virtualMachines={"names": ["db1"]}, target={"nodeNames": ["node-2"]}, suspend=True)
    stage.settle()
    stage.edit(NODES, Key("", "node-2"), "metadata", "finalizers", value=[])
    stage.delete(NODES, Key("", "node-2"))

    stage.edit(MIGRATION_PLANS, PLAN, "spec", "suspend", value=False)
    stage.settle()

    assert (stage.status_of()["phase"], stage.reason()) == ("Pending", "UnknownNode")
    assert not stage.migrations()
    assert not stage.labels()


def test_a_new_plan_takes_room_that_only_a_plan_with_its_gate_shut_was_quoted() -> None:
    for gate in ({"suspend": True}, {"approval": "Manual"}, {}):
        big = {"memory_bytes": 40 * GIB, "touched_bytes": GIB}
        stage = a_resting_stage(GuestShape("db1", "node-1", **big), GuestShape("db2", "node-3", **big))
        if not gate:  # blocked by one of its own
            stage = a_resting_stage(GuestShape("db1", "node-1", **big), GuestShape("db2", "node-3", **big), STUCK)
        held = {"onNodes": {"names": ["node-1"]}}
        stage.plan("held", virtualMachines=held, target={"nodeNames": ["node-2"]}, **gate)
        stage.settle()

        stage.plan(virtualMachines={"names": ["db2"]}, target={"nodeNames": ["node-2"]})
        stage.settle()

        assert stage.move(plan="held")["spec"]["attempt"]["targetNode"] == "node-2"
        assert [m["spec"]["vmiName"] for m in stage.world.objects(MIGRATIONS).values()] == ["db2"], gate


def test_free_slots_are_taken_between_two_outlooks() -> None:
    stage = a_resting_stage(*(GuestShape(f"db{n}", "node-1") for n in (1, 2)), outbound=1)
    stage.plan()
    stage.settle()
    (first,) = (m["spec"]["vmiName"] for m in stage.world.objects(MIGRATIONS).values())

    stage.hand_off(first)
    stage.copy(first)
    stage.settle()
    stage.arrive(first)
    stage.settle()

    assert len(stage.world.objects(MIGRATIONS)) == 2


def test_a_start_is_checked_on_the_facts_of_the_moment_and_not_on_those_of_the_quote() -> None:
    stage = a_resting_stage(*(GuestShape(f"db{n}", "node-1") for n in (1, 2)), outbound=1)
    stage.plan(target={"nodeNames": ["node-2"]})
    stage.settle()
    (first,) = (m["spec"]["vmiName"] for m in stage.world.objects(MIGRATIONS).values())
    stage.hand_off(first)
    stage.copy(first)
    stage.settle()

    stage.node("node-2", unschedulable=True)
    stage.arrive(first)
    stage.settle()

    assert len(stage.world.objects(MIGRATIONS)) == 1


def test_an_edited_plan_is_quoted_at_once() -> None:
    stage = a_resting_stage()
    stage.plan(suspend=True)
    stage.settle()

    stage.edit(MIGRATION_PLANS, PLAN, "spec", "target", value={"nodeNames": ["node-3"]})
    stage.settle()

    assert stage.move()["spec"]["attempt"]["targetNode"] == "node-3"


def test_a_resting_plan_asks_for_the_next_outlook() -> None:
    stage = a_resting_stage()
    stage.plan(suspend=True)
    stage.settle()

    assert stage.tick().wake_after_s == 10.0


def test_while_nothing_changes_outlooks_and_rests_agree_and_nothing_is_written() -> None:
    for spec in ({"suspend": True}, {"dryRun": True}, {"approval": "Manual"}, emptying(leave=False)):
        stage = a_resting_stage(GuestShape("db1", "node-1"), STUCK)
        stage.plan(**(spec if "virtualMachines" in spec else emptying(**spec)))
        stage.settle()
        stage.outlook_due = True  # the first one finds out who keeps hosts from being emptied
        stage.settle()
        before = len(stage.written)

        for _ in range(4):
            stage.outlook_due = not stage.outlook_due
            stage.seconds += 10
            stage.settle()

        assert [w.why for w in stage.written[before:]] == []
