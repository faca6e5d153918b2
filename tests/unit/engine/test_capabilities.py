"""What the engine does with what KubeVirt can be told – and while that is not known."""

from typing import Any

from support.builders import CAPABILITIES, KUBEVIRT_1_4, KUBEVIRT_1_5
from support.stage import DB1, STUN, Stage, emptying
from whimbrel.domain.records import Key
from whimbrel.domain.resources import INSTANCES, MIGRATION_PLANS, MIGRATIONS, NODES, PODS
from whimbrel.simulation.kubevirt.values import owner_reference
from whimbrel.simulation.topology import GuestShape

PLAN = Key("default", "plan")


def bind_target(stage: Stage, node: str, name: str = "target") -> None:
    """The scheduler binds the target pod; KubeVirt has not handed over yet."""
    migration, instance = stage.unfinished(), stage.body(INSTANCES, DB1)
    labels = {
        "kubevirt.io": "virt-launcher",
        "kubevirt.io/created-by": instance["metadata"]["uid"],
        "kubevirt.io/migrationJobUID": migration["metadata"]["uid"],
    }
    owners = [owner_reference({"apiVersion": INSTANCES.api_version, "kind": INSTANCES.kind, **instance})]
    metadata = {"name": name, "namespace": "default", "labels": labels, "ownerReferences": owners}
    pod = {"metadata": metadata, "spec": {"nodeName": node}}
    stage.world.create("setup", PODS, {**pod, "status": {"phase": "Pending"}})


def test_nothing_is_quoted_before_it_is_known_what_kubevirt_can_be_told() -> None:
    stage = Stage(capabilities=None)
    stage.plan()

    stage.settle()

    assert stage.status_of()["phase"] == "Pending"
    assert stage.reason() == "KubeVirtCapabilitiesUnknown"
    assert "quote" not in stage.status_of()
    stage.capabilities = CAPABILITIES
    stage.settle()
    assert len(stage.migrations()) == 1


def test_a_quoted_plan_keeps_its_quote_and_starts_nothing_while_the_schemas_are_unread() -> None:
    stage = Stage(*(GuestShape(f"db{n}", "node-1") for n in (1, 2, 3)), profile={"outbound": 1})
    stage.plan()
    stage.settle()
    quoted = stage.status_of()["quote"]
    stage.capabilities = None

    stage.hand_off()
    stage.copy()
    stage.settle()
    stage.arrive()
    stage.seconds += 20
    stage.settle()

    assert stage.outcome() == ("Succeeded", "Verified")
    assert len(stage.world.objects(MIGRATIONS)) == 1
    assert stage.status_of()["quote"] == quoted
    assert stage.reason() == "KubeVirtCapabilitiesUnknown"
    stage.capabilities = CAPABILITIES
    stage.settle()
    assert len(stage.world.objects(MIGRATIONS)) == 2


def test_an_edited_plan_keeps_its_old_status_while_the_schemas_are_unread() -> None:
    stage = Stage()
    stage.plan(suspend=True)
    stage.settle()
    before = stage.status_of()
    stage.capabilities = None

    stage.edit(MIGRATION_PLANS, PLAN, "spec", "suspend", value=False)
    stage.settle()

    assert stage.status_of() == before
    assert not stage.migrations()


def test_an_attempt_that_failed_while_the_schemas_are_unread_is_repeated_when_they_are_read() -> None:
    stage = Stage()
    stage.plan()
    stage.settle()
    stage.hand_off()
    stage.copy()
    stage.capabilities = None

    stage.fail(failureReason="QEMU is cross")
    stage.settle()
    assert stage.move()["status"]["attempt"]["number"] == 2
    stage.seconds += 30
    stage.settle()
    assert len(stage.migrations()) == 1

    stage.capabilities = CAPABILITIES
    stage.settle()
    assert len(stage.migrations()) == 2


def test_where_the_scheduler_chooses_the_quote_says_so_and_is_approved_with_the_nodes() -> None:
    stage = Stage(capabilities=KUBEVIRT_1_5, version="v1.5.3")
    stage.plan(**emptying(approval="Manual"))
    stage.settle()
    first = stage.status_of()["quote"]
    (line,) = first["moves"]
    assert (line["targetNode"], line["targetChosenBy"]) == ("node-2", "Scheduler")

    stage.edit(NODES, Key("", "node-3"), "metadata", "labels", "kubernetes.io/arch", value="arm64")
    stage.settle()

    assert stage.move()["spec"]["attempt"]["allowedNodes"] == ["node-2"]
    assert stage.status_of()["quote"]["hash"] != first["hash"]


