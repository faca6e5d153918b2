"""All plans are placed together: first those whose gate can open, then each of the others on what these leave.

A plan that may not start now must not hold room that another one could use; what it is quoted on changes nothing for them.
Called by `engine` at each outlook, and by `following` for a single next attempt.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

from whimbrel.api.ladder import Migration, Rung
from whimbrel.api.migration_plan import MigrationPlanSpec, NonMigratable
from whimbrel.domain.records import Instance
from whimbrel.forecast import Knowledge
from whimbrel.inventory.hosts import Host
from whimbrel.inventory.ledger import Ledger
from whimbrel.inventory.snapshot import Snapshot
from whimbrel.ladder import Choice, Load
from whimbrel.placement import (
    Conflict,
    NoWayThere,
    Placement,
    Request,
    place,
    planned,
)
from whimbrel.preflight import Assessment, Findings, assess, findings
from whimbrel.schedule import weighing
from whimbrel.schedule.outlook import Line, placed_line, quote_hash, refused_line, settled_line, unplaced_line


@dataclass(frozen=True, slots=True)
class Asked:
    """What one plan asks to be quoted."""

    plan_uid: str
    spec: MigrationPlanSpec
    instances: Sequence[Instance]
    keep: Mapping[str, str]
    """Instance UID → target that it already has."""
    via: Mapping[str, str] = field(default_factory=dict)
    """Instance UID → stop on the way there that it already has."""
    on_their_way: frozenset[str] = frozenset()
    """UIDs of instances that have reached a detour."""
    far_travelled: frozenset[str] = frozenset()
    """Those of them that have made so many detours that no further one is planned."""
    namespace: str = ""
    """Of the plan: who reads it may read the names of this namespace's virtual machines."""
    generation: int = 0
    shut: bool = False
    """Whether it may start nothing whatever is quoted: suspended, not approved, a dry run, or something of it does not run."""
    promised: str = ""
    """Hash of the quote that was approved and of which nothing has begun; empty: there is none."""
    stood_blocked: bool = False
    """Whether it could not start before, because of what it selects."""
    busy: bool = False
    """Whether moves of it are under way, which may free room for the others."""
    leaving: frozenset[str] = frozenset()
    """Nodes that somebody is just leaving; looked at only for those on their way."""
    rungs: Mapping[str, Rung] = field(default_factory=dict)
    """Instance UID → rung that was quoted before for its first attempt, where that has not begun."""
    underway: frozenset[str] = frozenset()
    """UIDs of instances of which an attempt was made: whether a further one is worth while is asked when that one ends."""


@dataclass(frozen=True, slots=True)
class Grounds:
    """A conflict as far as a reader of the plan may know it."""

    virtual_machines: tuple[str, ...]
    """`namespace/name` of those that the plan selects or that share its namespace, sorted."""
    unnamed: int
    """How many others have part in it."""
    words: str


@dataclass(frozen=True, slots=True)
class Quoted:
    """One line for each instance of a plan, in the order of their keys, and why not all can be placed."""

    lines: tuple[Line, ...]
    conflicts: tuple[Grounds, ...] = ()
    """Those that name an instance of the plan, then one for each that no order of moves leads to its place."""
    stuck: bool = False
    """Whether something of it cannot move, and nothing that is under way in the plan can change that."""


def quote(
    instances: Sequence[Instance],
    spec: MigrationPlanSpec,
    hosts: Mapping[str, Host],
    ledger: Ledger,
    snapshot: Snapshot,
    keep: Mapping[str, str],
    knowledge: Knowledge | None = None,
) -> tuple[Line, ...]:
    """The lines of instances that no other plan is quoted with and that have made an attempt already."""
    uids = frozenset(instance.uid for instance in instances)
    alone = Asked("", spec, instances, keep, underway=uids)
    return quotes([alone], hosts, ledger, snapshot, dict.fromkeys(uids, ""), knowledge=knowledge)[""].lines


