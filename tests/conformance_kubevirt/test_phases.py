"""A local migration from its creation to its end (contract §1.2 to §1.4, §2.3, §3, §11.3)."""

import itertools
from collections.abc import Awaitable, Callable

from support.kubevirt_scenarios import (
    FINALIZER,
    PHASES,
    TARGET_NODE,
    as_handler,
    condition_of,
    events_of,
    history,
    instance_of,
    launchers_of,
    migration_of,
    moved,
    phases_of,
    settled,
    told,
)
from whimbrel_lab.lab import INSTANCE, MIGRATION, Lab

MakeLab = Callable[..., Awaitable[Lab]]


async def test_a_migration_passes_every_phase_and_moves_the_guest(make_lab: MakeLab) -> None:
    lab = await make_lab()

    migration = await lab.create_foreign_migration("vm-1", node="node-2")

    assert await lab.ended(migration) == "Succeeded"
    ended = migration_of(lab, migration)
    assert phases_of(ended) == PHASES
    times = [each["phaseTransitionTimestamp"] for each in ended["status"]["phaseTransitionTimestamps"]]
    assert times == sorted(times)
    assert lab.node_of("vm-1") == "node-2"
    assert await lab.hypervisor.guest_state("node-2", "vm-1") == "Running"


async def test_no_phase_is_entered_twice_and_none_goes_back(make_lab: MakeLab) -> None:
    lab = await make_lab()

    async with history(lab) as seen:
        migration = await moved(lab, "vm-1")

    shown = [(each.get("status") or {}).get("phase") for each in seen.of(MIGRATION, migration["metadata"]["name"])]
    entered = [phase for phase in dict.fromkeys(shown) if phase]
    assert entered == PHASES[len(PHASES) - len(entered) :] or entered == [each for each in PHASES if each in entered]
    assert sorted((each for each in shown if each), key=PHASES.index) == [each for each in shown if each]


async def test_the_first_write_notes_the_api_version_before_there_is_a_phase(make_lab: MakeLab) -> None:
    lab = await make_lab()

    async with history(lab) as seen:
        migration = await moved(lab, "vm-1")

    versions = seen.of(MIGRATION, migration["metadata"]["name"])
    noted = [
        each["metadata"].get("annotations", {}).get("kubevirt.io/latest-observed-api-version") for each in versions
    ]
    assert noted[:2] == [None, "v1"]
    assert [(each.get("status") or {}).get("phase") for each in versions[:2]] == [None, None]
    assert versions[1]["metadata"]["annotations"]["kubevirt.io/storage-observed-api-version"] == "v1"


async def test_until_its_end_a_migration_knows_only_the_pod_that_it_leaves(make_lab: MakeLab) -> None:
    lab = await make_lab()
    (source,) = launchers_of(lab, "vm-1")

    async with history(lab) as seen:
        migration = await moved(lab, "vm-1")

    states = [
        each["status"].get("migrationState")
        for each in seen.of(MIGRATION, migration["metadata"]["name"])
        if (each.get("status") or {}).get("phase") in PHASES[1:6]
    ]
    assert [each for each in states if each != {"sourcePod": source["metadata"]["name"]}] == []


async def test_an_ended_migration_keeps_the_whole_state_and_no_finalizer(make_lab: MakeLab) -> None:
    lab = await make_lab()
    migration = await lab.create_foreign_migration("vm-1")
    assert migration["metadata"]["finalizers"] == [FINALIZER]
    assert migration["metadata"]["labels"]["kubevirt.io/vmi-name"] == "vm-1"

    await lab.ended(migration)

    def released() -> bool:
        return not migration_of(lab, migration)["metadata"].get("finalizers")

    await lab.wait_until(released, 5)
    kept = migration_of(lab, migration)["status"]["migrationState"]
    assert kept == lab.state_of("vm-1")
    assert kept["migrationUid"] == migration["metadata"]["uid"]


async def test_the_target_handler_ends_a_move_on_the_instance(make_lab: MakeLab) -> None:
    lab = await make_lab()
    (source,) = launchers_of(lab, "vm-1")

    await moved(lab, "vm-1", node="node-2")
    await settled(lab, "vm-1")

    state = lab.state_of("vm-1")
    assert (state["sourceNode"], state["targetNode"], state["sourcePod"]) == (
        "node-1", "node-2", source["metadata"]["name"],
    )  # fmt: skip
    assert (state["completed"], state.get("failed"), state["mode"]) == (True, None, "PreCopy")
    assert state["targetNodeDomainDetected"] is True
    assert str(state["startTimestamp"]) <= str(state["endTimestamp"])
    assert set(state["targetDirectMigrationNodePorts"].values()) == {0, 49152}  # type: ignore[attr-defined]
    metadata = instance_of(lab, "vm-1")["metadata"]
    assert metadata["labels"]["kubevirt.io/nodeName"] == "node-2"
    assert TARGET_NODE not in metadata["labels"]


