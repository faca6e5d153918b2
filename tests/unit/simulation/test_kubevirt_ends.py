"""How migrations end: cancelled, aborted, failed, collected; and what an evacuation starts."""

from datetime import timedelta
from typing import Any

import pytest

from support.kubevirt_objects import (
    NOW,
    SOURCE,
    TARGET,
    a_migration,
    a_pod,
    a_view,
    an_instance,
    events,
    handed,
    phase_after,
)
from whimbrel.simulation.kubevirt import agents, collection, evacuation, migrations
from whimbrel.simulation.kubevirt.effects import Again, Create, Remove, Replace, ReplaceStatus
from whimbrel.simulation.kubevirt.phases import View

Json = dict[str, Any]
LATER = NOW + timedelta(seconds=30)


def test_a_migration_that_failed_with_its_target_pod_marks_the_instance_and_keeps_what_a_handler_said() -> None:
    copying = handed(startTimestamp="2026-01-05T08:00:00Z", failureReason="the cable is out")

    effects = migrations.step(a_view(a_migration("Failed"), copying, SOURCE))

    marked = next(each.body["status"]["migrationState"] for each in effects if isinstance(each, Replace))
    assert (marked["failed"], marked["completed"]) == (True, True)
    assert (marked["startTimestamp"], marked["failureReason"]) == ("2026-01-05T08:00:00Z", "the cable is out")


def test_before_1_9_only_a_target_lost_before_it_listened_is_marked() -> None:
    old = {"status": {"observedKubeVirtVersion": "v1.8.4"}}

    def marked(**state: Any) -> bool:
        effects = migrations.step(a_view(a_migration("Failed"), handed(**state), SOURCE, kubevirt=old))
        return any(isinstance(each, Replace) and each.body["kind"] == "VirtualMachineInstance" for each in effects)

    assert marked()
    assert not marked(targetDirectMigrationNodePorts={"41001": 0})


def test_a_cancelled_migration_says_that_it_was_to_be_aborted() -> None:
    effects = migrations.step(a_view(a_migration("Pending", deleting=True)))

    (written,) = [each.body for each in effects if isinstance(each, ReplaceStatus)]
    (told,) = written["status"]["conditions"]
    assert (told["type"], told["status"], told["lastTransitionTime"]) == ("migrationAbortRequested", "True", None)


@pytest.mark.parametrize("phase", ["", "Pending", "Scheduling", "Scheduled"])
def test_a_migration_deleted_before_the_hand_off_fails_at_once_and_leaves_the_instance_alone(
    phase: str,
) -> None:
    pods = (SOURCE, TARGET) if phase in ("Scheduling", "Scheduled") else (SOURCE,)

    effects = migrations.step(a_view(a_migration(phase, deleting=True), None, *pods))

    assert phase_after(effects) == "Failed"
    assert any("being canceled" in text for text in events(effects))
    assert any(isinstance(each, Remove) for each in effects) is (len(pods) == 2)
    assert not any(isinstance(each, Replace) for each in effects)


@pytest.mark.parametrize("phase", ["PreparingTarget", "TargetReady"])
def test_a_delete_between_hand_off_and_start_only_sets_the_condition(phase: str) -> None:
    effects = migrations.step(a_view(a_migration(phase, deleting=True), handed(), SOURCE, TARGET))

    (written,) = [each.body for each in effects if isinstance(each, Replace | ReplaceStatus)]
    assert written["kind"] == "VirtualMachineInstanceMigration"
    assert [each["type"] for each in written["status"]["conditions"]] == ["migrationAbortRequested"]


def test_a_delete_while_running_asks_the_source_to_abort_once() -> None:
    running = handed(startTimestamp="2026-01-05T08:00:00Z")
    asked = migrations.step(a_view(a_migration("Running", deleting=True), running, SOURCE, TARGET))
    running["status"]["migrationState"]["abortRequested"] = True
    again = migrations.step(a_view(a_migration("Running", deleting=True), running, SOURCE, TARGET))

    assert [each.body["status"]["migrationState"]["abortRequested"] for each in asked if isinstance(each, Replace)] == [
        True
    ]
    assert not any(isinstance(each, Replace) for each in again)