def quotes(
    asked: Sequence[Asked],
    hosts: Mapping[str, Host],
    ledger: Ledger,
    snapshot: Snapshot,
    claims: Mapping[str, str],
    known: Findings | None = None,
    knowledge: Knowledge | None = None,
) -> Mapping[str, Quoted]:
    """What is quoted, by UID of the plan; `asked` in the order in which plans come first.

    `claims`: instance UID → UID of the plan that has it. What can start is placed together, each plan with what it has a
    claim to. Placed afterwards, each on its own terms on what the others leave: plans whose gate is shut, and what another plan
    has. A plan that turns out blocked beside the others is one of those; where it is not blocked afterwards, it counts again
    for those that come after it. Not to be asked before it is known what KubeVirt can be told.
    """
    if known is None or not known.is_about(hosts, ledger, snapshot):
        known = findings(hosts, ledger, snapshot)
    knowledge = knowledge or Knowledge.of(snapshot.moves.values(), snapshot.now)
    desks = [_Desk.of(each, known, claims, knowledge) for each in asked]
    readers = _Readers.of(desks)
    joint, fallen = _Joint.of([desk for desk in desks if not desk.shut], hosts, ledger, ledger), dict[_Desk, _Joint]()
    while falling := joint.falling(readers):
        fallen |= dict.fromkeys(falling, joint)
        held = _with_arrivals((each for desk in fallen for each in desk.promised), ledger)
        joint = _Joint.of([desk for desk in joint.desks if desk not in falling], hosts, ledger, held)
    board, apart = joint.board, dict(joint.apart)
    left = [desk for desk in desks if desk not in joint.apart]
    for desk in sorted(left, key=lambda desk: (desk not in fallen, not desk.asked.promised)):
        before = fallen.get(desk)
        if before is not None and before.desks == (desk,) and len(fallen) == 1 and not desk.rest:
            found = _Apart(frozenset(before.board.guests), before.placement, before.board.after)  # nothing has changed
        else:
            found = board.apart(desk.requests, hosts)
        if before is not None and not (desk.blocks and desk.stuck(found, before.placement)):
            board = board.joined(desk.claimed, found)
        apart[desk] = found if before is None or desk.asked.promised else found.explained_by(before.placement)
    return {desk.asked.plan_uid: desk.quoted(joint.placement, apart[desk], readers) for desk in desks}


def _with_arrivals(coming: Iterable[tuple[Instance, str]], ledger: Ledger) -> Ledger:
    after = ledger.copy()
    for instance, target in coming:
        after.reserve_arrival(instance, target)
    return after


@dataclass(frozen=True, slots=True)
class _Apart:
    """What was placed for one plan on what the others leave."""

    own: frozenset[str]
    """UIDs of the instances that were."""
    placement: Placement
    after: Ledger
    """The ledger when all have arrived, these as well."""

    def explained_by(self, beside: Placement) -> "_Apart":
        """The same, told why those without a place have none beside the others, where that was found out."""
        without = self.own.difference(self.placement.targets)
        told = tuple(c for c in beside.conflicts if not without.isdisjoint(c.guests))
        named = {uid for conflict in told for uid in conflict.guests}
        rest = (c for c in self.placement.conflicts if named.isdisjoint(c.guests))
        return replace(self, placement=replace(self.placement, conflicts=(*told, *rest)))


@dataclass(frozen=True, slots=True)
class _Board:
    """Who goes where of those that can start, and what that leaves."""

    guests: Mapping[str, Instance]
    """By UID."""
    targets: Mapping[str, str]
    before: Ledger
    after: Ledger

    def apart(self, requests: Sequence[Request], hosts: Mapping[str, Host]) -> _Apart:
        """Place these on what all others leave."""
        if not requests:
            return _Apart(frozenset(), Placement({}), self.after)
        own = frozenset(request.instance.uid for request in requests)
        before = self.after
        if not own.isdisjoint(self.guests):
            others = [instance for uid, instance in self.guests.items() if uid not in own]
            before = planned(others, self.targets, self.before)
        found = place(requests, hosts, before)
        return _Apart(own, found, planned([request.instance for request in requests], found.targets, before))

    def joined(self, requests: Sequence[Request], found: _Apart) -> "_Board":
        """With these, as they were placed apart."""
        more = {request.instance.uid: request.instance for request in requests}
        targets = {uid: node for uid, node in found.placement.targets.items() if uid in more}
        after = planned(more.values(), targets, self.after)
        return _Board({**self.guests, **more}, {**self.targets, **targets}, self.before, after)


