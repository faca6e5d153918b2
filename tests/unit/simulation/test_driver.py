"""Whole plans on a simulated cluster, with the engine as it ships: each fault of which a plan must not die, alone."""

import pytest

from support.invariants import at
from support.scenes import (
    STUN,
    empty,
    ended,
    guests,
    hosts,
    later,
    left_behind,
    moves,
    nodes,
    ours,
    phases,
    see_it_through,
    simulate,
)
from whimbrel.domain.records import Key
from whimbrel.domain.resources import (
    HOST_PROFILES,
    INSTANCES,
    MIGRATION_PLANS,
    MIGRATIONS,
    NODES,
    PODS,
    VIRTUAL_MACHINE_MOVES,
    Resource,
)
from whimbrel.lifecycle.guard import attended_downtime_ms
from whimbrel.simulation.driver import Faults, Staleness
from whimbrel.simulation.topology import GIB, GuestShape, Topology, a_plan

PLAN = Key("default", "drain")
BUSY = {"touched_bytes": 2 * GIB, "working_set_mib": 256, "dirty_mib_per_second": 4000}


def vm(number: int) -> Key:
    return Key("default", f"vm-{number}")


def test_a_ten_machine_plan_empties_its_node_with_six_writes_per_machine() -> None:
    simulation, checker = simulate(Topology(hosts(4), guests(10)))
    simulation.apply(a_plan("drain", empty("node-0")))

    see_it_through(simulation, checker)

    assert set(phases(simulation).values()) == {"Succeeded"}
    assert "node-0" not in nodes(simulation).values()
    assert checker.writes["VirtualMachineMove"] == 30
    assert checker.writes["VirtualMachineInstance"] == 20
    assert checker.writes["VirtualMachineInstanceMigration"] == 10
    assert checker.writes.total() <= 60 + 12


def test_a_guest_that_does_not_converge_moves_by_a_stun_within_its_budget() -> None:
    busy = GuestShape("busy", node="node-0", **BUSY)
    simulation, checker = simulate(Topology(hosts(2), [busy]))
    simulation.apply(a_plan("drain", empty("node-0", migration=STUN)))

    see_it_through(simulation, checker)

    assert phases(simulation) == {"busy": "Succeeded"}
    assert simulation.agents.blackouts
    assert max(blackout.seconds for blackout in simulation.agents.blackouts) <= 5.0


def test_without_consent_a_guest_that_does_not_converge_stays_where_it_is_and_says_why() -> None:
    busy = GuestShape("busy", node="node-0", **BUSY)
    simulation, checker = simulate(Topology(hosts(2), [busy]))
    simulation.apply(a_plan("drain", empty("node-0", migration={"attempts": 2})))

    see_it_through(simulation, checker)

    assert phases(simulation) == {"busy": "Failed"}
    assert nodes(simulation) == {"busy": "node-0"}
    assert simulation.agents.blackouts == []
    assert checker.attempts.total() == 2


def test_a_stun_that_a_slowed_link_draws_out_is_cut_short() -> None:
    busy = GuestShape("busy", node="node-0", **BUSY)
    simulation, checker = simulate(Topology(hosts(2), [busy]))
    slowed = []

    def slow_down_as_soon_as_it_is_suspended() -> None:
        states = (at(body, "status", "migrationState") or {} for body in simulation.world.objects(INSTANCES).values())
        if any(state.get("mode") == "Paused" and not state.get("endTimestamp") for state in states):
            simulation.agents.set_link("node-0", 100)
            slowed.append(simulation.now_s)
        else:
            simulation.at(simulation.now_s + 0.1, slow_down_as_soon_as_it_is_suspended)

    simulation.at(1.0, slow_down_as_soon_as_it_is_suspended)
    simulation.apply(a_plan("drain", empty("node-0", migration={**STUN, "attempts": 2})))

    see_it_through(simulation, checker)

    assert slowed
    assert phases(simulation) == {"busy": "Failed"}
    assert nodes(simulation) == {"busy": "node-0"}
    assert max(blackout.seconds for blackout in simulation.agents.blackouts) <= attended_downtime_ms(5000) / 1000 + 0.5


