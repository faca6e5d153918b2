"""The dictionary that plays API server keeps the fences that writes rely on; the checker sees what it must."""

import pytest

from support.invariants import Checker
from support.scenes import empty, guests, hosts, simulate
from whimbrel.domain.records import Key
from whimbrel.domain.resources import (
    INSTANCES,
    MIGRATION_PLANS,
    MIGRATIONS,
    PODS,
    VIRTUAL_MACHINE_MOVES,
    VIRTUAL_MACHINES,
)
from whimbrel.simulation.topology import Topology, a_plan
from whimbrel.simulation.world import AlreadyExists, Conflict, NotFound, Refused, World, patched

PLAN = Key("default", "evening")


def a_world() -> World:
    world = World(lambda: 1.0)
    world.create("user", MIGRATION_PLANS, a_plan("evening", {"suspend": False}))
    return world


def test_a_name_is_given_once() -> None:
    with pytest.raises(AlreadyExists, match="evening"):
        a_world().create("user", MIGRATION_PLANS, a_plan("evening", {}))


def test_a_write_that_supposes_an_older_version_is_refused() -> None:
    world = a_world()
    read = world.objects(MIGRATION_PLANS)[PLAN]
    world.replace_status("whimbrel", MIGRATION_PLANS, PLAN, {**read, "status": {"phase": "Running"}})

    with pytest.raises(Conflict, match="resourceVersion"):
        world.replace_status("whimbrel", MIGRATION_PLANS, PLAN, {**read, "status": {"phase": "Failed"}})


def test_a_write_that_changes_nothing_makes_no_version() -> None:
    world = a_world()

    world.replace("user", MIGRATION_PLANS, PLAN, world.objects(MIGRATION_PLANS)[PLAN])

    assert len(world.history) == 1


def test_spec_and_status_are_written_apart_and_only_the_spec_makes_a_generation() -> None:
    world = a_world()
    read = world.objects(MIGRATION_PLANS)[PLAN]

    stored = world.replace("user", MIGRATION_PLANS, PLAN, {**read, "spec": {"suspend": True}, "status": {"phase": "X"}})
    reported = world.replace_status("whimbrel", MIGRATION_PLANS, PLAN, {**stored, "spec": {}, "status": {"phase": "Y"}})

    assert "status" not in stored
    assert (reported["spec"], reported["status"]) == ({"suspend": True}, {"phase": "Y"})
    assert (stored["metadata"]["generation"], reported["metadata"]["generation"]) == (2, 2)


def test_a_delete_is_of_one_uid_and_a_finalizer_holds_the_object() -> None:
    world = a_world()
    read = world.objects(MIGRATION_PLANS)[PLAN]
    held = world.replace(
        "whimbrel", MIGRATION_PLANS, PLAN, {**read, "metadata": {**read["metadata"], "finalizers": ["whimbrel.dev/x"]}}
    )

    with pytest.raises(Conflict, match="UID"):
        world.delete("user", MIGRATION_PLANS, PLAN, "another")
    deleting = world.delete("user", MIGRATION_PLANS, PLAN, held["metadata"]["uid"])
    assert deleting is not None
    assert deleting["metadata"]["deletionTimestamp"]
    world.patch("whimbrel", MIGRATION_PLANS, PLAN, [{"op": "remove", "path": "/metadata/finalizers"}])

    assert world.get(MIGRATION_PLANS, PLAN) is None
    with pytest.raises(NotFound):
        world.delete("user", MIGRATION_PLANS, PLAN)


def test_what_is_owned_goes_with_its_last_owner() -> None:
    world = a_world()
    owner = {"uid": world.objects(MIGRATION_PLANS)[PLAN]["metadata"]["uid"], "kind": "MigrationPlan", "name": "evening"}
    move = {"metadata": {"name": "move", "namespace": "default", "ownerReferences": [owner]}, "spec": {}}
    world.create("whimbrel", VIRTUAL_MACHINE_MOVES, move)

    world.delete("user", MIGRATION_PLANS, PLAN)

    assert world.objects(VIRTUAL_MACHINE_MOVES) == {}


