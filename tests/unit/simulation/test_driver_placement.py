"""Whole plans on a simulated cluster, as far as it matters who goes where: conflicts, joint placement, order, detours."""

from support.scenes import empty, hosts, nodes, phases, see_it_through, simulate
from whimbrel.domain.records import Key
from whimbrel.domain.resources import MIGRATION_PLANS, VIRTUAL_MACHINE_MOVES
from whimbrel.simulation.run import Simulation
from whimbrel.simulation.topology import GIB, GuestShape, HostShape, Topology, a_plan

BLOCK = {"virtualMachines": {"onNodes": {"names": ["node-0"]}}}


def big(name: str, node: str, gib: int = 6) -> GuestShape:
    return GuestShape(name, node=node, memory_bytes=gib * GIB)


def from_to(source: str, *targets: str) -> dict[str, object]:
    return {"virtualMachines": {"onNodes": {"names": [source]}}, "target": {"nodeNames": list(targets)}}


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
        simulation.apply(a_plan(name, {**terms, "dryRun": False, "suspend": True}))

    simulation.run(60)

    rows = [quote(simulation, name)["moves"][0] for name in ("first", "second")]
    assert [(row["targetNode"], row.get("viaNode", "")) for row in rows] == [("node-1", "node-2"), ("node-0", "")]
