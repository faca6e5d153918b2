"""Greedy placement: what was chosen stays, who may stay at home stays, then guest by guest, the most constrained first.

On the board everybody who has no place sits at home and counts there, so what is assigned is always possible as a whole.
First no departure is counted, so that the moves can be made in any order; only who then has no room is placed into room
that others leave, and at last by moving others on (`lodge`). Called by `solving`.
"""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from whimbrel.api.migration_plan import Strategy
from whimbrel.placement.board import Board, rooms_of
from whimbrel.placement.problem import Amounts, Meter

_FEW_ROOMS = 24
"""Guests with so few suitable rooms look at each of them."""
_CHAIN = 3
"""At most so many others are moved on for one guest."""
_LOOKED_AT = 12
"""Rooms, and guests in a room, that are considered for being moved on."""


def seat(board: Board, guests: Iterable[int], chosen: Mapping[int, int]) -> None:
    """Place guests that are nowhere as chosen, as far as that is possible together; the others of them sit at home.

    What is asked of the moment of an arrival is not asked: an order may be found, or not.
    """
    for guest in guests:
        room = chosen.get(guest)
        if room is None or not board.open(guest, at_once=False) >> room & 1 or not board.try_put(guest, room):
            board.sit(guest)
    settle(board)


def settle(board: Board) -> None:
    """Send arrivals home until room and rules are kept with everybody counted; the last in order goes first."""
    while (guest := next(_misplaced(board), None)) is not None:
        board.take(guest)
        board.sit(guest)


def _misplaced(board: Board) -> Iterator[int]:
    for room in sorted(board.arrivals):
        if board.overfull(room):
            yield max(guest for guest in board.there[room] if not board.stays(guest, room))
    broken = {number for number, standing in board.standings.items() if not standing.holds()}
    if broken or not board.survives():
        for guest in reversed(board.guests):
            ruled = not broken or not broken.isdisjoint(board.frame.rules_of.get(guest, ()))
            if ruled and board.placed(guest) and not board.stays(guest, board.place[guest]):
                yield guest


def fill(board: Board) -> list[int]:
    """Place everybody who sits at home where there is room before anybody leaves, those who follow others after them. Who is
    left over, in order.

    Linear in guests but for a bisection among the rooms of each class of equal masks.
    """
    left: list[int] = []
    moved = [guest for guest in board.guests if board.placed(guest) and not board.stays(guest, board.place[guest])]
    for guest in moved:
        _keep_home(board, guest, 1)
    waiting = [guest for guest in board.guests if not board.placed(guest)]
    waiting.sort(key=lambda guest: board.frame.followers.get(guest, 0))
    classes = _classes(board, waiting)
    shelves = {same: _Shelf(board, guests, same) for same, guests in _by_class(classes).items()}
    for guest in waiting:
        board.take(guest)
        shelf, allowed = shelves.get(classes[guest]), board.open(guest)
        if shelf is None or allowed.bit_count() <= _FEW_ROOMS:
            rooms: Iterable[int] = by_preference(board, guest, rooms_of(allowed))
        else:
            rooms = shelf.rooms(guest)
        if not _stay(board, guest) and not any(board.try_put(guest, room) for room in rooms):
            board.sit(guest)
            left.append(guest)
        elif not board.stays(guest, board.place[guest]):
            _keep_home(board, guest, 1)
            moved.append(guest)
    for guest in moved:
        _keep_home(board, guest, -1)
    return left


def _keep_home(board: Board, guest: int, factor: int) -> None:
    home = board.source(guest)
    if home is not None:
        board.hold(guest, home, factor)


def _stay(board: Board, guest: int) -> bool:
    home = board.source(guest)
    return home is not None and bool(board.open(guest) >> home & 1) and board.try_put(guest, home)


def _strategy(board: Board, guest: int) -> Strategy:
    return board.frame.problem.guests[guest].strategy


def by_preference(board: Board, guest: int, rooms: Iterable[int]) -> list[int]:
    """Spread: most memory free first; Pack: least; then by name."""
    sign = 1 if _strategy(board, guest) is Strategy.PACK else -1
    return sorted(rooms, key=lambda room: (sign * board.left[room][0], room))


class _Class(NamedTuple):
    """What guests have in common that look for a room on the same shelf."""

    mask: int
    strategy: Strategy
    percent: int