def test_a_patch_with_a_failing_test_changes_nothing() -> None:
    document = {"metadata": {"uid": "1", "labels": {"a/b": "c"}}, "list": [1, 2]}
    label = "/metadata/labels/a~1b"

    assert patched(document, [{"op": "replace", "path": label, "value": "d"}])["metadata"]["labels"] == {"a/b": "d"}
    assert patched(document, [{"op": "remove", "path": label}])["metadata"]["labels"] == {}
    assert patched(document, [{"op": "add", "path": "/list/-", "value": 3}])["list"] == [1, 2, 3]
    with pytest.raises(Refused, match="testing /metadata/uid failed"):
        patched(document, [{"op": "test", "path": "/metadata/uid", "value": "2"}, {"op": "remove", "path": label}])


def test_the_same_arguments_give_the_same_history() -> None:
    def history() -> list[tuple[object, ...]]:
        simulation, _checker = simulate(Topology(hosts(3), guests(4)))
        simulation.apply(a_plan("evening", empty("node-0")))
        simulation.run_until_finished(600)
        return [(change.at, change.actor, change.verb, change.key) for change in simulation.world.history]

    assert history() == history()


class TestTheChecker:
    """It would be worth nothing if it let things pass."""

    def finished(self) -> tuple[World, Checker]:
        simulation, checker = simulate(Topology(hosts(3), guests(2)))
        simulation.apply(a_plan("evening", empty("node-0")))
        assert simulation.run_until_finished(600)
        assert checker.broken == []
        return simulation.world, checker

    def test_it_sees_that_a_finished_move_is_taken_back(self) -> None:
        world, checker = self.finished()
        key, move = next(iter(world.objects(VIRTUAL_MACHINE_MOVES).items()))

        status = {**move["status"], "phase": "Moving"}
        world.replace_status("whimbrel", VIRTUAL_MACHINE_MOVES, key, {**move, "status": status})

        assert "invariant 13" in checker.broken[0]

    def test_it_sees_that_somebody_elses_migration_is_deleted(self) -> None:
        world, checker = self.finished()
        body = {"metadata": {"name": "theirs", "namespace": "default"}, "spec": {"vmiName": "vm-0"}}
        world.create("user", MIGRATIONS, body)

        world.delete("whimbrel", MIGRATIONS, Key("default", "theirs"))

        assert "invariant 11" in checker.broken[0]

    def test_it_sees_that_a_guest_is_lost(self) -> None:
        world, checker = self.finished()

        world.delete("whimbrel", INSTANCES, Key("default", "vm-0"))

        assert any("invariant 2" in text for text in checker.broken)

    def test_it_sees_attempts_beyond_the_plans_and_migrations_beyond_the_limits(self) -> None:
        world, checker = self.finished()
        for key, body in list(world.objects(MIGRATIONS).items()):
            labels = body["metadata"]["labels"]
            for number in range(2, 5):
                name = f"{key.name}-{number}"
                again = {"name": name, "namespace": "default", "labels": labels}
                made = world.create("whimbrel", MIGRATIONS, {"metadata": again, "spec": body["spec"]})
                ended = {**made, "status": {"phase": "Failed"}}
                world.replace_status("kubevirt", MIGRATIONS, Key("default", name), ended)

        assert any("invariant 10" in text for text in checker.broken)
        assert any("its target is its source" in text for text in checker.broken)

    def test_it_sees_an_overfull_target(self) -> None:
        simulation, checker = simulate(Topology(hosts(2, memory_bytes=3 * 2**30), guests(1)))
        big = {"containers": [{"resources": {"requests": {"memory": "2Gi"}}}], "nodeName": "node-1"}
        pod = {
            "metadata": {"name": "big", "namespace": "default", "labels": {}},
            "spec": big,
            "status": {"phase": "Running"},
        }
        simulation.world.create("setup", PODS, pod)
        simulation.apply(a_plan("evening", empty("node-0")))
        simulation.run(60)
        plan = simulation.world.objects(MIGRATION_PLANS)[PLAN]["metadata"]["uid"]
        instance = simulation.world.objects(INSTANCES)[Key("default", "vm-0")]["metadata"]["uid"]
        labels = {
            "whimbrel.dev/managed": "true", "whimbrel.dev/plan-uid": plan, "whimbrel.dev/instance-uid": instance,
        }  # fmt: skip
        spec = {"vmiName": "vm-0", "addedNodeSelector": {"kubernetes.io/hostname": "node-1"}}
        assert checker.broken == []

        body = {"metadata": {"name": "bold", "namespace": "default", "labels": labels}, "spec": spec}
        simulation.world.create("whimbrel", MIGRATIONS, body)

        assert any("invariant 5" in text for text in checker.broken)
        assert simulation.world.get(VIRTUAL_MACHINES, Key("default", "vm-0")) is not None
