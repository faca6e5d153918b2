"""Evictions and evacuations: who is asked, who answers, and whose business `External` is (contract §2.3, §6.5)."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from support.kubevirt_scenarios import condition_of, instance_of, launchers_of, settled, target_pod
from whimbrel_lab.kubevirt.client import RequestRefused
from whimbrel_lab.lab import Lab

MakeLab = Callable[..., Awaitable[Lab]]


async def an_evacuation(lab: Lab, name: str = "vm-1") -> dict[str, Any]:
    """The one migration that KubeVirt starts of itself."""
    await lab.wait_until(lambda: len(lab.migrations_of(name)) == 1, 10, f"an evacuation of {name}")
    return lab.migrations_of(name)[0]


@pytest.mark.parametrize("strategy", ["LiveMigrate", "LiveMigrateIfPossible"])
async def test_an_eviction_becomes_a_migration_of_kubevirts_own(make_lab: MakeLab, strategy: str) -> None:
    lab = await make_lab(of_guest={"eviction_strategy": strategy})
    (pod,) = launchers_of(lab, "vm-1")

    with pytest.raises(RequestRefused, match=f'Eviction triggered evacuation of VMI "{lab.namespace}/vm-1"') as answer:
        await lab.evict(pod)

    assert answer.value.code == 429
    evacuation = await an_evacuation(lab)
    assert evacuation["metadata"]["name"].startswith("kubevirt-evacuation-")
    assert evacuation["metadata"]["annotations"]["kubevirt.io/evacuationMigration"] == "node-1"
    assert evacuation["spec"] == {"vmiName": "vm-1", "priority": "system-critical"}
    assert await lab.ended(evacuation) == "Succeeded"
    await settled(lab, "vm-1")
    assert "evacuationNodeName" not in instance_of(lab, "vm-1")["status"]


async def test_an_eviction_repeated_is_answered_that_it_is_under_way(make_lab: MakeLab) -> None:
    lab = await make_lab(link_mib=1)
    (pod,) = launchers_of(lab, "vm-1")
    with pytest.raises(RequestRefused, match="Eviction triggered"):
        await lab.evict(pod)
    evacuation = await lab.in_phase(await an_evacuation(lab), "Running")

    with pytest.raises(RequestRefused, match="Evacuation in progress: Eviction triggered evacuation") as answer:
        await lab.evict(pod)
    target = target_pod(lab, evacuation)
    assert target is not None
    with pytest.raises(RequestRefused, match="Evacuation in progress"):
        await lab.evict(target)

    assert answer.value.code == 429
    assert condition_of(instance_of(lab, "vm-1"), "EvictionRequested")["status"] == "True"


async def test_a_migrations_target_pod_is_not_evicted(make_lab: MakeLab) -> None:
    lab = await make_lab(link_mib=1)
    migration = await lab.in_phase(await lab.create_foreign_migration("vm-1", node="node-2"), "Running")
    target = target_pod(lab, migration)
    assert target is not None

    with pytest.raises(RequestRefused, match="Eviction request for target Pod") as answer:
        await lab.evict(target)

    assert answer.value.code == 429
    assert "evacuationNodeName" not in instance_of(lab, "vm-1")["status"]


async def test_with_external_the_node_is_named_and_nothing_is_started(make_lab: MakeLab) -> None:
    lab = await make_lab(guests=2, of_guest={"eviction_strategy": "External"})
    (pod,) = launchers_of(lab, "vm-1")

    with pytest.raises(RequestRefused, match="Eviction triggered evacuation"):
        await lab.evict(pod)
    assert await lab.ended(await lab.create_foreign_migration("vm-2")) == "Succeeded"

    assert instance_of(lab, "vm-1")["status"]["evacuationNodeName"] == "node-1"
    assert lab.migrations_of("vm-1") == []
    own = await lab.create_foreign_migration("vm-1")
    assert await lab.ended(own) == "Succeeded"
    await settled(lab, "vm-1")
    assert "evacuationNodeName" not in instance_of(lab, "vm-1")["status"]


async def test_external_is_answered_429_even_where_the_guest_cannot_move(make_lab: MakeLab) -> None:
    lab = await make_lab(of_guest={"eviction_strategy": "External", "blocker": "SharedDisk"})
    (pod,) = launchers_of(lab, "vm-1")

    with pytest.raises(RequestRefused, match="Eviction triggered evacuation") as answer:
        await lab.evict(pod)

    assert answer.value.code == 429
    assert instance_of(lab, "vm-1")["status"]["evacuationNodeName"] == "node-1"


async def test_a_guest_that_has_to_migrate_and_cannot_holds_its_node(make_lab: MakeLab) -> None:
    lab = await make_lab(of_guest={"eviction_strategy": "LiveMigrate", "blocker": "SharedDisk"})
    (pod,) = launchers_of(lab, "vm-1")

    with pytest.raises(RequestRefused, match="not live-migratable") as answer:
        await lab.evict(pod)

    assert answer.value.code == 429
    assert "evacuationNodeName" not in instance_of(lab, "vm-1")["status"]


@pytest.mark.parametrize(
    "guest",
    [{"eviction_strategy": "None"}, {"eviction_strategy": "LiveMigrateIfPossible", "blocker": "SharedDisk"}],
)
async def test_other_guests_die_by_an_eviction(make_lab: MakeLab, guest: dict[str, str]) -> None:
    lab = await make_lab(of_guest=guest)
    (pod,) = launchers_of(lab, "vm-1")

    await lab.evict(pod)

    def dying() -> bool:
        found = lab.read("Pod", pod["metadata"]["name"])
        return found is None or bool(found["metadata"].get("deletionTimestamp"))

    await lab.wait_until(dying, 10, "the launcher is being deleted")
    assert lab.migrations_of("vm-1") == []


async def test_a_deschedulers_eviction_has_the_lowest_priority_of_kubevirts_own(make_lab: MakeLab) -> None:
    lab = await make_lab()
    (pod,) = launchers_of(lab, "vm-1")

    with pytest.raises(RequestRefused, match="Eviction triggered"):
        await lab.evict(pod, annotations={"requested-by": "sigs.k8s.io/descheduler"})

    assert (await an_evacuation(lab))["spec"]["priority"] == "system-maintenance"


async def test_the_old_drain_taint_evacuates_too_but_not_external(make_lab: MakeLab) -> None:
    lab = await make_lab(guests=2)
    taint = {"effect": "NoSchedule", "key": "kubevirt.io/drain"}

    await lab.client.patch("Node", "node-1", "", {"spec": {"taints": [taint]}})

    for name in ("vm-1", "vm-2"):
        evacuation = await an_evacuation(lab, name)
        assert await lab.ended(evacuation) == "Succeeded"


async def test_a_guest_that_cannot_migrate_is_not_tried(make_lab: MakeLab) -> None:
    lab = await make_lab(guests=2, of_guest={"blocker": "SharedDisk"})

    await lab.request_evacuation("vm-1")

    await lab.wait_until(
        lambda: condition_of(instance_of(lab, "vm-1"), "EvictionRequested").get("status") == "True", 10
    )
    await lab.quiet(0.3, 3)
    assert lab.migrations_of("vm-1") == []