def _classes(board: Board, guests: list[int]) -> dict[int, _Class]:
    """By guest its class. The mask holds all its rooms, and its source, too, where that makes more guests alike: those of
    a cluster that is rebalanced differ in nothing else.
    """
    masks = {}
    for guest in guests:
        home = board.source(guest)
        masks[guest] = board.domains[guest] | (0 if home is None else 1 << home)
    plain, wide = Counter(board.domains[guest] for guest in guests), Counter(masks.values())
    found = {}
    for guest, mask in masks.items():
        entry, domain = board.frame.problem.guests[guest], board.domains[guest]
        found[guest] = _Class(mask if wide[mask] > plain[domain] else domain, entry.strategy, entry.headroom_percent)
    return found


def _by_class(classes: Mapping[int, _Class]) -> dict[_Class, list[int]]:
    """Guests of each class with so many rooms that it gets a shelf."""
    found: dict[_Class, list[int]] = {}
    for guest, same in classes.items():
        if same.mask.bit_count() > _FEW_ROOMS:
            found.setdefault(same, []).append(guest)
    return found


class _Shelf:
    """The rooms of a class by free memory. That only shrinks meanwhile, so a stale entry is put right when it is met."""

    def __init__(self, board: Board, guests: Iterable[int], same: _Class) -> None:
        self._board = board
        self._sign = 1 if same.strategy is Strategy.PACK else -1
        self._reserved = [board.frame.reserve(room, same.percent) for room in range(len(board.frame.base))]
        self._entries = sorted((self._free(room), self._sign * room) for room in rooms_of(same.mask))
        demands = (board.frame.problem.guests[guest].demand for guest in guests)
        self._least = tuple(min(amounts) for amounts in zip(*demands, strict=True))
        self._hopeless: set[Amounts] = set()

    def _free(self, room: int) -> int:
        return self._board.left[room][0] - self._reserved[room]

    def rooms(self, guest: int) -> Iterator[int]:
        """Rooms to try, the preferred first, while nothing is placed in between."""
        board = self._board
        entry = board.frame.problem.guests[guest]
        ruled = guest in board.frame.rules_of
        if entry.demand in self._hopeless and not ruled:
            return
        allowed = board.open(guest)
        position = bisect_left(self._entries, (entry.demand[0],)) if self._sign > 0 else len(self._entries) - 1
        while 0 <= position < len(self._entries):
            noted, signed = self._entries[position]
            room = self._sign * signed
            free = self._free(room)
            if free != noted:
                del self._entries[position]
                insort(self._entries, (free, signed))
                continue
            if self._sign < 0 and noted < entry.demand[0]:
                break
            if any(least and least > amount for least, amount in zip(self._least, board.left[room], strict=True)):
                del self._entries[position]
                position -= self._sign < 0
                continue
            if allowed >> room & 1:
                yield room
            position += self._sign
        if not ruled:
            self._hopeless.add(entry.demand)


def squeeze(board: Board, waiting: Iterable[int], meter: Meter) -> list[int]:
    """Place who sits at home into what others leave, moving others on where need be. Who is still left over, in order."""
    left = list(waiting)
    before = len(left) + 1
    while len(left) < before:
        before, again = len(left), []
        hopeless: set[object] = set()
        for guest in left:
            entry = board.frame.problem.guests[guest]
            likeness = (board.domains[guest], entry.demand, entry.headroom_percent)
            if likeness in hopeless and guest not in board.frame.rules_of:
                again.append(guest)
                continue
            board.take(guest)
            if not lodge(board, guest, _CHAIN, meter):
                board.sit(guest)
                again.append(guest)
                hopeless.add(likeness)
        left = again
    return left


def lodge(board: Board, guest: int, others: int, meter: Meter, barred: int = 0) -> bool:
    """Place a guest that is nowhere, moving on at most so many others. The board is as before where that fails."""
    rooms = by_preference(board, guest, rooms_of(board.open(guest) & ~barred))
    if not meter.spend(1 + len(rooms)):
        return False
    if any(board.try_put(guest, room) for room in rooms):
        return True
    if not others:
        return False
    suitable = rooms_of(board.domains[guest] & ~barred)
    suitable.sort(key=lambda room: (-board.left[room][0], room))
    for room in suitable[:_LOOKED_AT]:
        for other in sorted(board.there.get(room, ()), reverse=True)[:_LOOKED_AT]:
            board.take(other)
            if board.open(guest) >> room & 1 and board.try_put(guest, room):
                if lodge(board, other, others - 1, meter, barred | 1 << room):
                    return True
                board.take(guest)
            board.put(other, room)
            if not meter.spend(1):
                return False
    return False
