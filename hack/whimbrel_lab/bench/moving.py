"""Plans that really run on the model hypervisor: what they cost the API server, how soon a free slot is used, and rest.

All is read at the server: its own counter of requests, and the instants at which it sends the end of a migration and is
asked for the next one.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from whimbrel.simulation.kubevirt.values import Object, final, status
from whimbrel_lab.bench.figures import Figure, quantile
from whimbrel_lab.bench.operator_process import BenchFailed, operator
from whimbrel_lab.controlplane.admission import AdmissionRequest
from whimbrel_lab.controlplane.counters import writes
from whimbrel_lab.controlplane.embedded import RequestKey, service_account
from whimbrel_lab.controlplane.embedded.storage import Change
from whimbrel_lab.lab import MIGRATION, Lab, LabError
from whimbrel_lab.topology import MIB, NAMESPACE, LabGuest, LabHost, Timing, Topology

MIGRATIONS = "virtualmachineinstancemigrations.kubevirt.io"
APART = (
    "events",
    "events.events.k8s.io",
    "leases.coordination.k8s.io",
    "selfsubjectaccessreviews.authorization.k8s.io",
)
"""Not counted among the writes: what is told (events), who leads (Leases), and questions that are asked by POST."""
SLOTS = 4
FEW, MANY = 10, 40
WRITES_GOAL = 6.0
WRITES_BOUND = 6.5
"""A move whose status is written a second time now and then is a blemish; one write more for each is a defect."""
P50_GOAL_MS, P99_GOAL_MS = 100.0, 1000.0
PLAN_LIMIT_S = 60.0
SETTLE_S = 3.0


@dataclass(slots=True)
class Reactions:
    """Ends of migrations and creates that follow them, by the server's clock; each create answers the oldest open end."""

    seconds: list[float] = field(default_factory=list)
    _open: list[float] = field(default_factory=list)

    def ended(self, at: float) -> None:
        """A migration is over: a slot is free."""
        self._open.append(at)

    def asked(self, at: float) -> None:
        """A create arrives."""
        if self._open:
            self.seconds.append(at - self._open.pop(0))

    def close(self) -> None:
        """No move waits any more: what ends from now on calls for nothing."""
        self._open.clear()


class _Watcher:
    """Feeds Reactions from the embedded API server."""

    def __init__(self, lab: Lab) -> None:
        self.reactions = Reactions()
        lab.storage.observe(self._changed)
        lab.embedded.admission.mutating(MIGRATIONS, ["CREATE"], self._asked, name="bench")

    def _changed(self, resource: str, change: Change) -> None:
        if resource != MIGRATIONS or change.type != "MODIFIED" or change.previous is None:
            return
        if final(change.record.object) and not final(change.previous.object):
            self.reactions.ended(time.perf_counter())

    def _asked(self, request: AdmissionRequest) -> None:
        if not request.dry_run:
            self.reactions.asked(time.perf_counter())


def topology(groups: Mapping[str, int], slots: int = SLOTS) -> Topology:
    """Machines in groups (label `group`) on the first of four hosts, which may send so many at a time.

    The group `still` is spread over the other hosts.
    """
    hosts = [LabHost(f"node-{number}", memory_bytes=2**40, pods=5000, cpu=5000) for number in range(1, 5)]
    guests = []
    for group, count in groups.items():
        for number in range(count):
            host = hosts[0].name if group != "still" else hosts[1 + number % 3].name
            guests.append(
                LabGuest(
                    f"{group}-{number:04}",
                    host,
                    memory_bytes=16 * MIB,
                    touched_bytes=8 * MIB,
                    working_set_bytes=MIB,
                    labels={"group": group},
                )
            )
    return with_slots(hosts, guests, slots)


def with_slots(hosts: Sequence[LabHost], guests: Sequence[LabGuest], slots: int) -> Topology:
    """A quick lab whose KubeVirt permits so many migrations at once, on each node too."""
    return Topology(
        hosts=hosts,
        guests=guests,
        migrations={"parallelMigrationsPerCluster": slots, "parallelOutboundMigrationsPerNode": slots},
        timing=Timing(pod_start_s=0.3, target_preparation_s=0.1, termination_s=0.1),
        heartbeats=False,
    )


def a_profile(slots: int = SLOTS, link_mbps: int = 1000) -> Object:
    """All hosts, so many at a time each way."""
    migration = {"enabled": True, "network": {"linkSpeedMbps": link_mbps}}
    limits = {"parallelOutbound": slots, "parallelInbound": slots}
    return {
        "apiVersion": "whimbrel.dev/v1alpha1",
        "kind": "HostProfile",
        "metadata": {"name": "bench"},
        "spec": {"nodeSelector": {}, "migration": {**migration, "limits": limits}},
    }


def a_plan(name: str, group: str) -> Object:
    """Moves one group away from where it runs."""
    return {
        "apiVersion": "whimbrel.dev/v1alpha1",
        "kind": "MigrationPlan",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"virtualMachines": {"selector": {"matchLabels": {"group": group}}}},
    }


@dataclass(frozen=True, slots=True)
class Moved:
    """One plan from its creation until its last write."""

    moved: int
    counts: Counter[RequestKey]
    reactions_s: Sequence[float]

    @property
    def writes(self) -> int:
        """Writes of the operator, those set apart left out."""
        return writes(self.counts, APART)


