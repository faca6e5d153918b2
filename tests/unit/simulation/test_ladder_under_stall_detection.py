"""Whole plans under KubeVirt 1.9 with its alpha gate MigrationStallDetection: no pause is longer than half of the budget."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from support.invariants import OPERATOR, at
from support.scenes import empty, hosts, moves, nodes, see_it_through, simulate
from whimbrel.domain.records import Key
from whimbrel.domain.resources import MIGRATION_PLANS, MIGRATION_POLICIES
from whimbrel.simulation.run import Simulation
from whimbrel.simulation.topology import GIB, GuestShape, Topology, a_plan
from whimbrel.simulation.world import Object

GATE = ("MigrationStallDetection",)
BUDGET_MS = 6000
CONSENT = {"disruption": {"stun": "Allowed", "maxDowntimeMs": BUDGET_MS, "unattendedDowntimeMs": 120_000}}
DEVICE_STATE_S = 0.1


def emptied(working_set_mib: int, *, gates: tuple[str, ...] = GATE, **migration: Any) -> Simulation:
    """A host with one guest that rewrites a set far faster than it is copied, emptied."""
    guest = GuestShape(
        "busy", node="node-0", memory_bytes=4 * GIB, touched_bytes=3 * GIB, working_set_mib=working_set_mib,
        dirty_mib_per_second=8000,
    )  # fmt: skip
    simulation, checker = simulate(Topology(hosts(2), [guest], feature_gates=gates))
    simulation.apply(a_plan("drain", empty("node-0", migration={**CONSENT, "attempts": 2, **migration})))
    see_it_through(simulation, checker)
    return simulation


def attempts(simulation: Simulation) -> list[tuple[str, str]]:
    (move,) = moves(simulation).values()
    return [(each["rung"], each["outcome"]) for each in at(move, "status", "history") or ()]


def policies(simulation: Simulation) -> Iterator[Object]:
    for change in simulation.world.history:
        if change.resource == MIGRATION_POLICIES and change.actor == OPERATOR and change.verb == "create":
            yield at(change.after, "spec")


def line(simulation: Simulation) -> Mapping[str, Any]:
    (found,) = at(simulation.world.get(MIGRATION_PLANS, Key("default", "drain")), "status", "quote", "moves")
    assert isinstance(found, Mapping)
    return found


@pytest.mark.parametrize("working_set_mib", [700, 1200])
def test_a_guest_whose_rounds_settle_within_half_of_the_budget_is_moved_by_a_longer_last_step(
    working_set_mib: int,
) -> None:
    simulation = emptied(working_set_mib)

    assert attempts(simulation) == [("DowntimeRamp", "Succeeded")]
    assert nodes(simulation) == {"busy": "node-1"}
    (blackout,) = simulation.agents.blackouts
    assert 0.3 < blackout.seconds <= BUDGET_MS / 2000 + DEVICE_STATE_S
    (spec,) = policies(simulation)
    assert spec["maxDowntimeMs"] <= BUDGET_MS / 2
    assert not spec["allowWorkloadDisruption"]


def test_a_stun_is_one_raised_downtime_within_half_of_the_budget() -> None:
    """Nothing can end it, so whatever of what is believed of the guest is true must fit: here all of its memory twice."""
    generous = {"stun": "Allowed", "maxDowntimeMs": 30_000, "unattendedDowntimeMs": 120_000}
    simulation = emptied(700, ladder=[{"rung": "PreCopy"}, {"rung": "Stun"}], disruption=generous)

    assert attempts(simulation) == [("Stun", "Succeeded")]
    (blackout,) = simulation.agents.blackouts
    (move,) = moves(simulation).values()
    said = at(move, "spec", "attempt", "forecast")
    assert 1000 * blackout.seconds <= said["downtimeBoundMs"] <= 15_000
    assert said["unattendedDowntimeMs"] <= 120_000
    (spec,) = policies(simulation)
    assert spec["experimental"]["stallDetector"]["stallProgressTimeout"] > at(
        move, "spec", "attempt", "deadlineSeconds"
    )


def test_a_stun_that_might_take_more_than_half_of_the_budget_is_refused_with_its_price() -> None:
    simulation = emptied(700, ladder=[{"rung": "PreCopy"}, {"rung": "Stun"}])

    assert attempts(simulation) == []
    assert simulation.agents.blackouts == []
    (move,) = moves(simulation).values()
    assert "maxDowntimeMs" in str(at(move, "status", "verdicts"))


def test_a_guest_whose_pause_could_take_more_than_half_of_the_budget_stays_and_is_told_its_price() -> None:
    simulation = emptied(2900)

    assert nodes(simulation) == {"busy": "node-0"}
    assert simulation.agents.blackouts == []
    (move,) = moves(simulation).values()
    assert at(move, "status", "phase") in ("Skipped", "Failed")
    assert "maxDowntimeMs" in str(at(move, "status", "verdicts"))


def test_without_the_gate_the_same_guest_is_suspended_and_the_quote_says_what_stands_in() -> None:
    longer = {"stun": "Allowed", "maxDowntimeMs": 15_000, "unattendedDowntimeMs": 120_000}
    simulation = emptied(700, gates=(), disruption=longer)

    assert attempts(simulation) == [("Stun", "Succeeded")]
    assert all("maxDowntimeMs" not in spec for spec in policies(simulation))


def test_a_calm_guest_is_moved_under_a_policy_that_allows_no_longer_last_step_than_the_hypervisor() -> None:
    guest = GuestShape("calm", node="node-0", working_set_mib=8, dirty_mib_per_second=4)
    simulation, checker = simulate(Topology(hosts(2), [guest], feature_gates=GATE))
    simulation.apply(a_plan("drain", empty("node-0", migration=CONSENT)))

    see_it_through(simulation, checker)

    assert attempts(simulation) == [("PreCopy", "Succeeded")]
    assert [spec["maxDowntimeMs"] for spec in policies(simulation)] == [300]


def test_compressed_memory_goes_over_in_less_time_and_fewer_bytes_and_is_quoted_so() -> None:
    took = {}
    for compression in ("None", "Zstd"):
        guest = GuestShape("calm", node="node-0", memory_bytes=8 * GIB, touched_bytes=7 * GIB, zstd_ratio=2.0)
        simulation, checker = simulate(Topology(hosts(2), [guest]))
        bounds = {"bandwidth": {"maxMbps": 500}, "compression": compression}
        simulation.apply(a_plan("drain", empty("node-0", migration=bounds)))
        see_it_through(simulation, checker)
        (move,) = moves(simulation).values()
        receipt, said = at(move, "status", "receipt"), at(move, "spec", "attempt", "forecast")
        took[compression] = receipt["durationMs"]["value"], receipt["bytes"]["value"], said["durationP50Seconds"]

    plain, zstd = took["None"], took["Zstd"]
    assert zstd[0] < 0.6 * plain[0]
    assert zstd[1] < 0.6 * plain[1]
    assert zstd[2] < 0.8 * plain[2]
