"""DELETE in every phase, and what is left of it (contract §1.6)."""

from collections.abc import Awaitable, Callable

from support.kubevirt_scenarios import (
    ABORTED,
    BUSY,
    TARGET_NODE,
    a_policy,
    apply_policies,
    condition_of,
    history,
    instance_of,
    launchers_of,
    migration_of,
    moved,
    settled,
    target_pod,
    told,
)
from whimbrel_lab.lab import INSTANCE, MIGRATION, Lab

MakeLab = Callable[..., Awaitable[Lab]]


async def gone(lab: Lab, name: str = "vm-1", within_s: float = 15.0) -> None:
    """Until no migration of an instance is left."""
    await lab.wait_until(lambda: not lab.migrations_of(name), within_s, f"no migration of {name} is left")


async def test_a_migration_that_waits_for_a_slot_can_be_deleted(make_lab: MakeLab) -> None:
    lab = await make_lab(guests=2, link_mib=1, migrations={"parallelMigrationsPerCluster": 1})
    await lab.in_phase(await lab.create_foreign_migration("vm-1"), "Running")
    waiting = await lab.in_phase(await lab.create_foreign_migration("vm-2"), "Pending")

    await lab.delete_migration(waiting)

    await gone(lab, "vm-2")
    assert lab.state_of("vm-2") == {}
    await told(lab, "FailedMigration", "due to being canceled", waiting)


async def test_a_delete_while_the_target_pod_starts_takes_the_pod_too(make_lab: MakeLab) -> None:
    lab = await make_lab()
    lab.stall_pods("node-2")
    migration = await lab.in_phase(await lab.create_foreign_migration("vm-1", node="node-2"), "Scheduling")

    await lab.delete_migration(migration)

    await gone(lab)
    await lab.wait_until(lambda: len(launchers_of(lab, "vm-1")) == 1, 10)
    await told(lab, "FailedMigration", "due to being canceled", migration)
    assert lab.state_of("vm-1") == {}


async def test_a_cancelled_migration_is_failed_and_marked_before_it_vanishes(make_lab: MakeLab) -> None:
    lab = await make_lab()
    lab.stall_pods("node-2")

    async with history(lab) as seen:
        migration = await lab.in_phase(await lab.create_foreign_migration("vm-1", node="node-2"), "Scheduling")
        await lab.delete_migration(migration)
        await gone(lab)

    last = seen.of(MIGRATION, migration["metadata"]["name"])[-1]
    assert last["status"]["phase"] == "Failed"
    assert condition_of(last, "migrationAbortRequested")["status"] == "True"
    assert set(last["status"]["migrationState"]) == {"sourcePod"}


async def test_a_delete_during_target_preparation_takes_effect_only_when_it_runs(make_lab: MakeLab) -> None:
    lab = await make_lab(link_mib=1)
    lab.standin.handler.pause("node-2")
    migration = await lab.in_phase(await lab.create_foreign_migration("vm-1", node="node-2"), "PreparingTarget")

    await lab.delete_migration(migration)
    await lab.wait_until(
        lambda: bool(condition_of(migration_of(lab, migration), "migrationAbortRequested")), 5, "the wish is noted"
    )
    await lab.quiet(0.3, 3)
    assert migration_of(lab, migration)["status"]["phase"] == "PreparingTarget"
    assert "abortRequested" not in lab.state_of("vm-1")

    lab.standin.handler.resume("node-2")
    await gone(lab)
    state = lab.state_of("vm-1")
    assert (state["abortRequested"], state["abortStatus"]) == (True, "Succeeded")
    assert lab.node_of("vm-1") == "node-1"


async def test_a_delete_before_the_source_has_started_waits_for_it_too(make_lab: MakeLab) -> None:
    lab = await make_lab(link_mib=1)
    lab.standin.handler.pause("node-1")
    migration = await lab.in_phase(await lab.create_foreign_migration("vm-1", node="node-2"), "TargetReady")

    await lab.delete_migration(migration)
    await lab.quiet(0.3, 3)
    assert migration_of(lab, migration)["status"]["phase"] == "TargetReady"
    assert "abortRequested" not in lab.state_of("vm-1")

    lab.standin.handler.resume("node-1")
    await gone(lab)
    assert lab.state_of("vm-1")["failureReason"] == ABORTED


