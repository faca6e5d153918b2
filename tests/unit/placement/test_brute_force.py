"""Placement against brute force: on two thousand small instances both must say the same, and conflicts be irreducible."""

import pytest

from support.placements import Judge, a_random_problem
from whimbrel.placement import Kind, Member, Problem, solve
from whimbrel.placement.problem import Conflict

BATCH = 100
BATCHES = 2000 // BATCH
QUICK = 3
"""So many batches are asked at every run of the unit tests, the others with the longer tiers."""


def _possible_as_a_whole(problem: Problem, assignment: dict[str, int]) -> str:
    """What is wrong when these have moved and everybody else is still at its source."""
    judge = Judge(problem)
    places = {g.uid: g.source for g in problem.guests if g.source is not None} | assignment
    sources = {g.uid: g.source for g in problem.guests}
    arrived = frozenset(uid for uid, room in assignment.items() if room != sources[uid])
    for guest in problem.guests:
        if guest.uid in assignment and assignment[guest.uid] not in judge.hosts(guest):
            return f"{guest.name} is where it must not be"
    return judge.wrong(places, arrived)


def _without(conflict: Conflict, dropped: Member) -> list[Member]:
    """A guest takes its facts along."""
    return [
        member
        for member in conflict.members
        if member != dropped
        and not (dropped.kind is Kind.GUEST and member.kind is Kind.FACT and member.guest == dropped.guest)
    ]


@pytest.mark.parametrize(
    "batch", [*range(QUICK), *(pytest.param(batch, marks=pytest.mark.slow) for batch in range(QUICK, BATCHES))]
)
def test_placement_and_brute_force_agree_on_small_instances(batch: int) -> None:
    feasible = 0
    for seed in range(batch * BATCH, (batch + 1) * BATCH):
        problem = a_random_problem(seed)
        expected = Judge(problem).placement() is not None
        solution = solve(problem)

        assert solution.feasible == expected, seed
        assert not solution.undecided, seed
        if expected:
            assert solution.assignment.keys() == {guest.uid for guest in problem.guests}, seed
        if all(guest.source is not None for guest in problem.guests) or expected:
            assert not _possible_as_a_whole(problem, dict(solution.assignment)), seed
        feasible += expected

        named: set[str] = set()
        for conflict in solution.conflicts:
            assert named.isdisjoint(conflict.guests), seed
            named.update(conflict.guests)
            assert Judge(problem, conflict.members).placement() is None, (seed, conflict.words)
            for member in conflict.members:
                assert Judge(problem, _without(conflict, member)).placement() is not None, (
                    seed,
                    member,
                    conflict.words,
                )
        if named:
            others = [Member(Kind.GUEST, guest.uid) for guest in problem.guests if guest.uid not in named]
            assert Judge(problem, _everything_but(problem, others)).placement() is not None, seed

    assert BATCH // 5 < feasible < BATCH * 4 // 5


def _everything_but(problem: Problem, guests: list[Member]) -> list[Member]:
    """All rules, for these guests only."""
    rooms, resources = range(len(problem.rooms)), range(len(problem.resources))
    return [
        *guests,
        *(Member(Kind.FACT, guest.uid, n) for guest in problem.guests for n in range(len(guest.facts))),
        *(Member(Kind.CAPACITY, number=room, resource=resource) for room in rooms for resource in resources),
        *(Member(Kind.HEADROOM, number=guest.headroom_percent) for guest in problem.guests),
        *(Member(Kind.RULE, number=number) for number in range(len(problem.rules))),
        Member(Kind.HOST_FAILURES),
    ]
