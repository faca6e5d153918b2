"""A tick looks anew only at what has changed, and decides like one that has seen nothing before.

That it decides the same is asked at each tick of `support.stage` and of the simulations, too.
"""

from dataclasses import replace
from typing import Any

import pytest

from support.scenes import simulate
from support.stage import Stage, emptying
from whimbrel.domain.records import Key
from whimbrel.domain.resources import INSTANCES, KUBEVIRTS, MIGRATION_PLANS
from whimbrel.engine import Engine, decide
from whimbrel.inventory.snapshot import Snapshot
from whimbrel.schedule.constraints import fitness
from whimbrel.schedule.survey import survey
from whimbrel.simulation.topology import GuestShape, HostShape, Topology, a_plan

GUESTS = 12


def waiting(limit: int = 1) -> Stage:
    """Twelve guests that wait between two outlooks, while as many move as KubeVirt allows."""
    guests = [GuestShape(f"vm-{number:02}", "node-1") for number in range(GUESTS)]
    slots = {"parallelMigrationsPerCluster": limit, "parallelOutboundMigrationsPerNode": GUESTS}
    stage = Stage(*guests, migrations=slots, profile={"outbound": GUESTS, "inbound": GUESTS})
    stage.plan(**emptying())
    stage.settle()
    stage.outlook_due = False
    return stage


def label(stage: Stage, name: str) -> None:
    add = {"op": "add", "path": "/metadata/labels/seen", "value": "yes"}
    stage.world.patch("somebody", INSTANCES, Key("default", name), [add])


def test_after_one_event_only_the_moves_that_it_touches_and_those_in_flight_are_looked_at_anew() -> None:
    stage = waiting()
    before = survey(stage.snapshot())
    label(stage, "vm-07")

    after = survey(stage.snapshot(), before)

    anew = [found.move.instance_key.name for key, found in after.evidence.items() if found is not before.evidence[key]]
    in_flight = [move.instance_key.name for moves in before.in_flight.values() for move in moves]
    assert len(in_flight) == 1
    assert sorted(anew) == sorted(["vm-07", *in_flight])


@pytest.mark.parametrize("free", [0, 1, 3])
def test_a_tick_looks_closely_only_at_as_many_moves_as_there_are_free_slots(
    free: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = waiting()
    (kubevirt,) = stage.world.objects(KUBEVIRTS)
    path = "/spec/configuration/migrations/parallelMigrationsPerCluster"
    stage.world.patch("somebody", KUBEVIRTS, kubevirt, [{"op": "add", "path": path, "value": 1 + free}])
    looked_at: list[str] = []

    def counted(instance: Any, *args: Any, **named: Any) -> Any:
        looked_at.append(instance.key.name)
        return recheck(instance, *args, **named)

    recheck = fitness.recheck
    monkeypatch.setattr(fitness, "recheck", counted)
    decide(stage.snapshot())

    assert len(looked_at) == free


def test_an_edit_of_the_plan_is_honoured_by_whoever_knows_its_moves_from_before() -> None:
    stage = waiting()
    engine = Engine()
    engine.decide(stage.snapshot())
    stage.edit(MIGRATION_PLANS, Key("default", "plan"), "spec", "suspend", value=True)

    assert engine.decide(stage.snapshot()) == decide(stage.snapshot())


def test_schemas_that_are_lost_are_missed_by_whoever_knew_them() -> None:
    stage = waiting()
    engine = Engine()
    snapshot = stage.snapshot()
    engine.decide(snapshot)
    forgotten = replace(snapshot, capabilities=None)

    assert engine.decide(forgotten) == decide(forgotten)


def test_through_a_whole_plan_every_tick_decides_as_if_it_were_the_first() -> None:
    topology = Topology(
        [HostShape(f"node-{number}") for number in range(1, 4)],
        [GuestShape(f"vm-{number}", "node-1") for number in range(8)],
    )
    simulation, _checker = simulate(topology)
    ticks = 0

    def compare(snapshot: Snapshot, decisions: Any) -> None:
        nonlocal ticks
        ticks += 1
        assert decide(snapshot) == decisions

    simulation.operator.inspect = compare
    simulation.apply(a_plan("plan", emptying()))
    simulation.run(120)

    assert ticks > 8
