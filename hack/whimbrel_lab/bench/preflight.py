"""How long it takes to judge every guest against every host and to empty a tenth of the hosts, cold, and how that grows.

The same worlds as `hosts`, as multiples of parsing their objects as JSON once: a figure of the code, hardly of the machine.
"""

import gc
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from whimbrel.inventory.hosts import effective_hosts
from whimbrel.inventory.ledger import Ledger
from whimbrel.inventory.snapshot import Snapshot
from whimbrel.placement import Request, place
from whimbrel.schedule.evacuation import appraise, residents
from whimbrel_lab.bench.deciding import parse_s
from whimbrel_lab.bench.figures import Figure
from whimbrel_lab.bench.hosts import MACHINES_PER_HOST, a_snapshot, a_world
from whimbrel_lab.bench.operator_process import BenchFailed

RUNS = 3
EMPTIED_ONE_IN = 10
COLD_GOAL = 12.0
EXPONENT_GOAL = 1.2


@dataclass(frozen=True, slots=True)
class Judged:
    """Medians, in seconds of processor time."""

    judge_s: float
    place_s: float
    parse_s: float


def time_judging(snapshot: Snapshot) -> tuple[float, float]:
    """Seconds for hosts, ledger and verdicts, and for placing what runs on each tenth host; nothing is kept between."""
    nodes = {host for number, host in enumerate(sorted(effective_hosts(snapshot))) if number % EMPTIED_ONE_IN == 0}
    judged, placed = [], []
    for _ in range(RUNS):
        began = time.process_time()
        hosts, ledger = effective_hosts(snapshot), Ledger.of(snapshot)
        assessment = appraise(snapshot, hosts, ledger)
        between = time.process_time()
        leaving = [guest for guest in residents(snapshot) if guest.node in nodes]
        found = place([Request(guest, assessment) for guest in leaving], hosts, ledger)
        placed.append(time.process_time() - between)
        judged.append(between - began)
        if found.conflicts or found.undecided or found.stuck:
            raise BenchFailed("not all guests of a tenth of the hosts found a place, where there is room for all")
    return statistics.median(judged), statistics.median(placed)


def time_size(machines: int) -> Judged:
    """One size."""
    world = a_world(machines)
    snapshot = a_snapshot(world)
    parsing = statistics.median(parse_s(world) for _ in range(RUNS))
    del world
    gc.collect()
    gc.freeze()
    try:
        judge, placing = time_judging(snapshot)
    finally:
        gc.unfreeze()
    return Judged(judge, placing, parsing)


async def measure(*, quick: bool) -> Sequence[Figure]:
    """A thousand, ten thousand and thirty thousand virtual machines, ten on a host; quick: the smaller two of 300 and 1 000."""
    sizes = (300, 1_000) if quick else (1_000, 10_000, 30_000)
    return preflight_figures({size: time_size(size) for size in sizes}, quick=quick)


def preflight_figures(found: Mapping[int, Judged], *, quick: bool = False) -> Sequence[Figure]:
    """Multiples of a parse, and the exponent between the smallest and the largest size."""
    figures = []
    for size, judged in sorted(found.items()):
        where = f"{size} VMs × {size // MACHINES_PER_HOST} hosts"
        whole = judged.judge_s + judged.place_s
        goal = size == 10_000 and not quick
        figures += [
            Figure(
                f"preflight.{size}.cold", f"judged and placed, cold, {where}: ÷ JSON parse", whole / judged.parse_s, "×",
                f"≤ {COLD_GOAL:g}×" if goal else "", COLD_GOAL if goal else None,
            ),
            Figure(f"preflight.{size}.judge_ms", "of this, judged, in milliseconds", 1000 * judged.judge_s, "ms"),
            Figure(f"preflight.{size}.place_ms", "and placed, in milliseconds", 1000 * judged.place_s, "ms"),
        ]  # fmt: skip
    first, last = min(found), max(found)
    wholes = [found[size].judge_s + found[size].place_s for size in (first, last)]
    figures.append(
        Figure(
            f"preflight.{last}.growth", f"growth of that, {first} → {last} VMs: exponent",
            math.log(wholes[1] / wholes[0]) / math.log(last / first), goal=f"≤ {EXPONENT_GOAL:g}", limit=EXPONENT_GOAL,
        )
    )  # fmt: skip
    return tuple(figures)