async def test_a_delete_while_running_aborts_and_leaves_its_verdict_on_the_instance(make_lab: MakeLab) -> None:
    lab = await make_lab(link_mib=1)
    migration = await lab.in_phase(await lab.create_foreign_migration("vm-1"), "Running")

    async with history(lab) as seen:
        await lab.delete_migration(migration)
        await gone(lab)

    state = lab.state_of("vm-1")
    assert (state["failed"], state["completed"], state["abortRequested"]) == (True, True, True)
    assert (state["failureReason"], state["abortStatus"]) == (ABORTED, "Succeeded")
    assert state["migrationUid"] == migration["metadata"]["uid"]
    assert seen.states("vm-1", "abortStatus")[-2:] == ["Aborting", "Succeeded"]
    assert await lab.hypervisor.guest_state("node-1", "vm-1") == "Running"
    await told(lab, "SuccessfulAbortMigration", "", migration)


async def test_after_an_abort_the_target_pod_fails_and_the_next_migration_may_start(make_lab: MakeLab) -> None:
    lab = await make_lab(link_mib=1)
    await lab.delete_migration(await lab.in_phase(await lab.create_foreign_migration("vm-1"), "Running"))
    await gone(lab)

    await settled(lab, "vm-1")

    assert {each["status"]["phase"] for each in launchers_of(lab, "vm-1")} == {"Running", "Failed"}
    assert TARGET_NODE not in instance_of(lab, "vm-1")["metadata"]["labels"]
    for node in ("node-1", "node-2", "node-3"):
        await lab.hypervisor.set_link(node, 1e9)
    await moved(lab, "vm-1")


async def test_a_stopped_guest_runs_on_where_it_was_when_its_migration_is_deleted(make_lab: MakeLab) -> None:
    lab = await make_lab(link_mib=4, of_guest=BUSY)
    await apply_policies(lab, a_policy("stun", {}, allowWorkloadDisruption=True, completionTimeoutPerGiB=1))
    migration = await lab.create_foreign_migration("vm-1")
    await lab.wait_until(lambda: lab.state_of("vm-1").get("mode") == "Paused", 15, "the guest is stopped")

    await lab.delete_migration(migration)

    await gone(lab)
    assert lab.state_of("vm-1")["abortStatus"] == "Succeeded"
    assert await lab.hypervisor.guest_state("node-1", "vm-1") == "Running"


async def test_a_delete_in_post_copy_is_too_late(make_lab: MakeLab) -> None:
    lab = await make_lab(link_mib=4, of_guest=BUSY)
    await apply_policies(lab, a_policy("over", {}, allowPostCopy=True, completionTimeoutPerGiB=1))
    migration = await lab.create_foreign_migration("vm-1", node="node-2")
    await lab.wait_until(lambda: lab.state_of("vm-1").get("mode") == "PostCopy", 15, "the guest is over there")

    async with history(lab) as seen:
        await lab.delete_migration(migration)
        await gone(lab, within_s=40)

    assert seen.of(MIGRATION, migration["metadata"]["name"])[-1]["status"]["phase"] == "Succeeded"
    state = lab.state_of("vm-1")
    assert (state["abortRequested"], state["abortStatus"], state.get("failed")) == (True, "Failed", None)
    assert lab.node_of("vm-1") == "node-2"


async def test_deleting_an_ended_migration_only_removes_it(make_lab: MakeLab) -> None:
    lab = await make_lab()
    migration = await moved(lab, "vm-1")
    await settled(lab, "vm-1")
    before = lab.state_of("vm-1")

    await lab.delete_migration(migration)

    await gone(lab)
    assert lab.state_of("vm-1") == before
    assert target_pod(lab, migration) is not None


async def test_without_the_finalizer_a_delete_is_no_abort(make_lab: MakeLab) -> None:
    lab = await make_lab(link_mib=8)
    migration = await lab.in_phase(await lab.create_foreign_migration("vm-1", node="node-2"), "Running")
    bare = {"metadata": {"finalizers": None}}
    await lab.client.patch(MIGRATION, migration["metadata"]["name"], lab.namespace, bare)

    await lab.delete_migration(migration)

    await gone(lab)
    await lab.wait_until(lambda: lab.node_of("vm-1") == "node-2", 20, "the guest has moved all the same")
    assert "abortRequested" not in lab.state_of("vm-1")


async def test_a_virtual_machine_deleted_in_mid_move_goes_and_takes_its_migration(make_lab: MakeLab) -> None:
    lab = await make_lab(link_mib=1)
    await lab.in_phase(await lab.create_foreign_migration("vm-1"), "Running")

    await lab.delete_vm("vm-1")

    await gone(lab, within_s=30)
    await lab.wait_until(lambda: lab.read("VirtualMachine", "vm-1") is None, 30)
    assert lab.read(INSTANCE, "vm-1") is None
    assert await lab.hypervisor.guest_state("node-1", "vm-1") == "Absent"
