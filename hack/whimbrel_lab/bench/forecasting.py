"""How well a move is foretold: thousands of random migrations of the fluid model against what the forecast said of them.

The forecast sees what KubeVirt exposes and no more: memory, memory in use, the sample of one second in whole MiB, and of a
guest that moved before the samples of that move, five seconds apart, and how long it took in whole seconds.
"""

import math
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from whimbrel.api.forecast import Convergence
from whimbrel.domain.quantities import MIB
from whimbrel.domain.samples import Reading
from whimbrel.forecast.attempt import PLAIN, AtDeadline, Terms
from whimbrel.forecast.curve import CurvePoint
from whimbrel.forecast.odds import fits
from whimbrel.forecast.path import Path
from whimbrel.forecast.pre_copy import ALLOWED_DOWNTIME_S
from whimbrel.forecast.prediction import predict
from whimbrel.forecast.prices import bandwidth_price
from whimbrel.forecast.readings import Guest, guest
from whimbrel.forecast.samples import point_of_finished, sighting
from whimbrel.forecast.spread import Spread, exactly
from whimbrel.simulation.kubevirt.monitor import Rules
from whimbrel_lab.bench.arriving import arrival_error
from whimbrel_lab.bench.figures import Figure, quantile
from whimbrel_lab.bench.oracle import BEGAN, SLOWDOWN_P50_P90, START_UP_P50_P90_S, Case, Truth, draw, migrate

SEED = 2026
"""Not one that a constant of the forecast was chosen by; those were 1, 6 and 7."""
MIGRATIONS = 3_000
SLOWDOWN, START_UP = Spread(*SLOWDOWN_P50_P90), Spread(*START_UP_P50_P90_S)
"""The forecast knows the spreads, not the draws."""
AT_ONCE = exactly(1e-6)
STUN_AFTER_PASSES = 1.5
PATIENCE_PASSES = 3
"""A move is refused that takes longer than so many passes over memory in use."""
CHEAPER = 0.85


@dataclass(slots=True)
class Tally:
    """What was found of one kind of guest; errors are shares of the fact."""

    time_errors: list[float] = field(default_factory=list)
    bytes_errors: list[float] = field(default_factory=list)
    eta_errors: list[float] = field(default_factory=list)
    """At a quarter of the progress, as shares of the whole copy."""
    covered: list[bool] = field(default_factory=list)
    """Whether the whole duration, start-up included, was within its 90th percentile."""
    right: list[bool] = field(default_factory=list)
    """Whether a guest that was said to converge, or not to, did."""
    uncertain: list[bool] = field(default_factory=list)
    """Outside the critical band: whether no answer was given."""
    careful: list[bool] = field(default_factory=list)
    """Inside it: the same."""
    paused: list[bool] = field(default_factory=list)
    """Of stuns: whether the guest stood still no longer than the bound."""
    looseness: list[float] = field(default_factory=list)
    """Of stuns: bound ÷ pause."""
    paid: list[bool] = field(default_factory=list)
    """Of refusals: whether the higher bandwidth named does, and"""
    fair: list[bool] = field(default_factory=list)
    """whether 15 % less than the lower one does not."""
    open: list[float] = field(default_factory=list)
    """Higher ÷ lower."""


