"""A migration's phases, its target pod and its hand-off, one pass at a time."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from support.kubevirt_objects import (
    NODE,
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
from whimbrel.simulation.kubevirt import launchers, migrations, phases, queueing
from whimbrel.simulation.kubevirt.effects import Again, Create, Effects, Emit, Remove, Replace, ReplaceStatus

Json = dict[str, Any]


@pytest.mark.parametrize(
    ("phase", "instance", "pods", "expected"),
    [
        ("", an_instance(), (SOURCE,), "Pending"),
        ("Pending", an_instance(), (SOURCE, a_pod("target", migration="move")), "Scheduling"),
        ("Scheduling", an_instance(), (SOURCE, a_pod("target", "node-2", migration="move")), ""),
        ("Scheduling", an_instance(), (SOURCE, TARGET), "Scheduled"),
        ("Scheduled", handed(), (SOURCE, TARGET), "PreparingTarget"),
        ("PreparingTarget", handed(), (SOURCE, TARGET), ""),
        ("PreparingTarget", handed(targetNodeAddress="10.0.0.2"), (SOURCE, TARGET), "TargetReady"),
        ("TargetReady", handed(startTimestamp="2026-01-05T08:00:00Z"), (SOURCE, TARGET), "Running"),
        ("Running", handed(startTimestamp="2026-01-05T08:00:00Z"), (SOURCE, TARGET), ""),
        (
            "Running",
            handed(startTimestamp="2026-01-05T08:00:00Z", completed=True),
            (SOURCE, TARGET),
            "Succeeded",
        ),
    ],
)
def test_each_phase_follows_from_its_evidence_and_is_dated_once(
    phase: str, instance: Json, pods: tuple[Json, ...], expected: str
) -> None:
    effects = phases.follow(a_view(a_migration(phase), instance, *pods))

    assert phase_after(effects) in ({expected} if expected else {"", phase})
    if expected:
        written = next(each.body for each in effects if isinstance(each, ReplaceStatus))
        entry = {"phase": expected, "phaseTransitionTimestamp": "2026-01-05T08:00:00Z"}
        assert entry in written["status"]["phaseTransitionTimestamps"]


@pytest.mark.parametrize(
    ("phase", "instance", "pods", "words"),
    [
        (
            "Pending",
            {**an_instance(), "status": {"phase": "Succeeded"}},
            (SOURCE,),
            "vmi shutdown during migration",
        ),
        ("Scheduling", an_instance(), (SOURCE,), "target pod was removed during active migration"),
        (
            "Scheduling",
            an_instance(),
            (SOURCE, a_pod("t", "node-2", "Failed", "move")),
            "target pod shutdown",
        ),
        ("PreparingTarget", an_instance(), (SOURCE, TARGET), "migration state was cleared"),
        ("Running", {**an_instance(migrationUid="uid-other")}, (SOURCE, TARGET), "another migration job"),
        (
            "Running",
            handed(failed=True, completed=True),
            (SOURCE, TARGET),
            "source node reported migration failed",
        ),
    ],
)
def test_a_migration_fails_with_the_words_that_say_why(
    phase: str, instance: Json, pods: tuple[Json, ...], words: str
) -> None:
    effects = phases.follow(a_view(a_migration(phase), instance, *pods))

    assert phase_after(effects) == "Failed"
    assert words in events(effects)[0]


def test_the_first_write_notes_api_versions_before_anything_else() -> None:
    fresh = a_migration()
    fresh["metadata"]["annotations"] = {}

    (effect,) = migrations.step(a_view(fresh))

    assert isinstance(effect, Replace)
    assert effect.body["metadata"]["annotations"]["kubevirt.io/latest-observed-api-version"] == "v1"


def states_written(effects: Effects) -> list[Json]:
    return [each.body["status"]["migrationState"] for each in effects if isinstance(each, ReplaceStatus)]


def test_while_pending_only_the_source_pod_is_noted_and_after_the_end_the_whole_state() -> None:
    over = handed(completed=True, endTimestamp="x")
    succeeded = a_migration("Running")
    succeeded["status"]["migrationState"] = {"sourcePod": "source"}

    assert states_written(phases.follow(a_view(a_migration("Pending")))) == [{"sourcePod": "source"}]
    assert states_written(phases.follow(a_view(succeeded, over, SOURCE, TARGET))) == [{"sourcePod": "source"}]
    succeeded["status"]["phase"] = "Succeeded"
    assert states_written(migrations.step(a_view(succeeded, over, SOURCE, TARGET))) == [
        over["status"]["migrationState"]
    ]


def test_an_instance_learns_as_whom_its_next_launcher_runs_before_that_is_made() -> None:
    elder = an_instance()
    elder["metadata"]["annotations"], elder["status"]["runtimeUser"] = {}, 0

    (prepared, *rest) = migrations.step(a_view(a_migration("Pending"), elder))

    assert isinstance(prepared, Replace)
    assert prepared.body["status"]["runtimeUser"] == 107
    assert prepared.body["metadata"]["annotations"]["kubevirt.io/nonroot"] == "true"
    assert not any(isinstance(each, Create) for each in rest)


def test_a_guest_that_moved_holds_a_slot_of_the_node_it_left_until_its_next_hand_off() -> None:
    moved = handed(completed=True)
    moved["status"]["nodeName"] = "node-2"

    assert queueing.outbound_nodes(moved) == {"node-1", "node-2"}
    assert queueing.outbound_nodes(an_instance()) == {"node-1"}


def test_the_target_pod_is_told_when_its_guest_was_ready_as_go_prints_it() -> None:
    arrived = handed(startTimestamp="x", targetNodeDomainReadyTimestamp="2026-01-05T08:00:00Z")

    effects = migrations.step(a_view(a_migration("Running"), arrived, SOURCE, TARGET))

    (noted,) = [each.body for each in effects if isinstance(each, Replace)]
    told = noted["metadata"]["annotations"]["kubevirt.io/migration-target-ready-timestamp"]
    assert told == "2026-01-05 08:00:00 +0000 UTC"


def test_nobody_fit_for_a_host_model_is_told_to_the_instance_while_its_pod_waits() -> None:
    instance = an_instance()
    instance["spec"]["domain"]["cpu"]["model"] = "host-model"
    pod = a_pod("target", migration="move", conditions=[
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"},
    ])  # fmt: skip
    pod["spec"]["nodeSelector"] = {"cpu-model-migration.node.kubevirt.io/Haswell": "true"}
    elsewhere: Json = {"metadata": {"name": "node-2", "labels": {}}}

    def told() -> list[str]:
        view = a_view(a_migration("Scheduling"), instance, SOURCE, pod, nodes=(NODE, elsewhere))
        return [each.reason for each in migrations.step(view) if isinstance(each, Emit)]

    assert told() == ["NoSuitableNodesForHostModelMigration", "migrationTargetPodUnschedulable"]
    elsewhere["metadata"]["labels"] = pod["spec"]["nodeSelector"]
    assert told() == ["migrationTargetPodUnschedulable"]


def test_success_waits_for_a_pending_hotplug_to_clear() -> None:
    moved = handed(startTimestamp="2026-01-05T08:00:00Z", completed=True)
    moved["status"]["conditions"] = [{"type": "MigrationRequired", "status": "True"}]

    assert phases.next_phase(a_view(a_migration("Running"), moved, SOURCE, TARGET)) == ""


@pytest.mark.parametrize(("running", "outbound", "starts"), [(4, 1, True), (5, 1, False), (4, 2, False)])
def test_a_target_pod_is_created_only_within_both_limits(running: int, outbound: int, starts: bool) -> None:
    effects = migrations.step(a_view(a_migration("Pending"), running=running, outbound=outbound))

    assert any(isinstance(each, Create) for each in effects) is starts
    assert (Again(5.0) in effects) is not starts


def test_a_second_living_launcher_keeps_a_migration_pending() -> None:
    effects = migrations.step(a_view(a_migration("Pending"), None, SOURCE, a_pod("old", "node-3", "Running")))

    assert Again(1.0) in effects
    assert not any(isinstance(each, Create) for each in effects)


def target_of(instance: Json, **spec: Any) -> Json:
    effects = migrations.step(a_view(a_migration("Pending", **spec), instance))
    return next(each.body for each in effects if isinstance(each, Create))


def test_what_the_virtual_machine_asks_for_wins_over_the_added_node_selector() -> None:
    instance = an_instance()
    instance["spec"]["nodeSelector"] = {"zone": "a"}

    selectors = target_of(instance, addedNodeSelector={"zone": "b", "kubernetes.io/hostname": "n2"})["spec"][
        "nodeSelector"
    ]

    assert (selectors["zone"], selectors["kubernetes.io/hostname"]) == ("a", "n2")
    assert selectors["kubevirt.io/schedulable"] == "true"
    assert selectors["cpu-model.node.kubevirt.io/Haswell"] == "true"
    assert selectors["cpu-vendor.node.kubevirt.io/Intel"] == "true"


def test_a_release_before_1_6_ignores_the_added_node_selector() -> None:
    old = {"status": {"observedKubeVirtVersion": "v1.5.3"}}
    view = a_view(a_migration("Pending", addedNodeSelector={"kubernetes.io/hostname": "n2"}), kubevirt=old)

    (pod,) = [each.body for each in migrations.step(view) if isinstance(each, Create)]

    assert "kubernetes.io/hostname" not in pod["spec"]["nodeSelector"]


def test_a_host_model_guest_needs_its_hosts_model_and_features_on_the_target() -> None:
    instance = an_instance()
    instance["spec"]["domain"]["cpu"]["model"] = "host-model"

    selectors = target_of(instance)["spec"]["nodeSelector"]

    assert selectors["cpu-model-migration.node.kubevirt.io/Haswell"] == "true"
    assert selectors["cpu-feature.node.kubevirt.io/vmx"] == "true"


def test_a_target_pod_never_shares_a_node_with_another_launcher_of_its_instance() -> None:
    pod = target_of(an_instance())

    (rule,) = pod["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert rule == {
        "labelSelector": {"matchLabels": {"kubevirt.io/created-by": "vmi-1"}},
        "topologyKey": "kubernetes.io/hostname",
    }
    assert pod["metadata"]["labels"]["kubevirt.io/migrationJobUID"] == "uid-move"
    assert pod["spec"]["readinessGates"] == [{"conditionType": "kubevirt.io/virtual-machine-unpaused"}]


def test_a_host_model_guest_that_moved_before_keeps_what_its_pod_asked_for() -> None:
    earlier = {"spec": {"nodeSelector": {"cpu-model-migration.node.kubevirt.io/Penryn": "true"}}}

    assert launchers.host_model_selectors(NODE, earlier) == {"cpu-model-migration.node.kubevirt.io/Penryn": "true"}


def test_the_hand_off_resolves_the_configuration_with_the_target_node_among_the_labels() -> None:
    policy = {
        "metadata": {"name": "to-node-2"},
        "spec": {
            "selectors": {"virtualMachineInstanceSelector": {"kubevirt.io/migrationTargetNodeName": "node-2"}},
            "bandwidthPerMigration": "32Mi",
        },
    }
    view = a_view(a_migration("Scheduled"), None, SOURCE, TARGET, policies=(policy,))

    written = next(each.body for each in migrations.step(view) if isinstance(each, Replace))

    state = written["status"]["migrationState"]
    assert written["metadata"]["labels"]["kubevirt.io/migrationTargetNodeName"] == "node-2"
    assert (state["migrationUid"], state["sourceNode"], state["targetPod"]) == (
        "uid-move",
        "node-1",
        "target",
    )
    assert state["migrationPolicyName"] == "to-node-2"
    assert state["migrationConfiguration"]["bandwidthPerMigration"] == "32Mi"


@pytest.mark.parametrize(
    ("annotations", "condition", "waited_s", "gone"),
    [
        ({}, {"reason": "Unschedulable", "status": "False"}, 299, False),
        ({}, {"reason": "Unschedulable", "status": "False"}, 301, True),
        ({}, {"reason": "", "status": "True"}, 899, False),
        ({}, {"reason": "", "status": "True"}, 901, True),
        (
            {migrations.UNSCHEDULABLE_TIMEOUT_ANNOTATION: "10"},
            {"reason": "Unschedulable", "status": "False"},
            11,
            True,
        ),
    ],
)
def test_a_pending_target_pod_is_given_up_after_its_time(
    annotations: dict[str, str], condition: Json, waited_s: int, gone: bool
) -> None:
    migration = a_migration("Scheduling")
    migration["metadata"]["annotations"].update(annotations)
    pod = a_pod("target", migration="move", conditions=[{"type": "PodScheduled", **condition}])
    view = replace(
        a_view(migration, None, SOURCE, pod),
        now=datetime(2026, 1, 5, 8, tzinfo=UTC) + timedelta(seconds=waited_s),
    )

    assert any(isinstance(each, Remove) for each in migrations.step(view)) is gone
