"""The ladder on the model: guests that dirty from 0.1 to 4 times what their link carries, under every preset.

Each is moved once by the whole operator on a virtual clock. Asked is whether it arrives within the pause that its plan permits
or is refused before anything begins, and how many bytes attempts sent in vain, beside an operator that is told nothing of its
guests and so starts every ladder at its bottom.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from whimbrel.api.virtual_machine_move import AttemptOutcome, MovePhase, VirtualMachineMoveStatus
from whimbrel.domain.quantities import MIB
from whimbrel.domain.resources import VIRTUAL_MACHINE_MOVES
from whimbrel.engine import Engine
from whimbrel.lifecycle.guard import attended_downtime_ms, overdue_stuns
from whimbrel.simulation.driver import Decide
from whimbrel.simulation.metrics import Measurements
from whimbrel.simulation.run import Simulation
from whimbrel.simulation.topology import GIB, GuestShape, HostShape, Topology, a_plan, a_profile
from whimbrel_lab.bench.figures import Figure

SEED = 2026
GUESTS, GUESTS_QUICK = 800, 40
SOURCE, TARGET = "node-0", "node-1"
LINK_MIB_PER_SECOND = 596
"""What two migrations leave each other of 10 Gbit/s."""
BUDGET_MS = 5000
LONGEST_S = 4 * 3600.0
EVERYTHING = {"throttle": "Allowed", "stun": "Allowed", "postCopy": "Allowed"}
STUN = {"stun": "Allowed"}
LIMITS = {"maxDowntimeMs": BUDGET_MS, "unattendedDowntimeMs": 60_000}
TERMS: Sequence[Mapping[str, Any]] = (
    {"preset": "Gentle", "disruption": {**EVERYTHING, **LIMITS}},
    {"preset": "Balanced", "disruption": {**STUN, **LIMITS}},
    {"preset": "Balanced", "disruption": {**EVERYTHING, **LIMITS}},
    {"preset": "Assertive", "disruption": {**EVERYTHING, **LIMITS}},
)


@dataclass(frozen=True, slots=True)
class Climbed:
    """What became of one guest. `vain_s`: seconds of copying by attempts that did not move it."""

    moved: bool
    attempts: int
    vain_s: float
    longest_pause_s: float

    @property
    def kept(self) -> bool:
        """Whether it arrived within its budget, or was refused before anything began."""
        return self.attempts == 0 or (self.moved and 1000 * self.longest_pause_s <= BUDGET_MS)

    @property
    def harmed(self) -> bool:
        """Whether it stood still for longer than was quoted as the attended worst case, and the half second of a look."""
        return 1000 * self.longest_pause_s > attended_downtime_ms(BUDGET_MS) + 500


def draw(seed: int, count: int) -> Iterator[tuple[GuestShape, Mapping[str, Any]]]:
    """So many guests, each with the terms of its plan; the same seed gives the same."""
    dice = random.Random(seed)
    for number in range(count):
        gib = dice.choice((2, 4, 8))
        touched = int(gib * 1024 * dice.uniform(0.3, 0.95))
        working_set = max(1, int(touched * dice.choice((0.05, 0.1, 0.3, 0.6, 0.9))))
        dirty = int(LINK_MIB_PER_SECOND * dice.uniform(0.1, 4.0))
        guest = GuestShape(
            "vm", SOURCE, memory_bytes=gib * GIB, touched_bytes=touched * MIB, working_set_mib=working_set,
            dirty_mib_per_second=dirty,
        )  # fmt: skip
        yield guest, TERMS[number % len(TERMS)]


def climb(guest: GuestShape, terms: Mapping[str, Any], *, told: bool = True, decide: Decide | None = None) -> Climbed:
    """One guest under one plan. Not `told`: no metrics reach the operator. `decide`: who decides instead of an engine."""
    topology = Topology([HostShape(SOURCE), HostShape(TARGET)], [guest])
    simulation = Simulation(topology, decide or Engine().decide, overdue_stuns, profiles=[a_profile()])
    if not told:
        _silence(simulation)
    spec = {"virtualMachines": {"onNodes": {"names": [SOURCE]}, "nonMigratable": "Leave"}, "migration": dict(terms)}
    simulation.apply(a_plan("plan", spec))
    simulation.run_until_finished(LONGEST_S)
    statuses = [
        VirtualMachineMoveStatus.model_validate(body.get("status") or {})
        for body in simulation.world.objects(VIRTUAL_MACHINE_MOVES).values()
    ]
    records = [record for status in statuses for record in status.history]
    vain = [
        (record.ended_at - record.started_at).total_seconds()
        for record in records
        if record.outcome != AttemptOutcome.SUCCEEDED and record.started_at and record.ended_at
    ]
    return Climbed(
        moved=any(status.phase is MovePhase.SUCCEEDED for status in statuses),
        attempts=len(records),
        vain_s=sum(vain),
        longest_pause_s=max((blackout.seconds for blackout in simulation.agents.blackouts), default=0.0),
    )


def _not_kept(climbed: Sequence[Climbed]) -> float:
    return sum(not each.kept for each in climbed) / len(climbed)


def _silence(simulation: Simulation) -> None:
    nothing: Callable[[], Measurements] = Measurements
    simulation.operator.metrics = nothing


async def measure(*, quick: bool = False) -> Sequence[Figure]:
    """The figures."""
    drawn = list(draw(SEED, GUESTS_QUICK if quick else GUESTS))
    told = [climb(guest, terms) for guest, terms in drawn]
    untold = [climb(guest, terms, told=False) for guest, terms in drawn]
    vain_s, from_the_bottom_s = sum(each.vain_s for each in told), sum(each.vain_s for each in untold)
    return (
        Figure(
            "ladder_not_kept",
            "guests of the model neither moved within their budget nor refused beforehand, of those whose plans do worst",
            100 * max(map(_not_kept, (told[number :: len(TERMS)] for number in range(len(TERMS))))), "%", "1 %", 1.0,
        ),
        Figure(
            "ladder_harmed", "guests that stood still for longer than the attended worst case",
            float(sum(each.harmed for each in (*told, *untold))), "", "0", 0.0, holds=True,
        ),
        Figure(
            "ladder_vain", "copying in vain, of what starting at the bottom would waste",
            100 * vain_s / max(1.0, from_the_bottom_s), "%", "5 %", 5.0,
        ),
    )  # fmt: skip