@dataclass(frozen=True, slots=True)
class _Joint:
    """Plans whose gate can open, placed together."""

    desks: tuple["_Desk", ...]
    placement: Placement
    board: _Board
    apart: Mapping["_Desk", _Apart]
    """Of each plan what another one has of what it selects."""

    @classmethod
    def of(cls, desks: Sequence["_Desk"], hosts: Mapping[str, Host], ledger: Ledger, held: Ledger) -> "_Joint":
        """`held`: the ledger with what was promised to plans that are placed afterwards."""
        requests = [request for desk in desks for request in desk.claimed]
        placement = place(requests, hosts, held)
        guests = {request.instance.uid: request.instance for request in requests}
        board = _Board(guests, placement.targets, ledger, planned(guests.values(), placement.targets, ledger))
        apart = {desk: board.apart(desk.rest, hosts) for desk in desks}
        return cls(tuple(desks), placement, board, apart)

    def falling(self, readers: "_Readers") -> Sequence["_Desk"]:
        """Plans that are better placed afterwards: blocked ones, rather those that were before; else approved ones whose
        quote would not be the approved one any more.
        """
        blocked = [desk for desk in self.desks if desk.blocks and desk.stuck(self.apart[desk], self.placement)]
        if blocked:
            return [desk for desk in blocked if desk.asked.stood_blocked] or blocked
        approved = [desk for desk in self.desks if desk.asked.promised]
        quoted = {desk: desk.quoted(self.placement, self.apart[desk], readers) for desk in approved}
        return [
            desk for desk in approved if quote_hash(desk.asked.generation, quoted[desk].lines) != desk.asked.promised
        ]


@dataclass(frozen=True, slots=True)
class _Readers:
    """Which guests' names who may read."""

    instances: Mapping[str, Instance]
    """All that are placed, by UID."""
    by_namespace: Mapping[str, frozenset[str]]
    """Their UIDs."""

    @classmethod
    def of(cls, desks: Iterable["_Desk"]) -> "_Readers":
        instances = {request.instance.uid: request.instance for desk in desks for request in desk.requests}
        spaces: dict[str, set[str]] = {}
        for uid, instance in instances.items():
            spaces.setdefault(instance.key.namespace, set()).add(uid)
        return cls(instances, {namespace: frozenset(uids) for namespace, uids in spaces.items()})

    def readable(self, asked: Asked) -> Set[str]:
        """UIDs of those whose names may stand in the plan: what it selects, and its namespace."""
        return self.by_namespace.get(asked.namespace, frozenset()).union(i.uid for i in asked.instances)


