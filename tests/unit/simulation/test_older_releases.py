"""Whole plans under releases of KubeVirt that cannot be told a target (before 1.6) or cannot suspend a guest (before 1.5)."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from support.invariants import OPERATOR, Checker, at
from support.scenes import STUN, empty, guests, hosts, later, moves, nodes, phases, see_it_through, simulate
from whimbrel.domain.records import Key
from whimbrel.domain.resources import INSTANCES, KUBEVIRTS, MIGRATION_PLANS, MIGRATION_POLICIES, MIGRATIONS, NODES
from whimbrel.simulation.driver import Faults
from whimbrel.simulation.run import Simulation
from whimbrel.simulation.topology import GIB, GuestShape, HostShape, Topology, a_plan
from whimbrel.simulation.world import Change, Object

PLAN = Key("default", "drain")
CANNOT_CHOOSE = ["v1.3.1", "v1.4.1", "v1.5.3"]
BUSY = {"touched_bytes": 2 * GIB, "working_set_mib": 256, "dirty_mib_per_second": 4000}
ONLY_NODE_1 = {"target": {"nodeNames": ["node-1"]}}
PATIENT = {"virtualMachines": {"onNodes": {"names": ["node-0"]}}, **ONLY_NODE_1}
"""Empties node-0 to node-1, and waits while something is in the way."""


def run(topology: Topology, spec: Mapping[str, Any], **faults: Any) -> tuple[Simulation, Checker]:
    simulation, checker = simulate(topology, faults=Faults(**faults))
    simulation.apply(a_plan("drain", spec))
    return simulation, checker


def cordon(simulation: Simulation, node: str, cordoned: bool) -> None:
    body = simulation.world.get(NODES, Key("", node))
    assert body is not None
    spec = {**(body.get("spec") or {}), "unschedulable": cordoned}
    simulation.world.replace("user", NODES, Key("", node), {**body, "spec": spec})


def at_the_first_migration(simulation: Simulation, act: Any) -> None:
    """Something that happens while a migration of ours waits for KubeVirt."""
    pending = [act]

    def listen(change: Change) -> None:
        if change.actor == OPERATOR and change.verb == "create" and change.resource == MIGRATIONS and pending:
            simulation.at(simulation.now_s + 0.01, pending.pop())

    simulation.listeners.append(listen)


def created(simulation: Simulation, resource: Any) -> Iterator[Object]:
    """What the operator created of a kind."""
    for change in simulation.world.history:
        if change.resource == resource and change.actor == OPERATOR and change.verb == "create" and change.after:
            yield change.after


def line_of(simulation: Simulation, vm: str = "vm-0") -> Mapping[str, Any]:
    """A virtual machine's line of the quote."""
    quote = at(simulation.world.get(MIGRATION_PLANS, PLAN), "status", "quote", "moves") or ()
    return next(line for line in quote if line["virtualMachine"] == f"default/{vm}")


def history(simulation: Simulation) -> list[Mapping[str, Any]]:
    """The ended attempts of the only move."""
    (move,) = moves(simulation).values()
    return list(at(move, "status", "history") or ())


@pytest.mark.parametrize("version", CANNOT_CHOOSE)
def test_a_host_is_emptied_where_every_node_that_can_be_picked_is_allowed(version: str) -> None:
    simulation, checker = run(Topology(hosts(4), guests(6), version=version), empty("node-0"))

    see_it_through(simulation, checker)

    assert set(phases(simulation).values()) == {"Succeeded"}
    assert "node-0" not in nodes(simulation).values()
    for migration in created(simulation, MIGRATIONS):
        assert migration["spec"].keys() == {"vmiName"}
    for move in moves(simulation).values():
        assert move["spec"]["attempt"]["allowedNodes"] == ["node-1", "node-2", "node-3"]
        assert at(move, "status", "receipt", "node") == nodes(simulation)[move["spec"]["instance"]["name"]]


@pytest.mark.parametrize("version", CANNOT_CHOOSE)
def test_a_plan_that_leaves_out_a_node_that_could_be_picked_is_refused_and_says_which(version: str) -> None:
    simulation, checker = run(Topology(hosts(3), guests(1), version=version), empty("node-0", **ONLY_NODE_1))

    see_it_through(simulation, checker)

    assert phases(simulation) == {"vm-0": "Skipped"}
    (move,) = moves(simulation).values()
    (verdict,) = [each for each in at(move, "status", "verdicts") if each["code"] == "TargetSelectionUnsupported"]
    assert verdict["found"] == "the scheduler could pick node-2"
    assert not list(created(simulation, MIGRATIONS))


def test_a_cordoned_node_cannot_be_picked_and_is_in_nobodys_way() -> None:
    shapes = [*hosts(2), HostShape("node-2", unschedulable=True)]
    simulation, checker = run(Topology(shapes, guests(1), version="v1.5.3"), empty("node-0", **ONLY_NODE_1))

    see_it_through(simulation, checker)

    assert nodes(simulation) == {"vm-0": "node-1"}


def test_a_blocked_plan_goes_on_when_the_node_in_the_way_is_cordoned() -> None:
    simulation, checker = run(Topology(hosts(3), guests(1), version="v1.5.3"), PATIENT)
    later(simulation, 60, cordon, simulation, "node-2", True)

    see_it_through(simulation, checker)

    assert phases(simulation) == {"vm-0": "Succeeded"}
    assert nodes(simulation) == {"vm-0": "node-1"}


