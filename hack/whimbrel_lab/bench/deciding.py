"""How long a decision takes after one event with many moves waiting, as a multiple of parsing its inputs, and how that grows.

A plan of that many moves, quoted and begun on a world that stands still: no network, no process, no KubeVirt.
"""

import gc
import json
import math
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from whimbrel.domain.decision import Create, Decisions, Delete, JsonPatch, ReplaceSpec, ReplaceStatus, Write
from whimbrel.domain.records import Capabilities
from whimbrel.domain.resources import (
    INSTANCES,
    KUBEVIRTS,
    MIGRATION_PLANS,
    NODES,
    PODS,
    VIRTUAL_MACHINE_MOVES,
    Resource,
)
from whimbrel.engine import Engine
from whimbrel.inventory.projections import PROJECTIONS
from whimbrel.inventory.snapshot import FIELDS
from whimbrel.kube.store import Store
from whimbrel.runtime import memory
from whimbrel.simulation.kubevirt.releases import CURRENT
from whimbrel.simulation.topology import GuestShape, HostShape, Topology, a_plan, a_profile, apply, populate
from whimbrel.simulation.world import World
from whimbrel_lab.bench.figures import Figure
from whimbrel_lab.bench.operator_process import BenchFailed

MACHINES_PER_HOST = 20
RUNS = 5
SETTLING_TICKS = 12
ACTOR = "whimbrel"
TICK_GOAL, OUTLOOK_GOAL = 0.6, 6.0
"""Multiples of parsing the inputs once; at 10 000 moves about 0.1 and 1.2 seconds on two cores."""
EXPONENT_GOAL = 1.2
PLANS, APART_GOAL = 100, 2.0
EVENTS = (INSTANCES, PODS, VIRTUAL_MACHINE_MOVES, MIGRATION_PLANS, NODES, KUBEVIRTS)
"""Kinds of which one object changes before a decision; KubeVirt's change opens one slot, so that a start is looked at."""


@dataclass(frozen=True, slots=True)
class Decided:
    """Medians, in seconds."""

    moves: int
    tick_s: float
    """After one event, the kind of event that costs most."""
    outlook_s: float
    parse_s: float


@dataclass(frozen=True, slots=True)
class Apart:
    """Medians, in seconds, of a decision with outlook about the same virtual machines on many hosts."""

    one_plan_s: float
    a_plan_each_s: float


class Standstill:
    """A cluster in which only the operator acts: its decisions are carried out, nothing else happens."""

    def __init__(self, machines: int, *, hosts: int = 0, apart: bool = False) -> None:
        """`hosts`: how many there are of each age, else so many that the machines fill them; `apart`: a plan for each."""
        self.world = World(lambda: 0.0)
        hosts = hosts or max(1, math.ceil(machines / MACHINES_PER_HOST))
        shapes = [HostShape(f"old-{number:04}", labels={"age": "old"}) for number in range(hosts)]
        shapes += [HostShape(f"new-{number:04}", labels={"age": "new"}) for number in range(hosts)]
        guests = [GuestShape(f"vm-{number:05}", shapes[number % hosts].name) for number in range(machines)]
        populate(self.world, Topology(shapes, guests))
        choices: dict[str, dict[str, object]] = {"all": {"onNodes": {"nodeSelector": {"age": "old"}}}}
        if apart:
            choices = {f"plan-{guest.name}": {"names": [guest.name]} for guest in guests}
        plans = [
            a_plan(name, {"virtualMachines": choice, "target": {"nodeSelector": {"age": "new"}}})
            for name, choice in choices.items()
        ]
        apply(self.world, a_profile(), *plans)
        self.engine = Engine()
        self._events = 1 << 40  # above every version that the world gives
        self.store = Store(PROJECTIONS)
        self.store.learn(Capabilities(CURRENT.added_node_selector, CURRENT.policy_fields))
        for resource in FIELDS:
            for body in self.world.objects(resource).values():
                self.store.apply(resource, body)

    @property
    def now(self) -> datetime:
        """The instant that never passes."""
        return self.world.now

    def tick(self, *, outlook_due: bool) -> Decisions:
        """Decides once; nothing is carried out."""
        return self.engine.decide(self.store.snapshot(self.now, outlook_due=outlook_due))

    def settle(self) -> None:
        """Ticks until nothing is left to write: quoted, begun, waiting for migrations that never proceed."""
        for number in range(SETTLING_TICKS):
            decisions = self.tick(outlook_due=number < 2)
            for write in decisions.writes:
                self._carry_out(write)
            if number and not decisions.writes:
                return
        raise BenchFailed(f"after {SETTLING_TICKS} decisions on a world that stands still there is more to write")

    def happen(self, resource: Resource, number: int) -> None:
        """One object of a kind, another one by each number, changes so that its record does."""
        objects = self.world.objects(resource)
        key = sorted(objects)[number % len(objects)]
        body = json.loads(json.dumps(objects[key]))
        match resource:
            case _ if resource == KUBEVIRTS:
                limits = body["spec"]["configuration"].setdefault("migrations", {})
                limits["parallelMigrationsPerCluster"] = 6 + number
            case _ if resource == MIGRATION_PLANS:
                body["metadata"].setdefault("annotations", {})["whimbrel.dev/approve"] = f"event-{number}"
            case _ if resource == VIRTUAL_MACHINE_MOVES:
                body["status"] = {**body.get("status", {}), "message": f"event {number}"}
            case _:
                body["metadata"].setdefault("labels", {})["event"] = f"event-{number}"
        body["metadata"]["resourceVersion"] = str(self._events)
        self._events += 1
        if not self.store.apply(resource, body):
            raise BenchFailed(f"the event on {resource.kind} {key} changes nothing that a decision sees")

    def _carry_out(self, write: Write) -> None:
        world = self.world
        match write:
            case Create():
                body = world.create(ACTOR, write.resource, write.body)
            case ReplaceSpec():
                body = world.replace(ACTOR, write.resource, write.key, write.body)
            case ReplaceStatus():
                body = world.replace_status(ACTOR, write.resource, write.key, write.body)
            case JsonPatch():
                body = world.patch(ACTOR, write.resource, write.key, write.operations)
            case Delete():
                raise BenchFailed(f"there is nothing to delete here: {write.why}")
        self.store.apply(write.resource, body)


