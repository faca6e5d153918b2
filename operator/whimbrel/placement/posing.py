"""From preflight and the ledger to the problem in numbers, and from its solution back to nodes.

All requests were assessed against the same hosts, so that a bit means the same host in each. Called by
`schedule.outlook` for all plans at once.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import lru_cache

from whimbrel.domain.records import Instance
from whimbrel.inventory.hosts import Host
from whimbrel.inventory.ledger import Ledger, PodDemand
from whimbrel.placement.assign import seat
from whimbrel.placement.between import Between
from whimbrel.placement.board import Board, Frame
from whimbrel.placement.problem import Amounts, Conflict, Fact, Guest, Kind, Problem, Room
from whimbrel.placement.sequence import sequence
from whimbrel.placement.solving import Effort, Solution, solve
from whimbrel.placement.steps import Step, Stuck
from whimbrel.placement.volumes import PREFIX, Volumes, counted_twice
from whimbrel.preflight import Assessment, HostFamily, attach_limits, elsewhere, pod_affinity, topology_spread

RESOURCES = ("memory_bytes", "cpu_millicores", "pods")


@dataclass(frozen=True, slots=True)
class Request:
    """A guest that a plan wants to be placed."""

    instance: Instance
    assessment: Assessment
    """Of its plan: whom it was assessed with decides nothing."""
    keep: str = ""
    """The target chosen before, which stays chosen while it is possible; empty: none was."""
    via: str = ""
    """The stop on the way there that was chosen before; empty: none was."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where everybody goes, and why not all can."""

    targets: Mapping[str, str]
    """Node by instance UID; who has none is in a conflict, undecided, or was kept from every host by itself."""
    conflicts: tuple[Conflict, ...] = ()
    undecided: frozenset[str] = frozenset()
    detours: Mapping[str, str] = field(default_factory=dict)
    """Node by instance UID where a guest goes first, because no order leads to its target directly."""
    stuck: Mapping[str, Stuck] = field(default_factory=dict)
    """Why no order of moves leads to the target, by instance UID; these have no target."""
    later: frozenset[str] = frozenset()
    """Guests whose turn comes only after others have left."""
    explained: Mapping[str, Conflict] = field(init=False)
    """The conflict of each guest that is in one, by UID."""

    def __post_init__(self) -> None:
        by_guest = {uid: conflict for conflict in self.conflicts for uid in conflict.guests}
        object.__setattr__(self, "explained", by_guest)


def place(
    requests: Sequence[Request],
    hosts: Mapping[str, Host],
    ledger: Ledger,
    effort: Effort | None = None,
) -> Placement:
    """A target for every guest that can have one beside all others. The ledger must not hold reservations for them.

    What departures free counts: a move whose target has no room yet waits for it. Guests that only wait for something to
    pass get a target too, those that a lasting reason keeps where they are stay out of it.
    """
    asked = [request for request in requests if not request.assessment.lasting(request.instance.uid)]
    if not asked:
        return Placement({})
    problem = pose(asked, hosts, ledger)
    found = _placed(problem, effort)
    if found.conflicts:
        doubted = counted_twice((request.instance for request in asked), ledger)
        if not all(_is_proof(conflict, problem, doubted) for conflict in found.conflicts):
            return _placed(pose(asked, hosts, ledger, places=False), effort)
    return found


def _placed(problem: Problem, effort: Effort | None) -> Placement:
    asked = problem.guests
    names = [room.name for room in problem.rooms]
    before = _chosen_before(problem)
    if len(before.targets) == len(asked):
        return _placement(names, before, Solution({}, (), ()))
    solution = solve(problem, effort)
    way = _Way(problem, solution.assignment)
    anew = _without_stale(problem, way)
    if anew is not problem:
        other = solve(anew, effort)
        other_way = _Way(anew, other.assignment)
        if len(other_way.targets) > len(way.targets):
            solution, way = other, other_way
    way = _steady(problem, way, before)
    explained = {uid for conflict in solution.conflicts for uid in conflict.guests}.union(solution.undecided)
    for guest in problem.guests:
        if guest.uid not in way.targets and guest.uid not in explained:
            words = f"{guest.name} finds room only once a conflict of others is resolved"
            way.stuck.setdefault(guest.uid, Stuck(guest.uid, words))
    return _placement(names, way, solution)