def test_a_guest_whose_pause_would_be_too_long_is_refused_before_anything_begins() -> None:
    # 3 GiB of working set over about 280 MiB/s (a 10 Gbit/s link for four) would be a pause of more than ten seconds.
    huge = GuestShape(
        "huge", node="node-0", memory_bytes=8 * GIB, touched_bytes=6 * GIB, working_set_mib=3072,
        dirty_mib_per_second=9000,
    )  # fmt: skip
    simulation, checker = simulate(Topology(hosts(2), [huge]))
    simulation.apply(a_plan("drain", empty("node-0", migration={**STUN, "attempts": 2})))

    see_it_through(simulation, checker)

    assert phases(simulation) == {"huge": "Skipped"}
    assert checker.attempts.total() == 0
    assert simulation.agents.blackouts == []
    (move,) = moves(simulation).values()
    assert at(move, "status", "reason") == "NoRungFits"
    assert "a bandwidth of" in str(at(move, "status", "verdicts"))


def test_what_cannot_move_is_skipped_with_kubevirts_own_reason() -> None:
    rooted = GuestShape("rooted", node="node-0", live_migratable=False)
    simulation, checker = simulate(Topology(hosts(2), [rooted, *guests(1)]))
    simulation.apply(a_plan("drain", empty("node-0")))

    see_it_through(simulation, checker)

    assert phases(simulation) == {"rooted": "Skipped", "vm-0": "Succeeded"}
    (skipped,) = [body for body in moves(simulation).values() if at(body, "spec", "instance", "name") == "rooted"]
    assert "DisksNotLiveMigratable" in str(skipped["status"])


def test_somebody_elses_migration_in_the_way_is_waited_for() -> None:
    simulation, checker = simulate(Topology(hosts(3), guests(3)))
    later(simulation, 0.5, simulation.migrate, vm(1))
    later(simulation, 0.6, simulation.apply, a_plan("drain", empty("node-0")))

    see_it_through(simulation, checker)

    assert "node-0" not in nodes(simulation).values()


def test_a_migration_that_kubevirt_left_behind_when_its_machine_went_takes_nobodys_slot() -> None:
    simulation, checker = simulate(Topology(hosts(3), guests(3), migrations={"parallelMigrationsPerCluster": 1}))
    simulation.migrate(vm(1))
    simulation.delete_machine(vm(1))
    simulation.run(2)
    simulation.apply(a_plan("drain", empty("node-0")))

    see_it_through(simulation, checker)

    (left,) = [body for body in simulation.world.objects(MIGRATIONS).values() if not ours(body)]
    assert left["metadata"]["deletionTimestamp"]
    assert not ended(left)
    assert phases(simulation) == {"vm-0": "Succeeded", "vm-2": "Succeeded"}


@pytest.mark.parametrize("at_s", [0.3, 1.0, 2.0, 4.0, 5.5, 7.0])
def test_a_machine_deleted_in_mid_move_ends_its_move_and_no_other(at_s: float) -> None:
    simulation, checker = simulate(Topology(hosts(3), guests(3)))
    simulation.apply(a_plan("drain", empty("node-0")))
    later(simulation, at_s, simulation.delete_machine, vm(0))

    see_it_through(simulation, checker)

    assert phases(simulation)["vm-1"] == phases(simulation)["vm-2"] == "Succeeded"


@pytest.mark.parametrize("at_s", [0.3, 1.0, 2.0, 4.0, 5.5])
def test_a_machine_restarted_in_mid_move_is_another_guest(at_s: float) -> None:
    simulation, checker = simulate(Topology(hosts(3), guests(2)))
    simulation.apply(a_plan("drain", empty("node-0")))
    later(simulation, at_s, simulation.restart_machine, vm(0))

    see_it_through(simulation, checker)


@pytest.mark.parametrize("at_s", [0.2, 1.5, 4.0, 5.0, 6.0])
def test_a_target_that_goes_away_in_mid_move_costs_an_attempt_not_a_guest(at_s: float) -> None:
    simulation, checker = simulate(Topology(hosts(3), guests(4)))
    simulation.apply(a_plan("drain", empty("node-0")))
    later(simulation, at_s, simulation.set_ready, "node-1", False)
    later(simulation, 1500, simulation.set_ready, "node-1", True)

    see_it_through(simulation, checker)

    assert len(nodes(simulation)) == 4


