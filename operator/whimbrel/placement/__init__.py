"""Which host for which virtual machine: `solve` for all guests of all plans at once, `sequence` for the order of moves.

Pure and deterministic: steps are counted, not seconds. `place`, `planned` and `capacity_reasons` are what the outlook
asks, plan by plan; `preflight.recheck` speaks again just before a start.
"""

from whimbrel.placement.problem import (
    Apart,
    Conflict,
    EvenSpread,
    Fact,
    Guest,
    Kind,
    Member,
    Problem,
    Room,
    Strategy,
    Together,
)
from whimbrel.placement.sequence import Sequence, Step, Stuck, sequence
from whimbrel.placement.solving import Effort, Solution, solve
from whimbrel.placement.spread import capacity_reasons, place, planned

__all__ = [
    "Apart",
    "Conflict",
    "Effort",
    "EvenSpread",
    "Fact",
    "Guest",
    "Kind",
    "Member",
    "Problem",
    "Room",
    "Sequence",
    "Solution",
    "Step",
    "Strategy",
    "Stuck",
    "Together",
    "capacity_reasons",
    "place",
    "planned",
    "sequence",
    "solve",
]
