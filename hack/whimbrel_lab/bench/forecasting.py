"""How well a move is foretold: thousands of random migrations of the fluid model against what the forecast said of them.

The forecast sees what KubeVirt exposes and no more: memory, memory in use, the sample of one second in whole MiB, and of a
guest that moved before the samples of that move, five seconds apart, and how long it took in whole seconds.
"""

import math
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from whimbrel.domain.quantities import MIB
from whimbrel.domain.records import MigrationSample
from whimbrel.forecast.attempt import PLAIN
from whimbrel.forecast.curve import CurvePoint
from whimbrel.forecast.path import Path
from whimbrel.forecast.prediction import POD_START_UP, Convergence, predict
from whimbrel.forecast.progress import eta, progress
from whimbrel.forecast.readings import Guest, Reading, guest
from whimbrel.forecast.sighting import point_of_finished, sighting
from whimbrel.forecast.spread import Spread, exactly
from whimbrel.simulation import fluid
from whimbrel.simulation.fluid import Copy, Memory, Stage
from whimbrel_lab.bench.figures import Figure, quantile

SEED = 6
MIGRATIONS = 3_000
SLOWDOWN = Spread(1.03, 1.10)
"""How much slower than its cap a copy turns out to be; the forecast knows the spread, not the draw."""
SAMPLE_EVERY_S = 5.0
CRITICAL = (0.85, 1.15)
_INSTANTLY = exactly(1e-6)
_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
_PASSES = 6
"""A migration that has not ended after so many passes over memory is aborted."""


@dataclass(frozen=True, slots=True)
class Case:
    """One guest on one path, as it is."""

    memory: Memory
    cap: float
    link: float
    slowdown: float
    earlier_cap: float
    start_up_s: float

    @property
    def critical(self) -> bool:
        """Whether nobody can tell: dirtied about as fast as sent, or a working set about as large as the downtime allows."""
        memory, rate = self.memory, self.cap / self.slowdown
        smaller = min(memory.dirty_bytes_per_second, memory.working_set_bytes / fluid.SWITCH_OVER_S)
        return CRITICAL[0] < smaller / rate < CRITICAL[1]


@dataclass(slots=True)
class Tally:
    """Errors of one kind of guest, as shares of the fact."""

    time_errors: list[float] = field(default_factory=list)
    bytes_errors: list[float] = field(default_factory=list)
    covered: list[bool] = field(default_factory=list)
    """Whether the whole duration, start-up included, was within its 90th percentile."""
    right: list[bool] = field(default_factory=list)
    """Whether a guest that was said to converge, or not to, did."""
    uncertain: list[bool] = field(default_factory=list)
    """Outside the critical band: whether no answer was given."""
    careful: list[bool] = field(default_factory=list)
    """Inside it: the same."""
    eta_errors: list[float] = field(default_factory=list)
    """At a quarter of the progress, as shares of the whole copy."""


def draw(dice: random.Random) -> Case:
    """A guest of 1 to 64 GiB that dirties at 0.01 to 4 times its rate, on a link of 1, 10 or 25 Gbit/s."""
    size = math.floor(2 ** dice.uniform(10, 16)) * float(MIB)
    touched = size * dice.uniform(0.2, 1.0)
    link = dice.choice((1, 10, 25)) * 125e6
    cap = math.floor(link / dice.choice((1, 2, 4)) / MIB) * float(MIB)
    memory = Memory(
        size_bytes=size,
        touched_bytes=touched,
        working_set_bytes=8 * MIB * (touched / (8 * MIB)) ** dice.uniform(0, 1),
        dirty_bytes_per_second=cap * 10 ** dice.uniform(-2, math.log10(4)),
    )
    sigma = math.log(SLOWDOWN.p90 / SLOWDOWN.p50) / 1.2815515655446004
    wait = math.log(POD_START_UP.p90 / POD_START_UP.p50) / 1.2815515655446004
    return Case(
        memory=memory,
        cap=cap,
        link=link,
        slowdown=SLOWDOWN.p50 * math.exp(dice.gauss(0, sigma)),
        earlier_cap=math.floor(link / dice.choice((1, 2, 4)) / MIB) * float(MIB),
        start_up_s=POD_START_UP.p50 * math.exp(dice.gauss(0, wait)),
    )