def _is_proof(conflict: Conflict, problem: Problem, doubted: Set[str]) -> bool:
    """Whether a conflict holds however volumes are counted."""
    lacks_places = any(
        member.kind is Kind.CAPACITY and problem.resources[member.resource].startswith(PREFIX)
        for member in conflict.members
    )
    return not lacks_places or doubted.isdisjoint(conflict.guests)


def _placement(names: Sequence[str], way: "_Way", solution: Solution) -> Placement:
    return Placement(
        {uid: names[room] for uid, room in way.targets.items()},
        solution.conflicts,
        frozenset(solution.undecided),
        {uid: names[room] for uid, room in way.detours.items()},
        way.stuck,
        way.later,
    )


def _without_stale(problem: Problem, way: "_Way") -> Problem:
    """The problem in which those are placed anew who were to go where no order of moves leads any more."""
    stale = {guest.uid for guest in problem.guests if guest.uid in way.stuck and guest.keep is not None}
    if not stale:
        return problem
    guests = tuple(replace(guest, keep=None) if guest.uid in stale else guest for guest in problem.guests)
    return replace(problem, guests=guests)


def _chosen_before(problem: Problem) -> "_Way":
    """The targets that were chosen before, as far as they are possible together and an order leads there."""
    kept = {number: guest.keep for number, guest in enumerate(problem.guests) if guest.keep is not None}
    if not kept:
        return _Way(problem, {})
    board = Board(Frame(problem))
    seat(board, board.guests, kept)
    return _Way(problem, {problem.guests[number].uid: board.place[number] for number in kept if board.placed(number)})


def _steady(problem: Problem, found: "_Way", before: "_Way") -> "_Way":
    """What was chosen `before`, as far as it is possible, unless the way that was found places more guests and will stand.

    There are several ways to place all or some; without this an unchanged world could go back and forth between them.
    """
    if all(guest.keep is None for guest in problem.guests):
        return found
    while len(found.targets) > len(before.targets):
        again = _chosen_before(_as_chosen(problem, found))
        again.stuck = found.stuck | again.stuck
        if len(again.targets) >= len(found.targets):
            return found
        found = again
    before.stuck = {uid: stuck for uid, stuck in found.stuck.items() if uid not in before.targets} | before.stuck
    for guest in problem.guests:
        if guest.uid not in before.targets and guest.uid in found.targets:
            words = f"{guest.name} has a place only instead of another that keeps its own"
            before.stuck.setdefault(guest.uid, Stuck(guest.uid, words))
    return before


def _as_chosen(problem: Problem, way: "_Way") -> Problem:
    """The problem as it will be posed once this way is the one that was chosen before."""
    guests = (replace(g, keep=way.targets.get(g.uid), via=way.detours.get(g.uid)) for g in problem.guests)
    return replace(problem, guests=tuple(guests))


