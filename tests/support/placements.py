"""Placement problems for tests: builders, random small instances, and a judge that shares no code with the solver."""

import random
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations

from whimbrel.placement import Apart, EvenSpread, Fact, Guest, Kind, Member, Problem, Room, Together

RESOURCES = ("memory_bytes", "cpu_millicores")


def a_room(name: str, memory: int = 10, cpu: int = 100, **more: object) -> Room:
    """A host; by default all of it is free."""
    free = (memory, cpu)
    return Room(name, free, more.pop("allocatable", free), **more)  # type: ignore[arg-type]


def a_guest(name: str, memory: int = 1, hosts: int | None = None, **more: object) -> Guest:
    """A guest that needs little CPU; `hosts` is the mask that suits it."""
    facts = () if hosts is None else (Fact("hardware", hosts),)
    return Guest(f"uid-{name}", name, (memory, 1), facts, **more)  # type: ignore[arg-type]


def a_problem(rooms: Iterable[Room], guests: Iterable[Guest], *rules: object, host_failures: int = 0) -> Problem:
    """A problem of memory and CPU."""
    return Problem.of(RESOURCES, rooms, guests, rules, host_failures)  # type: ignore[arg-type]


def by_name(problem: Problem, assignment: Mapping[str, int]) -> dict[str, str]:
    """An assignment in names."""
    return {
        guest.name: problem.rooms[assignment[guest.uid]].name for guest in problem.guests if guest.uid in assignment
    }


def a_random_problem(seed: int, *, running: bool = False) -> Problem:
    """At most six guests and four hosts, with rules of every kind; about every other one is infeasible.

    `running`: all guests are on a host already.
    """
    dice = random.Random(seed)
    hosts = dice.randint(2, 4)
    everywhere = (1 << hosts) - 1
    failures = dice.choice([0, 0, 0, 0, 0, 0, 0, 1])
    guests = []
    for number in range(dice.randint(1, 6)):
        facts = tuple(
            Fact(
                f"family-{index}", dice.choice([everywhere, dice.randint(1, everywhere) | dice.randint(0, everywhere)])
            )
            for index in range(dice.randint(0, 2))
        )
        source = dice.choice([0 if running else None, *range(hosts)])
        if source is not None and dice.random() < 0.7:
            facts = (*facts, Fact("another host", everywhere & ~(1 << source)))
        guests.append(
            Guest(
                uid=f"u{number}",
                name=f"vm-{number}",
                demand=(dice.choice([1, 2, 2, 3, 4]), dice.randint(1, 2), dice.choice([0, 0, 0, 0, 1])),
                facts=facts,
                source=source,
                headroom_percent=dice.choice([0, 0, 0, 20, 50]),
            )
        )
    rooms = []
    for number in range(hosts):
        free = (dice.randint(0, 9 + 3 * failures), dice.randint(0, 8), dice.randint(0, 2))
        used = sum(guest.demand[0] for guest in guests if guest.source == number)
        restarts = (dice.randint(0, 1), 0, 0) if failures else ()
        spare = not failures or dice.random() < 0.85
        rooms.append(Room(f"node-{number}", free, (free[0] + used, 9, 9), restarts, spare))
    rules = [rule for _ in range(dice.choice([0, 0, 0, 1, 1, 2])) if (rule := _a_rule(dice, hosts, len(guests)))]
    dice.shuffle(guests)
    return Problem.of((*RESOURCES, "gpu"), rooms, guests, rules, failures)


def _a_rule(dice: random.Random, hosts: int, guests: int) -> Apart | Together | EvenSpread | None:
    names = [f"u{number}" for number in range(guests)]
    chosen = frozenset(dice.sample(names, dice.randint(1, guests)))
    if dice.random() < 0.5:
        domains = tuple(1 << host for host in range(hosts))
    else:
        cut = dice.randint(1, hosts - 1)
        domains = (sum(1 << h for h in range(cut)), sum(1 << h for h in range(cut, hosts)))
        if dice.random() < 0.2:
            domains = domains[:1]
    kind = dice.randrange(3)
    if kind == 0:
        return Apart(chosen, domains) if len(chosen) > 1 else None
    if kind == 1:
        partners = frozenset(dice.sample(names, dice.randint(1, guests)))
        return Together(chosen, partners, domains, dice.choice([0, 0, 1, 2]))
    fixed = tuple(dice.randint(0, 2) for _ in domains) if dice.random() < 0.5 else ()
    return EvenSpread(chosen, domains, dice.choice([1, 1, 2]), fixed, dice.choice([1, 1, 1, 2, 3]))