def known_of(case: Case, *, told: bool, moved: bool) -> Guest:
    """What a cluster knows of the guest."""
    memory = case.memory
    dirtied = min(memory.working_set_bytes, memory.dirty_bytes_per_second) // MIB * float(MIB)
    in_use = Reading(memory.touched_bytes, BEGAN) if told else None
    sample = Reading(dirtied, BEGAN)
    fresh = guest(memory.size_bytes, BEGAN, in_use=in_use, dirty_sample=sample)
    if not moved:
        return fresh
    earlier = migrate(case, case.earlier_cap)
    points: tuple[CurvePoint, ...] = ()
    seen = sighting(earlier.samples, BEGAN, fresh)
    if seen is not None:
        points = seen.points
    if not points and earlier.ended:
        # A move that was over between two samples: nothing but its whole duration tells what was dirtied.
        if seen is not None and seen.bytes_per_second is not None:
            rates = (0.99 * seen.bytes_per_second, 1.01 * seen.bytes_per_second)
        else:
            fast, _usual, slow = SLOWDOWN.values(3)
            rates = (case.earlier_cap / slow, case.earlier_cap / fast)
        took_s = math.floor(earlier.copy.elapsed_s)
        finished = point_of_finished(fresh, rates, (took_s, took_s + 1))
        points = () if finished is None else (finished,)
    return guest(memory.size_bytes, BEGAN, in_use=in_use, dirty_sample=sample, points=points)


def judge(case: Case, known: Guest, truth: Truth, tally: Tally) -> None:
    """Adds what a plain pre-copy of this guest shows of the forecast."""
    path = Path(case.link, case.cap, slowdown=SLOWDOWN)
    said = predict(known, path, PLAIN, start_up=AT_ONCE)
    (tally.careful if case.critical else tally.uncertain).append(said.convergence is Convergence.UNCERTAIN)
    if case.critical or said.convergence is Convergence.UNCERTAIN:
        return
    tally.right.append((said.convergence is Convergence.CONVERGES) == truth.ended)
    if not truth.ended or said.duration_p50_s is None or said.bytes_p50 is None:
        return
    took_s = truth.copy.elapsed_s
    tally.time_errors.append(abs(said.duration_p50_s / took_s - 1))
    tally.bytes_errors.append(abs(said.bytes_p50 / truth.copy.sent_bytes - 1))
    whole_s = predict(known, path, PLAIN, start_up=START_UP).duration_p90_s
    tally.covered.append(whole_s is not None and took_s + case.start_up_s <= whole_s)
    error = arrival_error(known, path, PLAIN, truth.samples, BEGAN, took_s)
    if error is not None:
        tally.eta_errors.append(error)


def judge_stun(case: Case, known: Guest, dice: random.Random, tally: Tally) -> None:
    """Suspends a guest after one and a half passes, and compares its pause with the bound."""
    deadline_s = max(1, math.ceil(STUN_AFTER_PASSES * case.memory.touched_bytes / case.cap))
    terms = Terms(deadline_s=deadline_s, at_deadline=AtDeadline.SUSPEND)
    said = predict(known, Path(case.link, case.cap, slowdown=SLOWDOWN), terms)
    truth = migrate(case, case.cap, Rules(deadline_s, allow_workload_disruption=True), dice.uniform(0, 0.4))
    if truth.copy.suspended:
        tally.paused.append(1000 * truth.copy.blackout_s <= said.downtime_bound_ms)
        tally.looseness.append(said.downtime_bound_ms / (1000 * truth.copy.blackout_s))


def judge_price(case: Case, known: Guest, tally: Tally) -> None:
    """Of a guest that would be refused: moves it at the bandwidth named, and at 15 % less."""
    within_s = PATIENCE_PASSES * case.memory.touched_bytes / case.cap
    path = Path(case.link, case.cap, slowdown=SLOWDOWN)
    if fits(known, path, PLAIN, start_up=AT_ONCE, within_s=within_s):
        return
    named = bandwidth_price(known, path, PLAIN, start_up=AT_ONCE, within_s=within_s)
    low, high = named.p50_bytes_per_second, named.p90_bytes_per_second
    if low is None or high is None:
        return

    def does(rate: float) -> bool:
        truth = migrate(case, rate)
        return truth.ended and truth.copy.elapsed_s <= within_s

    tally.paid.append(does(high))
    tally.fair.append(not does(CHEAPER * low))
    tally.open.append(high / low)