class _Way:
    """How an assignment is reached: in any order where room for all arrivals is there now, else in a sequence."""

    def __init__(self, problem: Problem, assignment: Mapping[str, int]) -> None:
        self.targets = dict(assignment)
        self.detours: dict[str, int] = {}
        self.stuck: dict[str, Stuck] = {}
        self.later: frozenset[str] = frozenset()
        if not problem.rules and self._fits_at_once(problem):
            return
        found = sequence(problem, assignment)
        self.targets |= found.rerouted
        for stuck in found.stuck:
            self.stuck[stuck.guest] = stuck
            self.targets.pop(stuck.guest, None)
        self._take_turns(problem, found.steps)

    def _fits_at_once(self, problem: Problem) -> bool:
        """Whether all can arrive before anybody has left."""
        left = [list(room.free) for room in problem.rooms]
        for guest in problem.guests:
            room = self.targets.get(guest.uid)
            if room is not None and room != guest.source:
                for resource, amount in enumerate(guest.demand):
                    left[room][resource] -= amount
                if _overfull(problem.rooms[room], left[room], guest):
                    return False
        return True

    def _take_turns(self, problem: Problem, steps: Iterable[Step]) -> None:
        """Who may start now: the first step of each guest, as long as nobody who is to come before it waits for the room."""
        guests = {guest.uid: guest for guest in problem.guests}
        left = [list(room.free) for room in problem.rooms]
        begun: set[str] = set()
        later: set[str] = set()
        barred: set[int] = set()
        for step in steps:
            guest, room = guests[step.guest], step.target
            if step.guest in begun:
                barred.add(room)
                continue
            begun.add(step.guest)
            if step.detour:
                self.detours[step.guest] = room
            after = [free - amount for free, amount in zip(left[room], guest.demand, strict=True)]
            if room in barred or _overfull(problem.rooms[room], after, guest):
                later.add(step.guest)
                barred.add(room)
            else:
                left[room] = after
        self.later = frozenset(later)


def _overfull(room: Room, left: Sequence[int], arrived: Guest) -> bool:
    """Whether too little is left of a room once a guest has arrived, its headroom included."""
    return left[0] < -(-room.allocatable[0] * arrived.headroom_percent // 100) or any(
        amount < min(0, before) for amount, before in zip(left[1:], room.free[1:], strict=True)
    )


def pose(requests: Sequence[Request], hosts: Mapping[str, Host], ledger: Ledger, *, places: bool = True) -> Problem:
    """The problem of these requests. Of their plans the one that asks for most host failures is heard.

    `places`: whether places for volumes are counted for all together, or what preflight says of each by itself stands.
    """
    names = sorted(hosts)
    position = {name: number for number, name in enumerate(names)}
    failures = max((request.assessment.terms.target.headroom.host_failures for request in requests), default=0)
    moving = frozenset(request.instance.uid for request in requests) if failures else frozenset()
    between = Between(((request.instance, request.assessment) for request in requests), ledger)
    volumes = Volumes((request.instance for request in requests) if places else (), hosts, ledger)
    scarce = _scarce(requests, hosts, ledger)
    emptied = frozenset[str]().union(*{request.assessment.terms.emptied for request in requests})
    rooms = (
        room_of(hosts[name], ledger, scarce, _restarts(hosts[name], ledger, scarce, moving) if failures else ())
        for name in names
    )
    return Problem.of(
        (*RESOURCES, *scarce, *volumes.names),
        [
            _with_places(replace(room, spare=name not in emptied and hosts[name].takes_guests), volumes)
            for name, room in zip(names, rooms, strict=True)
        ],
        [_guest(request, position, ledger, scarce, volumes, between, places=places) for request in requests],
        between.rules(requests[0].assessment) if requests else (),
        failures,
    )


def _scarce(requests: Sequence[Request], hosts: Mapping[str, Host], ledger: Ledger) -> tuple[str, ...]:
    """Names of other resources that could run out before the pods that a host takes; most are never short."""
    most: dict[str, int] = {}
    leaving: Counter[str] = Counter()
    for request in requests:
        demand = ledger.demand(request.instance)
        leaving[request.instance.node] += demand.pods
        for name, amount in demand.others:
            most[name] = max(most.get(name, 0), amount)
    coming = {name: max(0, ledger.free_pods(name)) + leaving[name] for name in hosts}
    return tuple(
        resource
        for resource, amount in sorted(most.items())
        if any(ledger.free(name, resource) < amount * pods for name, pods in coming.items())
    )


