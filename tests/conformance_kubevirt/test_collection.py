"""Which ended migrations remain (contract §1.7), and release 1.9's way of leaving more."""

from collections.abc import Awaitable, Callable

from support.kubevirt_scenarios import UNSCHEDULABLE_TIMEOUT, launchers_of, migration_of, moved, settled
from whimbrel_lab.lab import Lab
from whimbrel_lab.topology import Timing

MakeLab = Callable[..., Awaitable[Lab]]
AT_ONCE = Timing(pod_start_s=0.1, target_preparation_s=0.0, termination_s=0.1)
NOWHERE = {UNSCHEDULABLE_TIMEOUT: "1"}


def names_of(lab: Lab) -> set[str]:
    return {each["metadata"]["name"] for each in lab.migrations_of("vm-1")}


async def a_failed_one(lab: Lab, name: str) -> None:
    """A migration that fails before its hand-off, as nobody can host it."""
    migration = await lab.create_foreign_migration("vm-1", node="nowhere", migration_name=name, annotations=NOWHERE)
    assert await lab.ended(migration) == "Failed"
    await lab.wait_until(lambda: not migration_of(lab, migration)["metadata"].get("finalizers"), 5)


async def test_the_five_newest_remain_and_the_launchers_of_the_others_go(make_lab: MakeLab) -> None:
    lab = await make_lab(timing=AT_ONCE, link_mib=400)
    sources = []
    for number in range(7):
        there_and_back = f"node-{2 - number % 2}"  # so that a launcher is collected on the node where the guest is
        migration = await moved(lab, "vm-1", node=there_and_back, migration_name=f"move-{number}")
        sources.append(migration["status"]["migrationState"]["sourcePod"])
        await settled(lab, "vm-1")

    await lab.wait_until(lambda: names_of(lab) == {f"move-{number}" for number in range(2, 7)}, 10)

    def collected() -> bool:
        left = {each["metadata"]["name"] for each in launchers_of(lab, "vm-1")}
        return not left & set(sources[:2]) and set(sources[2:]) <= left

    await lab.wait_until(collected, 10, "the launchers that the collected moves left are gone")


async def test_failures_before_any_success_are_collected_too(make_lab: MakeLab) -> None:
    lab = await make_lab(timing=AT_ONCE)

    for number in range(6):
        await a_failed_one(lab, f"try-{number}")

    await lab.wait_until(lambda: names_of(lab) == {f"try-{number}" for number in range(1, 6)}, 10)


async def test_failures_after_a_success_pile_up_once_that_is_collected_until_a_later_one(make_lab: MakeLab) -> None:
    lab = await make_lab(timing=AT_ONCE, link_mib=400)
    await moved(lab, "vm-1", migration_name="move")
    await settled(lab, "vm-1")
    for number in range(5):
        await a_failed_one(lab, f"try-{number}")
    await lab.wait_until(lambda: names_of(lab) == {f"try-{number}" for number in range(5)}, 10)

    for number in (5, 6):
        await a_failed_one(lab, f"try-{number}")
    await lab.quiet(0.3, 2)
    assert names_of(lab) == {f"try-{number}" for number in range(7)}
    assert lab.state_of("vm-1").get("failed") is None

    await moved(lab, "vm-1", migration_name="move-again")
    await lab.wait_until(lambda: names_of(lab) == {"move-again", *(f"try-{n}" for n in range(3, 7))}, 15)


async def test_the_ended_migrations_of_an_instance_go_with_it(make_lab: MakeLab) -> None:
    lab = await make_lab(timing=AT_ONCE, link_mib=400)
    await moved(lab, "vm-1")

    await lab.delete_vm("vm-1")

    await lab.wait_until(lambda: names_of(lab) == set(), 20)


async def test_release_1_8_has_no_such_quirk_and_leaves_launchers(make_stand_in: MakeLab) -> None:
    lab = await make_stand_in(timing=AT_ONCE, link_mib=400, version="v1.8.4")
    await moved(lab, "vm-1", migration_name="move")
    await settled(lab, "vm-1")

    for number in range(5):
        await a_failed_one(lab, f"try-{number}")

    await lab.wait_until(lambda: names_of(lab) == {f"try-{number}" for number in range(5)}, 10)
    assert "Succeeded" in {each["status"]["phase"] for each in launchers_of(lab, "vm-1")}
