"""Solving: greedy for everybody, then exact search where greedy left somebody over, then the reasons for the rest."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from whimbrel.placement import conflicts
from whimbrel.placement.assign import fill, lodge, seat, squeeze
from whimbrel.placement.board import Board, Frame
from whimbrel.placement.problem import Conflict, Meter, Problem
from whimbrel.placement.search import Feasible, Undecided, search


@dataclass(frozen=True, slots=True)
class Effort:
    """Steps that may be spent: a step is one look at one room. About a million are done in a second."""

    repair: int = 200_000
    """For moving others on."""
    search: int = 400_000
    """For exact search, of each group of guests that compete for the same rooms."""
    explain: int = 1_000_000
    """For finding conflicts, of each such group."""


@dataclass(frozen=True, slots=True)
class Solution:
    """The placement. Who is in none of the three may stay where it is for want of room that a conflict explains."""

    assignment: Mapping[str, int]
    """Room by guest UID; possible as a whole while everybody else stays at its source."""
    conflicts: tuple[Conflict, ...]
    """Why not all are placed; no two name the same guest."""
    undecided: tuple[str, ...]
    """Guests without a room for which the steps showed neither a room nor a conflict."""

    @property
    def feasible(self) -> bool:
        """Whether everybody has a room."""
        return not self.conflicts and not self.undecided


def solve(problem: Problem, effort: Effort | None = None) -> Solution:
    """Assign rooms to all guests, or say why that cannot be. The same problem and effort give the same solution."""
    effort = effort or Effort()
    frame = Frame(problem)
    board = Board(frame)
    guests = problem.guests
    seat(board, board.guests, {number: guest.keep for number, guest in enumerate(guests) if guest.keep is not None})
    repair = Meter(effort.repair)
    left = squeeze(board, fill(board), repair)
    found = [hopeless for guest in left if (hopeless := conflicts.narrow(frame, guest)) is not None]
    left = [guest for guest in left if frame.domains[guest]]
    rivals = [guest for guest in range(len(guests)) if frame.domains[guest]]
    unknown: set[int] = set()
    for group in _groups(frame, rivals, left):
        told, settled = _settle_group(board, group, effort, repair)
        found += told
        if not settled:
            unknown.update(group)
    explained = {uid for conflict in found for uid in conflict.guests}
    return Solution(
        {guests[guest].uid: board.place[guest] for guest in range(len(guests)) if board.placed(guest)},
        tuple(sorted(found, key=lambda conflict: conflict.guests)),
        tuple(sorted({guests[guest].uid for guest in unknown if not board.placed(guest)} - explained)),
    )


def _settle_group(board: Board, group: list[int], effort: Effort, repair: Meter) -> tuple[list[Conflict], bool]:
    """Place a group by search, or name its conflicts and place the others; and whether that settles it."""
    frame = board.frame
    now = {guest: board.place[guest] for guest in group if board.placed(guest)}
    outcome = search(frame, group, Meter(effort.search), first=now)
    found: list[Conflict] = []
    if not isinstance(outcome, Feasible):
        waiting = [guest for guest in group if guest not in now]
        found = conflicts.find(frame, group, waiting, Meter(effort.explain))
        named = {frame.positions[uid] for conflict in found for uid in conflict.guests}
        if named.issuperset(waiting):
            return found, True
        if named:
            rest = [guest for guest in group if guest not in named]
            outcome = search(frame, rest, Meter(effort.search), first=now)
    _take_better(board, group, outcome.rooms if isinstance(outcome, Feasible | Undecided) else {}, repair)
    return found, isinstance(outcome, Feasible)


def _take_better(board: Board, group: list[int], rooms: Mapping[int, int], repair: Meter) -> None:
    """Seat a group as the search says if that places more of it than now; else leave it."""
    now = {guest: board.place[guest] for guest in group if board.placed(guest)}
    if rooms and len(now) < len(group):
        _reseat(board, group, rooms)
        for guest in group:
            if not board.placed(guest):
                board.take(guest)
                if not lodge(board, guest, 1, repair):
                    board.sit(guest)
        if sum(board.placed(guest) for guest in group) < len(now):
            _reseat(board, group, now)


def _reseat(board: Board, group: list[int], rooms: Mapping[int, int]) -> None:
    for guest in group:
        board.take(guest)
    seat(board, group, rooms)


def _groups(frame: Frame, guests: Iterable[int], left: list[int]) -> Iterator[list[int]]:
    """Of all guests those that compete with one left over for a room or are bound to it by a rule, group by group."""
    if not left:
        return
    ties: dict[int, tuple[int, frozenset[int]]] = {}
    for guest in guests:
        home = frame.problem.guests[guest].source
        mask = frame.domains[guest] | (0 if home is None else 1 << home)
        ties[guest] = (
            frame.everywhere if frame.problem.host_failures else mask,
            frozenset(frame.rules_of.get(guest, ())),
        )
    groups: list[tuple[int, frozenset[int]]] = []
    for mask, rules in dict.fromkeys(ties.values()):
        apart = []
        for other_mask, other_rules in groups:
            if mask & other_mask or rules & other_rules:
                mask, rules = mask | other_mask, rules | other_rules
            else:
                apart.append((other_mask, other_rules))
        groups = [*apart, (mask, rules)]
    wanted = set(left)
    for mask, _ in sorted(groups, key=lambda group: group[0]):
        group = [guest for guest, tie in ties.items() if tie[0] & mask]
        if not wanted.isdisjoint(group):
            yield group
