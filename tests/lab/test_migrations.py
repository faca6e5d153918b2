"""Migrations on the running stand-in: phases, configuration, limits, aborts, failures, collection."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from whimbrel_lab.hypervisor.model import ModelHypervisor
from whimbrel_lab.kubevirt.client import RequestRefused
from whimbrel_lab.lab import Lab
from whimbrel_lab.topology import Timing

MakeLab = Callable[..., Awaitable[Lab]]
MIB = 1024**2
PHASES = ["Pending", "Scheduling", "Scheduled", "PreparingTarget", "TargetReady", "Running", "Succeeded"]


def events_of(lab: Lab, reason: str) -> list[str]:
    return [each["message"] for each in lab.items("Event") if each["reason"] == reason]


def launchers_of(lab: Lab, name: str) -> list[dict[str, Any]]:
    return [each for each in lab.items("Pod", "default") if f"-{name}-" in each["metadata"]["name"]]


async def a_policy(lab: Lab, name: str, instance: dict[str, str], **spec: Any) -> None:
    selectors = {"virtualMachineInstanceSelector": instance}
    body = {
        "apiVersion": "migrations.kubevirt.io/v1alpha1", "kind": "MigrationPolicy", "metadata": {"name": name},
        "spec": {"selectors": selectors, **spec},
    }  # fmt: skip
    await lab.client.create(body)
    await lab.wait_until(
        lambda: ("", name) in lab.standin.cluster.policies.objects, 5, "the controller knows the policy"
    )


async def test_a_migration_passes_every_phase_and_moves_the_guest(make_lab: MakeLab) -> None:
    lab = await make_lab()

    migration = await lab.create_foreign_migration("vm-1", node="node-2")

    assert await lab.ended(migration) == "Succeeded"
    status = lab.migrations_of("vm-1")[0]["status"]
    assert [each["phase"] for each in status["phaseTransitionTimestamps"]] == PHASES
    assert status["migrationState"]["migrationUid"] == migration["metadata"]["uid"]
    assert lab.node_of("vm-1") == "node-2"
    assert await lab.hypervisor.guest_state("node-2", "vm-1") == "Running"


async def test_after_a_move_the_old_launcher_is_succeeded_and_the_instance_ready_on_the_new_one(
    make_lab: MakeLab,
) -> None:
    lab = await make_lab()
    migration = await lab.create_foreign_migration("vm-1", node="node-3")
    await lab.ended(migration)

    def settled() -> bool:
        instance = lab.read("VirtualMachineInstance", "vm-1") or {}
        pods = {each["spec"]["nodeName"]: each["status"]["phase"] for each in launchers_of(lab, "vm-1")}
        ready = [each["status"] for each in instance["status"]["conditions"] if each["type"] == "Ready"]
        free = "kubevirt.io/migrationTargetNodeName" not in instance["metadata"]["labels"]
        return pods == {"node-1": "Succeeded", "node-3": "Running"} and ready == ["True"] and free

    await lab.wait_until(settled, 5)
    again = await lab.create_foreign_migration("vm-1", node="node-1")
    assert await lab.ended(again) == "Succeeded"


async def test_a_second_migration_and_a_forged_status_get_nowhere(make_lab: MakeLab) -> None:
    lab = await make_lab(link_mib=1)
    await lab.create_foreign_migration("vm-1")

    with pytest.raises(RequestRefused, match="in-flight migration detected"):
        await lab.create_foreign_migration("vm-1")
    forged = await lab.client.patch("VirtualMachineInstance", "vm-2", "default", {"status": {"nodeName": "node-9"}})
    assert forged["status"]["nodeName"] == "node-1"
    with pytest.raises(RequestRefused, match="reserved"):
        await lab.label_instance("vm-2", {"kubevirt.io/nodeName": "node-9"})


async def test_the_policy_that_matches_best_at_the_hand_off_configures_the_attempt(make_lab: MakeLab) -> None:
    lab = await make_lab()
    await a_policy(lab, "everybody", {}, bandwidthPerMigration="8Mi")
    await a_policy(
        lab, "this-one", {"app": "app-1", "whimbrel.dev/policy-0": "this-one"}, bandwidthPerMigration="4096Ki"
    )
    await lab.label_instance("vm-1", {"whimbrel.dev/policy-0": "this-one"})

    for name in ("vm-1", "vm-2"):
        await lab.ended(await lab.create_foreign_migration(name))

    states = [lab.state_of("vm-1"), lab.state_of("vm-2")]
    assert [each["migrationPolicyName"] for each in states] == ["this-one", "everybody"]
    assert [each["migrationConfiguration"]["bandwidthPerMigration"] for each in states] == ["4Mi", "8Mi"]  # type: ignore[index]


async def test_limits_hold_and_kubevirts_own_evacuation_overtakes_who_waits(make_lab: MakeLab) -> None:
    lab = await make_lab(guests=4, link_mib=8, migrations={"parallelMigrationsPerCluster": 1})
    most = 0

    def count(resource: str, change: object) -> None:
        nonlocal most
        known = lab.items("VirtualMachineInstanceMigration")
        active = [each for each in known if each.get("status", {}).get("phase") in PHASES[1:6]]
        most = max(most, len(active))

    lab.storage.observe(count)
    first = await lab.create_foreign_migration("vm-1")
    await lab.in_phase(first, "Running")
    waiting = [await lab.create_foreign_migration(name) for name in ("vm-2", "vm-3")]
    await lab.request_evacuation("vm-4")
    await lab.wait_until(lambda: bool(lab.migrations_of("vm-4")), 5)
    evacuation = lab.migrations_of("vm-4")[0]

    for each in (first, *waiting, evacuation):
        assert await lab.ended(each) == "Succeeded"
    began = {name: lab.state_of(name)["startTimestamp"] for name in ("vm-1", "vm-2", "vm-3", "vm-4")}
    assert sorted(began, key=lambda name: str(began[name]))[:2] == ["vm-1", "vm-4"]
    assert most == 1


async def test_a_migration_that_waits_for_a_slot_says_nothing_and_can_be_deleted(make_lab: MakeLab) -> None:
    lab = await make_lab(link_mib=1, migrations={"parallelMigrationsPerCluster": 1})
    await lab.in_phase(await lab.create_foreign_migration("vm-1"), "Running")
    waiting = await lab.in_phase(await lab.create_foreign_migration("vm-2"), "Pending")

    await lab.delete_migration(waiting)

    assert waiting["status"].get("conditions") is None
    assert await lab.ended(waiting, 5) in ("Failed", "Gone")
    assert lab.state_of("vm-2") == {}


async def test_a_delete_while_the_target_pod_starts_takes_the_pod_too(make_lab: MakeLab) -> None:
    lab = await make_lab()
    lab.stall_pods("node-2")
    migration = await lab.in_phase(await lab.create_foreign_migration("vm-1", node="node-2"), "Scheduling")

    await lab.delete_migration(migration)

    await lab.wait_until(lambda: not lab.migrations_of("vm-1"), 5)
    await lab.wait_until(lambda: len(launchers_of(lab, "vm-1")) == 1, 5)
    await lab.wait_until(lambda: "being canceled" in "".join(events_of(lab, "FailedMigration")), 5)


async def test_a_delete_during_target_preparation_takes_effect_only_when_it_runs(make_lab: MakeLab) -> None:
    lab = await make_lab(link_mib=1, timing=Timing(target_preparation_s=20.0))
    migration = await lab.in_phase(await lab.create_foreign_migration("vm-1"), "PreparingTarget")

    await lab.delete_migration(migration)
    await lab.wait_until(lambda: not lab.migrations_of("vm-1"), 10)

    state = lab.state_of("vm-1")
    assert (state["abortRequested"], state["abortStatus"]) == (True, "Succeeded")
    assert lab.node_of("vm-1") == "node-1"


async def test_a_delete_while_running_aborts_and_leaves_its_verdict_on_the_instance(
    make_lab: MakeLab,
) -> None:
    lab = await make_lab(link_mib=1)
    migration = await lab.in_phase(await lab.create_foreign_migration("vm-1"), "Running")

    await lab.delete_migration(migration)
    await lab.wait_until(lambda: not lab.migrations_of("vm-1"), 10)

    state = lab.state_of("vm-1")
    assert (state["failed"], state["completed"]) == (True, True)
    assert state["failureReason"] == "Live migration has been aborted"
    assert state["migrationUid"] == migration["metadata"]["uid"]
    assert await lab.hypervisor.guest_state("node-1", "vm-1") == "Running"
    await lab.wait_until(lambda: {"Running", "Failed"} == {p["status"]["phase"] for p in launchers_of(lab, "vm-1")}, 5)


async def test_a_guest_that_never_converges_is_stopped_at_the_deadline_when_that_is_allowed(
    make_lab: MakeLab,
) -> None:
    busy = {"dirty_bytes_per_second": 30 * MIB, "working_set_bytes": 32 * MIB}
    lab = await make_lab(guests=1, link_mib=10, of_guest=busy)
    await a_policy(lab, "stun", {}, allowWorkloadDisruption=True, allowPostCopy=False, completionTimeoutPerGiB=8)
    modes: list[str] = []
    lab.storage.observe(lambda resource, change: modes.append(str(lab.state_of("vm-1").get("mode", ""))))

    migration = await lab.create_foreign_migration("vm-1")

    assert await lab.ended(migration) == "Succeeded"
    assert list(dict.fromkeys(modes))[-2:] == ["PreCopy", "Paused"]


async def test_a_guest_that_never_converges_is_given_up_at_the_deadline_otherwise(make_lab: MakeLab) -> None:
    busy = {"dirty_bytes_per_second": 30 * MIB, "working_set_bytes": 32 * MIB}
    lab = await make_lab(guests=1, link_mib=10, of_guest=busy, migrations={"completionTimeoutPerGiB": 8})

    migration = await lab.create_foreign_migration("vm-1")

    assert await lab.ended(migration) == "Failed"
    state = lab.state_of("vm-1")
    assert (state["failureReason"], state["abortStatus"]) == ("Live migration has been aborted", "Succeeded")
    assert "abortRequested" not in state


async def test_a_failure_of_the_hypervisor_is_told_in_its_words(make_lab: MakeLab) -> None:
    lab = await make_lab(link_mib=1)
    assert isinstance(lab.hypervisor, ModelHypervisor)
    lab.hypervisor.fail_next("vm-1", "internal error: qemu unexpectedly closed the monitor", after_s=2)

    migration = await lab.create_foreign_migration("vm-1")

    assert await lab.ended(migration) == "Failed"
    assert lab.state_of("vm-1")["failureReason"] == "internal error: qemu unexpectedly closed the monitor"
    assert lab.migrations_of("vm-1")[0]["status"]["migrationState"]["failed"] is True


async def test_a_migration_nobody_can_host_fails_without_a_reason_on_the_instance(make_lab: MakeLab) -> None:
    lab = await make_lab()
    annotations = {"kubevirt.io/migrationUnschedulablePodTimeoutSeconds": "5"}

    migration = await lab.create_foreign_migration("vm-1", node="node-9", annotations=annotations)

    assert await lab.ended(migration) == "Failed"
    assert lab.state_of("vm-1") == {}
    await lab.wait_until(lambda: "removed during active migration" in "".join(events_of(lab, "FailedMigration")), 5)
    assert events_of(lab, "migrationTargetPodUnschedulable")


async def test_a_target_pod_deleted_in_mid_move_ends_it_and_the_guest_stays(make_lab: MakeLab) -> None:
    lab = await make_lab(link_mib=1)
    migration = await lab.in_phase(await lab.create_foreign_migration("vm-1", node="node-2"), "Running")

    await lab.client.delete("Pod", str(lab.state_of("vm-1")["targetPod"]), "default")

    assert await lab.ended(migration) == "Failed"
    assert await lab.hypervisor.guest_state("node-1", "vm-1") == "Running"
    assert lab.node_of("vm-1") == "node-1"


async def test_only_the_five_newest_ended_migrations_of_an_instance_remain(make_lab: MakeLab) -> None:
    lab = await make_lab(guests=1, timing=Timing(pod_start_s=0.1, target_preparation_s=0.0), link_mib=400)
    names = []
    for number in range(7):
        migration = await lab.create_foreign_migration("vm-1", migration_name=f"move-{number}")
        assert await lab.ended(migration) == "Succeeded"
        names.append(migration["metadata"]["name"])

    await lab.wait_until(lambda: [m["metadata"]["name"] for m in lab.migrations_of("vm-1")] == names[-5:], 5)


async def test_a_virtual_machine_deleted_in_mid_move_goes_and_takes_its_migration(make_lab: MakeLab) -> None:
    lab = await make_lab(link_mib=1)
    migration = await lab.in_phase(await lab.create_foreign_migration("vm-1"), "Running")

    await lab.delete_vm("vm-1")

    assert await lab.ended(migration) in ("Failed", "Gone")
    await lab.wait_until(lambda: lab.read("VirtualMachine", "vm-1") is None, 10)
    assert lab.read("VirtualMachineInstance", "vm-1") is None
    assert await lab.hypervisor.guest_state("node-1", "vm-1") == "Absent"


async def test_a_target_that_fails_in_mid_move_fails_the_migration_not_the_guest(make_lab: MakeLab) -> None:
    lab = await make_lab(link_mib=1)
    migration = await lab.in_phase(await lab.create_foreign_migration("vm-1", node="node-2"), "Running")

    await lab.fail_node("node-2")

    assert await lab.ended(migration) == "Failed"
    assert "Lost connection to destination host" in str(lab.state_of("vm-1")["failureReason"])
    assert await lab.hypervisor.guest_state("node-1", "vm-1") == "Running"
    ready = [c["status"] for c in (lab.read("Node", "node-2") or {})["status"]["conditions"] if c["type"] == "Ready"]
    assert ready == ["Unknown"]
    await lab.restore_node("node-2")
    assert isinstance(lab.hypervisor, ModelHypervisor)
    for node in ("node-1", "node-2"):
        lab.hypervisor.set_link(node, 40 * MIB)
    assert await lab.ended(await lab.create_foreign_migration("vm-2", node="node-2")) == "Succeeded"


async def test_evictions_external_strategy_starts_nothing(make_lab: MakeLab) -> None:
    lab = await make_lab(of_guest={"eviction_strategy": "External"})

    await lab.request_evacuation("vm-1")
    await lab.ended(await lab.create_foreign_migration("vm-2"))

    assert lab.migrations_of("vm-1") == []
