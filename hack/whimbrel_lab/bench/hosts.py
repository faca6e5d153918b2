"""How long it takes to see for every host whether it can be emptied, and to make the whole report of `assess`.

A cluster that stands still, a hundredth of its guests unmovable, in the operator's store and as pages of JSON: no network.
"""

import gc
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from whimbrel.cli import assess, page
from whimbrel.cli.appraisal import appraise as appraised
from whimbrel.cli.cluster import Refused
from whimbrel.cli.collect import PAGE, collect
from whimbrel.domain.records import Capabilities
from whimbrel.domain.resources import Resource
from whimbrel.inventory.hosts import effective_hosts
from whimbrel.inventory.ledger import Ledger
from whimbrel.inventory.projections import PROJECTIONS
from whimbrel.inventory.snapshot import FIELDS, Snapshot
from whimbrel.kube.store import Store
from whimbrel.schedule.evacuation import appraise, evacuations
from whimbrel.simulation.kubevirt.releases import CURRENT
from whimbrel.simulation.topology import GIB, GuestShape, HostShape, Topology, a_profile, apply, populate
from whimbrel.simulation.world import World
from whimbrel_lab.bench.figures import Figure
from whimbrel_lab.bench.operator_process import BenchFailed

MACHINES_PER_HOST = 10
ONE_STUCK_IN = 100
RUNS = 3
EVACUATION_GOAL_S, REPORT_GOAL_S = 1.5, 60.0
TOTAL = "total"


def a_world(machines: int) -> World:
    """Ten guests on each host, one in a hundred of them unmovable; hosts at two thirds of their memory."""
    world = World(lambda: 0.0)
    hosts = [HostShape(f"node-{number:04}", memory_bytes=32 * GIB) for number in range(machines // MACHINES_PER_HOST)]
    guests = [
        GuestShape(f"vm-{number:05}", hosts[number % len(hosts)].name, live_migratable=number % ONE_STUCK_IN > 0)
        for number in range(machines)
    ]
    populate(world, Topology(hosts, guests))
    apply(world, a_profile())
    return world


def a_snapshot(world: World) -> Snapshot:
    """What the operator's store makes of it."""
    store = Store(PROJECTIONS)
    store.learn(Capabilities(CURRENT.added_node_selector, CURRENT.policy_fields))
    for resource in FIELDS:
        for body in world.objects(resource).values():
            store.apply(resource, body)
    return store.snapshot(world.now)


class Pages:
    """The lists of an API server as JSON, page by page; each is parsed when it is asked for."""

    def __init__(self, world: World) -> None:
        self._pages: dict[tuple[str, str], str] = {}
        for resource in FIELDS:
            bodies = list(world.objects(resource).values())
            for first in range(0, max(1, len(bodies)), PAGE):
                rest = str(first + PAGE) if len(bodies) > first + PAGE else ""
                document = {"metadata": {"continue": rest}, "items": bodies[first : first + PAGE]}
                self._pages[_path(resource), str(first or "")] = json.dumps(document)

    def fetch(self, path: str, **query: object) -> Mapping[str, Any]:
        """A page, parsed."""
        found = self._pages.get((path, str(query.get("continue") or "")))
        if found is None:
            raise Refused(404, f"{path} is not here")
        document: Mapping[str, Any] = json.loads(found)
        return document


def _path(resource: Resource) -> str:
    root = f"/apis/{resource.group}" if resource.group else "/api"
    return f"{root}/{resource.version}/{resource.plural}"


def time_evacuations(snapshot: Snapshot) -> tuple[float, float]:
    """Seconds for judging all guests and emptying all hosts on paper; and of these, for the hosts alone."""
    hosts, ledger = effective_hosts(snapshot), Ledger.of(snapshot)
    whole, alone = [], []
    for _ in range(RUNS):
        began = time.process_time()
        assessment = appraise(snapshot, hosts, ledger)
        judged = time.process_time()
        found = evacuations(snapshot, hosts, ledger, assessment)
        alone.append(time.process_time() - judged)
        whole.append(time.process_time() - began)
        stuck = sum(len(each.blockers) for each in found)
        if stuck != -(-len(snapshot.instances) // ONE_STUCK_IN):
            raise BenchFailed(f"{stuck} virtual machines block their hosts, not one in {ONE_STUCK_IN}")
    return statistics.median(whole), statistics.median(alone)


def time_report(pages: Pages) -> Mapping[str, float]:
    """Seconds for each part of the report, and for all of it."""
    took: dict[str, float] = {}

    def timed(part: str, act: Callable[[], Any]) -> Any:
        began = time.process_time()
        result = act()
        took[part] = time.process_time() - began
        return result

    collected = timed("read", lambda: collect(pages))
    appraisal = timed("judge", lambda: appraised(collected))
    timed("json", lambda: json.dumps(assess.document(appraisal)))
    timed("html", lambda: page.html(appraisal))
    return {**took, TOTAL: sum(took.values())}


async def measure(*, quick: bool) -> Sequence[Figure]:
    """A thousand or (not quick) ten thousand virtual machines, ten on a host."""
    machines = 1_000 if quick else 10_000
    world = a_world(machines)
    snapshot, pages = a_snapshot(world), Pages(world)
    del world
    gc.collect()
    gc.freeze()
    try:
        whole_s, alone_s = time_evacuations(snapshot)
        report = time_report(pages)
    finally:
        gc.unfreeze()
    return tuple(host_figures(machines, whole_s, alone_s, report, quick=quick))


def host_figures(
    machines: int, whole_s: float, alone_s: float, report: Mapping[str, float], *, quick: bool = False
) -> Sequence[Figure]:
    """Seconds beside their goals, which are of the whole size alone."""
    where = f"{machines} VMs on {machines // MACHINES_PER_HOST} hosts"
    return (
        Figure(
            f"hosts.{machines}.evacuations", f"every host emptied on paper, {where}", whole_s, "s",
            "" if quick else f"≤ {EVACUATION_GOAL_S:g} s", None if quick else EVACUATION_GOAL_S,
        ),
        Figure(f"hosts.{machines}.alone", "of this, apart from judging each VM", alone_s, "s"),
        Figure(
            f"hosts.{machines}.report", f"the report of assess, as JSON and as a page, {where}", report[TOTAL], "s",
            "" if quick else f"≤ {REPORT_GOAL_S:g} s", None if quick else REPORT_GOAL_S, holds=not quick,
        ),
    )  # fmt: skip
