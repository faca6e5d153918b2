"""A virtual machine that moves at the first attempt: what is written, in which order, and what is told at the end."""

from support.stage import DB1, Stage
from whimbrel.domain.decision import Create
from whimbrel.domain.records import Key
from whimbrel.domain.resources import (
    HOST_PROFILES,
    INSTANCES,
    MIGRATION_PLANS,
    MIGRATION_POLICIES,
    MIGRATIONS,
    NODES,
    VIRTUAL_MACHINE_MOVES,
    VIRTUAL_MACHINES,
)
from whimbrel.domain.samples import MigrationSample

OF_ONE_VM = (VIRTUAL_MACHINE_MOVES, INSTANCES, MIGRATIONS)


def a_completed_move(stage: Stage) -> None:
    stage.settle()
    stage.hand_off()
    stage.settle()
    stage.copy()
    stage.settle()
    stage.seconds += 4
    stage.arrive()
    stage.settle()


def test_a_virtual_machine_that_moves_at_the_first_attempt_takes_six_writes() -> None:
    stage = Stage()
    stage.plan()

    a_completed_move(stage)

    assert stage.kinds(*OF_ONE_VM) == [
        "Create VirtualMachineMove",
        "JsonPatch VirtualMachineInstance",
        "Create VirtualMachineInstanceMigration",
        "ReplaceStatus VirtualMachineMove",
        "JsonPatch VirtualMachineInstance",
        "ReplaceStatus VirtualMachineMove",
    ]
    assert stage.refused == []


def test_two_writes_fewer_where_kubevirts_own_configuration_already_is_the_wanted_one() -> None:
    stage = Stage(migrations={"bandwidthPerMigration": "596Mi", "completionTimeoutPerGiB": 4})
    stage.plan()

    a_completed_move(stage)

    assert stage.kinds(*OF_ONE_VM, MIGRATION_POLICIES) == [
        "Create VirtualMachineMove",
        "Create VirtualMachineInstanceMigration",
        "ReplaceStatus VirtualMachineMove",
        "ReplaceStatus VirtualMachineMove",
    ]


def test_the_plans_finalizer_precedes_its_first_move() -> None:
    stage = Stage()
    stage.plan()

    written = stage.settle()

    order = [write.resource for write in written if write.resource in (MIGRATION_PLANS, VIRTUAL_MACHINE_MOVES)]
    assert "migrations-in-flight" in str(written[0])
    assert order.index(MIGRATION_PLANS) < order.index(VIRTUAL_MACHINE_MOVES)


def test_nothing_starts_before_the_quote_can_be_read() -> None:
    stage = Stage()
    stage.plan()

    stage.tick()
    stage.tick()

    (line,) = stage.status_of()["quote"]["moves"]
    assert (line["virtualMachine"], line["sourceNode"], line["targetNode"]) == ("default/db1", "node-1", "node-2")
    assert (line["rung"], line["rungs"]) == ("PreCopy", ["PreCopy"])
    assert 0 < line["durationSeconds"] <= line["durationP50Seconds"] < line["durationP90Seconds"]
    assert not stage.labels()
    assert not stage.migrations()


def test_the_policy_is_there_before_the_labels_and_the_labels_before_the_migration() -> None:
    stage = Stage()
    stage.plan()

    written = stage.settle()

    chain = [w.resource for w in written if w.resource in (MIGRATION_POLICIES, INSTANCES, MIGRATIONS)]
    assert chain == [MIGRATION_POLICIES, INSTANCES, MIGRATIONS]
    assert stage.labels()["whimbrel.dev/vmim"] == stage.migrations()[0]["metadata"]["name"]


def test_the_migration_asks_for_the_hostname_label_of_its_target_which_need_not_be_its_name() -> None:
    stage = Stage()
    for name in ("node-2", "node-3"):
        stage.edit(NODES, Key("", name), "metadata", "labels", "kubernetes.io/hostname", value=f"{name}.example")
    stage.plan()

    stage.settle()

    assert stage.migrations()[0]["spec"]["addedNodeSelector"] == {"kubernetes.io/hostname": "node-2.example"}
    assert stage.move()["spec"]["attempt"]["targetNode"] == "node-2"