def migrate(case: Case, cap: float) -> tuple[Copy, list[MigrationSample]]:
    """One plain pre-copy to its end or to its abort, and the samples that KubeVirt would have shown."""
    rate, link = cap / case.slowdown, case.link / case.slowdown
    copy, samples = fluid.begin(case.memory, cap), list[MigrationSample]()
    longest_s = 10 + _PASSES * case.memory.touched_bytes / rate
    due_s = SAMPLE_EVERY_S
    while copy.stage is not Stage.DONE and copy.elapsed_s < longest_s:
        step = due_s - copy.elapsed_s
        if step > 1e-6:
            copy, _used = fluid.advance_within_stage(copy, rate if copy.stage is Stage.PRE_COPY else link, step)
        elif copy.stage is Stage.PRE_COPY:
            samples.append(
                MigrationSample(
                    _BEGAN + timedelta(seconds=copy.elapsed_s),
                    processed_bytes=int(copy.sent_bytes),
                    remaining_bytes=int(copy.remaining_bytes),
                )
            )
            due_s += SAMPLE_EVERY_S
        else:
            due_s += SAMPLE_EVERY_S
    return copy, samples


def known_of(case: Case, *, told: bool, moved: bool) -> Guest:
    """What a cluster knows of the guest."""
    memory = case.memory
    dirtied = min(memory.working_set_bytes, memory.dirty_bytes_per_second) // MIB * float(MIB)
    in_use = Reading(memory.touched_bytes, _BEGAN) if told else None
    sample = Reading(dirtied, _BEGAN)
    fresh = guest(memory.size_bytes, _BEGAN, in_use=in_use, dirty_sample=sample)
    if not moved:
        return fresh
    copy, samples = migrate(case, case.earlier_cap)
    points: tuple[CurvePoint, ...] = ()
    seen = sighting(samples, _BEGAN, fresh)
    if seen is not None:
        points = seen.points
    if not points and copy.stage is Stage.DONE:
        # Nothing but the whole duration tells what was dirtied: a move that was over between two samples.
        rate = seen.bytes_per_second if seen else None
        rates = (
            (0.99 * rate, 1.01 * rate) if rate else tuple(case.earlier_cap / slow for slow in SLOWDOWN.values(3)[::-2])
        )
        finished = point_of_finished(fresh, (rates[0], rates[1]), (copy.elapsed_s // 1, copy.elapsed_s // 1 + 1))
        points = () if finished is None else (finished,)
    return guest(memory.size_bytes, _BEGAN, in_use=in_use, dirty_sample=sample, points=points)


def judge(case: Case, known: Guest, truth: tuple[Copy, list[MigrationSample]], tally: Tally) -> None:
    """Adds what this migration shows of the forecast."""
    copy, samples = truth
    converged = copy.stage is Stage.DONE
    path = Path(case.link, case.cap, slowdown=SLOWDOWN)
    said = predict(known, path, PLAIN, start_up=_INSTANTLY)
    (tally.careful if case.critical else tally.uncertain).append(said.convergence is Convergence.UNCERTAIN)
    if case.critical or said.convergence is Convergence.UNCERTAIN:
        return
    tally.right.append((said.convergence is Convergence.CONVERGES) == converged)
    if not converged or said.duration_p50_s is None or said.bytes_p50 is None:
        return
    tally.time_errors.append(abs(said.duration_p50_s / copy.elapsed_s - 1))
    tally.bytes_errors.append(abs(said.bytes_p50 / copy.sent_bytes - 1))
    whole = predict(known, path, PLAIN).duration_p90_s
    tally.covered.append(whole is not None and copy.elapsed_s + case.start_up_s <= whole)
    for number in range(1, len(samples) + 1):
        seen = sighting(samples[:number], _BEGAN, known)
        if seen is None:
            continue
        left = eta(known, path, PLAIN, seen)
        if left.p50_s is None or progress(seen.sent_bytes, left.will_send_bytes) < 0.25:
            continue
        tally.eta_errors.append(abs(seen.elapsed_s + left.p50_s - copy.elapsed_s) / copy.elapsed_s)
        break


KINDS: Mapping[str, tuple[bool, bool]] = {
    "moved before": (True, True),
    "never moved": (True, False),
    "never moved, memory in use not told": (False, False),
}
"""Each kind of guest, and whether its memory in use is told and an earlier move was seen."""


def thrash(migrations: int, seed: int = SEED) -> dict[str, Tally]:
    """So many random migrations, each forecast for every kind of guest."""
    dice = random.Random(seed)
    tallies = {kind: Tally() for kind in KINDS}
    for _ in range(migrations):
        case = draw(dice)
        truth = migrate(case, case.cap)
        for kind, (told, moved) in KINDS.items():
            judge(case, known_of(case, told=told, moved=moved), truth, tallies[kind])
    return tallies


def share(values: Sequence[bool]) -> float:
    """How many of these are true, in per cent."""
    return 100 * sum(values) / len(values) if values else 0.0


def forecast_figures(tallies: Mapping[str, Tally], millis_each: float) -> Sequence[Figure]:
    """Errors in per cent. Goals are for guests that moved before: one second's sample cannot say how large a set is."""
    figures = []
    for kind, tally in tallies.items():
        goals = kind == "moved before"
        key = "forecast." + kind.replace(",", "").replace(" ", "-")
        for name, title, value, limit in (
            ("time-p50", "duration, median error", 100 * quantile(tally.time_errors, 0.5), 5.0),
            ("time-p90", "duration, 90th percentile of the error", 100 * quantile(tally.time_errors, 0.9), 15.0),
            ("bytes-p50", "bytes, median error", 100 * quantile(tally.bytes_errors, 0.5), 5.0),
            ("eta-p50", "arrival told at a quarter, median error", 100 * quantile(tally.eta_errors, 0.5), 10.0),
            ("wrong", "converges or not, wrong", 100 - share(tally.right), 5.0),
        ):
            goal = f"≤ {limit:g} %" if goals else ""
            figures.append(Figure(f"{key}.{name}", f"{kind}: {title}", value, "%", goal, limit if goals else None))
        figures += [
            Figure(
                f"{key}.covered", f"{kind}: within the 90th percentile", share(tally.covered), "%",
                "88–92 %" if goals else "",
            ),
            Figure(f"{key}.uncertain", f"{kind}: no answer outside the critical band", share(tally.uncertain), "%"),
            Figure(f"{key}.careful", f"{kind}: no answer inside it", share(tally.careful), "%"),
        ]  # fmt: skip
    figures.append(Figure("forecast.ms", "processor time of one forecast", millis_each, "ms"))
    return tuple(figures)


def forecast_ms(guests: int) -> float:
    """Milliseconds of processor time for one forecast, nothing remembered from the one before."""
    dice = random.Random(SEED)
    cases = [draw(dice) for _ in range(guests)]
    known = [known_of(case, told=True, moved=False) for case in cases]
    began = time.process_time()
    for case, one in zip(cases, known, strict=True):
        predict(one, Path(case.link, case.cap, slowdown=SLOWDOWN), PLAIN)
    return 1000 * (time.process_time() - began) / guests


async def measure(*, quick: bool) -> Sequence[Figure]:
    """Three thousand migrations; quick: 300."""
    return forecast_figures(thrash(300 if quick else MIGRATIONS), forecast_ms(200))
