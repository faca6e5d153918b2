"""How a migration fails, before and after its hand-off, and what is left to read (contract §1.3, §3)."""

from collections.abc import Awaitable, Callable

from support.kubevirt_scenarios import (
    MIB,
    condition_of,
    events_of,
    instance_of,
    migration_of,
    moved,
    phases_of,
    refuse_pods,
    settled,
    target_pod,
    told,
)
from whimbrel_lab.hypervisor.model import ModelHypervisor
from whimbrel_lab.lab import INSTANCE, Lab

MakeLab = Callable[..., Awaitable[Lab]]


async def test_a_failure_of_the_hypervisor_is_told_in_its_words(make_lab: MakeLab) -> None:
    lab = await make_lab(link_mib=1)
    assert isinstance(lab.hypervisor, ModelHypervisor)
    lab.hypervisor.fail_next("vm-1", "internal error: qemu unexpectedly closed the monitor", after_s=2)

    migration = await lab.create_foreign_migration("vm-1")

    assert await lab.ended(migration) == "Failed"
    state = lab.state_of("vm-1")
    assert state["failureReason"] == "internal error: qemu unexpectedly closed the monitor"
    assert (state["failed"], state["completed"]) == (True, True)
    assert "abortStatus" not in state
    await told(lab, "FailedMigration", "source node reported migration failed", migration)
    await lab.wait_until(
        lambda: migration_of(lab, migration)["status"]["migrationState"] == lab.state_of("vm-1"),
        5,
        "it keeps the state",
    )
    await settled(lab, "vm-1")
    assert lab.node_of("vm-1") == "node-1"


async def test_a_target_pod_that_fails_before_the_hand_off_leaves_no_reason_behind(make_lab: MakeLab) -> None:
    lab = await make_lab()
    lab.stall_pods("node-2")
    migration = await lab.in_phase(await lab.create_foreign_migration("vm-1", node="node-2"), "Scheduling")
    pod = target_pod(lab, migration)
    assert pod is not None

    lab.standin.kubelet.finish(pod, "Failed")

    assert await lab.ended(migration) == "Failed"
    assert phases_of(migration_of(lab, migration))[-1] == "Failed"
    assert set(migration_of(lab, migration)["status"]["migrationState"]) == {"sourcePod"}
    assert lab.state_of("vm-1") == {}
    await told(lab, "FailedMigration", "target pod shutdown during migration", migration)


async def test_a_target_pod_lost_between_hand_off_and_start_is_told_on_the_instance(make_lab: MakeLab) -> None:
    lab = await make_lab()
    lab.standin.handler.pause("node-2")
    migration = await lab.in_phase(await lab.create_foreign_migration("vm-1", node="node-2"), "PreparingTarget")
    pod = target_pod(lab, migration)
    assert pod is not None

    lab.standin.kubelet.finish(pod, "Failed")

    assert await lab.ended(migration) == "Failed"
    await lab.wait_until(lambda: lab.state_of("vm-1").get("failed") is True, 5, "the instance says so")
    state = lab.state_of("vm-1")
    assert (state["completed"], state["failureReason"]) == (True, "Target pod is down")
    assert state["startTimestamp"] == state["endTimestamp"]
    await told(lab, "FailedMigration", "Target pod is down", instance_of(lab, "vm-1"))
    lab.standin.handler.resume("node-2")
    await settled(lab, "vm-1")


async def test_a_target_pod_deleted_in_mid_move_ends_it_and_the_guest_stays(make_lab: MakeLab) -> None:
    lab = await make_lab(link_mib=1)
    migration = await lab.in_phase(await lab.create_foreign_migration("vm-1", node="node-2"), "Running")

    await lab.client.delete("Pod", str(lab.state_of("vm-1")["targetPod"]), lab.namespace)

    assert await lab.ended(migration) == "Failed"
    await lab.wait_until(lambda: lab.state_of("vm-1").get("failed") is True, 10, "the instance says so")
    assert await lab.hypervisor.guest_state("node-1", "vm-1") == "Running"
    assert lab.node_of("vm-1") == "node-1"
    await settled(lab, "vm-1")


async def test_a_target_that_fails_in_mid_move_fails_the_migration_not_the_guest(make_lab: MakeLab) -> None:
    lab = await make_lab(guests=2, link_mib=1)
    migration = await lab.in_phase(await lab.create_foreign_migration("vm-1", node="node-2"), "Running")

    await lab.fail_node("node-2")

    assert await lab.ended(migration) == "Failed"
    assert "Lost connection to destination host" in str(lab.state_of("vm-1")["failureReason"])
    assert await lab.hypervisor.guest_state("node-1", "vm-1") == "Running"
    assert lab.node_of("vm-1") == "node-1"
    ready = condition_of(lab.read("Node", "node-2"), "Ready")
    assert ready["status"] == "Unknown"
    await lab.restore_node("node-2")
    for node in ("node-1", "node-2"):
        await lab.hypervisor.set_link(node, 100 * MIB)
    await moved(lab, "vm-2", node="node-2")


async def test_an_instance_that_ends_takes_its_waiting_migration_along(make_lab: MakeLab) -> None:
    lab = await make_lab()
    lab.stall_pods("node-2")
    migration = await lab.in_phase(await lab.create_foreign_migration("vm-1", node="node-2"), "Scheduling")

    await lab.delete_vm("vm-1")

    await told(lab, "FailedMigration", "during", migration, within_s=20)
    await lab.wait_until(lambda: lab.read(INSTANCE, "vm-1") is None, 20)
    await lab.wait_until(lambda: not lab.migrations_of("vm-1"), 20)


async def test_who_loses_the_race_for_an_instance_fails_at_once(make_lab: MakeLab) -> None:
    lab = await make_lab(link_mib=1)
    first = await lab.in_phase(await lab.create_foreign_migration("vm-1"), "Running")
    await lab.standin.close_admission()

    second = await lab.create_foreign_migration("vm-1")

    assert await lab.ended(second) == "Failed"
    assert phases_of(migration_of(lab, second)) == ["Failed"]
    await told(lab, "FailedMigration", "another migration job", second)
    assert migration_of(lab, first)["status"]["phase"] == "Running"
    assert lab.state_of("vm-1")["migrationUid"] == first["metadata"]["uid"]
    assert instance_of(lab, "vm-1")["status"]["phase"] == "Running"


async def test_a_quota_that_refuses_the_target_pod_is_told_and_waited_for(make_lab: MakeLab) -> None:
    lab = await make_lab()
    relent = await refuse_pods(lab, "exceeded quota: none-left, requested: pods=1, used: pods=1, limited: pods=1")

    migration = await lab.in_phase(await lab.create_foreign_migration("vm-1"), "Pending")

    def refused() -> bool:
        conditions = migration_of(lab, migration)["status"].get("conditions") or ()
        return any(each["type"] == "migrationRejectedByResourceQuota" for each in conditions)

    await lab.wait_until(refused, 10, "the migration says why it waits")
    await told(lab, "FailedCreate", "exceeded quota", instance_of(lab, "vm-1"))
    assert await events_of(lab, "FailedMigration", migration) == []

    await relent()
    assert await lab.ended(migration, 40) == "Succeeded"
    kept = migration_of(lab, migration)["status"].get("conditions") or ()
    assert "migrationRejectedByResourceQuota" not in {each["type"] for each in kept}