def test_just_before_the_create_a_live_read_must_show_the_same_guest_on_its_source_with_our_label() -> None:
    stage = Stage()
    stage.plan()

    (create,) = [w for w in stage.settle() if isinstance(w, Create) and w.resource == MIGRATIONS]

    assert create.guard is not None
    assert (create.guard.instance, create.guard.node) == (DB1, "node-1")
    assert create.guard.uid == stage.body(INSTANCES, DB1)["metadata"]["uid"]
    assert create.guard.labels["whimbrel.dev/vmim"] == create.key.name
    assert create.guard.labels == stage.labels()


def test_the_labels_go_as_soon_as_kubevirt_has_resolved_the_configuration() -> None:
    stage = Stage()
    stage.plan()
    stage.settle()

    stage.hand_off()
    stage.settle()

    assert stage.labels() == {}
    assert stage.outcome() == ("Moving", "Started")


def test_a_finished_plan_says_so_lets_go_of_its_finalizer_and_falls_silent() -> None:
    stage = Stage()
    stage.plan()
    a_completed_move(stage)

    stage.seconds += 3600

    assert stage.settle() == []
    assert (stage.status_of()["phase"], stage.reason(condition="Finished")) == ("Succeeded", "AllMoved")
    assert stage.body(MIGRATION_PLANS, Key("default", "plan"))["metadata"]["finalizers"] == []
    assert stage.tick().wake_after_s is None
    assert not stage.world.objects(MIGRATION_POLICIES)


def test_a_move_that_has_arrived_is_finished_without_waiting_for_kubevirts_last_word_and_nothing_is_aborted() -> None:
    stage = Stage()
    stage.plan()
    stage.copying()
    stage.seconds += 60

    stage.arrive(finish=False)
    stage.settle()
    stage.seconds += 60
    stage.settle()

    assert stage.outcome() == ("Succeeded", "Verified")
    assert "deletionTimestamp" not in stage.unfinished()["metadata"]


def test_the_receipt_holds_facts_with_their_sources_and_no_guess() -> None:
    stage = Stage()
    stage.plan()
    stage.settle()
    stage.hand_off()
    stage.copy()
    stage.seconds += 4
    stage.courses[DB1] = (MigrationSample(stage.world.now, processed_bytes=2_345_678),)
    stage.arrive()

    stage.settle()

    receipt = stage.move()["status"]["receipt"]
    assert receipt["durationMs"] == {"value": 4000, "tolerance": 1000, "source": "KubeVirtTimestamps"}
    assert receipt["bytes"] == {"value": 2_345_678, "source": "LastSample"}
    assert receipt["downtimeMs"] == {"source": "NotMeasured"}
    assert (receipt["node"], receipt["attempts"]) == ("node-2", 1)


def test_the_owner_of_the_virtual_machine_sees_begin_and_end_as_events_once_each() -> None:
    stage = Stage()
    stage.plan()

    a_completed_move(stage)

    seen = [(a.resource, a.reason) for a in stage.announced if a.resource == VIRTUAL_MACHINES]
    assert seen == [(VIRTUAL_MACHINES, "MigrationStarted"), (VIRTUAL_MACHINES, "Migrated")]


def test_each_transition_of_a_plan_is_announced_once() -> None:
    stage = Stage()
    stage.plan()

    a_completed_move(stage)

    assert [a.reason for a in stage.announced if a.resource == MIGRATION_PLANS] == ["Quoting", "Migrating", "AllMoved"]


def test_a_plan_costs_a_constant_number_of_status_writes_however_many_virtual_machines_move() -> None:
    stage = Stage()
    stage.plan()

    a_completed_move(stage)

    assert stage.kinds(MIGRATION_PLANS).count("ReplaceStatus MigrationPlan") == 4


def test_the_profile_says_once_where_it_is_in_effect() -> None:
    stage = Stage()

    stage.settle()

    assert stage.kinds(HOST_PROFILES) == ["ReplaceStatus HostProfile"]
    assert stage.body(HOST_PROFILES, Key("", "all"))["status"]["nodes"] == ["node-1", "node-2", "node-3"]


def test_an_empty_cluster_is_left_alone() -> None:
    stage = Stage(profile={})

    assert stage.tick().writes == ()


def test_a_target_that_the_plan_names_is_the_target() -> None:
    stage = Stage()
    stage.plan(virtualMachines={"names": ["db1"]}, target={"nodeNames": ["node-3"]})

    stage.settle()

    assert stage.migrations()[0]["spec"]["addedNodeSelector"] == {"kubernetes.io/hostname": "node-3"}
