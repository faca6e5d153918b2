"""Every host, always: can it be emptied now, in how long at the least, and if not, who blocks it and why.

All guests are judged once, whatever their number of hosts; each host is then emptied on paper: greedily onto the roomiest
others, and exactly where greed leaves somebody over. Called by `engine` at each outlook and by the plugin; no plan is needed.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import heapify, heappop, heappush
from itertools import chain

from whimbrel.api.migration_plan import MigrationPlanSpec, VirtualMachines
from whimbrel.domain.records import Instance, Key
from whimbrel.forecast import admitted_rate
from whimbrel.inventory.hosts import Host
from whimbrel.inventory.ledger import Ledger
from whimbrel.inventory.snapshot import Snapshot
from whimbrel.ladder import Load
from whimbrel.placement import (
    RESOURCES,
    Conflict,
    Effort,
    Fact,
    Guest,
    Problem,
    Request,
    amounts_of,
    no_way,
    place,
    room_of,
    solve,
)
from whimbrel.preflight import (
    Assessment,
    Findings,
    HostFamily,
    PreflightReason,
    assess,
    attach_limits,
    pod_affinity,
    topology_spread,
    where,
)
from whimbrel.schedule.outlook import Line, duration_floor_s

ANY_HOST = MigrationPlanSpec(virtual_machines=VirtualMachines(names=("any",)))
"""The terms of a plan that asks for nothing in particular; its selection is not looked at."""
EFFORT = Effort(repair=2_000, search=10_000, explain=20_000)
"""For deciding about one host exactly: some milliseconds."""
MOST_EXACT = 64
"""Hosts that are decided exactly at one outlook; of more it is only said that no room was found."""
_PLANNED_AHEAD: tuple[HostFamily, ...] = (attach_limits, pod_affinity, topology_spread)
"""Families whose answer depends on where others are, and that placement asks on where these will be."""
_RUNS = frozenset({"Running", "Unknown"})


class NoRoomTogether(PreflightReason):
    """It fits on another host by itself, but not once all guests of its host have to find room on the others."""

    evidence = where.ROOM
    remedy = "Free room on the hosts that it could go to, add hosts, or move some of the guests of {node} beforehand."


def no_room_together(node: str) -> NoRoomTogether:
    """That a guest of this host finds no room beside the others."""
    return NoRoomTogether("status.allocatable", "no room beside the others", "room on another host", node)


REASONS: tuple[type[PreflightReason], ...] = (NoRoomTogether,)
"""Beside preflight's, for the reference documentation."""


@dataclass(frozen=True, slots=True)
class Blocker:
    """A guest that keeps its host from being emptied."""

    guest: Key
    uid: str
    codes: tuple[str, ...]
    """Of all that stands against it, the most telling first; never empty."""
    message: str
    """The first of them in words."""
    to_owner: str = ""
    """The same for the guest's owner, without names of other namespaces; empty: there are none in it."""


@dataclass(frozen=True, slots=True)
class Evacuation:
    """One host, emptied on paper."""

    host: str
    guests: int
    """Guests that run there."""
    seconds: int
    """A floor: one pass over the memory of all that can leave, at the admitted rate, shared by the slots."""
    blockers: tuple[Blocker, ...]
    """Sorted by guest."""
    waiting: tuple[str, ...] = ()
    """Codes of what some of its guests wait for, which passes by itself: these block nobody, and cannot leave just now."""

    @property
    def possible(self) -> bool:
        """Whether nobody keeps it from being emptied, now or once what some wait for has passed."""
        return not self.blockers

    @property
    def at_once(self) -> bool:
        """Whether it can be emptied now."""
        return not (self.blockers or self.waiting)


def residents(snapshot: Snapshot) -> tuple[Instance, ...]:
    """All guests that run and stay for now, sorted by key: what starts or is being deleted blocks nobody."""
    return tuple(
        instance
        for _, instance in sorted(snapshot.instances.items())
        if instance.phase in _RUNS and not instance.deleting
    )


def appraise(
    snapshot: Snapshot, hosts: Mapping[str, Host], ledger: Ledger, known: Findings | None = None
) -> Assessment:
    """All running guests against all hosts under default terms. Not before it is known what KubeVirt can be told."""
    return assess(residents(snapshot), ANY_HOST, hosts, ledger, snapshot, known)


