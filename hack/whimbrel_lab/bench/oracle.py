"""Random migrations as they are: the fluid model under KubeVirt's convergence monitor, and what KubeVirt would show of them.

The judge of a forecast: nothing here is from `whimbrel.forecast`.
"""

import math
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from whimbrel.domain.quantities import MIB
from whimbrel.domain.samples import MigrationSample
from whimbrel.simulation import fluid, launcher
from whimbrel.simulation.fluid import Copy, Memory, Stage
from whimbrel.simulation.kubevirt import monitor
from whimbrel.simulation.kubevirt.monitor import Action, Rules

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
SLOWDOWN_P50_P90 = (1.03, 1.10)
"""How much slower than its cap a copy turns out to be, log-normal."""
START_UP_P50_P90_S = (10.0, 22.0)
SAMPLE_EVERY_S = 5.0
CRITICAL = (0.85, 1.15)
PASSES = 6
"""A migration that has not ended after so many passes over memory is aborted, where no rules say otherwise."""
_Z_P90 = 1.2815515655446004


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


@dataclass(frozen=True, slots=True)
class Truth:
    """A migration that is over: ended, or aborted."""

    copy: Copy
    samples: tuple[MigrationSample, ...]

    @property
    def ended(self) -> bool:
        """Whether the guest runs at its target."""
        return self.copy.stage is Stage.DONE


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
    return Case(
        memory=memory,
        cap=cap,
        link=link,
        slowdown=_log_normal(dice, *SLOWDOWN_P50_P90),
        earlier_cap=math.floor(link / dice.choice((1, 2, 4)) / MIB) * float(MIB),
        start_up_s=_log_normal(dice, *START_UP_P50_P90_S),
    )


def migrate(case: Case, cap: float, rules: Rules | None = None, phase_s: float = 0.0) -> Truth:
    """One migration to its end or to its abort. KubeVirt's monitor looks every 400 ms, first after `phase_s`; the default one
    matters from the deadline on.
    """
    rate, link = cap / case.slowdown, max(cap, case.link) / case.slowdown
    rules = rules or Rules(deadline_s=math.ceil(10 + PASSES * case.memory.touched_bytes / rate))
    copy, watch, samples = fluid.begin(case.memory, cap), monitor.begin(rules), list[MigrationSample]()
    first = math.ceil((rules.deadline_s - phase_s) / monitor.TICK_S) if rules.stall is None else 1
    looks_s = phase_s + first * monitor.TICK_S
    samples_s = SAMPLE_EVERY_S
    while copy.stage is not Stage.DONE:
        step = min(looks_s, samples_s) - copy.elapsed_s
        if step > 1e-9:
            copy, _used = fluid.advance_within_stage(copy, rate if copy.stage is Stage.PRE_COPY else link, step)
            continue
        if samples_s <= looks_s:
            samples.append(_sample(copy))
            samples_s += SAMPLE_EVERY_S
            continue
        looks_s += monitor.pause_s(rules, fluid.round_left_s(copy, rate))
        if copy.stage is Stage.PRE_COPY:
            watch, action = monitor.tick(rules, watch, launcher.look_at(copy, rate, copy.elapsed_s))
            if action is Action.ABORT:
                break
            copy = launcher.done_to(copy, action, watch)
    return Truth(copy, tuple(samples))


def _sample(copy: Copy) -> MigrationSample:
    return MigrationSample(
        BEGAN + timedelta(seconds=copy.elapsed_s),
        processed_bytes=int(copy.sent_bytes),
        remaining_bytes=int(copy.remaining_bytes),
    )


def _log_normal(dice: random.Random, p50: float, p90: float) -> float:
    return p50 * math.exp(dice.gauss(0, math.log(p90 / p50) / _Z_P90))
