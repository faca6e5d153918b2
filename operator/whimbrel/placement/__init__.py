"""Which host for which virtual machine: `solve` for all guests of all plans at once, `sequence` for the order of moves.

Pure and deterministic: steps are counted, not seconds. `place` poses the problem from what preflight and the ledger say;
`preflight.recheck` speaks again just before a start.
"""

from whimbrel.placement.afterwards import COUNTED, capacity_reasons, planned
from whimbrel.placement.posing import RESOURCES, Placement, Request, amounts_of, place, room_of
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
    Together,
)
from whimbrel.placement.reasons import REASONS, NoWayThere, PlacementConflict, conflicting, no_way, undecided
from whimbrel.placement.sequence import sequence
from whimbrel.placement.solving import Effort, Solution, solve
from whimbrel.placement.steps import Sequence, Step, Stuck
from whimbrel.placement.wording import names

__all__ = [
    "COUNTED",
    "REASONS",
    "RESOURCES",
    "Apart",
    "Conflict",
    "Effort",
    "EvenSpread",
    "Fact",
    "Guest",
    "Kind",
    "Member",
    "NoWayThere",
    "Placement",
    "PlacementConflict",
    "Problem",
    "Request",
    "Room",
    "Sequence",
    "Solution",
    "Step",
    "Stuck",
    "Together",
    "amounts_of",
    "capacity_reasons",
    "conflicting",
    "names",
    "no_way",
    "place",
    "planned",
    "room_of",
    "sequence",
    "solve",
    "undecided",
]