def parse_s(world: World) -> float:
    """Seconds in which the JSON of everything that is looked at in a world is parsed once."""
    texts = [json.dumps(body) for resource in FIELDS for body in world.objects(resource).values()]
    began = time.process_time()
    for text in texts:
        json.loads(text)
    return time.process_time() - began


def time_decisions(machines: int) -> Decided:
    """One size. Raises BenchFailed where not all moves are there to wait."""
    memory.set_up()  # the collector as the operator has it
    scene = Standstill(machines)
    scene.settle()
    waiting = len(scene.store.records(VIRTUAL_MACHINE_MOVES))
    if waiting != machines:
        raise BenchFailed(f"{machines} virtual machines make {waiting} moves")
    gc.collect()
    gc.freeze()
    try:
        return Decided(
            moves=machines,
            outlook_s=_median_s(scene, outlook_due=True),
            tick_s=max(_median_s(scene, outlook_due=False, event=resource) for resource in EVENTS),
            parse_s=statistics.median(parse_s(scene.world) for _ in range(RUNS)),
        )
    finally:
        gc.unfreeze()


def time_apart(machines: int, hosts: int) -> Apart:
    """The same machines as one plan, and as a plan for each."""
    took = []
    for apart in (False, True):
        scene = Standstill(machines, hosts=hosts // 2, apart=apart)
        scene.settle()
        gc.collect()
        took.append(_median_s(scene, outlook_due=True))
    return Apart(*took)


def _median_s(scene: Standstill, *, outlook_due: bool, event: Resource | None = None) -> float:
    took = []
    for number in range(RUNS):
        if event is not None:
            scene.happen(event, number)
        began = time.process_time()
        scene.tick(outlook_due=outlook_due)
        took.append(time.process_time() - began)
    return statistics.median(took)


async def measure(*, quick: bool) -> Sequence[Figure]:
    """A hundred, a thousand and (not quick) ten thousand moves."""
    sizes = (100, 1_000) if quick else (100, 1_000, 10_000)
    decided = decision_figures({size: time_decisions(size) for size in sizes})
    hosts = 200 if quick else 1_000
    return (*decided, *apart_figures(hosts, time_apart(PLANS, hosts)))


def apart_figures(hosts: int, apart: Apart) -> Iterator[Figure]:
    """What it costs that each virtual machine has a plan of its own."""
    yield Figure(
        f"decide.plans.{hosts}", f"outlook of {PLANS} plans of one VM ÷ of one plan of {PLANS}, {hosts} hosts",
        apart.a_plan_each_s / apart.one_plan_s, "×", f"≤ {APART_GOAL:g}×", APART_GOAL,
    )  # fmt: skip
    yield Figure(f"decide.plans.{hosts}_ms", "and in milliseconds", 1000 * apart.a_plan_each_s, "ms")


def decision_figures(found: Mapping[int, Decided]) -> Iterator[Figure]:
    """Times as multiples of a parse, and the exponent of their growth over the two largest sizes."""
    for size, decided in sorted(found.items()):
        largest = size == max(found)
        yield Figure(
            f"decide.{size}.tick", f"decide after one event, {size} moves wait: ÷ JSON parse of its inputs",
            decided.tick_s / decided.parse_s, "×", f"≤ {TICK_GOAL:g}×" if largest else "", TICK_GOAL if largest else None,
        )  # fmt: skip
        yield Figure(f"decide.{size}.tick_ms", "and in milliseconds", 1000 * decided.tick_s, "ms")
        yield Figure(
            f"decide.{size}.outlook", f"decide with outlook, {size} moves wait: ÷ parse",
            decided.outlook_s / decided.parse_s, "×", f"≤ {OUTLOOK_GOAL:g}×" if largest else "",
            OUTLOOK_GOAL if largest else None,
        )  # fmt: skip
        yield Figure(f"decide.{size}.outlook_ms", "and in milliseconds", 1000 * decided.outlook_s, "ms")
    *_, before, last = sorted(found)
    for name in ("tick", "outlook"):
        grown = getattr(found[last], f"{name}_s") / getattr(found[before], f"{name}_s")
        yield Figure(
            f"decide.{last}.{name}_growth", f"growth of the {name}'s time, {before} → {last} moves: exponent",
            math.log(grown) / math.log(last / before), goal=f"≤ {EXPONENT_GOAL:g}", limit=EXPONENT_GOAL,
        )  # fmt: skip
