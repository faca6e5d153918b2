"""Who may start and who waits: limits, order, silence, back-off (contract §6.1, §6.2, §1.7)."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from support.kubevirt_scenarios import (
    BUSY,
    LAUNCHER,
    MIB,
    SLOT_PHASES,
    History,
    history,
    instance_of,
    launchers_of,
    migration_of,
    moved,
    settled,
    target_pod,
    told,
)
from whimbrel_lab.hypervisor.model import ModelHypervisor
from whimbrel_lab.lab import MIGRATION, Lab

MakeLab = Callable[..., Awaitable[Lab]]


def most_at_once(seen: History) -> int:
    """How many migrations took a slot at the same time, at most."""
    now: set[str] = set()
    most = 0
    for each in seen.versions:
        if each["kind"] != MIGRATION:
            continue
        if (each.get("status") or {}).get("phase") in SLOT_PHASES:
            now.add(each["metadata"]["name"])
        else:
            now.discard(each["metadata"]["name"])
        most = max(most, len(now))
    return most


async def until_many(lab: Lab, count: int) -> list[dict[str, Any]]:
    """The migrations of vm-1, once there are so many."""
    await lab.wait_until(lambda: len(lab.migrations_of("vm-1")) == count, 15, f"{count} migrations of vm-1")
    return lab.migrations_of("vm-1")


@pytest.mark.parametrize(
    ("limits", "allowed"),
    [
        ({"parallelMigrationsPerCluster": 1, "parallelOutboundMigrationsPerNode": 5}, 1),
        ({"parallelMigrationsPerCluster": 5, "parallelOutboundMigrationsPerNode": 1}, 1),
        ({}, 2),
        ({"parallelMigrationsPerCluster": 3, "parallelOutboundMigrationsPerNode": 3}, 3),
    ],
)
async def test_no_more_than_the_limits_allow_at_once_and_all_get_their_turn(
    make_lab: MakeLab, limits: dict[str, int], allowed: int
) -> None:
    lab = await make_lab(guests=4, migrations=limits)

    async with history(lab) as seen:
        migrations = [await lab.create_foreign_migration(f"vm-{n}") for n in range(1, 5)]
        for each in migrations:
            assert await lab.ended(each, 60) == "Succeeded"

    assert most_at_once(seen) == allowed


async def test_there_is_no_inbound_limit(make_lab: MakeLab) -> None:
    many = {"parallelMigrationsPerCluster": 9, "parallelOutboundMigrationsPerNode": 9}
    lab = await make_lab(guests=4, link_mib=10, migrations=many)

    migrations = [await lab.create_foreign_migration(f"vm-{n}", node="node-2") for n in range(1, 5)]

    def together() -> bool:
        return all(migration_of(lab, each).get("status", {}).get("phase") == "Running" for each in migrations)

    await lab.wait_until(together, 20)


async def test_a_migration_that_waits_for_a_slot_says_nothing(make_lab: MakeLab) -> None:
    lab = await make_lab(guests=2, link_mib=1, migrations={"parallelMigrationsPerCluster": 1})
    await lab.in_phase(await lab.create_foreign_migration("vm-1"), "Running")

    waiting = await lab.in_phase(await lab.create_foreign_migration("vm-2"), "Pending")

    await lab.quiet(0.2, 2)
    assert migration_of(lab, waiting)["status"].get("conditions") is None
    said, _ = await lab.client.list("Event", lab.namespace)
    assert [each["reason"] for each in said if each["involvedObject"]["name"] == waiting["metadata"]["name"]] == []
    assert target_pod(lab, waiting) is None
    assert lab.state_of("vm-2") == {}


async def test_a_slot_is_taken_from_the_target_pod_on(make_lab: MakeLab) -> None:
    lab = await make_lab(guests=2, migrations={"parallelMigrationsPerCluster": 1})
    lab.stall_pods("node-2")
    first = await lab.in_phase(await lab.create_foreign_migration("vm-1", node="node-2"), "Scheduling")

    second = await lab.in_phase(await lab.create_foreign_migration("vm-2", node="node-3"), "Pending")
    assert migration_of(lab, first)["status"]["phase"] == "Scheduling"
    assert target_pod(lab, second) is None

    lab.resume_pods("node-2")
    for each in (first, second):
        assert await lab.ended(each) == "Succeeded"


async def test_kubevirts_own_evacuation_overtakes_who_waits_without_a_priority(make_lab: MakeLab) -> None:
    lab = await make_lab(guests=4, link_mib=8, migrations={"parallelMigrationsPerCluster": 1})
    first = await lab.create_foreign_migration("vm-1")
    await lab.in_phase(first, "Running")
    waiting = [await lab.create_foreign_migration(name) for name in ("vm-2", "vm-3")]
    for each in waiting:
        await lab.in_phase(each, "Pending")

    await lab.request_evacuation("vm-4")
    await lab.wait_until(lambda: bool(lab.migrations_of("vm-4")), 10)
    (evacuation,) = lab.migrations_of("vm-4")
    assert evacuation["spec"]["priority"] == "system-critical"

    for each in (first, evacuation, *waiting):
        assert await lab.ended(each, 60) == "Succeeded"
    began = {name: str(lab.state_of(name)["startTimestamp"]) for name in ("vm-1", "vm-2", "vm-3", "vm-4")}
    assert sorted(began, key=lambda name: began[name])[:2] == ["vm-1", "vm-4"]


async def test_a_priority_does_not_preempt(make_lab: MakeLab) -> None:
    lab = await make_lab(guests=2, link_mib=4, migrations={"parallelMigrationsPerCluster": 1})
    first = await lab.in_phase(await lab.create_foreign_migration("vm-1"), "Running")

    await lab.request_evacuation("vm-2")
    await lab.wait_until(lambda: bool(lab.migrations_of("vm-2")), 10)
    (evacuation,) = lab.migrations_of("vm-2")
    await lab.in_phase(evacuation, "Pending")

    assert await lab.ended(first, 40) == "Succeeded"
    assert await lab.ended(evacuation, 40) == "Succeeded"


async def test_while_a_second_launcher_lives_the_next_migration_waits(make_lab: MakeLab) -> None:
    lab = await make_lab()
    instance = instance_of(lab, "vm-1")
    owner = {
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "name": "vm-1", "controller": True,
        "blockOwnerDeletion": True, "uid": instance["metadata"]["uid"],
    }  # fmt: skip
    stray = {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "stray", "namespace": lab.namespace, "ownerReferences": [owner],
            "labels": {LAUNCHER: instance["metadata"]["uid"], "kubevirt.io": "virt-launcher"},
        },
        "spec": {"containers": [{"name": "compute", "image": "none"}], "nodeSelector": {"there-is": "none"}},
    }  # fmt: skip
    await lab.client.create(stray)
    await lab.wait_until(lambda: len(instance_of(lab, "vm-1")["status"]["activePods"]) == 2, 5)

    migration = await lab.in_phase(await lab.create_foreign_migration("vm-1"), "Pending")
    await lab.quiet(0.3, 3)
    assert target_pod(lab, migration) is None

    await lab.client.delete("Pod", "stray", lab.namespace, grace_period_s=0)
    assert await lab.ended(migration) == "Succeeded"


async def test_an_outbound_slot_is_held_where_the_last_move_began_and_where_the_guest_is(make_lab: MakeLab) -> None:
    lab = await make_lab(guests=2, link_mib=100, migrations={"parallelOutboundMigrationsPerNode": 1})
    await moved(lab, "vm-1", node="node-2")
    await settled(lab, "vm-1")
    lab.stall_pods("node-3")
    away = await lab.in_phase(await lab.create_foreign_migration("vm-1", node="node-3"), "Scheduling")
    assert lab.state_of("vm-1")["sourceNode"] == "node-1"

    waiting = await lab.in_phase(await lab.create_foreign_migration("vm-2", node="node-2"), "Pending")
    await lab.quiet(0.3, 3)
    assert target_pod(lab, waiting) is None

    lab.resume_pods("node-3")
    assert await lab.ended(away) == "Succeeded"
    assert await lab.ended(waiting) == "Succeeded"


async def test_an_evacuation_that_failed_backs_off_before_it_is_tried_again(make_lab: MakeLab) -> None:
    lab = await make_lab()
    assert isinstance(lab.hypervisor, ModelHypervisor)
    lab.hypervisor.fail_next("vm-1", "internal error: the cable is out")

    await lab.request_evacuation("vm-1")
    (failed,) = await until_many(lab, 1)
    assert await lab.ended(failed) == "Failed"
    await settled(lab, "vm-1")
    await lab.client.patch("Node", "node-1", "", {"metadata": {"annotations": {"kubevirt.io/heartbeat": "again"}}})
    again = next(each for each in await until_many(lab, 2) if each["metadata"]["uid"] != failed["metadata"]["uid"])
    await told(lab, "MigrationBackoff", f"backoff migrating vmi {lab.namespace}/vm-1", instance_of(lab, "vm-1"))
    assert target_pod(lab, again) is None
    assert (await lab.in_phase(again, "Pending"))["metadata"]["uid"] == again["metadata"]["uid"]


async def test_a_migration_of_somebody_else_is_tried_once_and_does_not_back_off(make_lab: MakeLab) -> None:
    lab = await make_lab(link_mib=10, of_guest=BUSY, migrations={"bandwidthPerMigration": str(10 * MIB)})
    assert isinstance(lab.hypervisor, ModelHypervisor)
    lab.hypervisor.fail_next("vm-1", "internal error: the cable is out")
    failed = await lab.create_foreign_migration("vm-1")
    assert await lab.ended(failed) == "Failed"
    await settled(lab, "vm-1")

    assert [each["metadata"]["name"] for each in lab.migrations_of("vm-1")] == [failed["metadata"]["name"]]
    again = await lab.create_foreign_migration("vm-1")
    await lab.in_phase(again, "Running")
    assert len([each for each in launchers_of(lab, "vm-1") if each["status"]["phase"] == "Running"]) == 2
