"""The shortest way for a few guests that stand in each other's way, found by looking at every state within reach.

Breadth first, so no way has fewer steps; for a handful of guests only. Called by `sequence` where simple detours fail.
"""

from collections import deque
from collections.abc import Callable, Sequence

from whimbrel.placement.board import Board
from whimbrel.placement.problem import Meter

MOST_GUESTS = 6
State = tuple[int | None, ...]
"""Where each of the guests is, in their order."""


def way(
    board: Board, guests: Sequence[int], rooms: Sequence[Sequence[int]], done: Callable[[State], bool], meter: Meter
) -> list[tuple[int, int]] | None:
    """Moves (guest, room) that lead to a state that is `done`; `rooms`: where each may go. None where none was found.

    `done` is asked with the board in that state. Afterwards the board is as before.
    """
    start: State = tuple(board.place.get(guest) for guest in guests)
    came: dict[State, tuple[State, int, int]] = {}
    seen, queue = {start}, deque([start])
    try:
        while queue:
            state = queue.popleft()
            _arrange(board, guests, state)
            for number, guest in enumerate(guests):
                for room in rooms[number]:
                    after = (*state[:number], room, *state[number + 1 :])
                    if after in seen or board.stays(guest, room):
                        continue
                    if not meter.spend(1):
                        return None
                    board.take(guest)
                    if board.arrive(guest, room):
                        seen.add(after)
                        came[after] = (state, guest, room)
                        if done(after):
                            return _steps(came, after)
                        queue.append(after)
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
