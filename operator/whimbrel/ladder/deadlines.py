"""KubeVirt's completion deadline for an attempt, in whole seconds per started 10^9 bytes, and the offers made of one.

Every distinct configuration is a MigrationPolicy of its own, so values are taken from a grid. Used by the rungs.
"""

from collections.abc import Callable
from dataclasses import replace
from math import ceil, inf

from whimbrel.api.ladder import LadderStep, Rung
from whimbrel.api.virtual_machine_move import KubeVirtConfiguration
from whimbrel.domain.quantities import time_budget_units
from whimbrel.forecast import Terms, outcomes, quantile
from whimbrel.ladder.rung import Load, Offer, Withheld

LEAST_S = 10
"""Shortest time budget in seconds: a small guest still needs time for its last rounds and the switch-over."""
FEWEST_PASSES, MOST_PASSES = 3, 20
"""Passes over memory that a budget allows for, at least and at most."""
RESERVE = 1.5
"""How much longer than it should take a copy may take before KubeVirt ends it: a healthy one must not be killed."""
MOST_OF_TEN = 0.9
_MANTISSAS = (10, 12, 15, 20, 25, 30, 40, 50, 60, 80)


def on_grid(seconds_per_unit: int) -> int:
    """The next value of 1, 2, … 10, 12, 15, 20, 25, 30, 40, 50, 60, 80 and these times ten and so on; never less."""
    if seconds_per_unit <= 10:
        return max(1, seconds_per_unit)
    scale = 1
    while True:
        for mantissa in _MANTISSAS:
            if mantissa * scale >= seconds_per_unit:
                return mantissa * scale
        scale *= 10


def on_grid_below(value: int) -> int:
    """The greatest value of the same grid that is not more, at least 1."""
    if value <= 10:
        return max(1, value)
    scale = int("1" + "0" * (len(str(value)) - 2))
    return max(mantissa * scale for mantissa in _MANTISSAS if mantissa * scale <= value)


def units_of(load: Load) -> int:
    """KubeVirt's units of the time budget, local disks counted with all that they may hold."""
    return time_budget_units(load.memory_bytes + (load.local_disk_bytes or 0))


def healthy_s(load: Load, terms: Terms) -> float:
    """Seconds that a copy needs which ends at all: nine in ten do within two thirds of this."""
    one_pass_s = load.pass_s()
    runs = [(run.seconds, weight) for run, weight in outcomes(load.guest, load.path, terms) if run.seconds < inf]
    wanted = RESERVE * quantile(runs, MOST_OF_TEN) if runs else 0.0
    return max(LEAST_S, min(MOST_PASSES * one_pass_s, max(FEWEST_PASSES * one_pass_s, wanted)))


def offered(
    rung: Rung,
    load: Load,
    step: LadderStep,
    memory_s: float,
    terms: Terms,
    configure: Callable[[int], KubeVirtConfiguration],
) -> Offer | Withheld:
    """A rung that copies memory for so many seconds before KubeVirt acts as these terms say, and local disks before it.
    Withheld where no deadline is within the step's bound.

    `configure`: the configuration under so many seconds per unit. KubeVirt counts the disks by what is written to them, perhaps
    nothing: memory alone must give the time for both.
    """
    wanted_s = memory_s + (load.local_disk_bytes or 0) // load.reached_bytes_per_second
    per_gib = on_grid(ceil(wanted_s / time_budget_units(load.memory_bytes)))
    if step.max_duration_seconds is not None:
        per_gib = min(per_gib, step.max_duration_seconds // units_of(load))
    if per_gib < 1:
        return Withheld(rung, too_short(load, step))
    deadline_s = per_gib * units_of(load)
    return Offer(
        rung=rung,
        configuration=configure(per_gib),
        deadline_seconds=deadline_s,
        terms=replace(terms, deadline_s=deadline_s),
        most_wire_bytes=most_wire_bytes(step),
        most_attempts=step.max_attempts,
        most_deadline_s=step.max_duration_seconds,
    )


def too_short(load: Load, step: LadderStep) -> str:
    """Why there is no deadline within the step's bound, in words."""
    return (
        f"KubeVirt counts its deadline in steps of {units_of(load)} s for this guest; the ladder permits "
        f"{step.max_duration_seconds} s."
    )


def most_wire_bytes(step: LadderStep) -> int | None:
    """The step's bound in bytes."""
    return None if step.max_mebibytes is None else step.max_mebibytes << 20