def test_a_target_pod_lost_after_the_hand_off_ends_the_migration_on_the_instance_too() -> None:
    effects = migrations.step(a_view(a_migration("TargetReady"), handed(targetNodeAddress="a"), SOURCE))

    (marked,) = [each.body for each in effects if isinstance(each, Replace)]
    assert marked["status"]["migrationState"]["failureReason"] == "Target pod is down"
    assert phase_after(effects) == "Failed"


def test_an_ended_migration_first_loses_its_finalizer() -> None:
    (effect,) = migrations.step(a_view(a_migration("Failed")))

    assert isinstance(effect, Replace)
    assert effect.body["metadata"]["finalizers"] == []


def ended(number: int, phase: str = "Failed") -> Json:
    made = a_migration(phase, f"m{number}")
    made["metadata"]["finalizers"] = []
    made["metadata"]["creationTimestamp"] = f"2026-01-05T08:00:{number:02}Z"
    return made


def test_the_five_newest_ended_migrations_are_kept() -> None:
    *old, newest = [ended(number) for number in range(7)]

    effects = migrations.step(a_view(newest, siblings=old))

    assert [each.name for each in effects if isinstance(each, Remove)] == ["m0", "m1"]


def test_with_a_collected_migration_goes_the_launcher_that_it_left() -> None:
    *old, newest = [ended(number) for number in range(8)]
    old[0]["status"]["migrationState"] = {"failed": True, "completed": True, "targetPod": "dead", "sourcePod": "alive"}
    old[1]["status"]["migrationState"] = {"completed": True, "targetPod": "alive", "sourcePod": "left"}
    old[2]["status"]["migrationState"] = {"sourcePod": "alive"}
    pods = [a_pod(each, "node-1", "Running") for each in ("alive", "left", "dead")]

    effects = migrations.step(a_view(newest, None, *pods, siblings=old))

    assert [each.name for each in effects if isinstance(each, Remove)] == ["dead", "m0", "left", "m1", "m2"]


def test_a_failure_before_the_hand_off_after_a_success_stops_collection() -> None:
    *old, newest = [ended(number) for number in range(7)]
    succeeded_before = an_instance(migrationUid="uid-earlier", completed=True)

    effects = migrations.step(a_view(newest, succeeded_before, siblings=old))

    assert effects == (Again(collection.RETRY_S),)


def test_an_instance_that_is_gone_takes_its_migration_with_it_but_not_its_finalizer() -> None:
    orphan = View(a_migration("Pending"), None, (), NOW)
    stuck = View(a_migration("Pending", deleting=True), None, (), NOW)

    assert [type(each) for each in migrations.step(orphan)] == [Remove]
    assert migrations.step(stuck) == ()


def test_an_evacuation_moves_only_what_leaves_that_to_kubevirt() -> None:
    instance = an_instance()
    instance["status"].update(evacuationNodeName="node-1", conditions=[{"type": "LiveMigratable", "status": "True"}])

    def started(strategy: str) -> list[str]:
        instance["spec"]["evictionStrategy"] = strategy
        effects = evacuation.step(instance, None, (), (SOURCE,))
        return [each.body["spec"]["priority"] for each in effects if isinstance(each, Create)]

    assert started("LiveMigrate") == ["system-critical"]
    assert started("External") == []
    assert started("None") == []


def test_times_are_written_as_go_writes_them() -> None:
    begun = agents.started(handed(), NOW)

    assert begun["status"]["migrationState"]["startTimestamp"] == "2026-01-05T08:00:00Z"


def test_success_flips_the_node_and_clears_the_evacuation() -> None:
    leaving = handed(startTimestamp="2026-01-05T08:00:00Z")
    leaving["status"]["evacuationNodeName"] = "node-1"

    moved = agents.released(agents.completed(agents.moved(leaving, LATER)))

    assert moved["status"]["nodeName"] == moved["metadata"]["labels"]["kubevirt.io/nodeName"] == "node-2"
    assert "evacuationNodeName" not in moved["status"]
    assert moved["status"]["migrationState"]["completed"] is True