class Judge:
    """Says in its own words what is wrong with an assignment; with members dropped, of what remains."""

    def __init__(self, problem: Problem, kept: Iterable[Member] | None = None) -> None:
        self.problem = problem
        self._all = kept is None
        self._kept = frozenset(kept or ())
        self.guests = [g for g in problem.guests if self._has(Member(Kind.GUEST, g.uid))]
        self._away = {g.uid for g in problem.guests} - {g.uid for g in self.guests}

    def _has(self, member: Member) -> bool:
        return self._all or member in self._kept

    def hosts(self, guest: Guest) -> list[int]:
        """Where its facts let it go."""
        return [
            host
            for host in range(len(self.problem.rooms))
            if all(
                fact.mask & (1 << host)
                for number, fact in enumerate(guest.facts)
                if self._has(Member(Kind.FACT, guest.uid, number))
            )
        ]

    def wrong(self, places: Mapping[str, int], arrived: frozenset[str]) -> str:
        """What is violated when these guests are there, of whom these arrived; empty where nothing is."""
        for complaint in self._complaints(places, arrived):
            return complaint
        return ""

    def _complaints(self, places: Mapping[str, int], arrived: frozenset[str]) -> Iterator[str]:
        problem = self.problem
        after = []
        for number, room in enumerate(problem.rooms):
            free = list(room.free)
            for guest in problem.guests:
                for index, amount in enumerate(guest.demand):
                    free[index] += amount * ((guest.source == number) - (places.get(guest.uid) == number))
            after.append(free)
            newcomers = [g for g in problem.guests if g.uid in arrived and places[g.uid] == number]
            if not newcomers:
                continue
            percents = [
                g.headroom_percent for g in newcomers if self._has(Member(Kind.HEADROOM, number=g.headroom_percent))
            ]
            for index, amount in enumerate(free):
                reserve = room.allocatable[0] * max(percents, default=0) / 100 if index == 0 else 0
                if amount < reserve and self._has(Member(Kind.CAPACITY, number=number, resource=index)):
                    yield f"{room.name} lacks {problem.resources[index]}"
        for position, rule in enumerate(problem.rules):
            if self._has(Member(Kind.RULE, number=position)) and not self._kept_rule(rule, places, arrived):
                yield f"rule {position} is broken"
        if problem.host_failures and arrived and self._has(Member(Kind.HOST_FAILURES)):
            yield from self._cannot_lose_hosts(places, after)

    def _kept_rule(self, rule: object, places: Mapping[str, int], arrived: frozenset[str]) -> bool:
        def domain(uid: str) -> int | None:
            return next((n for n, mask in enumerate(rule.domains) if mask & (1 << places[uid])), None)  # type: ignore[attr-defined]

        match rule:
            case Apart():
                pairs = combinations(sorted(rule.guests & places.keys()), 2)
                return not any(
                    domain(a) is not None and domain(a) == domain(b) and (a in arrived or b in arrived)
                    for a, b in pairs
                )
            case Together():
                if rule.partners & self._away:
                    return all(domain(uid) is not None for uid in rule.guests & arrived)
                return all(self._accompanied(rule, uid, domain, places) for uid in rule.guests & arrived)
            case EvenSpread():
                return True
        raise AssertionError(rule)

    def _accompanied(self, rule: Together, uid: str, domain: object, places: Mapping[str, int]) -> bool:
        mine = domain(uid)  # type: ignore[operator]
        if mine is None:
            return False
        source = next(guest.source for guest in self.problem.guests if guest.uid == uid)
        if uid in rule.partners and source is not None and rule.domains[mine] & (1 << source):
            return True
        others = [p for p in rule.partners if p != uid and p in places]
        return any(domain(p) == mine for p in others) or bool(rule.domains[mine] & rule.fixed)  # type: ignore[operator]

    def refuses(self, places: Mapping[str, int], uid: str, target: int) -> list[int]:
        """Rules by which a scheduler would not bind the second launcher of one guest there, while all are where they are."""
        pods = list(places.items())
        refusing = []
        for number, rule in enumerate(self.problem.rules):
            if uid not in rule.guests:
                continue
            inside = next((mask for mask in rule.domains if mask >> target & 1), 0)
            match rule:
                case Apart():
                    near = any(inside >> place & 1 for each, place in pods if each in rule.guests and each != uid)
                    wrong = bool(inside) and near
                case Together():
                    near = any(inside >> place & 1 for each, place in pods if each in rule.partners)
                    wrong = not inside or not (near or inside & rule.fixed)
                case EvenSpread():
                    fixed = rule.fixed or (0,) * len(rule.domains)
                    counts = [
                        already + sum(mask >> place & 1 for each, place in pods if each in rule.guests)
                        for mask, already in zip(rule.domains, fixed, strict=True)
                    ]
                    fewest = min(counts) if len(counts) >= rule.min_domains else 0
                    wrong = bool(inside) and counts[rule.domains.index(inside)] + 1 - fewest > rule.max_skew
            if wrong:
                refusing.append(number)
        return refusing

    def _cannot_lose_hosts(self, places: Mapping[str, int], after: list[list[int]]) -> Iterator[str]:
        problem = self.problem
        k = problem.host_failures
        for index in (0, 1):
            free = sum(max(0, row[index]) for row, room in zip(after, problem.rooms, strict=True) if room.spare)
            holds = []
            for number, room in enumerate(problem.rooms):
                at_home = [g for g in problem.guests if g.source == number]
                if room.spare:
                    held = max(0, room.free[index] + sum(g.demand[index] for g in at_home))
                else:
                    may_stay = [g for g in at_home if all(fact.mask & (1 << number) for fact in g.facts)]
                    held = sum(g.demand[index] for g in may_stay)
                holds.append(held + (room.restarts[index] if room.restarts else 0))
            if any(sum(lost) > free for lost in combinations(holds, k)):
                yield "too little is free for what lost hosts hold"
        for guest in problem.guests:
            if guest.uid in places:
                need = guest.demand[:2]
                able = [
                    n
                    for n, row in enumerate(after)
                    if n != places[guest.uid] and problem.rooms[n].spare and row[0] >= need[0] and row[1] >= need[1]
                ]
                if len(able) < k:
                    yield f"{guest.name} has no other host"

    def placement(self) -> dict[str, int] | None:
        """By trying all: some assignment of every guest with which nothing is wrong."""
        limit = [sum(g.demand[0] for g in self.problem.guests if g.source == n) + room.free[0]
                 for n, room in enumerate(self.problem.rooms)]  # fmt: skip
        bounded = [self._has(Member(Kind.CAPACITY, number=n, resource=0)) for n in range(len(limit))]
        options = [(guest, self.hosts(guest)) for guest in self.guests]
        return self._try(options, {}, [0] * len(limit), limit, bounded)

    def _try(
        self,
        options: list[tuple[Guest, list[int]]],
        places: dict[str, int],
        memory: list[int],
        limit: list[int],
        bounded: list[bool],
    ) -> dict[str, int] | None:
        if len(places) == len(options):
            arrived = frozenset(guest.uid for guest, _ in options if places[guest.uid] != guest.source)
            return None if self.wrong(places, arrived) else dict(places)
        guest, hosts = options[len(places)]
        for host in hosts:
            # A host that is asked for more memory than it has takes no arrivals; only a guest that stays is tried there.
            if bounded[host] and guest.source != host and memory[host] + guest.demand[0] > limit[host]:
                continue
            places[guest.uid] = host
            memory[host] += guest.demand[0]
            found = self._try(options, places, memory, limit, bounded)
            memory[host] -= guest.demand[0]
            del places[guest.uid]
            if found is not None:
                return found
        return None
