"""In which order the guests move so that every state in between is possible, by way of a detour host where need be.

A guest takes room at its target before it gives back its source, so two full hosts cannot swap guests directly: one of
them first goes to a third host. Rules are asked of each arrival, as the scheduler does. Called once placement is solved.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from whimbrel.placement.assign import by_preference
from whimbrel.placement.board import Board, Frame, rooms_of
from whimbrel.placement.problem import Problem
from whimbrel.placement.wording import names

_TARGETS = 8
"""Detour hosts that are considered for one guest."""
_ASIDE = 4
"""At most so many guests make way for one that is stuck."""


@dataclass(frozen=True, slots=True)
class Step:
    """One migration, possible when all steps before it have ended."""

    guest: str
    """UID."""
    source: int | None
    target: int
    detour: bool
    """Whether the target is not where it is to stay."""


@dataclass(frozen=True, slots=True)
class Stuck:
    """A guest that has a place to go and no way there."""

    guest: str
    """UID."""
    words: str


@dataclass(frozen=True, slots=True)
class Sequence:
    """The steps in order, and who cannot be moved by any order that was found."""

    steps: tuple[Step, ...]
    stuck: tuple[Stuck, ...]


def sequence(problem: Problem, assignment: Mapping[str, int]) -> Sequence:
    """Order the moves of an assignment (room by guest UID). Guests that stay, or have no room, are not moved."""
    return _Journey(problem, assignment).run()


class _Journey:
    def __init__(self, problem: Problem, assignment: Mapping[str, int]) -> None:
        frame = Frame(problem)
        self._frame = frame
        self._board = Board(frame)
        self._steps: list[Step] = []
        self._target: dict[int, int] = {}
        self._detoured: set[int] = set()
        for number, guest in enumerate(problem.guests):
            self._board.sit(number)
            room = assignment.get(guest.uid)
            if room is not None and room != guest.source:
                self._target[number] = room

    def run(self) -> Sequence:
        """Move whoever can move; where nobody can, let somebody make way; where that does not help, say who is stuck."""
        waiting = list(self._target)
        while waiting:
            left = [guest for guest in waiting if not self._go(guest, self._target[guest])]
            if len(left) == len(waiting) and not any(self._make_way(guest, left) for guest in left):
                return Sequence(tuple(self._steps), tuple(self._explain(guest, left) for guest in left))
            waiting = [guest for guest in left if self._board.place.get(guest) != self._target[guest]]
        return Sequence(tuple(self._steps), ())

    def _go(self, guest: int, room: int) -> bool:
        """One step, if it is possible now."""
        board = self._board
        before = board.place.get(guest)
        board.take(guest)
        if board.domains[guest] >> room & 1 and self._arrives(guest, room):
            self._steps.append(
                Step(self._frame.problem.guests[guest].uid, before, room, detour=room != self._target[guest])
            )
            return True
        self._return(guest, before)
        return False

    def _arrives(self, guest: int, room: int) -> bool:
        board = self._board
        if not board.open(guest) >> room & 1 or not board.fits(guest, room):
            return False
        board.put(guest, room)
        if board.survives():
            return True
        board.take(guest)
        return False

    def _return(self, guest: int, before: int | None) -> None:
        if before is None:
            return
        if self._board.stays(guest, before):
            self._board.sit(guest)
        else:
            self._board.put(guest, before)

    def _make_way(self, guest: int, waiting: list[int]) -> bool:
        """Detours of guests that wait themselves, until this one can go; undone where it cannot. Few, then small ones."""
        room = self._target[guest]
        board, guests = self._board, self._frame.problem.guests
        there = [
            other
            for other in waiting
            if other != guest and board.place.get(other) == room and other not in self._detoured
        ]
        there.sort(key=lambda other: (guests[other].demand, other))
        for aside in (*([other] for other in there), there[::-1][:_ASIDE]):
            began = len(self._steps)
            for other in aside:
                if self._step_aside(other) and self._go(guest, room):
                    return True
            self._undo(began)
        return False

    def _step_aside(self, guest: int) -> bool:
        """To the preferred host that is neither its own nor its target nor wanted by as many as it has room for."""
        barred = {self._board.place[guest], self._target[guest]}
        rooms = [room for room in rooms_of(self._board.domains[guest]) if room not in barred]
        for room in by_preference(self._board, guest, rooms)[:_TARGETS]:
            if self._go(guest, room):
                self._detoured.add(guest)
                return True
        return False

    def _undo(self, began: int) -> None:
        """Take back the steps from the `began`th on."""
        while len(self._steps) > began:
            step = self._steps.pop()
            guest = self._frame.positions[step.guest]
            self._board.take(guest)
            self._return(guest, step.source)
            self._detoured.discard(guest)

    def _explain(self, guest: int, waiting: Iterable[int]) -> Stuck:
        problem, board = self._frame.problem, self._board
        room = self._target[guest]
        target = problem.rooms[room].name
        name = problem.guests[guest].name
        leaving = sorted(problem.guests[other].name for other in waiting if board.place.get(other) == room)
        if leaving:
            words = f"{name} can go to {target} only after {names(leaving)}, and no other host can take one in between"
        else:
            words = f"{name} cannot go to {target} in any order: a rule stands against every state in between"
        return Stuck(problem.guests[guest].uid, words)
