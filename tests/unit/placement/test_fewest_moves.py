"""Fewest moves: on small instances no order of migrations whatever does with fewer, and none is overlooked."""

from heapq import heappop, heappush

import pytest

from support.placements import Judge, a_random_problem
from whimbrel.placement import Kind, Member, Problem, sequence, solve

BATCH = 150
BATCHES = 20
QUICK = 2
"""So many batches are asked at every run of the unit tests, the others with the longer tiers."""

Places = tuple[int | None, ...]


class _EveryWay:
    """All states that migrations can lead to, one after the other; shares no code with what it judges."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._judge = Judge(problem)
        rooms, resources = range(len(problem.rooms)), range(len(problem.resources))
        self._room_only = Judge(
            problem,
            [
                *(Member(Kind.GUEST, guest.uid) for guest in problem.guests),
                *(Member(Kind.CAPACITY, number=room, resource=resource) for room in rooms for resource in resources),
                *(Member(Kind.HEADROOM, number=guest.headroom_percent) for guest in problem.guests),
                Member(Kind.HOST_FAILURES),
            ],
        )
        self._hosts = [self._judge.hosts(guest) for guest in problem.guests]

    def cheapest(self) -> tuple[int, int] | None:
        """Moves and memory moved of the cheapest way to a state that is as it must be; None where no way leads to one."""
        start: Places = tuple(guest.source for guest in self._problem.guests)
        costs, queue = {start: (0, 0)}, [(0, 0, 0, start)]
        while queue:
            moves, moved, _, state = heappop(queue)
            if costs[state] < (moves, moved):
                continue
            if self._is_done(state):
                return moves, moved
            for number, guest in enumerate(self._problem.guests):
                for host in self._hosts[number]:
                    after = (*state[:number], host, *state[number + 1 :])
                    cost = (moves + 1, moved + guest.demand[0])
                    known = costs.get(after)
                    if host in (state[number], guest.source) or (known is not None and known <= cost):
                        continue
                    if self._may_arrive(state, after, guest.uid, host):
                        costs[after] = cost
                        heappush(queue, (*cost, len(costs), after))
        return None

    def _places(self, state: Places) -> dict[str, int]:
        return {g.uid: room for g, room in zip(self._problem.guests, state, strict=True) if room is not None}

    def _arrived(self, state: Places) -> frozenset[str]:
        guests = zip(self._problem.guests, state, strict=True)
        return frozenset(guest.uid for guest, room in guests if room != guest.source)

    def _is_done(self, state: Places) -> bool:
        suits = all(room in hosts for room, hosts in zip(state, self._hosts, strict=True))
        return suits and not self._judge.wrong(self._places(state), self._arrived(state))

    def _may_arrive(self, before: Places, after: Places, uid: str, host: int) -> bool:
        """Rules are asked of who arrives, its launcher still being where it leaves; room and headroom are kept for everybody
        who has arrived by then.
        """
        refused = self._judge.refuses(self._places(before), uid, host)
        return not (refused or self._room_only.wrong(self._places(after), self._arrived(after)))


@pytest.mark.parametrize(
    "batch", [*range(QUICK), *(pytest.param(batch, marks=pytest.mark.slow) for batch in range(QUICK, BATCHES))]
)
def test_no_way_takes_fewer_moves_and_where_there_is_one_it_is_found(batch: int) -> None:
    compared = 0
    for seed in range(batch * BATCH, (batch + 1) * BATCH):
        problem = a_random_problem(seed, running=True)
        solution = solve(problem)
        if not solution.feasible:
            continue
        order, cheapest = sequence(problem, solution.assignment), _EveryWay(problem).cheapest()

        assert (cheapest is None) == bool(order.stuck), seed
        if cheapest is not None:
            assert len(order.steps) == cheapest[0], seed
            compared += 1
    assert compared > BATCH // 5