def measured_twice(case: Case) -> Guest:
    """What the best history would tell: the curve at the allowed downtime, and at one pass over memory."""
    memory = case.memory
    windows_s = (ALLOWED_DOWNTIME_S, memory.touched_bytes / case.cap)
    points = tuple(
        CurvePoint(window_s, min(memory.working_set_bytes, memory.dirty_bytes_per_second * window_s), "bench")
        for window_s in windows_s
    )
    return guest(memory.size_bytes, BEGAN, in_use=Reading(memory.touched_bytes, BEGAN), points=points)


KINDS: Mapping[str, Callable[[Case], Guest]] = {
    "moved before": lambda case: known_of(case, told=True, moved=True),
    "never moved": lambda case: known_of(case, told=True, moved=False),
    "never moved, memory in use not told": lambda case: known_of(case, told=False, moved=False),
    "measured twice": measured_twice,
}
"""Each kind of guest, and what is known of one. Goals are for the first; the last shows what the model can."""


def thrash(migrations: int, seed: int = SEED) -> dict[str, Tally]:
    """So many random migrations, each forecast for every kind of guest."""
    dice = random.Random(seed)
    tallies = {kind: Tally() for kind in KINDS}
    for _ in range(migrations):
        case = draw(dice)
        truth = migrate(case, case.cap)
        for kind, knowledge in KINDS.items():
            known = knowledge(case)
            judge(case, known, truth, tallies[kind])
            judge_stun(case, known, dice, tallies[kind])
            judge_price(case, known, tallies[kind])
    return tallies


def share(values: Sequence[float]) -> float:
    """Their mean in per cent: how many of them are true."""
    return 100 * sum(values) / len(values) if values else 0.0


def forecast_figures(tallies: Mapping[str, Tally], millis_each: float) -> Sequence[Figure]:
    """In per cent. Goals are for guests that moved before: a sample of one second cannot say how large a set is."""
    figures = [
        Figure(
            f"forecast.{kind.replace(',', '').replace(' ', '-')}.{name}", f"{kind}: {title}", value, unit,
            f"≤ {limit:g} {unit}" if limit and kind == "moved before" else "", limit if kind == "moved before" else None,
        )
        for kind, tally in tallies.items()
        for name, title, value, unit, limit in _rows(tally)
    ]  # fmt: skip
    return (*figures, Figure("forecast.ms", "processor time of one forecast", millis_each, "ms"))


def _rows(tally: Tally) -> Iterable[tuple[str, str, float, str, float | None]]:
    yield "time-p50", "duration, median error", _percent(tally.time_errors, 0.5), "%", 5
    yield "time-p90", "duration, 90th percentile of the error", _percent(tally.time_errors, 0.9), "%", 15
    yield "bytes-p50", "bytes, median error", _percent(tally.bytes_errors, 0.5), "%", 5
    yield "eta-p50", "arrival told at a quarter, median error", _percent(tally.eta_errors, 0.5), "%", 10
    yield "exceeded", "took longer than the 90th percentile", 100 - share(tally.covered), "%", None
    yield "calibration", "of that, away from 10 %", abs(90 - share(tally.covered)), "%", 2
    yield "wrong", "converges or not, wrong", 100 - share(tally.right), "%", 5
    yield "uncertain", "no answer outside the critical band", share(tally.uncertain), "%", 15
    yield "incautious", "an answer inside it", 100 - share(tally.careful), "%", None
    yield "longer", "paused for longer than the bound", 100 - share(tally.paused), "%", 5
    yield "loose", "bound of a pause ÷ pause, median", quantile(tally.looseness or [0.0], 0.5), "×", None
    yield "underpriced", "the higher bandwidth named does not do", 100 - share(tally.paid), "%", 10
    yield "overpriced", "15 % less than the lower bandwidth named does", 100 - share(tally.fair), "%", 20
    yield "open", "higher bandwidth named ÷ lower, median", quantile(tally.open or [1.0], 0.5), "×", None


def _percent(errors: Sequence[float], part: float) -> float:
    return 100 * quantile(errors, part) if errors else 0.0


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
