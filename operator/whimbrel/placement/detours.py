"""The cheapest way for a few guests that stand in each other's way, found by looking at every state within reach.

No way that is within reach takes fewer moves, and of those with as few none moves less memory (Dijkstra's algorithm); for a
handful of guests only. Called by `sequence` where guests that simply follow each other need detours or find no way.
"""

from collections.abc import Callable, Sequence
from heapq import heappop, heappush

from whimbrel.placement.board import Board
from whimbrel.placement.problem import Meter

MOST_GUESTS = 8
State = tuple[int | None, ...]
"""Where each of the guests is, in their order."""


def way(
    board: Board, guests: Sequence[int], rooms: Sequence[Sequence[int]], done: Callable[[State], bool], meter: Meter
) -> list[tuple[int, int]] | None:
    """Moves (guest, room) that lead to a state that is `done`; `rooms`: where each may go. None where none was found.

    `done` is asked with the board in that state. Afterwards the board is as before.
    """
    start: State = tuple(board.place.get(guest) for guest in guests)
    memory = [board.frame.problem.guests[guest].demand[0] for guest in guests]
    came: dict[State, tuple[State, int, int]] = {}
    costs: dict[State, tuple[int, int]] = {start: (0, 0)}
    queue = [(0, 0, 0, start)]
    settled: set[State] = set()
    try:
        while queue:
            moves, moved_bytes, _, state = heappop(queue)
            if state in settled:
                continue
            settled.add(state)
            _arrange(board, guests, state)
            if state != start and done(state):
                return _steps(came, state)
            for number, guest in enumerate(guests):
                cost = (moves + 1, moved_bytes + memory[number])
                for room in rooms[number]:
                    after = (*state[:number], room, *state[number + 1 :])
                    if board.stays(guest, room) or costs.get(after, cost) < cost or after in settled:
                        continue
                    if not meter.spend(1):
                        return None
                    board.take(guest)
                    if board.arrive(guest, room, state[number]):
                        if after not in costs or cost < costs[after]:
                            costs[after], came[after] = cost, (state, guest, room)
                            heappush(queue, (*cost, len(costs), after))
                        board.take(guest)
                    board.back(guest, state[number])
        return None
    finally:
        _arrange(board, guests, start)


def _arrange(board: Board, guests: Sequence[int], state: State) -> None:
    for guest in guests:
        board.take(guest)
    for guest, room in zip(guests, state, strict=True):
        board.back(guest, room)


def _steps(came: dict[State, tuple[State, int, int]], state: State) -> list[tuple[int, int]]:
    steps = []
    while state in came:
        state, guest, room = came[state]
        steps.append((guest, room))
    return steps[::-1]