def test_an_upgrade_before_the_start_names_the_target() -> None:
    stage = Stage(capabilities=KUBEVIRT_1_4, version="v1.4.1")
    stage.plan(**emptying(suspend=True, migration={"disruption": STUN}))
    stage.settle()
    assert stage.status_of()["quote"]["moves"][0]["rungs"] == ["PreCopy"]

    stage.capabilities = CAPABILITIES
    stage.edit(MIGRATION_PLANS, PLAN, "spec", "suspend", value=False)
    stage.settle()

    assert stage.status_of()["quote"]["moves"][0]["rungs"] == ["PreCopy", "Stun"]
    assert stage.move()["spec"]["attempt"]["allowedNodes"] == []
    assert stage.migrations()[0]["spec"]["addedNodeSelector"] == {"kubernetes.io/hostname": "node-2"}


def test_a_target_pod_on_a_node_that_is_not_allowed_is_given_up_before_the_hand_off() -> None:
    stage = Stage(capabilities=KUBEVIRT_1_5, version="v1.5.3", hosts=4)
    stage.edit(NODES, Key("", "node-4"), "spec", "unschedulable", value=True)
    stage.plan(**emptying(target={"excludeNodes": ["node-4"]}))
    stage.settle()

    bind_target(stage, "node-4")
    stage.tick()
    abort = stage.move()["status"]["abort"]
    assert abort["reason"] == "TargetNotAllowed"
    assert "node-4" in abort["message"]
    stage.settle()

    assert stage.unfinished()["metadata"]["deletionTimestamp"]
    stage.lose_target()
    stage.settle()
    assert stage.move()["status"]["history"][0]["reason"] == "TargetNotAllowed"


def test_a_target_pod_on_any_allowed_node_goes_on() -> None:
    stage = Stage(capabilities=KUBEVIRT_1_5, version="v1.5.3")
    stage.plan()
    stage.settle()

    bind_target(stage, "node-3")
    stage.settle()

    assert "abort" not in stage.move()["status"]
    assert "deletionTimestamp" not in stage.unfinished()["metadata"]


def a_stage_between_attempts(**plan: Any) -> Stage:
    """The first attempt has failed, the second one waits, and the scheduler chooses."""
    stage = Stage(capabilities=KUBEVIRT_1_5, version="v1.5.3")
    stage.plan(**plan)
    stage.settle()
    stage.hand_off(to="node-2")
    stage.copy()
    stage.settle()
    stage.fail(failureReason="QEMU is cross")
    stage.settle()
    assert stage.move()["status"]["attempt"]["number"] == 2
    return stage


def test_a_guest_that_somebody_else_moved_while_a_further_attempt_waited_is_not_called_moved_by_us() -> None:
    stage = a_stage_between_attempts()

    theirs = stage.foreign_migration()
    stage.hand_off(to="node-3")
    stage.copy()
    stage.arrive()
    stage.delete(MIGRATIONS, Key("default", theirs["metadata"]["name"]))
    stage.settle()

    status = stage.move()["status"]
    assert [each["outcome"] for each in status["history"]] == ["Failed"]
    assert (status["phase"], status["reason"]) == ("Failed", "NoLongerSelected")


def test_a_guest_that_somebody_else_moved_and_that_is_still_selected_is_moved_from_where_it_is() -> None:
    stage = a_stage_between_attempts(virtualMachines={"names": ["db1"]})

    theirs = stage.foreign_migration()
    stage.hand_off(to="node-3")
    stage.copy()
    stage.arrive()
    stage.delete(MIGRATIONS, Key("default", theirs["metadata"]["name"]))
    stage.seconds += 60
    stage.settle()

    status = stage.move()["status"]
    assert [each["outcome"] for each in status["history"]] == ["Failed"]
    assert (status["attempt"]["number"], status["attempt"]["sourceNode"]) == (2, "node-3")
    assert stage.unfinished()["metadata"]["labels"]["whimbrel.dev/attempt"] == "2"


def test_a_further_attempt_that_was_recorded_as_begun_and_vanished_is_known_again() -> None:
    stage = a_stage_between_attempts()
    stage.seconds += 60
    stage.settle()
    stage.hand_off(to="node-3")
    stage.copy()
    stage.settle()
    assert stage.outcome() == ("Moving", "Started")

    key = Key("default", stage.unfinished()["metadata"]["name"])
    stage.arrive()
    stage.delete(MIGRATIONS, key)
    stage.settle()

    assert [each["outcome"] for each in stage.move()["status"]["history"]] == ["Failed", "Succeeded"]


def test_a_named_target_is_held_to_as_well() -> None:
    stage = Stage()
    stage.plan()
    stage.settle()

    bind_target(stage, "node-3")
    stage.settle()

    assert stage.move()["status"]["abort"]["message"] == "Its target pod is on node-3, not on node-2."


def test_the_node_that_was_chosen_is_the_one_that_is_reported() -> None:
    stage = Stage(capabilities=KUBEVIRT_1_5, version="v1.5.3")
    stage.plan()
    stage.settle()

    stage.hand_off(to="node-3")
    stage.copy()
    stage.seconds += 20
    stage.settle()
    assert stage.status_of()["active"][0]["targetNode"] == "node-3"
    stage.arrive()
    stage.settle()

    assert stage.outcome() == ("Succeeded", "Verified")
    assert stage.move()["status"]["receipt"]["node"] == "node-3"