def evacuations(
    snapshot: Snapshot, hosts: Mapping[str, Host], ledger: Ledger, assessment: Assessment
) -> tuple[Evacuation, ...]:
    """One for each host, sorted by name; equal whatever the order of what the snapshot holds."""
    at_home: dict[str, list[Instance]] = defaultdict(list)
    for instance in residents(snapshot):
        at_home[instance.node].append(instance)
    paper = _Paper(hosts, ledger, assessment)
    found = [paper.emptied(name, at_home.get(name, ())) for name in sorted(hosts)]
    crowded = [each.host for each in found if each.host in paper.crowded]
    if not crowded or not ledger.in_flight:
        return tuple(found)
    settled, guests = ledger.settled(), [guest for name in crowded for guest in at_home[name]]
    later = _Paper(hosts, settled, assess(guests, ANY_HOST, hosts, settled, snapshot))
    return tuple(
        _once_settled(each, later.emptied(each.host, at_home[each.host])) if each.host in paper.crowded else each
        for each in found
    )


def _once_settled(now: Evacuation, later: Evacuation) -> Evacuation:
    """Who only lacks what is freed when everything in flight has arrived blocks nobody: that passes, and is waited for."""
    block = {blocker.uid for blocker in later.blockers}
    passing = {code for blocker in now.blockers if blocker.uid not in block for code in blocker.codes}
    return replace(later, waiting=tuple(sorted({*now.waiting, *later.waiting, *passing})))