@pytest.mark.parametrize("at_s", [0.03, 0.3, 1.0, 2.0, 4.0, 5.0, 6.0, 7.5])
def test_a_plan_deleted_in_mid_move_leaves_nothing_behind(at_s: float) -> None:
    simulation, checker = simulate(Topology(hosts(3), guests(6)))
    simulation.apply(a_plan("drain", empty("node-0")))
    later(simulation, at_s, simulation.delete_plan, PLAN)

    simulation.run(120)

    assert simulation.world.get(MIGRATION_PLANS, PLAN) is None
    assert moves(simulation) == {}
    assert left_behind(simulation) == []
    assert checker.broken == []


def test_two_plans_on_one_machine_move_it_once() -> None:
    simulation, checker = simulate(Topology(hosts(3), guests(2)))
    simulation.apply(a_plan("drain", empty("node-0")))
    later(simulation, 1.2, simulation.apply, a_plan("again", {"virtualMachines": {"names": ["vm-0"]}}))

    see_it_through(simulation, checker)


@pytest.mark.parametrize("at_s", [0.2, 1.0, 3.0, 6.0])
def test_a_suspended_plan_starts_nothing_until_it_goes_on(at_s: float) -> None:
    simulation, checker = simulate(Topology(hosts(3), guests(6)))
    simulation.apply(a_plan("drain", empty("node-0")))
    later(simulation, at_s, simulation.edit, PLAN, {"suspend": True})
    later(simulation, 200, simulation.edit, PLAN, {"suspend": False})

    simulation.run(190)
    assert not simulation.finished
    assert all(ended(body) for body in simulation.world.objects(MIGRATIONS).values() if ours(body))
    see_it_through(simulation, checker)

    assert set(phases(simulation).values()) == {"Succeeded"}


def test_a_failure_of_the_copy_is_tried_again() -> None:
    simulation, checker = simulate(Topology(hosts(2), guests(1)))
    simulation.agents.fail_next(vm(0), "internal error: QEMU unexpectedly closed the monitor")
    simulation.apply(a_plan("drain", empty("node-0")))

    see_it_through(simulation, checker)

    assert phases(simulation) == {"vm-0": "Succeeded"}
    assert checker.attempts.total() == 2


@pytest.mark.parametrize("applied", [False, True], ids=["before the write", "after the write"])
def test_the_operator_may_die_at_any_of_its_writes(applied: bool) -> None:
    reference, checked = simulate(Topology(hosts(3), guests(2)))
    reference.apply(a_plan("drain", empty("node-0")))
    see_it_through(reference, checked)

    for number in range(1, reference.operator.sent + 1):
        simulation, checker = simulate(Topology(hosts(3), guests(2)), faults=Faults(crashes={number: applied}))
        simulation.apply(a_plan("drain", empty("node-0")))
        see_it_through(simulation, checker, limit_s=reference.now_s + 60)

        assert simulation.operator.crashes == 1
        assert nodes(simulation) == nodes(reference), f"write {number}"
        assert checker.attempts.total() == 2, f"write {number}: {checker.attempts}"


def test_any_answer_may_be_lost() -> None:
    reference, checked = simulate(Topology(hosts(3), guests(2)))
    reference.apply(a_plan("drain", empty("node-0")))
    see_it_through(reference, checked)

    for number in range(1, reference.operator.sent + 1):
        simulation, checker = simulate(Topology(hosts(3), guests(2)), faults=Faults(lost_answers=frozenset({number})))
        simulation.apply(a_plan("drain", empty("node-0")))
        see_it_through(simulation, checker, limit_s=reference.now_s + 60)

        assert nodes(simulation) == nodes(reference), f"write {number}"
        assert checker.attempts.total() == 2, f"write {number}: {checker.attempts}"


@pytest.mark.parametrize(
    "resource",
    [MIGRATION_PLANS, HOST_PROFILES, VIRTUAL_MACHINE_MOVES, INSTANCES, MIGRATIONS, NODES, PODS],
    ids=lambda resource: resource.kind,
)
@pytest.mark.parametrize("from_s", [0.1, 1.0, 2.0, 5.0])
def test_the_view_of_one_kind_may_stand_still_for_twenty_seconds(resource: Resource, from_s: float) -> None:
    stale = Faults(staleness=(Staleness(resource, from_s, from_s + 20),))
    simulation, checker = simulate(Topology(hosts(3), guests(4)), faults=stale, grace_s=21)
    simulation.apply(a_plan("drain", empty("node-0")))

    see_it_through(simulation, checker)

    assert set(phases(simulation).values()) == {"Succeeded"}
