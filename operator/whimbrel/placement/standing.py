"""How each rule between guests stands while guests are put somewhere and taken away again.

A member that is nowhere – not placed yet, or not part of the question – counts as if it came wherever the rule wants it,
so a rule only ever tightens while guests are placed. A single migration is judged by `lets_in` as the scheduler judges it:
by who is where at that moment. Used by `board` alone; the rules themselves are in `problem`.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from whimbrel.placement.problem import Apart, EvenSpread, Rule, Together


class Standing(Protocol):
    """One rule on one board. Guests and rooms are positions."""

    def open(self, guest: int, source: int | None) -> int:
        """Rooms where the rule lets a guest go that is nowhere now."""

    def put(self, guest: int, room: int, *, arrives: bool) -> None:
        """The guest is there now."""

    def take(self, guest: int, room: int, *, arrives: bool) -> None:
        """The guest is nowhere now."""

    def holds(self) -> bool:
        """Whether every arrival so far is as the rule wants it."""

    def lets_in(self, guest: int, room: int, leaving: int | None) -> bool:
        """Whether a migration arrives in a room now. The guest is nowhere, and its launcher still where it is leaving."""


def domain_of(domains: Collection[int], rooms: int) -> list[int]:
    """By room the number of its domain, or -1."""
    found = [-1] * rooms
    for number, mask in enumerate(domains):
        for room in bits(mask):
            found[room] = number
    return found


def bits(mask: int) -> list[int]:
    """Positions in a mask, ascending."""
    found = []
    while mask:
        lowest = mask & -mask
        found.append(lowest.bit_length() - 1)
        mask ^= lowest
    return found


class _Apart:
    __slots__ = ("_arrived", "_domain_of", "_everybody", "_present", "_rule", "_taken")

    def __init__(self, rule: Apart, domain_of: list[int]) -> None:
        self._rule = rule
        self._everybody = (1 << len(domain_of)) - 1
        self._domain_of = domain_of
        self._present: Counter[int] = Counter()
        self._arrived: Counter[int] = Counter()
        self._taken = 0

    def open(self, guest: int, source: int | None) -> int:
        free = self._everybody & ~self._taken
        if source is not None and not self._arrived[self._domain_of[source]]:
            free |= 1 << source
        return free

    def put(self, guest: int, room: int, *, arrives: bool) -> None:
        domain = self._domain_of[room]
        if domain >= 0:
            self._present[domain] += 1
            self._arrived[domain] += arrives
            self._taken |= self._rule.domains[domain]

    def take(self, guest: int, room: int, *, arrives: bool) -> None:
        domain = self._domain_of[room]
        if domain >= 0:
            self._present[domain] -= 1
            self._arrived[domain] -= arrives
            if not self._present[domain]:
                self._taken &= ~self._rule.domains[domain]

    def holds(self) -> bool:
        return all(self._present[domain] < 2 for domain, arrived in self._arrived.items() if arrived)

    def lets_in(self, guest: int, room: int, leaving: int | None) -> bool:
        return not self._taken >> room & 1


class _Together:
    __slots__ = (
        "_absent",
        "_arrived",
        "_bound",
        "_domain_of",
        "_everywhere",
        "_fixed",
        "_homes",
        "_occupied",
        "_partners",
        "_present",
        "_rule",
        "_torn",
    )

    def __init__(
        self, rule: Together, domain_of: list[int], positions: Mapping[str, int], sources: Sequence[int | None]
    ) -> None:
        self._rule = rule
        self._bound = {positions[uid] for uid in rule.guests}
        self._partners = {positions[uid] for uid in rule.partners}
        self._domain_of = domain_of
        self._homes = {
            guest: domain_of[home] for guest in self._bound & self._partners if (home := sources[guest]) is not None
        }
        """Domains that guests which are their own partners may come to because their launchers are still there."""
        self._everywhere = 0
        self._fixed = 0
        for mask in rule.domains:
            self._everywhere |= mask
            self._fixed |= mask if mask & rule.fixed else 0
        self._absent = len(self._partners)
        self._present: Counter[int] = Counter()
        self._occupied = 0
        """Rooms of the domains where a partner is."""
        self._arrived: Counter[tuple[int, bool]] = Counter()
        """Bound guests that arrived, by domain and by whether they are partners themselves."""
        self._torn: set[int] = set()
        """Domains where one arrived and has no partner."""

    def open(self, guest: int, source: int | None) -> int:
        if guest not in self._bound:
            return -1
        free = self._fixed | self._occupied
        if self._absent > (guest in self._partners):
            free = self._everywhere
        elif (home := self._homes.get(guest, -1)) >= 0:
            free |= self._rule.domains[home]
        return free if source is None else free | 1 << source

    def put(self, guest: int, room: int, *, arrives: bool) -> None:
        self._count(guest, room, 1, arrives=arrives)

    def take(self, guest: int, room: int, *, arrives: bool) -> None:
        self._count(guest, room, -1, arrives=arrives)

    def _count(self, guest: int, room: int, change: int, *, arrives: bool) -> None:
        domain, itself = self._domain_of[room], guest in self._partners
        if itself:
            self._absent -= change
        if domain < 0:
            return
        mask = self._rule.domains[domain]
        if itself:
            self._present[domain] += change
            self._occupied = self._occupied | mask if self._present[domain] else self._occupied & ~mask
        if arrives and guest in self._bound and self._homes.get(guest, -1) != domain:
            self._arrived[domain, itself] += change
        lonely = self._arrived[domain, False] and not self._present[domain]
        alone = self._arrived[domain, True] and self._present[domain] < 2
        if (lonely or alone) and not mask & self._fixed:
            self._torn.add(domain)
        else:
            self._torn.discard(domain)

    def holds(self) -> bool:
        return self._absent > 0 or not self._torn

    def lets_in(self, guest: int, room: int, leaving: int | None) -> bool:
        if guest not in self._bound:
            return True
        domain = self._domain_of[room]
        still_there = guest in self._partners and leaving is not None and self._domain_of[leaving] == domain
        return domain >= 0 and (still_there or bool((self._fixed | self._occupied) >> room & 1))


class _EvenSpread:
    __slots__ = ("_count", "_domain_of", "_level_masks", "_levels", "_nowhere", "_rule")

    def __init__(self, rule: EvenSpread, domain_of: list[int]) -> None:
        self._rule = rule
        self._domain_of = domain_of
        self._nowhere = (1 << len(domain_of)) - 1 - sum(rule.domains)
        """Rooms outside all domains."""
        self._count = list(rule.fixed or (0,) * len(rule.domains))
        self._levels = Counter(self._count)
        """How many domains have so many of the guests."""
        self._level_masks: Counter[int] = Counter()
        for domain, level in enumerate(self._count):
            self._level_masks[level] += rule.domains[domain]

    def open(self, guest: int, source: int | None) -> int:
        self._staying(source, 1)
        most = self._most()
        free = self._nowhere
        for level, mask in self._level_masks.items():
            if level < most:
                free |= mask
        self._staying(source, -1)
        return free if source is None else free | 1 << source

    def lets_in(self, guest: int, room: int, leaving: int | None) -> bool:
        domain = self._domain_of[room]
        if domain < 0:
            return True
        self._staying(leaving, 1)
        free = self._count[domain] < self._most()
        self._staying(leaving, -1)
        return free

    def _staying(self, room: int | None, change: int) -> None:
        """Count the launcher that a guest leaves, or no longer."""
        if room is not None and (domain := self._domain_of[room]) >= 0:
            self._recount(domain, change)

    def _most(self) -> int:
        """A domain that takes one more has fewer."""
        scarce = len(self._rule.domains) < self._rule.min_domains
        fewest = 0 if scarce else min(level for level, domains in self._levels.items() if domains)
        return fewest + self._rule.max_skew

    def put(self, guest: int, room: int, *, arrives: bool) -> None:
        if (domain := self._domain_of[room]) >= 0:
            self._recount(domain, 1)

    def take(self, guest: int, room: int, *, arrives: bool) -> None:
        if (domain := self._domain_of[room]) >= 0:
            self._recount(domain, -1)

    def _recount(self, domain: int, change: int) -> None:
        mask, level = self._rule.domains[domain], self._count[domain]
        self._levels[level] -= 1
        self._level_masks[level] -= mask
        self._levels[level + change] += 1
        self._level_masks[level + change] += mask
        self._count[domain] = level + change

    def holds(self) -> bool:
        return True


def standing(rule: Rule, domain_of: list[int], positions: Mapping[str, int], sources: Sequence[int | None]) -> Standing:
    """A rule with nobody placed. `domain_of`: by room the number of its domain; `positions`: of guests by UID; `sources`:
    by position the room that a guest leaves.
    """
    match rule:
        case Apart():
            return _Apart(rule, domain_of)
        case Together():
            return _Together(rule, domain_of, positions, sources)
        case EvenSpread():
            return _EvenSpread(rule, domain_of)