class _Paper:
    """What all hosts' evacuations share: the hosts by room, and how many may still be decided exactly."""

    def __init__(self, hosts: Mapping[str, Host], ledger: Ledger, assessment: Assessment) -> None:
        self._hosts, self._ledger, self._assessment = hosts, ledger, assessment
        ranked = sorted((-ledger.free_memory_bytes(name), name) for name in hosts)
        self._by_room = [(name, assessment.bit(name)) for _, name in ranked]
        self._exact = MOST_EXACT
        self.crowded: set[str] = set()
        """Hosts that somebody blocks for reasons of the moment."""
        self._rates: dict[tuple[str, str], int] = {}

    def emptied(self, node: str, guests: Sequence[Instance]) -> Evacuation:
        """One host with the guests that run on it."""
        blockers, leaving, following = [], [], []
        waiting = set[str]()
        for guest in guests:
            if self._assessment.mask(guest.uid):
                if not self._under_way(guest):
                    leaving.append(guest)
                    if self._assessment.transient(guest.uid):
                        waiting.update(r.code for r in self._assessment.everywhere(guest.uid) if r.blocks)
            elif self._may_follow(guest):
                following.append(guest)
            elif (blocker := self._alone(guest)) is not None:
                blockers.append(blocker)
        targets, left = self._planned(node, leaving, following) or self._together(node, leaving)
        left += [b for guest in following if guest.uid not in targets and (b := self._alone(guest)) is not None]
        if left or any(not self._assessment.lasting(blocker.uid) for blocker in blockers):
            self.crowded.add(node)
        lines = [self._line(guest, targets[guest.uid]) for guest in (*leaving, *following) if guest.uid in targets]
        return Evacuation(
            host=node,
            guests=len(guests),
            seconds=duration_floor_s([line for line in lines if line is not None], self._hosts),
            blockers=tuple(sorted([*blockers, *left], key=lambda blocker: (blocker.guest, blocker.uid))),
            waiting=tuple(sorted(waiting)),
        )

    def _under_way(self, guest: Instance) -> bool:
        """Whether it is leaving already; the ledger counts it where it goes."""
        flight = self._ledger.flight(guest.key)
        return flight is not None and flight.target not in ("", guest.node)

    def _line(self, guest: Instance, target: str) -> Line | None:
        source, host = self._hosts[guest.node], self._hosts[target]
        if source.migration is None or host.migration is None:
            return None
        ends = (source.profile_name, host.profile_name)
        if ends not in self._rates:
            self._rates[ends] = admitted_rate(source.migration, host.migration, None)
        load = Load(guest.memory_bytes, self._rates[ends])
        return Line(guest, host, (), capacity_only=False, load=load)

    # By itself

    def _alone(self, guest: Instance) -> Blocker | None:
        """What stands against a guest that has no host by itself; None where that passes."""
        lasting = [r for r in self._assessment.everywhere(guest.uid) if r.blocks and not r.transient]
        if lasting:
            codes = tuple(dict.fromkeys(reason.code for reason in lasting))
            return Blocker(guest.key, guest.uid, codes, in_words(lasting[0]))
        if self._under_way(guest):
            return None
        found = [
            (each.hosts.bit_count(), each.reason)
            for each in self._assessment.elsewhere(guest.uid, guest.node)
            if each.reason.blocks
        ]
        found.sort(key=lambda each: -each[0])
        count, first = found[0]
        codes = tuple(dict.fromkeys(reason.code for _, reason in found))
        return Blocker(guest.key, guest.uid, codes, f"On {_hosts(count)}: {in_words(first)}")

    def _may_follow(self, guest: Instance) -> bool:
        """Whether nothing but where others are now keeps it from every host, which may be otherwise once these have left."""
        if self._assessment.lasting(guest.uid) or self._under_way(guest):
            return False
        mask = -1
        for family, suits in zip(self._assessment.families, self._assessment.masks(guest.uid), strict=True):
            mask &= -1 if family in _PLANNED_AHEAD else suits
        return mask != 0

    # Together

    def _planned(
        self, node: str, leaving: Sequence[Instance], following: Sequence[Instance]
    ) -> tuple[dict[str, str], list[Blocker]] | None:
        """Where all go as a plan would place them, rules between them and their volumes counted where they will be, and those
        that find no place then; None where none of that matters.
        """
        if self._exact <= 0 or not (following or any(self._is_bound(guest) for guest in leaving)):
            return None
        self._exact -= 1
        requests = [Request(guest, self._assessment) for guest in (*leaving, *following)]
        found = place(requests, self._hosts, self._ledger, EFFORT)
        keys = {guest.uid: guest.key for guest in (*leaving, *following)}
        left = []
        for guest in leaving:
            if guest.uid in found.stuck:
                stuck = found.stuck[guest.uid]
                own = {uid for uid, key in keys.items() if key.namespace == guest.key.namespace}
                known, told_owner = no_way(stuck.words), no_way(stuck.told(own))
                texts = (f"{reason.code}: {reason.cure()}" for reason in (known, told_owner))
                left.append(Blocker(guest.key, guest.uid, (known.code,), *texts))
            elif guest.uid not in found.targets:
                told = found.explained.get(guest.uid)
                left.append(self._without_room(guest, node, [told] if told is not None else [], keys))
        return dict(found.targets), left

    def _is_bound(self, guest: Instance) -> bool:
        """Whether rules between pods, or places for volumes, have a say in where it goes beside others."""
        launcher = self._ledger.source_launcher(guest)
        rules = launcher.scheduling if launcher is not None else None
        if rules is not None and (rules.affinity or rules.anti_affinity or rules.spread):
            return True
        return bool(launcher is not None and launcher.claims and self._ledger.attached.limited)

    def _together(self, node: str, leaving: Sequence[Instance]) -> tuple[dict[str, str], list[Blocker]]:
        """Where each of these goes when all go, by UID, and those that find no room then."""
        if not leaving:
            return {}, []
        demand = self._ledger.demand
        ordered = sorted(leaving, key=lambda guest: (-demand(guest).memory_bytes, guest.key, guest.uid))
        targets = self._greedy(ordered, {})
        left = [guest for guest in ordered if guest.uid not in targets]
        if not left:
            return targets, []
        conflicts: tuple[Conflict, ...] = ()
        if self._exact > 0:
            self._exact -= 1
            masks = {guest.uid: self._assessment.mask(guest.uid) for guest in ordered}
            rivals, rest = _rivals(ordered, masks)
            decided, conflicts = self._decided(rivals)
            seated = [guest for guest in rivals if guest.uid in decided]
            over = [guest for guest in rivals if guest.uid not in decided]
            better = self._greedy([*seated, *rest, *over], decided)
            if len(better) >= len(targets):
                targets = better
            left = [guest for guest in ordered if guest.uid not in targets]
        keys = {guest.uid: guest.key for guest in leaving}
        return targets, [self._without_room(guest, node, conflicts, keys) for guest in left]

    def _without_room(
        self, guest: Instance, node: str, conflicts: Sequence[Conflict], keys: Mapping[str, Key]
    ) -> Blocker:
        reason = no_room_together(node)
        code, cure = reason.code, reason.cure()
        conflict = next((c for c in conflicts if guest.uid in c.guests), next(iter(conflicts), None))
        if conflict is None:
            message = f"{code}: No room was found for it beside the others. {cure}"
            return Blocker(guest.key, guest.uid, (code,), message)
        known = {uid for uid in conflict.guests if keys[uid].namespace == guest.key.namespace}
        message, to_owner = (f"{code}: {words} {cure}" for words in (conflict.words, conflict.told(known)))
        return Blocker(guest.key, guest.uid, (code,), message, to_owner)

    def _greedy(self, ordered: Iterable[Instance], fixed: Mapping[str, str]) -> dict[str, str]:
        """One after the other, each to the host that has most memory free; `fixed` are seated before all others."""
        plan, targets = self._ledger.copy(), dict[str, str]()
        taken: set[str] = set()
        untouched: dict[int, _Front] = {}

        def seat(guest: Instance, name: str) -> None:
            plan.reserve_arrival(guest, name)
            targets[guest.uid] = name
            taken.add(name)

        waiting = []
        for guest in ordered:
            name = fixed.get(guest.uid, "")
            if name and plan.fits(plan.demand(guest), name):
                seat(guest, name)
            else:
                waiting.append(guest)
        heap = [(-plan.free_memory_bytes(name), name) for name in taken]
        heapify(heap)
        for guest in waiting:
            mask, demand = self._assessment.mask(guest.uid), plan.demand(guest)
            front = untouched.get(mask) or untouched.setdefault(mask, _Front(self._by_room, mask))
            fresh = front.first(taken)
            best = None if fresh is None else (-plan.free_memory_bytes(fresh), fresh)
            passed: list[tuple[int, str]] = []
            while heap and (best is None or heap[0] < best):
                entry = heappop(heap)
                if self._assessment.bit(entry[1]) & mask and plan.fits(demand, entry[1]):
                    best = entry
                    break
                passed.append(entry)
            for entry in passed:
                heappush(heap, entry)
            if best is None or not plan.fits(demand, best[1]):
                continue
            seat(guest, best[1])
            heappush(heap, (-plan.free_memory_bytes(best[1]), best[1]))
        return targets

    def _decided(self, rivals: Sequence[Instance]) -> tuple[Mapping[str, str], tuple[Conflict, ...]]:
        """Targets of those that compete for hosts, by UID, and why not all have one."""
        union = 0
        for guest in rivals:
            union |= self._assessment.mask(guest.uid)
        names = self._assessment.names(union)
        positions = {name: position for position, name in enumerate(names)}
        others = sorted({name for guest in rivals for name, _ in self._ledger.demand(guest).others})
        problem = Problem.of(
            (*RESOURCES, *others),
            (room_of(self._hosts[name], self._ledger, others) for name in names),
            (self._guest(guest, positions, others) for guest in rivals),
        )
        solution = solve(problem, EFFORT)
        return {uid: names[room] for uid, room in solution.assignment.items()}, solution.conflicts

    def _guest(self, guest: Instance, positions: Mapping[str, int], others: Sequence[str]) -> Guest:
        suits = sum(1 << positions[name] for name in self._assessment.nodes(guest.uid) if name in positions)
        return Guest(
            guest.uid,
            str(guest.key),
            amounts_of(self._ledger.demand(guest), others),
            facts=(Fact("hardware, volumes and room", suits),),
        )