@dataclass(frozen=True, eq=False, slots=True)
class _Desk:
    """One plan while it is quoted."""

    asked: Asked
    assessment: Assessment
    hosts: Mapping[str, Host]
    there: frozenset[str]
    """UIDs of instances that are where the plan wants them."""
    claimed: tuple[Request, ...]
    rest: tuple[Request, ...]
    """What it selects and another plan has."""
    snapshot: Snapshot
    knowledge: Knowledge

    @classmethod
    def of(cls, asked: Asked, known: Findings, claims: Mapping[str, str], knowledge: Knowledge) -> "_Desk":
        hosts = known.hosts
        assessment = assess(asked.instances, asked.spec, hosts, known.ledger, known.snapshot, known)
        there = frozenset(
            i.uid
            for i in asked.instances
            if i.uid not in asked.on_their_way and _is_there(i, asked.spec, hosts, assessment)
        )
        claimed, rest = list[Request](), list[Request]()
        for instance in asked.instances:
            if instance.uid not in there:
                uid = instance.uid
                request = Request(instance, assessment, asked.keep.get(uid, ""), asked.via.get(uid, ""))
                (claimed if claims.get(instance.uid) == asked.plan_uid else rest).append(request)
        return cls(asked, assessment, hosts, there, tuple(claimed), tuple(rest), known.snapshot, knowledge)

    @property
    def requests(self) -> tuple[Request, ...]:
        """All that is to be placed."""
        return (*self.claimed, *self.rest)

    @property
    def promised(self) -> Iterator[tuple[Instance, str]]:
        """The targets that somebody has approved, which nobody else gets while the plan can start."""
        if self.asked.promised and not self.asked.stood_blocked:
            yield from ((request.instance, request.keep) for request in self.claimed if request.keep)

    @property
    def blocks(self) -> bool:
        """Whether nothing of the plan starts while something of it is stuck."""
        return self.asked.spec.virtual_machines.non_migratable == NonMigratable.BLOCK

    @property
    def shut(self) -> bool:
        """Whether it can start nothing, wherever the others go."""
        subjects = (request.instance for request in self.requests)
        hopeless = self.blocks and any(not self._elsewhere(guest) and self._holds_up(guest) for guest in subjects)
        return self.asked.shut or hopeless

    def stuck(self, apart: _Apart, together: Placement) -> bool:
        """Whether something of it has no target, and nothing that is under way in the plan can change that."""
        return any(
            self._holds_up(guest) and not self._moves(guest, apart.placement if guest.uid in apart.own else together)
            for guest in (request.instance for request in self.requests)
        )

    def _moves(self, instance: Instance, placed: Placement) -> bool:
        """Whether it has a place, and a rung that is likely to bring it there."""
        weighed = self._weighed(instance, self._route(instance, placed)[0])
        return weighed is not None and (instance.uid in self.asked.underway or weighed[2].offer is not None)

    def _holds_up(self, instance: Instance) -> bool:
        """Whether it would keep the plan from starting if it had no target."""
        return not self._may_end(instance) and not (self.asked.busy and self._elsewhere(instance))

    def _elsewhere(self, instance: Instance) -> int:
        """Other hosts that could run it, whatever room they have."""
        return self.assessment.suitable(instance.uid) & ~self.assessment.bit(instance.node)

    def _may_end(self, instance: Instance) -> bool:
        """Whether it has come to a host on its way that is as good a place to stay, and nobody is just about to make room
        elsewhere.
        """
        host = self.hosts.get(instance.node)
        if instance.uid not in self.asked.on_their_way or self.asked.shut or host is None:
            return False
        elsewhere = self._elsewhere(instance)
        opening = any(self.assessment.bit(node) & elsewhere for node in self.asked.leaving)
        return self.assessment.terms.admits(host) and not opening

    def _route(self, instance: Instance, placed: Placement) -> tuple[str, str]:
        """The node where it goes next, empty where there is none; and where it will end if that is a stop on its way."""
        detour, final = placed.detours.get(instance.uid, ""), placed.targets.get(instance.uid, "")
        if detour and (self.assessment.landing(instance.uid) or instance.uid in self.asked.far_travelled):
            return "", ""
        return detour or final, final if detour else ""

    def _weighed(self, instance: Instance, node: str) -> tuple[Load, Migration, Choice] | None:
        """What the ladder says of a guest on its way to a node; None where it does not go there."""
        source, host = self.hosts.get(instance.node), self.hosts.get(node)
        if host is None or source is None:
            return None
        terms = self.asked.spec.migration
        load = weighing.load_of(instance, source, host, terms, self.snapshot, self.knowledge)
        if load is None:
            return None
        stood = self.asked.rungs.get(instance.uid)
        return load, terms, weighing.chosen(load, terms, (), stood)

    def quoted(self, together: Placement, apart: _Apart, readers: _Readers) -> Quoted:
        """The lines of the plan."""
        readable: Set[str] | None = None
        lines = []
        for instance in sorted(self.asked.instances, key=lambda instance: instance.key):
            placed = apart.placement if instance.uid in apart.own else together
            node, final = self._route(instance, placed)
            weighed = self._weighed(instance, node)
            if instance.uid in self.there:
                lines.append(settled_line(instance))
            elif weighed is not None:
                load, terms, choice = weighed
                if choice.offer is None and instance.uid not in self.asked.underway:
                    lines.append(refused_line(instance, load, terms, choice, self.assessment, node=node, final=final))
                    continue
                in_turn = instance.uid not in apart.own and instance.uid not in placed.later
                host = self.hosts[node]
                lines.append(placed_line(instance, load, terms, host, self.assessment, final=final, in_turn=in_turn))
            elif self._may_end(instance):
                lines.append(replace(settled_line(instance), ends_here=True))
            else:
                readable = readers.readable(self.asked) if readable is None else readable
                lines.append(unplaced_line(instance, self.assessment, placed, apart.after, readable))
        unplaced = {line.instance.uid for line in lines if line.target is None and not line.settled}
        conflicts = [c for c in (*together.conflicts, *apart.placement.conflicts) if not unplaced.isdisjoint(c.guests)]
        conflicts.sort(key=lambda conflict: (len(conflict.guests) == 1, conflict.guests))
        told = [_grounds(conflict, readers, readable or frozenset()) for conflict in conflicts]
        return Quoted(tuple(lines), (*told, *_without_way(lines)), self.stuck(apart, together))


def _grounds(conflict: Conflict, readers: _Readers, readable: Set[str]) -> Grounds:
    named = sorted(readers.instances[uid].key for uid in conflict.guests if uid in readable)
    return Grounds(tuple(map(str, named)), len(conflict.guests) - len(named), conflict.told(readable))


def _without_way(lines: Iterable[Line]) -> Iterator[Grounds]:
    """Those that no order of moves leads to their place, as their lines say it; these are in no conflict."""
    for line in lines:
        for reason in line.reasons:
            if isinstance(reason, NoWayThere):
                yield Grounds((str(line.instance.key),), 0, f"{reason.found}.")


def _is_there(instance: Instance, spec: MigrationPlanSpec, hosts: Mapping[str, Host], assessment: Assessment) -> bool:
    host, target = hosts.get(instance.node), spec.target
    chosen = target.node_names is not None or target.node_selector is not None
    return chosen and spec.virtual_machines.on_nodes is None and host is not None and assessment.terms.admits(host)
