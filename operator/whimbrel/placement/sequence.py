"""In which order the guests move so that every state in between is possible, by way of a detour host where need be.

A guest takes room at its target before it gives back its source, so two full hosts cannot swap guests directly: one of
them first goes to a third host. Rules are asked of each arrival, as the scheduler does. Called once placement is solved.
"""

from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import replace
from functools import partial

from whimbrel.placement.assign import by_preference
from whimbrel.placement.board import Board, Frame, rooms_of
from whimbrel.placement.detours import MOST_GUESTS, State, way
from whimbrel.placement.problem import Apart, Meter, Problem
from whimbrel.placement.steps import Sequence, Step, Stuck, behind

_TARGETS = 8
"""Detour hosts that are considered for one guest."""
_EXPLORED = 80_000
"""Moves that are looked at in all where simple detours fail."""
_EXPLORED_AT_ONCE = 20_000
"""Moves that one question may take of them."""
_CALLED_BACK = 8
"""So often those are called back that are stuck on their way; after that, everybody who went aside."""
_ASIDE = 4
"""At most so many guests make way for one that is stuck."""
_RECONSIDERED = 32
"""Guests that are looked at once more: those that found no way, and those that went aside. It costs a replay of all steps."""


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
        self._meter = Meter(_EXPLORED)
        self._placed: dict[int, int] = {}
        """Rooms as assigned, be it their own; the other guests are not ours to move."""
        for number, guest in enumerate(problem.guests):
            self._board.sit(number)
            room = assignment.get(guest.uid)
            if room is not None:
                self._placed[number] = room
        self._begin_anew()

    def run(self) -> Sequence:
        """The best order that was found: fewest guests are stuck, then fewest steps.

        Who is stuck does not even begin, and nobody counts on the room that it would have left.
        """
        self._walk()
        if self._waiting():
            self._choose(self._follow)
        if self._waiting():
            self._choose(self._find)
        self._polish()
        waiting = self._waiting()
        stuck = tuple(self._explain(guest, waiting) for guest in waiting)
        guests, last = self._frame.problem.guests, {step.guest: number for number, step in enumerate(self._steps)}
        steps = tuple(replace(step, detour=number != last[step.guest]) for number, step in enumerate(self._steps))
        rerouted = {guests[g].uid: room for g, room in sorted(self._target.items()) if self._placed.get(g) != room}
        return Sequence(steps, stuck, rerouted)

    def _choose(self, search: Callable[[], None]) -> None:
        """Begin anew, and keep what is found unless it is no better than what was found before."""
        steps, targets, waiting = list(self._steps), dict(self._target), len(self._waiting())
        self._begin_anew()
        search()
        self._walk()
        self._stay_on_the_way()
        self._call_back()
        if (len(self._waiting()), len(self._steps)) >= (waiting, len(steps)):
            self._return_to(steps, targets)

    def _walk(self, barred: Set[int] = frozenset()) -> bool:
        """Who can go to its target goes, and after it who can go then; nobody to a barred room. Whether anybody went."""
        began, waiting = len(self._steps), self._waiting()
        while waiting:
            left = [g for g in waiting if self._target[g] in barred or not self._go(g, self._target[g])]
            if len(left) == len(waiting):
                break
            waiting = left
        return len(self._steps) > began

    def _follow(self) -> None:
        """By way of the rooms that were chosen before, by those that cannot do without; until then these are left to them."""
        guests = self._frame.problem.guests
        via = {guest: room for guest in self._waiting() if (room := guests[guest].via) is not None}
        while self._walk(frozenset(via.values())) or self._go_aside(via) or self._walk():
            via = {guest: room for guest, room in via.items() if self._board.place.get(guest) != self._target[guest]}

    def _go_aside(self, via: dict[int, int]) -> bool:
        """The first that can goes aside, and is on its way from then on."""
        for guest, room in via.items():
            if room != self._board.place.get(guest) and self._go(guest, room):
                del via[guest]
                return True
        return False

    def _find(self) -> None:
        """By detours, by looking further, and once more with another beginning."""
        self._proceed(list(self._target))
        self._stay_on_the_way()
        self._call_back()
        waiting = self._waiting()
        if 0 < len(waiting) <= _RECONSIDERED:
            self._choose(partial(self._stuck_first, waiting))

    def _polish(self) -> None:
        """With fewer moves, where that is possible."""
        stuck = bool(self._waiting())
        if len(self._placed) <= MOST_GUESTS:
            if stuck or len(self._steps) > self._fewest():
                self._shorten(complete=not stuck)
        elif not stuck:
            self._settle_on_the_way()

    def _adrift(self) -> list[int]:
        """Who is stuck on its way."""
        return [guest for guest in self._waiting() if self._board.place.get(guest) != self._board.source(guest)]

    def _stay_on_the_way(self) -> None:
        """Who is stuck on its way stays where it is if all rules that name it hold there."""
        for guest in self._adrift():
            if self._board.holds(guest):
                self._target[guest] = self._board.place[guest]

    def _call_back(self) -> None:
        """Who is stuck on its way does not even begin. What is not possible without its steps is not done either.

        Who was called back goes directly or not at all, so that each round leaves fewer who may be stuck on their way.
        """
        positions = self._frame.positions
        called: set[int] = set()
        rounds = 0
        while adrift := self._adrift():
            rounds += 1
            if rounds > _CALLED_BACK:
                adrift = [positions[step.guest] for step in self._steps if step.detour] + adrift
            called.update(adrift)
            steps = self._steps[:]
            self._undo(0)
            for guest in adrift:
                self._aim(guest)
            for step in steps:
                guest = positions[step.guest]
                if guest not in called and guest in self._target and self._board.place.get(guest) != step.target:
                    self._go(guest, step.target)
            self._walk()

    def _aim(self, guest: int) -> None:
        """At the room that it was assigned."""
        room = self._placed[guest]
        self._target.pop(guest, None)
        if not self._board.stays(guest, room):
            self._target[guest] = room

    def _proceed(self, waiting: list[int]) -> None:
        """Move whoever can move; where nobody can, let somebody make way; where that does not help, look further."""
        while waiting:
            left = [guest for guest in waiting if not self._go(guest, self._target[guest])]
            if len(left) == len(waiting) and not any(self._make_way(guest, left) for guest in left):
                for knot in self._knots(left):
                    self._wander(knot)
                return
            waiting = [guest for guest in left if self._board.place.get(guest) != self._target[guest]]

    def _stuck_first(self, first: list[int]) -> None:
        """Those first that found no way: who could go at once may have taken their detour."""
        self._proceed([guest for guest in first if guest in self._target])
        self._proceed([guest for guest in self._waiting() if guest not in first])
        self._proceed(self._waiting())

    def _return_to(self, steps: Iterable[Step], targets: dict[int, int]) -> None:
        """What was found before."""
        self._undo(0)
        self._target = targets
        self._repeat(steps)

    def _waiting(self) -> list[int]:
        return [guest for guest, room in self._target.items() if self._board.place.get(guest) != room]

    def _begin_anew(self) -> None:
        self._undo(0)
        self._target = {guest: room for guest, room in self._placed.items() if not self._board.stays(guest, room)}

    def _fewest(self) -> int:
        """No way takes fewer moves: one for each guest that may not stay where it is."""
        board = self._board
        return sum(
            not (board.domains[guest] >> home & 1)
            for guest in self._placed
            if (home := board.source(guest)) is not None
        )

    def _settle_on_the_way(self) -> None:
        """Who went aside stays there instead of going on, where that is as good: a move less."""
        detoured = sorted({self._frame.positions[step.guest] for step in self._steps if step.detour})
        for guest in detoured[:_RECONSIDERED]:
            steps, target = list(self._steps), self._target[guest]
            own = [number for number, step in enumerate(steps) if self._frame.positions[step.guest] == guest]
            if len(own) < 2:
                continue
            self._undo(0)
            self._target[guest] = steps[own[-2]].target
            others = (step for number, step in enumerate(steps) if number != own[-1])
            if all(self._go(self._frame.positions[step.guest], step.target) for step in others) and self._is_as_good():
                continue
            self._return_to(steps, self._target | {guest: target})

    def _is_as_good(self) -> bool:
        """Whether everybody who was assigned a room is in one that suits, with everybody counted."""
        board = self._board
        suits = all(board.domains[guest] >> board.place[guest] & 1 for guest in self._placed)
        return suits and not any(board.overfull(room) for room in board.arrivals) and board.keeps()

    def _shorten(self, *, complete: bool) -> None:
        """Among a handful of guests, the cheapest of all ways instead of the one that was found, where that is dearer.

        `complete`: whether the one that was found leads everybody to a target.
        """
        company = sorted(self._placed)
        if len(company) > MOST_GUESTS or any(self._board.source(guest) is None for guest in company):
            return
        steps, targets = list(self._steps), dict(self._target)
        self._begin_anew()
        if not self._search_way(company) or (complete and len(self._steps) >= len(steps)):
            self._return_to(steps, targets)

    def _repeat(self, steps: Iterable[Step]) -> None:
        """Take steps that are known to be possible."""
        for step in steps:
            guest = self._frame.positions[step.guest]
            self._steps.append(step)
            self._board.take(guest)
            self._board.back(guest, step.target)

    def _knots(self, waiting: list[int]) -> list[list[int]]:
        """Those that wait, parted into groups that have no room in common."""
        knots: list[tuple[int, list[int]]] = []
        for guest in waiting:
            mask, group, apart = 1 << self._target[guest], [guest], []
            mask |= sum(1 << room for room in (self._board.place.get(guest),) if room is not None)
            for knot in knots:
                if knot[0] & mask:
                    mask, group = mask | knot[0], [*knot[1], *group]
                else:
                    apart.append(knot)
            knots = [*apart, (mask, group)]
        return [sorted(group) for _, group in knots]

    def _wander(self, knot: list[int]) -> None:
        """Any way to where these are to go, else to where they can be as well; also of others that are in their way.

        With a handful of moves in all, from the very beginning.
        """
        if len(knot) > MOST_GUESTS:
            return
        gone = list(self._steps) if len(self._target) <= MOST_GUESTS else []
        if gone:
            self._undo(0)
        company = self._company(list(self._target) if gone else knot)
        if not self._search_way(company):
            self._repeat(gone)

    def _company(self, knot: list[int]) -> list[int]:
        """These and, as far as a handful goes, others in the rooms that they leave or want."""
        board = self._board
        near = {self._target[guest] for guest in knot} | {board.place.get(guest) for guest in knot}
        others = [guest for guest in self._placed if board.place.get(guest) in near]
        return sorted(list(dict.fromkeys([*knot, *others]))[:MOST_GUESTS])

    def _search_way(self, company: list[int]) -> bool:
        board = self._board
        wanted = tuple(self._target.get(guest, board.place.get(guest)) for guest in company)
        rooms = [self._rooms_near(guest, company) for guest in company]
        suitable = [board.domains[guest] for guest in company]

        def as_good(state: State) -> bool:
            suits = all(room is not None and mask >> room & 1 for room, mask in zip(state, suitable, strict=True))
            return suits and not any(board.overfull(room) for room in board.arrivals) and board.keeps()

        direct = self._way(company, rooms, lambda state: state == wanted)
        found = self._way(company, rooms, as_good)
        if direct is not None and (found is None or len(direct) <= len(found)):
            found = direct
        if found is None:
            return False
        self._target.update((guest, room) for guest in company if (room := board.place.get(guest)) is not None)
        self._target.update(found)
        for number, (guest, room) in enumerate(found):
            last = all(other != guest for other, _ in found[number + 1 :])
            self._note(guest, board.place.get(guest), room, detour=not last)
            board.take(guest)
            board.put(guest, room)
        return True

    def _way(
        self, company: list[int], rooms: list[list[int]], done: Callable[[State], bool]
    ) -> list[tuple[int, int]] | None:
        """The cheapest way, as far as the steps of this sequence go."""
        meter = Meter(min(self._meter.left, _EXPLORED_AT_ONCE))
        found = way(self._board, company, rooms, done, meter)
        self._meter.spend(min(meter.spent, self._meter.left))
        return found

    def _rooms_near(self, guest: int, waiting: list[int]) -> list[int]:
        """Rooms that are of interest to a guest: those of the others, and some that it would prefer."""
        board = self._board
        rooms = by_preference(board, guest, rooms_of(board.domains[guest]))[:_TARGETS]
        near = {self._target.get(other) for other in waiting} | {board.place.get(other) for other in waiting}
        return sorted({*rooms, *(room for room in near if room is not None)})

    def _go(self, guest: int, room: int) -> bool:
        """One step, if it is possible now."""
        board = self._board
        before = board.place.get(guest)
        board.take(guest)
        if board.arrive(guest, room, before):
            self._note(guest, before, room, detour=room != self._target[guest])
            return True
        board.back(guest, before)
        return False

    def _note(self, guest: int, source: int | None, target: int, *, detour: bool) -> None:
        self._steps.append(Step(self._frame.problem.guests[guest].uid, source, target, detour))

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
            self._board.back(guest, step.source)
            self._detoured.discard(guest)

    def _explain(self, guest: int, waiting: Iterable[int]) -> Stuck:
        problem, room = self._frame.problem, self._target[guest]
        leaving = [problem.guests[other] for other in waiting if self._board.place.get(other) == room]
        here = self._board.place.get(guest)
        self._board.take(guest)
        refusing = [problem.rules[number] for number in self._board.refusing(guest, room, here)]
        self._board.back(guest, here)
        rule = next((rule for rule in refusing if not isinstance(rule, Apart)), None)
        retell = partial(behind, problem.guests[guest], problem.rooms[room].name, leaving, rule)
        return Stuck(problem.guests[guest].uid, retell(), retell)
