"""Exact search: every placement of some guests is tried, or shown to be pointless, until one does or the steps are spent.

Backtracking over the guest with the fewest rooms left, with forward checking. Equal guests and untouched equal rooms are
tried once. Deterministic; bounded by steps. Called by `solving` for what greedy left over, and by `conflicts` as the oracle.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from whimbrel.placement.board import Board, Frame, rooms_of
from whimbrel.placement.problem import Apart, Member, Meter, Rule, Together

MOST_GUESTS = 400
"""More are not searched: the stack ends, and so does hope."""


@dataclass(frozen=True, slots=True)
class Feasible:
    """Everybody is placed: room by guest."""

    rooms: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Infeasible:
    """There is no placement of all."""


@dataclass(frozen=True, slots=True)
class Undecided:
    """The steps were spent first. `rooms` places the most guests that were placed at once."""

    rooms: Mapping[int, int]


def search(
    frame: Frame,
    guests: Iterable[int],
    meter: Meter,
    without: frozenset[Member] = frozenset(),
    first: Mapping[int, int] | None = None,
) -> Feasible | Infeasible | Undecided:
    """Place these guests as if there were no others, without some rules. `first`: the room to try first, by guest."""
    listed = list(guests)
    if not meter.spend(1 + len(listed)):
        return Undecided({})
    board = Board(frame, listed, without, one_by_one=False)
    if not all(board.domains.values()) or _overbooked(board):
        return Infeasible()
    if len(board.guests) > MOST_GUESTS:
        return Undecided({})
    return _Search(board, meter, first or {}).run()


def _overbooked(board: Board) -> bool:
    """Whether those who have only the rooms of one guest ask for more than these have in all, or are more than fit in.

    Counting sees at once what searching would not end with: one guest more than there are rooms for, all of them equal.
    """
    frame, guests = board.frame, board.frame.problem.guests
    if any(
        home is not None and board.domains[guest] >> home & 1
        for guest in board.guests
        for home in (board.source(guest),)
    ):
        return False
    for mask in sorted(set(board.domains.values()))[:64]:
        inside = [guest for guest in board.guests if not board.domains[guest] & ~mask]
        percent = min((guests[guest].headroom_percent for guest in inside), default=0)
        for resource in range(len(frame.problem.resources)):
            demands = [guests[guest].demand[resource] for guest in inside]
            most = [board.most(room, resource, percent) for room in rooms_of(mask)] if any(demands) else []
            if sum(demands) > sum(most) or (min(demands) and len(demands) > sum(room // min(demands) for room in most)):
                return True
        if any(_outnumbered(board, number, mask, inside) for number in board.standings):
            return True
    return False


def _outnumbered(board: Board, number: int, mask: int, inside: Iterable[int]) -> bool:
    """Whether more of these arrivals must keep apart than there are domains within the mask."""
    rule = board.frame.problem.rules[number]
    if not isinstance(rule, Apart):
        return False
    domains = [domain & mask for domain in rule.domains if domain & mask]
    apart = sum(board.frame.problem.guests[guest].uid in rule.guests for guest in inside)
    return apart > len(domains) and not mask & ~sum(domains)


def likeness(frame: Frame, guest: int, domain: int) -> object:
    """Equal for guests that may change places in any placement; `domain`: the rooms that suit."""
    entry = frame.problem.guests[guest]
    home = entry.source if entry.source is not None and domain >> entry.source & 1 else None
    bound = []
    for number in frame.rules_of.get(guest, ()):
        rule = frame.problem.rules[number]
        partner = isinstance(rule, Together) and entry.uid in rule.partners
        mine = entry.source if partner and entry.uid in rule.guests else None
        at_home = -1 if mine is None else frame.domain_maps[rule.domains][mine]
        bound.append((number, entry.uid in rule.guests, partner, at_home))
    return entry.demand, domain, home, entry.headroom_percent, tuple(bound)


class _Search:
    """One search. `_weight` remembers which guests ran out of rooms, so that trouble is met early."""

    def __init__(self, board: Board, meter: Meter, first: Mapping[int, int]) -> None:
        self._board = board
        self._first = first
        self._meter = meter
        self._weight = dict.fromkeys(board.guests, 1)
        self._best: dict[int, int] = {}
        self._twin: dict[int, int] = {}
        """The equal guest before each that has one; it is placed first, and no further down the rooms."""
        last: dict[object, int] = {}
        for guest in board.guests:
            same = likeness(board.frame, guest, board.domains[guest])
            if same in last:
                self._twin[guest] = last[same]
            last[same] = guest
        self._masks = sorted(set(board.domains.values()))
        self._homes = {board.source(guest) for guest in board.guests}
        self._looks: dict[int, object] = {}

    def _look(self, number: int) -> object:
        """What tells a room from others before anybody is placed; equal rooms are interchangeable while untouched."""
        board, problem = self._board, self._board.frame.problem
        if number not in self._looks:
            room, bit = problem.rooms[number], 1 << number
            special: list[object] = [number] if number in self._homes else []
            for position in board.standings:
                rule = problem.rules[position]
                index = board.frame.domain_maps[rule.domains][number]
                if index >= 0:
                    alone = rule.domains[index] == bit
                    special.append((position, _fixed(rule, index) if alone else (index,)))
            self._looks[number] = (
                tuple(bool(mask & bit) for mask in self._masks),
                tuple(board.frame.base[number]),
                room.allocatable[0],
                room.restarts,
                tuple(board.loose(number)),
                tuple(special),
            )
        return self._looks[number]

    def run(self) -> Feasible | Infeasible | Undecided:
        """Search from the empty board."""
        found = self._place(self._board.guests)
        if found is None:
            return Undecided(self._best)
        return Feasible(dict(self._board.place)) if found else Infeasible()

    def _place(self, waiting: list[int]) -> bool | None:
        """Place all that wait; None where the steps are spent."""
        board = self._board
        if len(board.place) > len(self._best):
            self._best = dict(board.place)
        if not waiting:
            return True
        chosen, rooms = -1, list[int]()
        fewest = 0.0
        for guest in waiting:
            found = self._rooms(guest)
            if not self._meter.spend(1 + len(found)):
                return None
            if not found:
                self._weight[guest] += 1
                return False
            score = len(found) / self._weight[guest]
            if (chosen < 0 or score < fewest) and self._twin.get(guest, -1) not in waiting:
                chosen, rooms, fewest = guest, found, score
        rest = [guest for guest in waiting if guest != chosen]
        preferred = self._first.get(chosen, board.source(chosen))
        rooms.sort(key=lambda room: (room != preferred, -board.left[room][0], room))
        bounds = sorted({board.place[twin] for guest in rest if (twin := self._twin.get(guest, -1)) in board.place})
        tried: set[object] = set()
        for room in rooms:
            if not board.there.get(room):
                look = (self._look(room), tuple(room >= bound for bound in bounds))
                if look in tried:
                    continue
                tried.add(look)
            if board.try_put(chosen, room):
                found_all = self._place(rest)
                if found_all is not False:
                    return found_all
                board.take(chosen)
        return False

    def _rooms(self, guest: int) -> list[int]:
        mask = self._board.open(guest)
        twin = self._board.place.get(self._twin.get(guest, -1))
        if twin is not None:
            mask &= -1 << twin
        return [room for room in rooms_of(mask) if self._board.fits(guest, room)]


def _fixed(rule: Rule, domain: int) -> bool:
    """Whether a rule counts somebody who does not move in one of its domains."""
    return isinstance(rule, Together) and bool(rule.fixed & rule.domains[domain])


def _at_once(board: Board, meter: Meter) -> bool:
    """Whether each finds a room after those before it, which is seen faster than searched for."""
    for guest in board.guests:
        rooms = rooms_of(board.open(guest))
        if not meter.spend(1 + len(rooms)):
            return False
        rooms.sort(key=lambda room: (room != board.source(guest), -board.left[room][0], room))
        if not any(board.try_put(guest, room) for room in rooms):
            return False
    return True


def feasible(
    frame: Frame, guests: Iterable[int], meter: Meter, without: frozenset[Member] = frozenset()
) -> bool | None:
    """Whether these guests can all be placed without some rules; None where the steps do not suffice to tell."""
    listed = list(guests)
    if _at_once(Board(frame, listed, without, one_by_one=False), meter):
        return True
    match search(frame, listed, meter, without):
        case Feasible():
            return True
        case Infeasible():
            return False
        case Undecided():
            return None
