"""What is resolved at the hand-off, and that nothing changes it afterwards (contract §3, §4.3, §4.4)."""

from collections.abc import Awaitable, Callable

from support.kubevirt_scenarios import (
    TARGET_NODE,
    a_policy,
    apply_policies,
    configuration_of,
    history,
    moved,
    settled,
    target_pod,
)
from whimbrel_lab.lab import INSTANCE, Lab

MakeLab = Callable[..., Awaitable[Lab]]
DEFAULTS = {
    "allowAutoConverge": False, "allowPostCopy": False, "allowWorkloadDisruption": False, "bandwidthPerMigration": "0",
    "completionTimeoutPerGiB": 150, "maxDowntimeMs": 900, "nodeDrainTaintKey": "kubevirt.io/drain",
    "parallelMigrationsPerCluster": 5, "parallelOutboundMigrationsPerNode": 2, "progressTimeout": 150,
    "unsafeMigrationOverride": False, "utilityVolumesTimeout": 150,
}  # fmt: skip


async def test_without_policies_a_migration_runs_under_the_defaults(make_lab: MakeLab) -> None:
    lab = await make_lab()

    await moved(lab, "vm-1")

    assert configuration_of(lab, "vm-1") == DEFAULTS
    assert "migrationPolicyName" not in lab.state_of("vm-1")


async def test_the_clusters_own_configuration_replaces_defaults_member_by_member(make_lab: MakeLab) -> None:
    stated = {
        "bandwidthPerMigration": "65536Ki", "completionTimeoutPerGiB": 20, "allowPostCopy": True,
        "parallelMigrationsPerCluster": 3, "progressTimeout": 40,
    }  # fmt: skip
    lab = await make_lab(migrations=stated)

    await moved(lab, "vm-1")

    wanted = {**DEFAULTS, **stated, "bandwidthPerMigration": "64Mi", "allowWorkloadDisruption": True}
    assert configuration_of(lab, "vm-1") == wanted


async def test_the_hand_off_is_one_write_that_names_both_ends(make_lab: MakeLab) -> None:
    lab = await make_lab()
    lab.standin.handler.pause("node-2")

    async with history(lab) as seen:
        migration = await lab.in_phase(await lab.create_foreign_migration("vm-1", node="node-2"), "PreparingTarget")

    first = next(each for each in seen.of(INSTANCE, "vm-1") if each["status"].get("migrationState"))
    state, pod = first["status"]["migrationState"], target_pod(lab, migration)
    assert pod is not None
    overhead = state.pop("targetMemoryOverhead")
    assert overhead[-1] in "0123456789i"
    assert state == {
        "migrationUid": migration["metadata"]["uid"],
        "sourceNode": "node-1",
        "sourcePod": migration["status"]["migrationState"]["sourcePod"],
        "targetNode": "node-2",
        "targetPod": pod["metadata"]["name"],
        "migrationConfiguration": DEFAULTS,
    }
    assert first["metadata"]["labels"][TARGET_NODE] == "node-2"
    assert first["metadata"]["labels"]["kubevirt.io/nodeName"] == "node-1"


async def test_a_policy_made_while_the_target_pod_starts_is_still_honoured(make_lab: MakeLab) -> None:
    lab = await make_lab()
    lab.stall_pods("node-2")
    migration = await lab.in_phase(await lab.create_foreign_migration("vm-1", node="node-2"), "Scheduling")

    await apply_policies(lab, a_policy("late", {}, bandwidthPerMigration="32Mi"))
    lab.resume_pods("node-2")

    assert await lab.ended(migration) == "Succeeded"
    assert lab.state_of("vm-1")["migrationPolicyName"] == "late"


async def test_after_the_hand_off_neither_policy_nor_cluster_changes_the_attempt(make_lab: MakeLab) -> None:
    lab = await make_lab()
    lab.standin.handler.pause("node-2")
    migration = await lab.in_phase(await lab.create_foreign_migration("vm-1", node="node-2"), "PreparingTarget")

    await apply_policies(lab, a_policy("too-late", {}, bandwidthPerMigration="32Mi"))
    changed = {"spec": {"configuration": {"migrations": {"completionTimeoutPerGiB": 7}}}}
    await lab.client.patch("KubeVirt", "kubevirt", "kubevirt", changed)
    lab.standin.handler.resume("node-2")

    assert await lab.ended(migration) == "Succeeded"
    assert configuration_of(lab, "vm-1") == DEFAULTS
    assert "migrationPolicyName" not in lab.state_of("vm-1")
    await settled(lab, "vm-1")
    await moved(lab, "vm-1")
    assert lab.state_of("vm-1")["migrationPolicyName"] == "too-late"
    later = {**DEFAULTS, "bandwidthPerMigration": "32Mi", "completionTimeoutPerGiB": 7}
    assert configuration_of(lab, "vm-1") == later
