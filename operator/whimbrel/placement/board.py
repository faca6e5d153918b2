"""The board: where each guest is, what that leaves of the hosts, and where a guest may go next.

`Frame` is the problem in positions, made once; a `Board` is one state of it, changed by `put` and `take`. A guest is
nowhere, at home (its source, where it counts without having been asked), or placed. A board may stand for a part of the
problem: some guests, without some rules.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import chain

from whimbrel.placement.problem import Amounts, EvenSpread, Kind, Member, Problem, Together
from whimbrel.placement.standing import Standing, bits, domain_of, standing

_NO_FLOOR = -(1 << 80)
_LONGEST_CHAIN = 8
"""So many guests that follow one another are placed in that order."""


class Frame:
    """What does not change while a problem is solved. Guests and rooms are positions in the problem."""

    __slots__ = (
        "base",
        "domain_maps",
        "domains",
        "everywhere",
        "failing",
        "followers",
        "freest",
        "positions",
        "problem",
        "rules_of",
        "sources",
        "spread",
    )

    def __init__(self, problem: Problem) -> None:
        """Linear in guests, rooms and rules."""
        self.problem = problem
        self.everywhere = (1 << len(problem.rooms)) - 1
        self.positions = {guest.uid: position for position, guest in enumerate(problem.guests)}
        self.sources = [guest.source for guest in problem.guests]
        self.base = [list(room.free) for room in problem.rooms]
        """What the rooms have free when none of the guests is anywhere."""
        self.domains: list[int] = []
        """By guest the rooms that its facts suit."""
        for guest in problem.guests:
            mask = self.everywhere
            for fact in guest.facts:
                mask &= fact.mask
            self.domains.append(mask)
            if guest.source is not None:
                row = self.base[guest.source]
                for resource, amount in enumerate(guest.demand):
                    row[resource] += amount
        self.rules_of: dict[int, list[int]] = {}
        for number, rule in enumerate(problem.rules):
            named = rule.guests | getattr(rule, "partners", frozenset())
            for position in sorted(self.positions[uid] for uid in named):
                self.rules_of.setdefault(position, []).append(number)
        self.spread = {
            self.positions[uid] for rule in problem.rules if isinstance(rule, EvenSpread) for uid in rule.guests
        }
        """Guests whose arrivals are judged by the moment."""
        self.followers = _followers(problem, self.positions)
        """Guests that need others to be somewhere first, by how many others follow one another before them."""
        distinct = dict.fromkeys(rule.domains for rule in problem.rules)
        self.domain_maps = {domains: domain_of(domains, len(problem.rooms)) for domains in distinct}
        """By the domains of a rule, and by room, the number of its domain or -1."""
        self.freest: list[int] = []
        """Of memory and of CPU, what all spare rooms have when none of the guests is anywhere."""
        self.failing: list[int] = []
        """What the hosts that may be lost hold at most, of memory and of CPU."""
        stay = self._stay()
        for resource in range(min(2, len(problem.resources))):
            holds = [
                (max(0, row[resource]) if room.spare else sum(demand[resource] for demand in stay.get(number, ())))
                + (room.restarts[resource] if room.restarts else 0)
                for number, (row, room) in enumerate(zip(self.base, problem.rooms, strict=True))
            ]
            rows = zip(self.base, problem.rooms, strict=True)
            self.freest.append(sum(max(0, row[resource]) for row, room in rows if room.spare))
            self.failing.append(sum(sorted(holds, reverse=True)[: problem.host_failures]))

    def _stay(self) -> Mapping[int, list[Amounts]]:
        """By room that is no spare one the demands of guests that may stay there."""
        found: dict[int, list[Amounts]] = {}
        for guest, domain in zip(self.problem.guests, self.domains, strict=True):
            home = guest.source
            if home is not None and domain >> home & 1 and not self.problem.rooms[home].spare:
                found.setdefault(home, []).append(guest.demand)
        return found

    def reserve(self, room: int, percent: int) -> int:
        """Memory that stays free under a headroom, rounded up."""
        return -(-self.problem.rooms[room].allocatable[0] * percent // 100)


def _followers(problem: Problem, positions: Mapping[str, int]) -> dict[int, int]:
    """Those who need each other follow one another in no particular order."""
    rules = [rule for rule in problem.rules if isinstance(rule, Together)]
    depth: dict[str, int] = {}
    for _ in rules[:_LONGEST_CHAIN]:
        before = dict(depth)
        for rule in rules:
            deepest = 1 + max((before.get(uid, 0) for uid in rule.partners - rule.guests), default=0)
            depth |= {uid: deepest for uid in rule.guests if deepest > depth.get(uid, 0)}
        if depth == before:
            break
    return {positions[uid]: follows for uid, follows in depth.items()}


class _Rows(dict[int, list[int]]):
    """Amounts by room, copied from the base when first asked for: a small question touches few of many rooms."""

    def __init__(self, base: list[list[int]]) -> None:
        self._base = base

    def __missing__(self, room: int) -> list[int]:
        row = self[room] = list(self._base[room])
        return row


class Board:
    """Positions of some guests of a frame, without the rules in `without`."""

    __slots__ = (
        "_failures",
        "_largest",
        "_loose",
        "_sizes",
        "_unreserved",
        "_witnesses",
        "arrivals",
        "domains",
        "frame",
        "free",
        "guests",
        "left",
        "place",
        "standings",
        "there",
    )

    def __init__(
        self,
        frame: Frame,
        guests: Iterable[int] | None = None,
        without: frozenset[Member] = frozenset(),
        *,
        one_by_one: bool = True,
    ) -> None:
        """All guests are nowhere. `guests` defaults to all.

        `one_by_one`: whether they are put in an order in which they could move, so that rules about moments can be asked.
        """
        problem = frame.problem
        self.frame = frame
        self.guests = list(range(len(problem.guests))) if guests is None else sorted(guests)
        self.left = _Rows(frame.base)
        """By room what it has free."""
        self.place: dict[int, int] = {}
        """Room of each guest that is somewhere."""
        self.there: dict[int, dict[int, None]] = {}
        """Guests by room; those at home without having been asked are not in it."""
        self.arrivals: dict[int, Counter[int]] = {}
        """By room how many arrived, by headroom."""
        self.domains = {guest: frame.domains[guest] for guest in self.guests}
        for guest in {frame.positions[member.guest] for member in without if member.kind is Kind.FACT}:
            mask = frame.everywhere
            uid = problem.guests[guest].uid
            for number, fact in enumerate(problem.guests[guest].facts):
                mask &= fact.mask if Member(Kind.FACT, uid, number) not in without else -1
            if guest in self.domains:
                self.domains[guest] = mask
        self._loose = {(member.number, member.resource) for member in without if member.kind is Kind.CAPACITY}
        self._unreserved = {member.number for member in without if member.kind is Kind.HEADROOM}
        wanted = sorted({number for guest in self.guests for number in frame.rules_of.get(guest, ())})
        self.standings: dict[int, Standing] = {
            number: standing(
                problem.rules[number],
                frame.domain_maps[problem.rules[number].domains],
                frame.positions,
                frame.sources,
            )
            for number in wanted
            if Member(Kind.RULE, number=number) not in without
            and (one_by_one or not isinstance(problem.rules[number], EvenSpread))
        }
        self._failures = 0 if Member(Kind.HOST_FAILURES) in without else problem.host_failures
        self._witnesses: list[int] = []
        self._sizes: dict[Amounts, list[int]] = {}
        if self._failures:
            for guest in self.guests:
                self._sizes.setdefault(problem.guests[guest].demand[:2], []).append(guest)
        self._largest = tuple(max(amounts) for amounts in zip(*self._sizes, strict=True))
        self.free = list(frame.freest)
        """Of memory and of CPU, what all rooms have free."""

    def source(self, guest: int) -> int | None:
        """The room that it occupies before anything moves."""
        return self.frame.problem.guests[guest].source

    def stays(self, guest: int, room: int) -> bool:
        """Whether the room is its source."""
        return self.frame.problem.guests[guest].source == room

    def hold(self, guest: int, room: int, factor: int) -> None:
        """Count a guest's demand on a room `factor` times more; negative gives it back."""
        row = self.left[room]
        for resource, amount in enumerate(self.frame.problem.guests[guest].demand):
            before = row[resource]
            row[resource] = after = before - factor * amount
            if resource < 2 and self.frame.problem.rooms[room].spare:
                self.free[resource] += max(0, after) - max(0, before)

    def sit(self, guest: int) -> None:
        """At home, without having been asked; nothing happens where it has none."""
        home = self.source(guest)
        if home is not None:
            self._come(guest, home, arrives=False)

    def put(self, guest: int, room: int) -> None:
        """Place a guest that is nowhere. Not judged here: ask `may` before."""
        arrives = not self.stays(guest, room)
        self._come(guest, room, arrives=arrives)
        self.there.setdefault(room, {})[guest] = None
        if arrives:
            percent = self.frame.problem.guests[guest].headroom_percent
            self.arrivals.setdefault(room, Counter())[percent] += 1

    def _come(self, guest: int, room: int, *, arrives: bool) -> None:
        self.place[guest] = room
        self.hold(guest, room, 1)
        for number in self.frame.rules_of.get(guest, ()):
            if number in self.standings:
                self.standings[number].put(guest, room, arrives=arrives)

    def take(self, guest: int) -> None:
        """Away from where it is, to nowhere."""
        room = self.place.pop(guest, None)
        if room is None:
            return
        arrives = not self.stays(guest, room)
        self.hold(guest, room, -1)
        self.there.get(room, {}).pop(guest, None)
        if arrives:
            percent = self.frame.problem.guests[guest].headroom_percent
            counted = self.arrivals[room]
            counted[percent] -= 1
            if not counted[percent]:
                del counted[percent]
            if not counted:
                del self.arrivals[room]
        for number in self.frame.rules_of.get(guest, ()):
            if number in self.standings:
                self.standings[number].take(guest, room, arrives=arrives)

    def placed(self, guest: int) -> bool:
        """Whether it was put somewhere, and does not only sit at home."""
        room = self.place.get(guest)
        return room is not None and guest in self.there.get(room, ())

    def open(self, guest: int, *, at_once: bool = True) -> int:
        """Rooms that suit and where the rules let it go, whatever room they have. It must be nowhere.

        `at_once`: as the next to move; else at whatever moment.
        """
        mask = self.domains[guest]
        for number in self.frame.rules_of.get(guest, ()):
            if number in self.standings and (at_once or not isinstance(self.frame.problem.rules[number], EvenSpread)):
                mask &= self.standings[number].open(guest, self.source(guest))
        return mask

    def fits(self, guest: int, room: int) -> bool:
        """Whether the room has what a guest needs that is nowhere; its source always has until somebody else arrives."""
        entry = self.frame.problem.guests[guest]
        arrived = self.arrivals.get(room)
        percent = entry.headroom_percent
        if entry.source == room:
            if arrived is None:
                return True
            percent = 0
        row = self.left[room]
        if not self._loose:
            for amount, left in zip(entry.demand, row, strict=True):
                if amount and left < amount:
                    return False
            return not (percent or arrived) or row[0] - entry.demand[0] >= self._reserved(room, percent)
        for resource, amount in enumerate(entry.demand):
            floor = self._floor(room, resource, percent)
            if (amount or not resource) and row[resource] - amount < floor:
                return False
        return True

    def _floor(self, room: int, resource: int, percent: int) -> int:
        if (room, resource) in self._loose or (-1, resource) in self._loose:
            return _NO_FLOOR
        return 0 if resource else self._reserved(room, percent)

    def _reserved(self, room: int, percent: int) -> int:
        """Memory to stay free when one more arrives that wants so many percent."""
        arrived = self.arrivals.get(room, ())
        highest = max((p for p in (percent, *arrived) if p not in self._unreserved), default=0)
        return self.frame.reserve(room, highest) if highest else 0

    def most(self, room: int, resource: int, percent: int) -> int:
        """What guests of at least this headroom can have of a room in all; nearly endless without the capacity rule."""
        floor = self._floor(room, resource, percent)
        return 1 << 80 if floor < 0 else max(0, self.left[room][resource] - floor)

    def loose(self, room: int) -> list[int]:
        """Resources whose capacity rule is left out on this room alone."""
        return sorted(resource for number, resource in self._loose if number == room)

    def overfull(self, room: int) -> bool:
        """Whether it has arrivals that it has not the room for."""
        before = self.frame.problem.rooms[room].free
        return room in self.arrivals and any(
            left < self._floor(room, resource, 0) and (not resource or left < before[resource])
            for resource, left in enumerate(self.left[room])
        )

    def holds(self, guest: int) -> bool:
        """Whether the rules that name a guest hold, and hosts may fail."""
        for number in self.frame.rules_of.get(guest, ()):
            if number in self.standings and not self.standings[number].holds():
                return False
        return self.survives()

    def keeps(self) -> bool:
        """Whether all rules hold, and hosts may fail."""
        return all(standing.holds() for standing in self.standings.values()) and self.survives()

    def survives(self) -> bool:
        """Whether so many hosts can be lost: see `Problem.host_failures`."""
        if not self._failures or not self.arrivals:
            return True
        if any(free < lost for free, lost in zip(self.free, self.frame.failing, strict=True)):
            return False
        if len(self._with_room(self._largest, self._failures + 1)) > self._failures:
            return True
        for needed, alike in self._sizes.items():
            roomy = self._with_room(needed, self._failures + 1)
            here = [self.place[guest] for guest in alike if guest in self.place]
            if here and (len(roomy) < self._failures or (len(roomy) == self._failures and not roomy.isdisjoint(here))):
                return False
        return True

    def _with_room(self, needed: Amounts, enough: int) -> set[int]:
        """Spare rooms with so much memory and CPU free, the last found first; no more than enough."""
        found: set[int] = set()
        for room in chain(self._witnesses, range(len(self.frame.base))):
            if len(found) == enough:
                break
            spare = self.frame.problem.rooms[room].spare
            if spare and all(amount <= left for amount, left in zip(needed, self.left[room], strict=False)):
                found.add(room)
        self._witnesses = sorted(found)
        return found

    def try_put(self, guest: int, room: int) -> bool:
        """Put a guest that is nowhere if everything holds with it there; else it stays nowhere."""
        if not self.fits(guest, room):
            return False
        self.put(guest, room)
        if self.holds(guest):
            return True
        self.take(guest)
        return False

    def arrive(self, guest: int, room: int, leaving: int | None) -> bool:
        """A migration of a guest that is nowhere, judged as the scheduler does when it arrives: who is there already is not
        asked, and its launcher is still where it is leaving.
        """
        suits = self.domains[guest] >> room & 1
        if not suits or not self.fits(guest, room) or self.refusing(guest, room, leaving):
            return False
        self.put(guest, room)
        if self.survives():
            return True
        self.take(guest)
        return False

    def refusing(self, guest: int, room: int, leaving: int | None) -> list[int]:
        """The rules that keep out a migration of a guest that is nowhere, while its launcher is where it is leaving."""
        return [
            number
            for number in self.frame.rules_of.get(guest, ())
            if number in self.standings and not self.standings[number].lets_in(guest, room, leaving)
        ]

    def back(self, guest: int, room: int | None) -> None:
        """A guest that is nowhere is again where it was, asked nothing."""
        if room is not None and self.stays(guest, room):
            self.sit(guest)
        elif room is not None:
            self.put(guest, room)


def rooms_of(mask: int) -> list[int]:
    """Positions in a mask, ascending."""
    return bits(mask)
