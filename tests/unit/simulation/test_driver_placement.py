"""Whole plans on a simulated cluster, as far as it matters who goes where: conflicts, joint placement, order, detours."""

from collections.abc import Mapping
from typing import Any

import pytest

from support.invariants import Checker
from support.scenes import empty, hosts, nodes, phases, see_it_through, simulate
from whimbrel.domain.records import Key
from whimbrel.domain.resources import MIGRATION_PLANS, NODES, VIRTUAL_MACHINE_MOVES
from whimbrel.simulation.run import Simulation
from whimbrel.simulation.topology import GIB, GuestShape, HostShape, Topology, a_plan

BLOCK = {"virtualMachines": {"onNodes": {"names": ["node-0"]}}}


def big(name: str, node: str, gib: int = 6) -> GuestShape:
    return GuestShape(name, node=node, memory_bytes=gib * GIB)


def from_to(source: str, *targets: str) -> dict[str, object]:
    return {"virtualMachines": {"onNodes": {"names": [source]}}, "target": {"nodeNames": list(targets)}}


def edit(simulation: Simulation, name: str, **spec: Any) -> None:
    """Somebody changes a plan."""
    key = Key("default", name)
    body = simulation.world.get(MIGRATION_PLANS, key)
    simulation.world.replace("user", MIGRATION_PLANS, key, {**body, "spec": {**body["spec"], **spec}})