def test_landing_on_another_allowed_node_than_the_expected_one_is_a_success() -> None:
    simulation, checker = run(Topology(hosts(3), guests(1), version="v1.5.3"), empty("node-0"))
    at_the_first_migration(simulation, lambda: cordon(simulation, "node-1", True))

    see_it_through(simulation, checker)

    (move,) = moves(simulation).values()
    assert move["spec"]["attempt"]["targetNode"] == "node-1"
    assert phases(simulation) == {"vm-0": "Succeeded"}
    assert at(move, "status", "receipt", "node") == "node-2"
    assert history(simulation)[0]["targetNode"] == "node-2"


def test_a_pod_on_a_node_that_is_not_allowed_ends_the_attempt_before_the_guest_is_touched() -> None:
    shapes = [*hosts(2), HostShape("node-2", memory_bytes=256 * GIB, unschedulable=True)]
    simulation, checker = run(Topology(shapes, guests(1), version="v1.5.3"), PATIENT)
    at_the_first_migration(simulation, lambda: cordon(simulation, "node-2", False))
    later(simulation, 120, cordon, simulation, "node-2", True)
    handed_over: list[str] = []
    simulation.listeners.append(
        lambda change: (
            handed_over.append(str(at(change.after, "status", "migrationState", "targetNode")))
            if change.resource == INSTANCES and at(change.after, "status", "migrationState")
            else None
        )
    )

    simulation.run(30)

    (first,) = history(simulation)
    assert (first["outcome"], first["reason"]) == ("Aborted", "TargetNotAllowed")
    assert "node-2" in first["message"]
    assert nodes(simulation) == {"vm-0": "node-0"}
    assert not handed_over

    see_it_through(simulation, checker)
    assert phases(simulation) == {"vm-0": "Succeeded"}
    assert set(handed_over) == {"node-1"}


@pytest.mark.parametrize("version", ["v1.3.1", "v1.4.1"])
def test_before_1_5_a_stun_is_withheld_and_the_plan_says_why(version: str) -> None:
    busy = GuestShape("busy", node="node-0", **BUSY)
    simulation, checker = run(
        Topology(hosts(2), [busy], version=version), empty("node-0", migration={**STUN, "attempts": 2})
    )

    simulation.run(5)
    line = line_of(simulation, "busy")
    assert line["rungs"] == ["PreCopy"]
    assert [each.partition(":")[0] for each in line["withheld"]] == ["DowntimeRamp", "Stun"]
    assert "KubeVirt 1.5 and later can" in line["withheld"][1]
    assert line["targetChosenBy"] == "Scheduler"

    see_it_through(simulation, checker)
    assert [each["reason"] for each in history(simulation)] == ["NotConverged"]
    assert simulation.agents.blackouts == []
    assert all("allowWorkloadDisruption" not in each["spec"] for each in created(simulation, MIGRATION_POLICIES))


def test_under_1_5_a_stun_moves_a_busy_guest_to_wherever_the_scheduler_puts_it() -> None:
    busy = GuestShape("busy", node="node-0", **BUSY)
    simulation, checker = run(Topology(hosts(3), [busy], version="v1.5.3"), empty("node-0", migration=STUN))

    see_it_through(simulation, checker)

    assert phases(simulation) == {"busy": "Succeeded"}
    assert simulation.agents.blackouts
    assert max(blackout.seconds for blackout in simulation.agents.blackouts) <= 5.0


@pytest.mark.parametrize("applied", [True, False])
@pytest.mark.parametrize("number", range(1, 14))
def test_an_operator_that_dies_at_any_write_judges_the_landing_by_what_it_wrote_down(
    number: int, applied: bool
) -> None:
    simulation, checker = run(
        Topology(hosts(4), guests(2), version="v1.5.3"), empty("node-0"), crashes={number: applied}
    )

    see_it_through(simulation, checker)

    assert set(phases(simulation).values()) == {"Succeeded"}


@pytest.mark.parametrize("number", range(1, 14))
def test_an_answer_that_is_lost_moves_nothing_twice(number: int) -> None:
    simulation, checker = run(
        Topology(hosts(4), guests(2), version="v1.4.1"), empty("node-0"), lost_answers=frozenset({number})
    )

    see_it_through(simulation, checker)

    assert set(phases(simulation).values()) == {"Succeeded"}
    assert len(list(created(simulation, MIGRATIONS))) == 2


def test_an_upgrade_in_mid_plan_lets_the_rest_choose_its_target() -> None:
    simulation, checker = run(Topology(hosts(3), guests(6), version="v1.5.3"), empty("node-0"))

    def upgrade() -> None:
        key = Key("kubevirt", "kubevirt")
        body = simulation.world.get(KUBEVIRTS, key)
        assert body is not None
        newest = {**body["status"], "observedKubeVirtVersion": "v1.6.0", "targetKubeVirtVersion": "v1.6.0"}
        simulation.world.replace_status("user", KUBEVIRTS, key, {**body, "status": newest})

    at_the_first_migration(simulation, upgrade)

    see_it_through(simulation, checker)

    assert set(phases(simulation).values()) == {"Succeeded"}
    assert any("addedNodeSelector" in each["spec"] for each in created(simulation, MIGRATIONS))