class _Front:
    """The roomiest host of a mask that nobody was put on yet; looked for once, from the roomiest on."""

    __slots__ = ("_names", "_next")

    def __init__(self, by_room: Sequence[tuple[str, int]], mask: int) -> None:
        self._names: Iterator[str] = (name for name, bit in by_room if mask & bit)
        self._next = next(self._names, None)

    def first(self, taken: set[str]) -> str | None:
        """Its name; None where all are taken."""
        while self._next is not None and self._next in taken:
            self._next = next(self._names, None)
        return self._next


def _rivals(guests: Sequence[Instance], masks: Mapping[str, int]) -> tuple[list[Instance], list[Instance]]:
    """Those that could lack room, and the others in an order in which each finds a host that nobody before it took.

    Whoever comes last and has as many possible hosts as there are guests finds one of them empty.
    """
    rivals = sorted(guests, key=lambda guest: (masks[guest.uid].bit_count(), guest.key, guest.uid))
    rest: list[Instance] = []
    while rivals and masks[rivals[-1].uid].bit_count() >= len(rivals):
        rest.append(rivals.pop())
    return rivals, rest[::-1]


def in_words(reason: PreflightReason) -> str:
    """A reason in one line: its code, the field with what is found and needed, and the remedy."""
    values = chain(
        [f"found {reason.found}"] if reason.found else [], [f"needed {reason.needed}"] if reason.needed else []
    )
    return f"{reason.code}: {reason.field}: {', '.join(values)}. {reason.cure()}"


def _hosts(count: int) -> str:
    return "1 host" if count == 1 else f"{count} hosts"
