"""Plans on a real API server, of ten virtual machines to a thousand: what they cost it, by its own audit log and metrics.

The operator runs as an installation would have it: its service account's token, the chart's roles. Machines move on the
model hypervisor, so that only Kubernetes is real and slow.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

import aiohttp

from whimbrel_lab.bench.figures import Figure
from whimbrel_lab.bench.moving import (
    APART,
    WRITES_GOAL,
    Reactions,
    a_profile,
    finish,
    reaction_figures,
    topology,
)
from whimbrel_lab.bench.operator_process import operator
from whimbrel_lab.controlplane.counters import WRITES
from whimbrel_lab.controlplane.real.audit import AuditLog, Request
from whimbrel_lab.controlplane.users import Access
from whimbrel_lab.lab import Lab

NAMESPACE = "whimbrel-system"
OPERATOR = f"system:serviceaccount:{NAMESPACE}:whimbrel"
MIGRATIONS = "virtualmachineinstancemigrations.kubevirt.io"
SIZES, QUICK_SIZES = (10, 100, 1000), (10, 40)
SLOTS = 16
PLAN_LIMIT_S = 900.0
READS_GOAL = 1.0
SLACK = 0.1
"""Of both promises: a conflict now and then is a blemish, one request more for each machine is a defect."""
FEW_SLOTS, REACTING = 2, 24
"""The reaction is measured on a plan of its own that leaves the machine idle for most of the time: where the API server's
own work is the bottleneck, its queue would be measured."""
REPORT = "migrationplans.whimbrel.dev/status"
FINAL = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Run:
    """One plan on the real server, from its creation until its last write: the operator's requests, and the server's work."""

    moved: int
    seconds: float
    requests: tuple[Request, ...]
    everybodys: tuple[Request, ...]
    server_cpu_s: float

    @property
    def writes(self) -> Counter[str]:
        """The operator's writes by verb and resource, those set apart and the plan's reports left out."""
        counted = (each for each in self.requests if each.verb in WRITES and each.resource not in APART)
        return Counter(f"{each.verb} {_target(each)}" for each in counted if _target(each) != REPORT)

    @property
    def reports(self) -> int:
        """Status reports of the plan itself: one at each change of its phase, and one in 15 s."""
        return sum(1 for each in self.requests if each.verb == "update" and _target(each) == REPORT)

    @property
    def reads(self) -> Counter[str]:
        """The operator's reads of single objects by resource, the Lease's left out."""
        counted = (each for each in self.requests if each.verb == "get" and each.resource not in APART)
        return Counter(_target(each) for each in counted if not each.resource.startswith("/"))

    @property
    def looks(self) -> int:
        """Lists, watches that begin, and schemas: what it costs to keep up, whatever is moved."""
        paths = (each for each in self.requests if each.resource not in APART and each.verb not in WRITES)
        return sum(1 for each in paths if each.verb != "get" or each.resource.startswith("/"))

    @property
    def reactions_s(self) -> list[float]:
        """From the server's answer to the write that ends a migration until the operator's next create arrives."""
        reactions = Reactions()
        for at, ended in sorted(self._turns()):
            if ended:
                reactions.ended(at)
            else:
                reactions.asked(at)
        return reactions.seconds

    def _turns(self) -> Iterator[tuple[float, bool]]:
        over: set[tuple[str, str]] = set()
        for each in self.everybodys:
            if each.resource != MIGRATIONS or each.code >= 300:
                continue
            if each.user == OPERATOR and each.verb == "create":
                yield _instant(each.at), False
                continue
            ends = each.verb == "update" and each.subresource == "status" and _phase(each.answer) in FINAL
            if ends and (each.namespace, each.name) not in over:  # KubeVirt writes an ended migration again
                over.add((each.namespace, each.name))
                yield _instant(each.answered_at), True

    @property
    def most_per_second(self) -> int:
        """The operator's requests in its busiest second."""
        return max(Counter(int(_instant(each.at)) for each in self.requests).values(), default=0)


def _target(request: Request) -> str:
    return request.resource + (f"/{request.subresource}" if request.subresource else "")