def status(simulation: Simulation, name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = simulation.world.get(MIGRATION_PLANS, Key("default", name))["status"]
    return found


def quote(simulation: Simulation, name: str) -> dict[str, object]:
    found: dict[str, object] = simulation.world.get(MIGRATION_PLANS, Key("default", name))["status"]["quote"]
    return found


def test_a_host_that_cannot_be_emptied_is_refused_with_its_minimal_conflict_before_anything_moves() -> None:
    shapes = [HostShape("node-0"), HostShape("node-1", memory_bytes=8 * GIB)]
    simulation, checker = simulate(Topology(shapes, [big("a", "node-0"), big("b", "node-0"), big("c", "node-0", 1)]))
    simulation.apply(a_plan("drain", BLOCK))

    simulation.run(120)

    status = simulation.world.get(MIGRATION_PLANS, Key("default", "drain"))["status"]
    (conflict,) = status["quote"]["conflicts"]
    assert status["phase"] == "Blocked"
    assert conflict["virtualMachines"] == ["default/a", "default/b"]
    assert conflict["message"] == (
        "default/a and default/b cannot all be placed: only node-1 may take them, and node-1 has 8.0 GiB of memory free."
    )
    assert conflict["message"] in status["message"]
    assert status["quote"]["blocked"] == [
        {"reason": reason, "count": 1, "virtualMachines": ["default/b"]}
        for reason in ("InsufficientMemory", "PlacementConflict")
    ]
    assert checker.writes["VirtualMachineInstanceMigration"] == 0


def test_what_is_left_of_a_conflict_still_moves_where_the_plan_leaves_the_rest() -> None:
    shapes = [HostShape("node-0"), HostShape("node-1", memory_bytes=8 * GIB)]
    simulation, checker = simulate(Topology(shapes, [big("a", "node-0"), big("b", "node-0")]))
    simulation.apply(a_plan("drain", empty("node-0")))

    see_it_through(simulation, checker)

    assert sorted(phases(simulation).values()) == ["Skipped", "Succeeded"]


def test_two_plans_of_one_tick_do_not_count_on_the_same_room() -> None:
    shapes = [*hosts(2), HostShape("node-2", memory_bytes=8 * GIB), HostShape("node-3", memory_bytes=7 * GIB)]
    simulation, checker = simulate(Topology(shapes, [big("a", "node-0"), big("b", "node-1")]))
    simulation.apply(a_plan("first", from_to("node-0", "node-2", "node-3")))
    simulation.apply(a_plan("second", from_to("node-1", "node-2")))

    see_it_through(simulation, checker)

    assert nodes(simulation) == {"a": "node-3", "b": "node-2"}


def test_a_guest_waits_for_the_room_that_another_one_leaves() -> None:
    shapes = [HostShape("node-0"), HostShape("node-1", memory_bytes=8 * GIB), HostShape("node-2")]
    simulation, checker = simulate(Topology(shapes, [big("a", "node-0"), big("b", "node-1")]))
    simulation.apply(a_plan("first", from_to("node-0", "node-1")))
    simulation.apply(a_plan("second", from_to("node-1", "node-2")))

    see_it_through(simulation, checker)

    assert nodes(simulation) == {"a": "node-1", "b": "node-2"}
    assert set(phases(simulation).values()) == {"Succeeded"}


def test_two_full_hosts_swap_their_guests_by_way_of_a_third() -> None:
    shapes = [
        *(HostShape(name, memory_bytes=8 * GIB) for name in ("node-0", "node-1", "node-2")),
        HostShape("node-3"),
    ]
    guests = [big("a", "node-0"), big("b", "node-1"), big("c", "node-3", 3)]
    simulation, checker = simulate(Topology(shapes, guests))
    simulation.apply(a_plan("first", from_to("node-0", "node-1", "node-2")))
    simulation.apply(a_plan("second", from_to("node-1", "node-0", "node-2")))
    simulation.apply(a_plan("third", from_to("node-3", "node-2")))

    see_it_through(simulation, checker)

    assert nodes(simulation) == {"a": "node-1", "b": "node-0", "c": "node-2"}
    assert set(phases(simulation).values()) == {"Succeeded"}
    histories = [
        [record["outcome"] for record in move["status"]["history"]]
        for move in simulation.world.objects(VIRTUAL_MACHINE_MOVES).values()
    ]
    assert sorted(histories) == [["Succeeded"], ["Succeeded"], ["Succeeded", "Succeeded"]]


def test_a_plan_that_asks_for_it_leaves_the_cluster_able_to_lose_a_host() -> None:
    shapes = [HostShape(name, memory_bytes=16 * GIB) for name in ("node-0", "node-1", "node-2")]
    guests = [big("a", "node-0", 3), big("x", "node-0", 12), big("y", "node-1", 12), big("z", "node-2", 12)]
    simulation, _ = simulate(Topology(shapes, guests))
    only_a = {"virtualMachines": {"names": ["a"]}}
    simulation.apply(a_plan("drain", {**only_a, "target": {"headroom": {"hostFailures": 1}}}))

    simulation.run(60)

    (conflict,) = quote(simulation, "drain")["conflicts"]
    assert "the cluster must be able to lose 1 host" in conflict["message"]


def test_the_host_that_a_plan_empties_is_none_that_others_could_start_on() -> None:
    simulation, _ = simulate(Topology(hosts(2), [big("a", "node-0")]))
    selected = {"onNodes": {"names": ["node-0"]}}
    simulation.apply(a_plan("drain", {"virtualMachines": selected, "target": {"headroom": {"hostFailures": 1}}}))

    simulation.run(60)

    (conflict,) = quote(simulation, "drain")["conflicts"]
    assert "the cluster must be able to lose 1 host" in conflict["message"]
    assert nodes(simulation) == {"a": "node-0"}


def test_a_plan_brings_nobody_to_a_host_that_it_empties() -> None:
    simulation, checker = simulate(Topology(hosts(3), [big("a", "node-0"), big("b", "node-1")]))
    simulation.apply(a_plan("drain", {"virtualMachines": {"onNodes": {"names": ["node-0", "node-1"]}}}))

    see_it_through(simulation, checker)

    assert nodes(simulation) == {"a": "node-2", "b": "node-2"}


def test_a_dry_run_is_quoted_on_its_own_terms_though_another_plan_has_the_machine() -> None:
    simulation, _ = simulate(Topology(hosts(3), [big("a", "node-0")]))
    simulation.apply(a_plan("first", {**from_to("node-0", "node-1"), "suspend": True}))
    simulation.apply(a_plan("second", {**from_to("node-0", "node-2"), "dryRun": True}))

    simulation.run(60)

    targets = {name: quote(simulation, name)["moves"][0]["targetNode"] for name in ("first", "second")}
    assert targets == {"first": "node-1", "second": "node-2"}


def test_the_quote_names_the_stop_on_the_way_beside_the_target() -> None:
    shapes = [*(HostShape(name, memory_bytes=8 * GIB) for name in ("node-0", "node-1", "node-2")), HostShape("node-3")]
    guests = [big("a", "node-0"), big("b", "node-1"), big("c", "node-3", 3)]
    simulation, _ = simulate(Topology(shapes, guests))
    for name, terms in {
        "first": from_to("node-0", "node-1", "node-2"),
        "second": from_to("node-1", "node-0", "node-2"),
        "third": from_to("node-3", "node-2"),
    }.items():
        simulation.apply(a_plan(name, terms))

    simulation.run(30)

    rows = [quote(simulation, name)["moves"][0] for name in ("first", "second")]
    assert [(row["targetNode"], row.get("viaNode", "")) for row in rows] == [("node-1", "node-2"), ("node-0", "")]


@pytest.mark.parametrize(
    ("terms", "phase"),
    [({"suspend": True}, "Suspended"), ({"approval": "Manual"}, "AwaitingApproval"), ({}, "Blocked")],
)
def test_a_plan_that_may_not_start_keeps_no_other_from_the_room_that_it_was_quoted(
    terms: Mapping[str, Any], phase: str
) -> None:
    shapes = [*hosts(2), HostShape("node-2", memory_bytes=8 * GIB)]
    fixed = GuestShape("fixed", node="node-0", memory_bytes=GIB, live_migratable=phase != "Blocked")
    simulation, checker = simulate(Topology(shapes, [big("a", "node-0"), big("b", "node-1"), fixed]))
    simulation.apply(a_plan("held", {**from_to("node-0", "node-2"), **terms}))
    simulation.run(60)
    assert status(simulation, "held")["phase"] == phase

    simulation.apply(a_plan("second", from_to("node-1", "node-2")))
    simulation.run(120)

    assert nodes(simulation) == {"a": "node-0", "b": "node-2", "fixed": "node-0"}
    assert status(simulation, "second")["phase"] == "Succeeded"
    assert checker.broken == []


def test_an_approved_plan_moves_as_it_was_quoted_though_other_plans_run() -> None:
    simulation, checker = simulate(Topology(hosts(4), [big("a", "node-0"), big("b", "node-1"), big("c", "node-1")]))
    simulation.apply(a_plan("asked", {**from_to("node-0", "node-2", "node-3"), "approval": "Manual"}))
    simulation.run(30)
    simulation.apply(a_plan("second", from_to("node-1", "node-2", "node-3")))
    simulation.run(15)
    wanted = quote(simulation, "asked")
    key = Key("default", "asked")
    body = simulation.world.get(MIGRATION_PLANS, key)
    annotations = {"whimbrel.dev/approve": wanted["hash"]}
    metadata = {**body["metadata"], "annotations": annotations}
    simulation.world.replace("user", MIGRATION_PLANS, key, {**body, "metadata": metadata})

    see_it_through(simulation, checker)

    assert quote(simulation, "asked")["hash"] == wanted["hash"]
    assert status(simulation, "asked")["phase"] == "Succeeded"


def on_its_way() -> tuple[Simulation, Checker]:
    """a has come to node-2 on its way to node-1, where b has yet to leave."""
    shapes = [*(HostShape(name, memory_bytes=8 * GIB) for name in ("node-0", "node-1", "node-2")), HostShape("node-3")]
    guests = [big("a", "node-0"), big("b", "node-1"), big("c", "node-3", 3)]
    simulation, checker = simulate(Topology(shapes, guests))
    simulation.apply(a_plan("first", from_to("node-0", "node-1", "node-2")))
    simulation.apply(a_plan("second", from_to("node-1", "node-0", "node-2")))
    simulation.apply(a_plan("third", from_to("node-3", "node-2")))
    while nodes(simulation)["a"] != "node-2":
        simulation.run(1)
    return simulation, checker


def cordon(simulation: Simulation, name: str) -> None:
    key = Key("", name)
    body = simulation.world.get(NODES, key)
    simulation.world.replace("user", NODES, key, {**body, "spec": {**body["spec"], "unschedulable": True}})


def test_a_guest_whose_way_on_closes_ends_on_the_host_that_it_has_come_to_and_says_so() -> None:
    simulation, checker = on_its_way()

    cordon(simulation, "node-1")
    simulation.run(180)

    (move,) = (
        m for m in simulation.world.objects(VIRTUAL_MACHINE_MOVES).values() if m["spec"]["instance"]["name"] == "a"
    )
    assert nodes(simulation)["a"] == "node-2"
    assert (move["status"]["phase"], move["status"]["reason"]) == ("Succeeded", "EndedOnItsWay")
    assert move["status"]["message"].startswith(
        "It stays on node-2, where it had come on its way: the way on has closed"
    )
    assert move["status"]["receipt"]["node"] == "node-2"
    assert move["status"]["receipt"]["durationMs"]["source"] == "KubeVirtTimestamps"
    assert status(simulation, "first")["phase"] == "Succeeded"
    assert checker.broken == []


def test_where_the_plan_does_not_admit_that_host_any_more_it_does_not_end_there() -> None:
    simulation, checker = on_its_way()

    edit(simulation, "first", target={"nodeNames": ["node-1"]})
    cordon(simulation, "node-1")
    simulation.run(180)

    assert (nodes(simulation)["a"], phases(simulation)["a"]) == ("node-2", "Blocked")
    assert checker.broken == []