async def test_the_state_of_the_last_migration_stays_until_the_next_hand_off(make_lab: MakeLab) -> None:
    lab = await make_lab()
    first = await moved(lab, "vm-1", node="node-2")
    await settled(lab, "vm-1")

    async with history(lab) as seen:
        second = await moved(lab, "vm-1", node="node-3")

    assert seen.states("vm-1", "migrationUid")[-2:] == [first["metadata"]["uid"], second["metadata"]["uid"]]
    begun = next(
        each["status"]["migrationState"]
        for each in seen.of(INSTANCE, "vm-1")
        if each["status"]["migrationState"]["migrationUid"] == second["metadata"]["uid"]
    )
    assert not {"completed", "startTimestamp", "endTimestamp", "targetNodeAddress"} & set(begun)


async def test_after_a_move_the_old_launcher_is_succeeded_and_the_way_back_is_free(make_lab: MakeLab) -> None:
    lab = await make_lab()
    await moved(lab, "vm-1", node="node-3")

    def over() -> bool:
        pods = {each["spec"]["nodeName"]: each["status"]["phase"] for each in launchers_of(lab, "vm-1")}
        return pods == {"node-1": "Succeeded", "node-3": "Running"}

    await lab.wait_until(over, 10)
    await settled(lab, "vm-1")
    await moved(lab, "vm-1", node="node-1")


async def test_ready_dips_at_the_switch_over_and_the_phase_does_not(make_lab: MakeLab) -> None:
    lab = await make_lab()
    await settled(lab, "vm-1")

    async with history(lab) as seen:
        await moved(lab, "vm-1")

        def dipped() -> bool:
            shown = [condition_of(each, "Ready").get("status") for each in seen.of(INSTANCE, "vm-1")]
            return [each for each, _ in itertools.groupby(shown)] == ["True", "False", "True"]

        await lab.wait_until(dipped, 10, "Ready went to False and came back, once")

    assert {each["status"]["phase"] for each in seen.of(INSTANCE, "vm-1")} == {"Running"}


async def test_active_pods_list_the_ended_launcher_too(make_lab: MakeLab) -> None:
    lab = await make_lab()

    await moved(lab, "vm-1", node="node-2")
    await settled(lab, "vm-1")

    listed = {each["metadata"]["uid"]: each["spec"]["nodeName"] for each in launchers_of(lab, "vm-1")}
    assert sorted(listed.values()) == ["node-1", "node-2"]
    assert instance_of(lab, "vm-1")["status"]["activePods"] == listed


async def test_success_waits_until_a_change_of_the_hardware_is_through(make_lab: MakeLab) -> None:
    lab = await make_lab(link_mib=10)
    migration = await lab.in_phase(await lab.create_foreign_migration("vm-1"), "Running")
    pending = {"lastProbeTime": None, "lastTransitionTime": None, "status": "True", "type": "HotVCPUChange"}

    await as_handler(lab, "vm-1", lambda found: found["status"]["conditions"].append(pending))
    await lab.wait_until(lambda: lab.state_of("vm-1").get("completed") is True, 15)
    await settled(lab, "vm-1")
    assert migration_of(lab, migration)["status"]["phase"] == "Running"

    def without(found: dict[str, object]) -> None:
        status = found["status"]
        assert isinstance(status, dict)
        status["conditions"] = [each for each in status["conditions"] if each["type"] != "HotVCPUChange"]

    await as_handler(lab, "vm-1", without)
    assert await lab.ended(migration) == "Succeeded"


async def test_the_steps_of_a_migration_are_events_in_kubevirts_words(make_lab: MakeLab) -> None:
    lab = await make_lab()

    migration = await moved(lab, "vm-1", node="node-2")

    await told(lab, "SuccessfulCreate", "Created migration target pod", migration)
    await told(lab, "SuccessfulHandOver", "ready for preparation by virt-handler", migration)
    await told(lab, "SuccessfulMigration", "reported migration succeeded", migration)
    for reason in ("PreparingTarget", "Migrating", "Migrated"):
        await told(lab, reason, "", instance_of(lab, "vm-1"))
    assert await events_of(lab, "FailedMigration", migration) == []