def _restarts(host: Host, ledger: Ledger, scarce: Sequence[str], moving: Set[str]) -> Amounts:
    """What of those that do not move must start elsewhere if the host is lost."""
    staying = [pod for pod in ledger.launchers_on(host.name) if pod.instance_uid not in moving]
    return (
        sum(pod.memory_bytes for pod in staying),
        sum(pod.cpu_millicores for pod in staying),
        len(staying),
        *(sum(dict(pod.requests).get(resource, 0) for pod in staying) for resource in scarce),
    )


def room_of(host: Host, ledger: Ledger, others: Sequence[str], restarts: Amounts = ()) -> Room:
    """A host with what nobody requests there, of `RESOURCES` and these others."""
    name, node, listed = host.name, host.node, dict(host.node.allocatable)
    return Room(
        name,
        (
            ledger.free_memory_bytes(name),
            ledger.free_cpu_millicores(name),
            ledger.free_pods(name),
            *(ledger.free(name, resource) for resource in others),
        ),
        (
            node.allocatable_memory_bytes,
            node.allocatable_cpu_millicores,
            node.allocatable_pods,
            *(listed.get(resource, 0) for resource in others),
        ),
        restarts,
    )


def _with_places(room: Room, volumes: Volumes) -> Room:
    """The same with places for volumes."""
    if not volumes.names:
        return room
    free, places = volumes.free(room.name), volumes.places(room.name)
    restarts = (*room.restarts, *(0 for _ in places)) if room.restarts else ()
    return replace(room, free=(*room.free, *free), allocatable=(*room.allocatable, *places), restarts=restarts)


def amounts_of(demand: PodDemand, others: Sequence[str]) -> Amounts:
    """What a launcher takes, of `RESOURCES` and these others."""
    asked = dict(demand.others) if others else {}
    return (demand.memory_bytes, demand.cpu_millicores, demand.pods, *(asked.get(resource, 0) for resource in others))


def _guest(
    request: Request,
    position: Mapping[str, int],
    ledger: Ledger,
    scarce: Sequence[str],
    volumes: Volumes,
    between: Between,
    *,
    places: bool,
) -> Guest:
    instance, assessment = request.instance, request.assessment
    target = assessment.terms.target
    return Guest(
        instance.uid,
        str(instance.key),
        (*amounts_of(ledger.demand(instance), scarce), *volumes.of(instance)),
        _facts(tuple(assessment.families), _masks(request, between), _COUNTED_BY_PREFLIGHT if places else _WITH_PLACES),
        position.get(instance.node),
        target.headroom.memory_percent,
        target.strategy,
        position.get(request.keep),
        position.get(request.via),
    )


@lru_cache(maxsize=4096)
def _facts(
    families: tuple[HostFamily, ...], masks: tuple[int, ...], counted: tuple[HostFamily, ...]
) -> tuple[Fact, ...]:
    """What lasts of what preflight says; what changes as guests come and go is counted by the problem itself."""
    return tuple(
        Fact(family.NEEDS, mask)
        for family, mask in zip(families, masks, strict=True)
        if not family.OF_THE_MOMENT or family in counted
    )


_COUNTED_BY_PREFLIGHT: tuple[HostFamily, ...] = (elsewhere, pod_affinity, topology_spread)
"""Of the families that change from moment to moment, those that the problem does not count itself, or not all of them."""
_WITH_PLACES = (*_COUNTED_BY_PREFLIGHT, attach_limits)


def _masks(request: Request, between: Between) -> tuple[int, ...]:
    """What each family says, rules between pods only towards those that are not placed with it."""
    assessment, uid = request.assessment, request.instance.uid
    found = dict(zip(assessment.families, assessment.masks(uid), strict=True))
    if pod_affinity in found:
        found[pod_affinity] = between.admitted(uid, assessment, found[pod_affinity])
    if topology_spread in found:
        found[topology_spread] = between.spread(uid, assessment, found[topology_spread])
    return tuple(found.values())
