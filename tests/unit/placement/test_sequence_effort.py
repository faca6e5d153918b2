"""What ordering many moves may cost, and what it must reach at least: hosts that are nearly full and exchange guests."""

import random

import pytest

from support.placements import a_guest, a_problem, a_room
from whimbrel.placement import Problem, sequence
from whimbrel.placement.board import Board, Frame

MOST_ARRIVALS_TRIED = 200_000


def _shuffled(guests: int, seed: int) -> tuple[Problem, dict[str, int]]:
    """Four guests on each host, hardly any memory free, and everybody on the host of somebody else afterwards."""
    dice = random.Random(seed)
    hosts = guests // 4
    rooms = [
        a_room(f"h{n:03}", memory=dice.choice([0, 0, 1, 2]), cpu=1000, allocatable=(16, 1000)) for n in range(hosts)
    ]
    movers = [a_guest(f"v{n:03}", memory=dice.choice([2, 3, 4, 5]), source=n % hosts) for n in range(guests)]
    targets = [n % hosts for n in range(guests)]
    dice.shuffle(targets)
    return a_problem(rooms, movers), {guest.uid: room for guest, room in zip(movers, targets, strict=True)}


def _directly(problem: Problem, assignment: dict[str, int]) -> int:
    """How many get there if each goes as soon as it can, and nobody ever makes way."""
    board = Board(Frame(problem))
    for guest in board.guests:
        board.sit(guest)
    waiting = [n for n, guest in enumerate(problem.guests) if assignment[guest.uid] != guest.source]
    arrived = 0
    while True:
        left = []
        for guest in waiting:
            home = board.source(guest)
            board.take(guest)
            if not board.arrive(guest, assignment[problem.guests[guest].uid], home):
                board.back(guest, home)
                left.append(guest)
        if len(left) == len(waiting):
            return arrived
        arrived, waiting = arrived + len(waiting) - len(left), left


@pytest.mark.parametrize("seed", range(2))
def test_an_order_of_240_guests_that_are_in_each_others_way_is_looked_for_within_bounds(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = 0
    arrive = Board.arrive

    def counted(board: Board, guest: int, room: int, leaving: int | None) -> bool:
        nonlocal tried
        tried += 1
        return arrive(board, guest, room, leaving)

    monkeypatch.setattr(Board, "arrive", counted)
    sequence(*_shuffled(240, seed))

    assert 0 < tried < MOST_ARRIVALS_TRIED


@pytest.mark.parametrize(
    ("guests", "seed"), [(20, 0), (20, 1), (40, 0), (40, 1), (80, 0), (120, 0), (120, 2), (240, 0)]
)
def test_no_fewer_arrive_than_by_going_as_soon_as_they_can(guests: int, seed: int) -> None:
    problem, assignment = _shuffled(guests, seed)
    order = sequence(problem, assignment)

    stuck = {stuck.guest for stuck in order.stuck}
    arrived = {step.guest for step in order.steps} - stuck
    assert len(arrived) >= _directly(problem, assignment)
    assert stuck.isdisjoint(step.guest for step in order.steps)


def test_most_guests_of_nearly_full_hosts_arrive_although_some_are_stuck_on_their_way() -> None:
    problem, assignment = _shuffled(240, 0)

    order = sequence(problem, assignment)

    assert len(order.stuck) < 33, "so many were left when nobody who had gone aside was looked at again"
