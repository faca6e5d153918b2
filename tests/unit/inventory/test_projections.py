"""Projections: any object becomes a record or nothing; what matters survives, what is odd does no harm."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from support.raw import INSTANCE, owned_by_an_instance
from whimbrel.api import MigrationPlan
from whimbrel.domain import resources
from whimbrel.domain.changes import Change
from whimbrel.domain.naming import LABEL_MANAGED
from whimbrel.domain.records import (
    Condition,
    CpuDemand,
    Instance,
    Key,
    KubeVirt,
    Migration,
    MigrationConfiguration,
    Move,
    Namespace,
    Node,
    Plan,
    Pod,
    Policy,
    Profile,
    Taint,
    VirtualMachine,
)
from whimbrel.domain.resources import Resource
from whimbrel.inventory.projections import PROJECTIONS

GIB = 1024**3


def project(resource: Resource, raw: Mapping[str, Any]) -> Any:
    return PROJECTIONS[resource](raw)


def named(**members: Any) -> dict[str, Any]:
    return {"metadata": {"name": "x", "namespace": "shop", "uid": "u"}, **members}


def test_there_is_a_projection_for_every_kind_that_is_watched_and_for_our_own() -> None:
    assert set(PROJECTIONS) == {*resources.WATCHED_BY_REFLECTORS, *resources.OWN_KINDS}


def test_an_instance_keeps_what_decisions_need() -> None:
    instance = project(resources.INSTANCES, INSTANCE)

    assert isinstance(instance, Instance)
    assert instance.key == Key("shop", "db1")
    assert instance.created_at == datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert instance.annotations == {"whimbrel.dev/graphics": "Automatic"}
    assert instance.active_pods == (("pod-1", "node-1"), ("pod-2", ""))
    assert instance.live_migratable == Condition("False", "DisksNotLiveMigratable", "PVC d")
    assert instance.paused == Condition("True", "PausedByUser", "")
    assert instance.agent_connected
    assert instance.memory_bytes == 4 * GIB
    assert instance.cpu == CpuDemand("Haswell", (("aes", "require"), ("vmx", "")))
    assert instance.node_selector == {"zone": "a"}
    assert instance.owner_vm == "db1"
    assert instance.evacuation_node == "node-1"
    assert instance.local_disk_bytes is None
    assert instance.migration is not None
    assert instance.migration.abort_requested
    assert instance.migration.mode == "Paused"
    assert instance.migration.started_at == datetime(2026, 3, 1, 12, 0, 5, tzinfo=UTC)
    assert instance.migration.configuration == MigrationConfiguration(
        bandwidth_bytes_per_second=64 * 1024**2,
        completion_timeout_per_gib=150,
        allow_auto_converge=None,
        allow_post_copy=False,
        allow_workload_disruption=True,
        progress_timeout_s=150,
    )


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        ({"memory": {"guest": "1Gi"}, "resources": {"requests": {"memory": "2Gi"}}}, GIB),
        ({"resources": {"requests": {"memory": "2Gi"}, "limits": {"memory": "3Gi"}}}, 2 * GIB),
        ({"resources": {"limits": {"memory": "3Gi"}}}, 3 * GIB),
        ({"memory": {"guest": "lots"}, "resources": {"requests": {"memory": "2Gi"}}}, 2 * GIB),
        ({}, 0),
    ],
)
def test_guest_memory_is_what_kubevirt_would_boot_it_with(domain: dict[str, Any], expected: int) -> None:
    instance = project(resources.INSTANCES, named(spec={"domain": domain}))

    assert instance.memory_bytes == expected


def _condition(kind: str, status: str, reason: str = "") -> dict[str, Any]:
    return {"conditions": [{"type": kind, "status": status, "reason": reason}]}


def _backup(**status: Any) -> dict[str, Any]:
    return {"changedBlockTracking": {"backupStatus": status}}


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, ()),
        ({"status": _condition("HotVCPUChange", "True")}, (Change.PROCESSORS,)),
        ({"status": _condition("HotVCPUChange", "False")}, ()),
        ({"status": _condition("HotMemoryChange", "True")}, (Change.MEMORY,)),
        ({"status": _condition("VolumesChange", "True")}, (Change.VOLUMES,)),
        ({"status": {"migratedVolumes": [{"volumeName": "root"}]}}, (Change.MIGRATED_VOLUMES,)),
        ({"status": {"migratedVolumes": []}}, ()),
        ({"status": _backup(backupName="nightly")}, (Change.BACKUP,)),
        ({"status": _backup(backupName="nightly", completed=True)}, ()),
        ({"status": {"changedBlockTracking": {"state": "Enabled"}}}, ()),
        ({"spec": {"utilityVolumes": [{"name": "dump", "claimName": "dump"}]}}, (Change.UTILITY_VOLUMES,)),
        ({"status": _condition("MigrationRequired", "True", "AutoMigrationPending")}, (Change.UPDATE,)),
        ({"status": _condition("MigrationRequired", "True", "ManualMigrationNeeded")}, ()),
    ],
)
def test_an_instance_says_what_kubevirt_is_changing_on_it(
    members: dict[str, Any], expected: tuple[Change, ...]
) -> None:
    assert project(resources.INSTANCES, named(**members)).changes == expected


def test_a_guest_that_was_unpaused_is_not_paused() -> None:
    raw = named(status={"conditions": [{"type": "Paused", "status": "False"}]})

    assert project(resources.INSTANCES, raw).paused is None


@pytest.mark.parametrize(
    ("members", "running"),
    [
        ({"spec": {"runStrategy": "Always"}}, True),
        ({"spec": {"runStrategy": "Halted"}}, False),
        ({"spec": {"runStrategy": "Manual"}, "status": {"created": True}}, True),
        ({"spec": {"runStrategy": "Manual"}}, False),
        ({"spec": {"running": True}}, True),
        ({"spec": {}}, False),
    ],
)
def test_a_virtual_machine_is_meant_to_run_by_its_strategy(members: dict[str, Any], running: bool) -> None:
    vm = project(resources.VIRTUAL_MACHINES, named(**members))

    assert isinstance(vm, VirtualMachine)
    assert vm.running is running


def test_a_pod_takes_what_the_scheduler_counts() -> None:
    def container(memory: str, cpu: str, **more: Any) -> dict[str, Any]:
        return {"resources": {"requests": {"memory": memory, "cpu": cpu}}, **more}

    raw = named(
        spec={
            "nodeName": "node-1",
            "containers": [container("1Gi", "100m"), {"resources": {"limits": {"memory": "1Gi", "cpu": "1"}}}],
            "initContainers": [
                container("256Mi", "50m", restartPolicy="Always"),
                container("4Gi", "10m"),
                container("256Mi", "50m", restartPolicy="Always"),
            ],
            "overhead": {"memory": "1Mi"},
        }
    )

    pod = project(resources.PODS, raw)

    assert isinstance(pod, Pod)
    assert pod.memory_bytes == 4 * GIB + 256 * 1024**2 + 1024**2
    assert pod.cpu_millicores == 1200


def test_a_request_for_the_whole_pod_replaces_those_of_its_containers() -> None:
    raw = named(
        spec={
            "containers": [{"resources": {"requests": {"memory": "1Gi"}}}],
            "resources": {"requests": {"memory": "3Gi"}},
        }
    )

    assert project(resources.PODS, raw).memory_bytes == 3 * GIB


def test_a_virt_handler_says_where_its_metrics_are() -> None:
    raw = {
        "metadata": {"name": "h", "namespace": "kubevirt", "labels": {"kubevirt.io": "virt-handler"}},
        "spec": {
            "containers": [{"ports": [{"name": "x", "containerPort": 1}, {"name": "metrics", "containerPort": 8443}]}]
        },
        "status": {"podIP": "127.0.1.3"},
    }

    pod = project(resources.PODS, raw)

    assert (pod.handler, pod.ip, pod.metrics_port) == (True, "127.0.1.3", 8443)


def test_a_node_says_what_it_offers() -> None:
    raw = {
        "metadata": {"name": "node-1", "labels": {"kubernetes.io/hostname": "host-1"}},
        "spec": {"unschedulable": True, "taints": [{"key": "gpu", "effect": "NoSchedule"}]},
        "status": {
            "allocatable": {"memory": "16Gi", "cpu": "3920m", "pods": "110"},
            "conditions": [{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": "True"}],
        },
    }

    node = project(resources.NODES, raw)

    assert isinstance(node, Node)
    assert (node.ready, node.unschedulable, node.hostname) == (True, True, "host-1")
    assert node.taints == (Taint("gpu", "", "NoSchedule"),)
    assert (node.allocatable_memory_bytes, node.allocatable_cpu_millicores, node.allocatable_pods) == (
        16 * GIB, 3920, 110,
    )  # fmt: skip


def test_kubevirt_fills_in_its_documented_defaults() -> None:
    kubevirt = project(resources.KUBEVIRTS, named(status={"observedKubeVirtVersion": "v1.9.0", "phase": "Deployed"}))

    assert isinstance(kubevirt, KubeVirt)
    assert (kubevirt.parallel_migrations_per_cluster, kubevirt.parallel_outbound_per_node) == (5, 2)
    assert kubevirt.configuration == MigrationConfiguration(0, 150, False, False, False, 150, 900, 40)
    assert not kubevirt.updating


def test_kubevirt_says_how_it_is() -> None:
    conditions = [{"type": "Available", "status": "False", "reason": "X"}, {"type": "Degraded", "status": "True"}]
    raw = named(
        status={"conditions": conditions},
        spec={"configuration": {"migrations": {"matchSELinuxLevelOnMigration": False}}},
    )
    raw["metadata"]["deletionTimestamp"] = "2026-03-01T12:00:00Z"
    unwell, plain = project(resources.KUBEVIRTS, raw), project(resources.KUBEVIRTS, named())

    assert (unwell.available, unwell.degraded) == (Condition("False", "X"), Condition("True"))
    assert (unwell.deleting, unwell.matches_selinux_level) == (True, False)
    assert (plain.available, plain.degraded, plain.deleting, plain.matches_selinux_level) == (None, None, False, True)


def test_a_migration_says_when_its_end_was_asked_for() -> None:
    raw = named()
    raw["metadata"]["deletionTimestamp"] = "2026-03-01T12:00:00Z"

    ending, going_on = project(resources.MIGRATIONS, raw), project(resources.MIGRATIONS, named())

    assert (ending.deleting, ending.deletion_requested_at) == (True, datetime(2026, 3, 1, 12, tzinfo=UTC))
    assert (going_on.deleting, going_on.deletion_requested_at) == (False, None)


@pytest.mark.parametrize(
    ("told", "expected"), [("none", True), ("system_u:r:t:s0:c1,c2", True), ("", False), (None, False)]
)
def test_an_instance_whose_selinux_context_is_empty_has_not_been_told_one(told: str | None, expected: bool) -> None:
    came_along = {"sourceState": {"selinuxContext": "none"}}

    assert project(resources.INSTANCES, named(status={"selinuxContext": told})).selinux_told is expected
    assert project(resources.INSTANCES, named(status={"migrationState": came_along})).selinux_told


@pytest.mark.parametrize(("status", "expected"), [("True", Condition("True", "", "tls")), ("False", None)])
def test_an_instance_keeps_why_its_move_between_clusters_does_not_get_on(
    status: str, expected: Condition | None
) -> None:
    condition = {"type": "DecentralizedLiveMigrationFailure", "status": status, "message": "tls"}

    found = project(resources.INSTANCES, named(status={"conditions": [condition]}))

    assert found.decentralized_failure == expected


def test_kubevirt_1_3_gave_a_migration_more_time() -> None:
    kubevirt = project(resources.KUBEVIRTS, named(status={"observedKubeVirtVersion": "v1.3.1"}))

    assert kubevirt.configuration.completion_timeout_per_gib == 800


def test_workload_disruption_follows_post_copy_where_it_is_not_stated() -> None:
    migrations = {"allowPostCopy": True, "parallelMigrationsPerCluster": 7, "completionTimeoutPerGiB": 0}
    raw = named(
        spec={
            "configuration": {
                "migrations": migrations,
                "cpuModel": "Haswell",
                "developerConfiguration": {"featureGates": ["A", "B"], "disabledFeatureGates": ["B"]},
            }
        },
        status={"observedKubeVirtVersion": "v1.8.0", "targetKubeVirtVersion": "v1.9.0"},
    )

    kubevirt = project(resources.KUBEVIRTS, raw)

    assert kubevirt.configuration.allow_workload_disruption
    assert kubevirt.configuration.completion_timeout_per_gib == 0
    assert kubevirt.parallel_migrations_per_cluster == 7
    assert (kubevirt.cpu_model, kubevirt.feature_gates, kubevirt.updating) == ("Haswell", frozenset({"A"}), True)


def test_a_policy_without_selectors_is_told_from_one_that_matches_everything() -> None:
    nobody = project(resources.MIGRATION_POLICIES, named(spec={"bandwidthPerMigration": "1Gi"}))
    everybody = project(
        resources.MIGRATION_POLICIES,
        {"metadata": {"name": "whimbrel-p", "labels": {LABEL_MANAGED: "true"}}, "spec": {"selectors": {}}},
    )

    assert isinstance(nobody, Policy)
    assert (nobody.instance_pairs, nobody.namespace_pairs, nobody.ours) == (None, None, False)
    assert nobody.configuration == MigrationConfiguration(bandwidth_bytes_per_second=GIB)
    assert (everybody.instance_pairs, everybody.namespace_pairs, everybody.ours) == ({}, {}, True)


def test_a_migration_says_what_it_moves_and_whose_it_is() -> None:
    raw = {
        "metadata": {
            "name": "m",
            "namespace": "shop",
            "labels": {"whimbrel.dev/attempt": "1", "kubevirt.io/vmi-name": "db1"},
        },
        "spec": {"vmiName": "db1", "addedNodeSelector": {"kubernetes.io/hostname": "host-2"}},
        "status": {"phase": "Failed"},
    }

    migration = project(resources.MIGRATIONS, raw)

    assert isinstance(migration, Migration)
    assert migration.instance_key == Key("shop", "db1")
    assert migration.labels == {"whimbrel.dev/attempt": "1"}
    assert migration.final


def test_a_namespace_that_terminates_is_going_away() -> None:
    namespace = project(resources.NAMESPACES, named(status={"phase": "Terminating"}))

    assert isinstance(namespace, Namespace)
    assert namespace.deleting


def test_a_plan_that_breaks_a_rule_says_which_field_and_which_rule() -> None:
    raw = named(
        spec={
            "virtualMachines": {"names": ["db1"]},
            "migration": {"attempts": 99, "disruption": {"stun": "Allowed"}},
        }
    )

    plan = project(resources.MIGRATION_PLANS, raw)

    assert isinstance(plan, Plan)
    assert plan.plan is None
    assert "spec.migration.attempts: " in plan.error
    assert "spec.migration.disruption: disruption: maxDowntimeMs and unattendedDowntimeMs are both needed" in plan.error


def test_a_plan_keeps_its_approval_and_its_finalizers() -> None:
    raw = named(spec={"virtualMachines": {"names": ["db1"]}})
    raw["metadata"] |= {"annotations": {"whimbrel.dev/approve": "abc"}, "finalizers": ["f"], "generation": 3}

    plan = project(resources.MIGRATION_PLANS, raw)

    assert (plan.approved_hash, plan.finalizers, plan.generation, plan.error) == ("abc", ("f",), 3, "")
    assert isinstance(plan.plan, MigrationPlan)


def test_a_profile_that_breaks_a_rule_names_the_field_in_the_users_spelling() -> None:
    raw = named(spec={"nodeSelector": {}, "migration": {"enabled": True, "limits": {"parallelOutbound": 0}}})

    profile = project(resources.HOST_PROFILES, raw)

    assert isinstance(profile, Profile)
    assert profile.profile is None
    assert profile.error.startswith("spec.migration.limits.parallelOutbound: ")


def test_a_plan_whose_status_cannot_be_read_is_not_taken_for_a_new_one() -> None:
    raw = named(spec={"virtualMachines": {"names": ["db1"]}}, status={"phase": "FromTheFuture"})

    plan = project(resources.MIGRATION_PLANS, raw)

    assert plan.plan is None
    assert plan.error.startswith("status.phase: ")


def test_a_move_knows_its_plan() -> None:
    raw = named(
        spec={"instance": {"namespace": "shop", "name": "db1", "uid": "i", "memoryBytes": 1}, "planGeneration": 1}
    )
    raw["metadata"]["ownerReferences"] = [{"kind": "MigrationPlan", "name": "evening", "uid": "p"}]

    move = project(resources.VIRTUAL_MACHINE_MOVES, raw)

    assert isinstance(move, Move)
    assert (move.plan_uid, move.plan_name, move.instance_key) == ("p", "evening", Key("shop", "db1"))


@pytest.mark.parametrize("quantity", ["1e999999999", "9" * 5000, True, [], -1, "-5Gi", 1e400, "1.5.5Gi", ""])
def test_a_malformed_quantity_counts_as_absent(quantity: Any) -> None:
    raw = named(status={"allocatable": {"memory": quantity, "cpu": quantity}})

    node = project(resources.NODES, raw)

    assert (node.allocatable_memory_bytes, node.allocatable_cpu_millicores) == (0, 0)


def test_equal_labels_of_different_objects_are_one_map() -> None:
    def launcher(name: str) -> dict[str, Any]:
        return {
            "metadata": {
                "name": name,
                "labels": {"kubevirt.io": "virt-launcher", "app": "shared-map", "kubevirt.io/created-by": name},
                "ownerReferences": owned_by_an_instance(name),
            }
        }

    one, two = project(resources.PODS, launcher("a")), project(resources.PODS, launcher("b"))

    assert one.labels is two.labels
