"""Whatever the cluster, the plan and the faults: nothing that must never happen happens, and every plan ends explained.

Scenarios are small on purpose, so that many are run; a counter-example prints as a `Scenario` that can be pasted into a test.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.invariants import at
from support.scenes import STUN, hosts, later, left_behind, moves, phases, see_it_through, simulate
from whimbrel.domain.decision import Decisions, Write
from whimbrel.domain.records import Key
from whimbrel.domain.resources import (
    INSTANCES,
    MIGRATION_PLANS,
    MIGRATIONS,
    NODES,
    PODS,
    VIRTUAL_MACHINE_MOVES,
    Resource,
)
from whimbrel.engine import decide
from whimbrel.inventory.snapshot import Snapshot
from whimbrel.lifecycle.guard import attended_downtime_ms
from whimbrel.simulation.driver import Faults, Staleness, Timing
from whimbrel.simulation.run import Simulation
from whimbrel.simulation.topology import GIB, GuestShape, Topology, a_plan
from whimbrel.simulation.world import ApiError

PLAN = Key("default", "plan")
LIMIT_S = 6 * 3600.0
STALE_S = 25.0
ROOMY_GIB = 64
Event = tuple[float, str, str]


@dataclass(frozen=True)
class Scenario:
    """Everything that a run is made of."""

    hosts: int
    guests: tuple[GuestShape, ...]
    spec: Mapping[str, Any]
    host_gib: int = ROOMY_GIB
    cluster_limit: int = 5
    outbound: int = 2
    inbound: int = 2
    events: tuple[Event, ...] = ()
    crashes: tuple[tuple[int, bool], ...] = ()
    lost_answers: frozenset[int] = frozenset()
    stale: tuple[tuple[Resource, float], ...] = ()
    seed: int = 0
    write_s: float = 0.03
    gates: tuple[str, ...] = ()


@st.composite
def guest_shapes(draw: st.DrawFn) -> tuple[GuestShape, ...]:
    count = draw(st.integers(1, 5))
    return tuple(
        GuestShape(
            f"vm-{number}",
            node=draw(st.sampled_from(["node-0", "node-0", "node-1"])),
            memory_bytes=draw(st.sampled_from([1, 2, 4])) * GIB,
            touched_bytes=draw(st.sampled_from([1, 2])) * GIB,
            working_set_mib=draw(st.sampled_from([4, 64, 700])),
            dirty_mib_per_second=draw(st.sampled_from([0, 50, 3000])),
            live_migratable=draw(st.integers(0, 7)) > 0,
            agent=draw(st.booleans()),
            labels=draw(st.sampled_from([{}, {"tier": "web"}, {"tier": "web"}])),
        )
        for number in range(count)
    )


@st.composite
def plan_specs(draw: st.DrawFn) -> Mapping[str, Any]:
    terms = draw(
        st.sampled_from(
            [
                {"onNodes": {"names": ["node-0"]}},
                {"selector": {"matchLabels": {"tier": "web"}}},
                {"names": ["vm-0"]},
            ]
        )
    )
    migration: dict[str, Any] = {"attempts": draw(st.integers(1, 3))}
    if draw(st.booleans()):
        migration |= STUN
    if draw(st.booleans()):
        migration["bandwidth"] = {"maxMbps": 2000}
    return {"virtualMachines": {**terms, "nonMigratable": "Leave"}, "migration": migration}


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    return Scenario(
        hosts=draw(st.integers(2, 4)),
        guests=draw(guest_shapes()),
        spec=draw(plan_specs()),
        host_gib=draw(st.sampled_from([ROOMY_GIB, ROOMY_GIB, 10, 6])),
        cluster_limit=draw(st.sampled_from([1, 2, 5])),
        outbound=draw(st.sampled_from([1, 2, 3])),
        inbound=draw(st.sampled_from([1, 2, 3])),
        gates=draw(st.sampled_from([(), (), ("MigrationStallDetection",)])),
        seed=draw(st.integers(0, 99)),
    )


EVENTS = ("migrate", "delete", "restart", "lose-node", "fail", "suspend", "slow-link", "second-plan")


@st.composite
def disturbed(draw: st.DrawFn) -> Scenario:
    when = st.floats(0, 15, allow_nan=False).map(lambda seconds: round(seconds, 2))
    event = st.tuples(when, st.sampled_from(EVENTS), st.sampled_from(["vm-0", "vm-1", "vm-2"]))
    return replace(
        draw(scenarios()),
        events=tuple(draw(st.lists(event, max_size=3))),
        crashes=tuple(sorted(draw(st.dictionaries(st.integers(1, 40), st.booleans(), max_size=2)).items())),
        lost_answers=draw(st.frozensets(st.integers(1, 40), max_size=3)),
        stale=tuple(
            draw(
                st.lists(
                    st.tuples(
                        st.sampled_from([MIGRATION_PLANS, VIRTUAL_MACHINE_MOVES, INSTANCES, MIGRATIONS, NODES, PODS]),
                        when,
                    ),
                    max_size=1,
                )
            )
        ),
        write_s=draw(st.sampled_from([0.01, 0.2, 1.0])),
    )


def run(scenario: Scenario) -> tuple[Simulation, Any]:
    """The scenario, set up and its events entered."""
    lot = random.Random(scenario.seed)

    def shuffled(writes: Sequence[Write]) -> Sequence[Write]:
        return lot.sample(list(writes), len(writes))

    topology = Topology(
        hosts(scenario.hosts, memory_bytes=scenario.host_gib * GIB),
        scenario.guests,
        migrations={"parallelMigrationsPerCluster": scenario.cluster_limit},
        feature_gates=scenario.gates,
    )
    stale = tuple(Staleness(resource, since, since + STALE_S) for resource, since in scenario.stale)
    simulation, checker = simulate(
        topology,
        faults=Faults(dict(scenario.crashes), scenario.lost_answers, stale),
        timing=Timing(write_s=scenario.write_s),
        order=shuffled,
        outbound=scenario.outbound,
        inbound=scenario.inbound,
        grace_s=(STALE_S if stale else 0.0) + 1.0 + scenario.write_s,
    )
    simulation.apply(a_plan(PLAN.name, scenario.spec))
    for at_s, kind, name in scenario.events:
        befall(simulation, at_s, kind, Key("default", name))
    return simulation, checker


def befall(simulation: Simulation, at_s: float, kind: str, machine: Key) -> None:
    """Enters one event, and what mends it."""

    def migrate() -> None:
        try:
            simulation.migrate(machine)
        except ApiError:
            return  # refused like anybody's

    def second_plan() -> None:
        if simulation.world.get(MIGRATION_PLANS, Key("default", "second")) is None:
            terms = {"names": [machine.name], "nonMigratable": "Leave"}
            simulation.apply(a_plan("second", {"virtualMachines": terms}))

    match kind:
        case "migrate":
            later(simulation, at_s, migrate)
        case "delete":
            later(simulation, at_s, simulation.delete_machine, machine)
        case "restart":
            later(simulation, at_s, simulation.restart_machine, machine)
        case "lose-node":
            later(simulation, at_s, simulation.set_ready, "node-1", False)
            later(simulation, at_s + 400, simulation.set_ready, "node-1", True)
        case "fail":
            simulation.agents.fail_next(machine, "internal error: unexpected end of the stream")
        case "suspend":
            later(simulation, at_s, simulation.edit, PLAN, {"suspend": True})
            later(simulation, at_s + 60, simulation.edit, PLAN, {"suspend": False})
        case "slow-link":
            later(simulation, at_s, simulation.agents.set_link, "node-1", 100)
            later(simulation, at_s + 100, simulation.agents.set_link, "node-1", 10_000)
        case "second-plan":
            later(simulation, at_s, second_plan)


COMMON = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@settings(COMMON, max_examples=60)
@given(scenarios())
def test_without_faults_a_machine_that_moves_at_once_costs_six_writes(scenario: Scenario) -> None:
    simulation, checker = run(scenario)

    see_it_through(simulation, checker, LIMIT_S)

    attempts = checker.attempts.total()
    further = attempts - len(checker.attempts)
    stayed = len(moves(simulation)) - len(checker.attempts)
    kinds = ("VirtualMachineMove", "VirtualMachineInstance", "VirtualMachineInstanceMigration")
    roomy = scenario.host_gib == ROOMY_GIB
    each = 6 if roomy else 12  # who has to wait for room is told so, and told when there is some
    histories = (record for move in moves(simulation).values() for record in at(move, "status", "history") or ())
    ended = 2 * sum(record["outcome"] == "Aborted" for record in histories)  # the abort's record, and the DELETE
    most = each * len(checker.attempts) + 6 * further + ended + 4 * stayed
    assert sum(checker.writes[kind] for kind in kinds) <= most
    movable = {guest.name for guest in scenario.guests if guest.live_migratable and guest.dirty_mib_per_second <= 50}
    if roomy:
        assert all(phase == "Succeeded" for name, phase in phases(simulation).items() if name in movable)


@settings(COMMON, max_examples=120)
@given(disturbed())
def test_whatever_befalls_a_plan_ends_explained_and_no_invariant_is_broken(scenario: Scenario) -> None:
    simulation, checker = run(scenario)

    last = [at_s for at_s, _, _ in scenario.events] + [since + STALE_S for _, since in scenario.stale]
    simulation.run(max(last, default=0.0) + 1)
    see_it_through(simulation, checker, LIMIT_S)

    disruptions = len(scenario.events) + len(scenario.crashes) + len(scenario.lost_answers) + len(scenario.stale)
    attempts, minutes = checker.attempts.total(), simulation.now_s / 60
    bound = 12 * (attempts + len(moves(simulation))) + 20 * len(simulation.world.objects(MIGRATION_PLANS))
    assert checker.writes.total() <= bound + 5 * minutes + 20 * disruptions, f"invariant 18: {checker.writes}"
    stuns = [blackout.seconds for blackout in simulation.agents.blackouts]
    watched = not (scenario.crashes or scenario.stale)
    most_s = attended_downtime_ms(5000) / 1000 + 0.5
    assert max(stuns, default=0.0) <= (most_s if watched else 60.0), "invariant 7: suspended for longer than consented"


@settings(COMMON, max_examples=40)
@given(disturbed(), st.floats(0, 20))
def test_a_plan_deleted_at_any_time_leaves_nothing_behind(scenario: Scenario, at_s: float) -> None:
    simulation, checker = run(scenario)
    later(simulation, at_s, simulation.delete_plan, PLAN)
    later(simulation, at_s + 500, simulation.delete_plan, Key("default", "second"))

    simulation.run(at_s + 4000)

    assert simulation.world.objects(MIGRATION_PLANS) == {}
    assert moves(simulation) == {}
    assert left_behind(simulation) == []
    assert checker.broken == []


@settings(COMMON, max_examples=25)
@given(disturbed())
def test_the_same_snapshot_gives_the_same_decisions_whatever_its_order(scenario: Scenario) -> None:
    simulation, _checker = run(scenario)
    lot = random.Random(scenario.seed)
    seen = 0

    def shuffled(snapshot: Snapshot) -> Snapshot:
        turned: dict[str, Any] = {}
        for field in fields(snapshot):
            value = getattr(snapshot, field.name)
            if isinstance(value, dict):
                turned[field.name] = dict(lot.sample(list(value.items()), len(value)))
        return replace(snapshot, **turned)

    def compare(snapshot: Snapshot, decisions: Decisions) -> None:
        nonlocal seen
        seen += 1
        if decisions.writes or seen % 10 == 0:
            assert decide(shuffled(snapshot)) == decisions

    simulation.operator.inspect = compare
    simulation.run(60)

    assert seen