def _instant(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _phase(document: object) -> str:
    status = document.get("status") if isinstance(document, dict) else None
    return str(status.get("phase") or "") if isinstance(status, dict) else ""


async def measure(*, quick: bool) -> Sequence[Figure]:
    """Writes and reads per move, requests per second, reaction, and writes at rest."""
    sizes = QUICK_SIZES if quick else SIZES
    still_s = 8.0 if quick else 20.0
    groups = {f"of-{size}": size for size in (REACTING, *sizes)}
    async with Lab(topology(groups, SLOTS), control_plane="real") as lab:
        kubeconfig = await lab.install_operator(NAMESPACE)
        async with operator(kubeconfig, lab.folder / "operator.log", NAMESPACE):
            await lab.client.create(a_profile(SLOTS))
            runs = [await _run(lab, size) for size in sizes]
            limits = {"parallelOutbound": FEW_SLOTS, "parallelInbound": FEW_SLOTS}
            await lab.client.patch("HostProfile", "bench", "", {"spec": {"migration": {"limits": limits}}})
            reacting = await _run(lab, REACTING)
            log = _log(lab)
            before = len(log.requests)
            await asyncio.sleep(still_s)
            log.read()
            quiet = [each for each in log.requests[before:] if each.user == OPERATOR]
    written = [each for each in quiet if each.verb in WRITES and each.resource not in APART]
    figures = [
        *cost_figures(runs),
        Figure(
            "real.quiet", f"real server: writes in {still_s:g} s in which nothing changes", len(written), goal="0",
            limit=0, holds=True,
        ),
    ]  # fmt: skip
    watched = sum(sizes) + REACTING
    figures += reaction_figures("real.reaction", f"real server, {watched} watched, idle", reacting.reactions_s)
    figures += reaction_figures("real.reaction.busy", f"real server, busy with {SLOTS}", runs[-1].reactions_s)
    return figures


async def _run(lab: Lab, size: int) -> Run:
    log = _log(lab)
    log.read()
    first, cpu_s = len(log.requests), await _cpu_s(lab.plane.access())
    loop = asyncio.get_running_loop()
    began = loop.time()
    name = f"of-{size}"
    print(f"a plan of {size}", end=" ", flush=True)
    moved = await finish(lab, name, name, PLAN_LIMIT_S)
    seconds = loop.time() - began
    print(f"took {seconds:.0f} s;", end=" ", flush=True)
    log.read()
    everybodys = tuple(log.requests[first:])
    mine = tuple(each for each in everybodys if each.user == OPERATOR)
    return Run(moved, seconds, mine, everybodys, await _cpu_s(lab.plane.access()) - cpu_s)


def _log(lab: Lab) -> AuditLog:
    log = lab.plane.counters
    assert isinstance(log, AuditLog)
    return log


async def _cpu_s(access: Access) -> float:
    """Processor time of the API server, as its /metrics say."""
    headers = {"Authorization": f"Bearer {access.token}"}
    connector = aiohttp.TCPConnector(ssl=access.tls or True)
    session = aiohttp.ClientSession(headers=headers, connector=connector)
    async with session, session.get(f"{access.url}/metrics") as answer:
        text = await answer.text()
    line = next(line for line in text.splitlines() if line.startswith("process_cpu_seconds_total "))
    return float(line.split()[1])


def slope(few: tuple[int, float], many: tuple[int, float]) -> float:
    """What one machine more costs, between two plans (machines, total)."""
    return (many[1] - few[1]) / (many[0] - few[0])


def cost_figures(runs: Sequence[Run]) -> Iterable[Figure]:
    """Per machine between each plan and the next larger one, by verb and resource between the smallest and the largest."""
    for few, many in pairwise(runs):
        value = slope((few.moved, few.writes.total()), (many.moved, many.writes.total()))
        yield Figure(
            f"real.writes.{many.moved}", f"real server: writes per VM moved, {few.moved} → {many.moved}", value,
            goal=f"≤ {WRITES_GOAL:g}", limit=WRITES_GOAL, holds=True, bound=WRITES_GOAL + SLACK,
        )  # fmt: skip
        read = slope((few.moved, few.reads.total()), (many.moved, many.reads.total()))
        yield Figure(
            f"real.reads.{many.moved}", f"real server: reads per VM moved, {few.moved} → {many.moved}", read,
            goal=f"≤ {READS_GOAL:g}", limit=READS_GOAL, holds=True, bound=READS_GOAL + SLACK,
        )  # fmt: skip
    few, many = runs[0], runs[-1]
    for target in sorted({*few.writes, *many.writes}):
        value = slope((few.moved, few.writes[target]), (many.moved, many.writes[target]))
        yield Figure(f"real.writes.by.{target.replace(' ', '.')}", f"  of these: {target}", value)
    per_vm = slope((few.moved, few.writes.total()), (many.moved, many.writes.total()))
    yield Figure(
        "real.writes.plan", "real server: writes per plan, whatever its size", few.writes.total() - few.moved * per_vm
    )
    a_minute = 60 / many.seconds
    yield Figure("real.reports", f"  and the plan's reports, {many.moved} VMs", many.reports * a_minute, "/min")
    yield Figure("real.looks", "real server: lists, watches and schemas", many.looks * a_minute, "/min")
    per_second = len(many.requests) / many.seconds
    yield Figure("real.qps", f"real server: the operator's requests a second, {many.moved} VMs", per_second, "/s")
    yield Figure("real.qps.most", "  in its busiest second", many.most_per_second, "/s")
    share = 100 * len(many.requests) / len(many.everybodys)
    yield Figure("real.share", "  as a share of everybody's", share, "%")
    cpu_ms = 1000 * many.server_cpu_s / many.moved
    yield Figure("real.server.cpu", "real server: its processor time per VM moved, all clients", cpu_ms, "ms")