async def carry_out(lab: Lab, watcher: _Watcher, name: str, group: str) -> Moved:
    """Applies the plan, waits for its end. Raises BenchFailed where a move did not succeed."""
    watcher.reactions = Reactions()
    before = lab.counters.snapshot()
    expected = await finish(lab, name, group, PLAN_LIMIT_S)
    return Moved(expected, of_operator(lab.counters.since(before)), tuple(watcher.reactions.seconds))


async def finish(lab: Lab, name: str, group: str, limit_s: float) -> int:
    """Applies the plan and waits for its end and its last write; how many it moved. Raises BenchFailed where not all."""
    expected = sum(1 for guest in lab.topology.guests if guest.labels.get("group") == group)
    await lab.client.create(a_plan(name, group))

    def over() -> bool:
        plan = lab.read("MigrationPlan", name) or {}
        return bool(status(plan).get("finishedAt"))

    try:
        await lab.wait_until(over, limit_s, f"the plan {name} of {expected} moves has finished")
    except LabError as problem:
        raise BenchFailed(f"{problem}\n{state_of(lab, name)}") from problem
    await asyncio.sleep(SETTLE_S)
    if sum(status(move).get("phase") == "Succeeded" for move in moves_of(lab, name)) != expected:
        raise BenchFailed(f"the plan {name} should have moved {expected}\n{state_of(lab, name)}")
    return expected


def moves_of(lab: Lab, plan: str) -> list[Object]:
    """A plan's moves."""
    moves = lab.items("VirtualMachineMove")
    return [move for move in moves if move["metadata"]["ownerReferences"][0]["name"] == plan]


def state_of(lab: Lab, plan: str) -> str:
    """What a plan and its moves say, and the operator's last words, for whoever asks why it went wrong."""
    said = status(lab.read("MigrationPlan", plan) or {})
    lines = [f"the plan is {said.get('phase')}: {said.get('message')}; waits: {said.get('waits')}"]
    lines += [f"{move['metadata']['name']}: {status(move)}" for move in moves_of(lab, plan)]
    lines += [f"{each['metadata']['name']}: {status(each).get('phase')}" for each in lab.items(MIGRATION)]
    log = lab.folder / "operator.log"
    return "\n".join([*lines, *(log.read_text().splitlines()[-10:] if log.is_file() else ())])


def of_operator(counts: Counter[RequestKey]) -> Counter[RequestKey]:
    """What the operator asked for."""
    name = service_account("whimbrel", "whimbrel").name
    return Counter({key: count for key, count in counts.items() if key.client == name})


async def measure(*, quick: bool) -> Sequence[Figure]:
    """Writes per move, reaction with few and with many machines watched, and writes at rest."""
    figures: list[Figure] = []
    still_s = 8.0 if quick else 20.0
    async with Lab(topology({"few": FEW, "many": MANY})) as lab:
        kubeconfig = await lab.kubeconfig_for("whimbrel")
        async with operator(kubeconfig, lab.folder / "operator.log") as process:
            await lab.client.create(a_profile())
            watcher = _Watcher(lab)
            few = await carry_out(lab, watcher, "few", "few")
            many = await carry_out(lab, watcher, "many", "many")
            quiet, cpu_s = lab.counters.snapshot(), process.cpu_s()
            await asyncio.sleep(still_s)
            rest = of_operator(lab.counters.since(quiet))
            figures += writes_figures(few, many)
            figures.append(
                Figure(
                    "writes.quiet",
                    f"writes in {still_s:g} s in which nothing changes",
                    writes(rest, APART),
                    goal="0",
                    limit=0,
                    holds=True,
                )
            )
            spent = 100 * (process.cpu_s() - cpu_s) / still_s
            figures.append(Figure("cpu.quiet", "processor time meanwhile", spent, "% of a core"))
            figures += reaction_figures("reaction.few", f"{FEW + MANY} watched", many.reactions_s)
    if not quick:
        figures += await _with_many_watched()
    return figures


async def _with_many_watched() -> Iterable[Figure]:
    lab = Lab(topology({"many": MANY, "still": 1000 - MANY}))
    async with lab, operator(await lab.kubeconfig_for("whimbrel"), lab.folder / "operator.log"):
        await lab.client.create(a_profile())
        moved = await carry_out(lab, _Watcher(lab), "many", "many")
    return reaction_figures("reaction.1000", "1000 watched", moved.reactions_s)


def writes_figures(few: Moved, many: Moved) -> Iterator[Figure]:
    """The slope between a small and a larger plan, and what is left for the plan itself."""
    per_move = (many.writes - few.writes) / (many.moved - few.moved)
    yield Figure(
        "writes.per_move", "API writes per VM moved", per_move, goal=f"≤ {WRITES_GOAL:g}", limit=WRITES_GOAL,
        holds=True, bound=WRITES_BOUND,
    )  # fmt: skip
    yield Figure("writes.per_plan", "and per plan, whatever its size", few.writes - few.moved * per_move)
    for moved in (few, many):
        yield Figure(f"writes.plan_{moved.moved}", f"all writes of a plan of {moved.moved}", moved.writes)


def reaction_figures(key: str, circumstance: str, seconds: Sequence[float]) -> Iterator[Figure]:
    """p50 and p99 of the time from an end to the next create."""
    title = f"end of a migration → next, {circumstance}"
    p50, p99 = (1000 * quantile(seconds, share) for share in (0.5, 0.99))
    yield Figure(f"{key}.p50", f"{title}: p50", p50, "ms", f"≤ {P50_GOAL_MS:g} ms", P50_GOAL_MS)
    yield Figure(f"{key}.p99", f"{title}: p99", p99, "ms", f"≤ {P99_GOAL_MS:g} ms", P99_GOAL_MS)
