"""The appraisal: every virtual machine and every host of a collected cluster, judged as the operator judges. Pure.

What could not be read makes a verdict *unknown* where it matters, and never a yes. Called by `hosts` and `assess`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from whimbrel.cli.collect import Collected
from whimbrel.domain.records import Instance, Key
from whimbrel.inventory.hosts import effective_hosts
from whimbrel.inventory.ledger import Ledger
from whimbrel.inventory.snapshot import Snapshot
from whimbrel.preflight import Assessment, PreflightReason, assess
from whimbrel.schedule.evacuation import ANY_HOST, Evacuation, evacuations, residents

YES, NO, UNKNOWN, WAITS = "yes", "no", "unknown", "waits"
MOST_NAMED = 20
"""Hosts that are named; more are counted."""
_ENDED = ("Succeeded", "Failed")
_FALSE_WITHOUT: Mapping[str, frozenset[str]] = {"nodes": frozenset({"SourceUnknown", "NoOtherHost"})}
"""Codes that would only say that a kind could not be read."""


@dataclass(frozen=True, slots=True)
class Gap:
    """What is not known of a virtual machine for want of a kind."""

    field: str
    rules: str
    claims: bool = False
    """It matters only to guests with claims."""
    networks: bool = False
    """It matters only to guests on networks of their own."""

    def concerns(self, instance: Instance) -> bool:
        """Whether it matters to this guest."""
        if self.claims:
            return any(volume.claim for volume in instance.volumes)
        return not self.networks or any(interface.network for interface in instance.interfaces)


GAPS = (
    Gap("nodes", "everything about hosts"),
    Gap("pods", "room on the hosts, and what its launcher asks for"),
    Gap("profiles", "which hosts migrations are enabled on"),
    Gap("migrations", "whether somebody moves it already"),
    Gap("kubevirts", "whether KubeVirt is well"),
    Gap("virtual_machines", "whether its owner forbids moving it"),
    Gap("namespaces", "rules between pods that choose namespaces by their labels"),
    Gap("quotas", "whether its namespace has quota left for a second launcher"),
    Gap("limits", "whether its namespace permits a second launcher"),
    Gap("claims", "access modes of its claims", claims=True),
    Gap("volumes", "which nodes reach its volumes", claims=True),
    Gap("csi_nodes", "which nodes run the drivers of its volumes", claims=True),
    Gap("attachments", "how many volumes the nodes have attached", claims=True),
    Gap("networks", "whether its networks are there", networks=True),
)
"""Kinds without which a virtual machine that nothing speaks against is no certain yes."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Something that stands against a virtual machine, or is to be known of it."""

    reason: PreflightReason
    hosts: tuple[str, ...] = ()
    """The first hosts that it is about; empty: it holds everywhere."""
    count: int = 0
    """All of them."""

    def document(self) -> dict[str, Any]:
        """For programs."""
        reason = self.reason
        where = {"hosts": list(self.hosts), "hostCount": self.count} if self.count else {}
        return {
            "code": reason.code,
            "judgement": str(reason.judgement),
            "blocks": reason.blocks,
            "passesByItself": reason.transient,
            "field": reason.field,
            "found": reason.found,
            "needed": reason.needed,
            "remedy": reason.cure(),
            **where,
        }


@dataclass(frozen=True, slots=True)
class Machine:
    """One virtual machine."""

    name: str
    node: str
    movable: str
    targets: tuple[str, ...] = ()
    """The first hosts that could take it."""
    target_count: int = 0
    obstacles: tuple[Obstacle, ...] = ()
    nowhere: bool = False
    """Whether every other host has something against it, apart from what holds everywhere."""
    unknown: tuple[str, ...] = ()
    """Rules that could not be asked."""

    @property
    def codes(self) -> tuple[str, ...]:
        """Of what blocks it everywhere, and of what blocks it on hosts where that leaves it none."""
        blocking = [o for o in self.obstacles if o.reason.blocks and (not o.count or self.nowhere)]
        return tuple(dict.fromkeys(o.reason.code for o in blocking))

    def document(self) -> dict[str, Any]:
        """For programs."""
        return {
            "virtualMachine": self.name,
            "node": self.node,
            "movable": self.movable,
            "targets": {
                "count": self.target_count,
                "hosts": list(self.targets),
                "omitted": self.target_count - len(self.targets),
            },
            "reasons": [obstacle.document() for obstacle in self.obstacles],
            "unknown": list(self.unknown),
        }


@dataclass(frozen=True, slots=True)
class HostRow:
    """One host."""

    name: str
    guests: int
    evacuable: str
    seconds: int | None
    """None: not known."""
    blockers: tuple[tuple[str, tuple[str, ...], str], ...] = ()
    """(virtual machine, codes, message), sorted."""
    waiting: tuple[str, ...] = ()
    """Codes of what some of its virtual machines wait for, which passes by itself."""
    unknown: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """For programs."""
        return {
            "host": self.name,
            "guests": self.guests,
            "canBeEmptied": self.evacuable,
            "seconds": self.seconds,
            "waitingFor": list(self.waiting),
            "blockers": [{"virtualMachine": vm, "codes": list(codes), "message": m} for vm, codes, m in self.blockers],
            "unknown": list(self.unknown),
        }


@dataclass(frozen=True, slots=True)
class Appraisal:
    """All of it, sorted by name."""

    hosts: tuple[HostRow, ...]
    machines: tuple[Machine, ...]
    not_running: tuple[str, ...]
    unread: tuple[tuple[str, str], ...]
    """(kind, why), in the order in which they were read."""
    assumed: bool
    capabilities_known: bool
    assessment: Assessment = field(repr=False)

    def premises(self) -> tuple[str, ...]:
        """What everything below depends on, in words."""
        said = [f"{kind} {why}: what depends on it is unknown." for kind, why in self.unread]
        if self.assumed:
            hidden = any(kind.startswith("hostprofiles") and "404" not in why for kind, why in self.unread)
            none = "could be read" if hidden else "was found"
            said.append(
                f"No HostProfile {none}: every node that KubeVirt can use counts as enabled, with a link of 1 Gbit/s (assumed)."
            )
        if not self.capabilities_known:
            said.append("KubeVirt's schemas could not be read: it is taken to be 1.6 or newer (assumed).")
        return tuple(said)


def appraise(collected: Collected) -> Appraisal:
    """Judge everything once."""
    snapshot = collected.snapshot
    hosts, ledger = effective_hosts(snapshot), Ledger.of(snapshot)
    living = [each for _, each in sorted(snapshot.instances.items()) if each.phase not in _ENDED]
    assessment = assess(living, ANY_HOST, hosts, ledger, snapshot)
    judge = _Judge(assessment, snapshot)
    machines = tuple(judge.machine(each) for each in living)
    by_name = {each.name: each for each in machines}
    found = evacuations(snapshot, hosts, ledger, assessment)
    rows = [
        _row(each, [by_name[str(g.key)] for g in guests], judge) for each, guests in _at_home(found, snapshot.instances)
    ]
    if "nodes" in snapshot.unread:
        rows = _rows_by_guests(residents(snapshot))
    there = {Key(each.key.namespace, each.owner_vm) for each in living if each.owner_vm}
    return Appraisal(
        hosts=tuple(rows),
        machines=machines,
        not_running=tuple(str(key) for key in sorted(snapshot.virtual_machines) if key not in there),
        unread=tuple((each.name, each.why) for each in collected.unread),
        assumed=collected.assumed,
        capabilities_known=collected.capabilities_known,
        assessment=assessment,
    )


class _Judge:
    """Makes machines of instances; equal obstacles are made once."""

    def __init__(self, assessment: Assessment, snapshot: Snapshot) -> None:
        self._assessment, self._unread = assessment, snapshot.unread
        unread = snapshot.unread if _looks_at_labels(snapshot) else snapshot.unread - {"namespaces"}
        self._gaps = [gap for gap in GAPS if gap.field in unread]
        self.false = frozenset[str]().union(*(_FALSE_WITHOUT.get(each, frozenset()) for each in unread))
        self._obstacles: dict[tuple[PreflightReason, int], Obstacle] = {}
        self._named: dict[int, tuple[str, ...]] = {}

    def unknown(self, instance: Instance) -> tuple[str, ...]:
        """Rules that could not be asked about it."""
        return tuple(gap.rules for gap in self._gaps if gap.concerns(instance))

    def machine(self, instance: Instance) -> Machine:
        """One virtual machine."""
        everywhere = [r for r in self._assessment.everywhere(instance.uid) if r.code not in self.false]
        lasting = any(reason.blocks and not reason.transient for reason in everywhere)
        waits = any(reason.blocks and reason.transient for reason in everywhere)
        possible = 0 if lasting else self._assessment.mask(instance.uid)
        unknown = self.unknown(instance)
        blind = "nodes" in self._unread
        if lasting or not (possible or blind):
            movable = NO
        elif unknown:
            movable = UNKNOWN
        else:
            movable = WAITS if waits else YES
        return Machine(
            name=str(instance.key),
            node=instance.node,
            movable=movable,
            targets=self._names(possible),
            target_count=possible.bit_count(),
            obstacles=(*(Obstacle(reason) for reason in everywhere), *self._elsewhere(instance)),
            nowhere=not self._assessment.free(instance.uid),
            unknown=unknown,
        )

    def _elsewhere(self, instance: Instance) -> Iterator[Obstacle]:
        for each in self._assessment.elsewhere(instance.uid, instance.node):
            known = (each.reason, each.hosts)
            if known not in self._obstacles:
                self._obstacles[known] = Obstacle(each.reason, self._names(each.hosts), each.hosts.bit_count())
            yield self._obstacles[known]

    def _names(self, mask: int) -> tuple[str, ...]:
        first = 0
        for _ in range(MOST_NAMED):
            lowest = mask & -mask
            first |= lowest
            mask ^= lowest
        if first not in self._named:
            self._named[first] = self._assessment.names(first)
        return self._named[first]


def _looks_at_labels(snapshot: Snapshot) -> bool:
    """Whether any rule between pods chooses namespaces by their labels: then it matters that these are not known."""
    distinct = {pod.scheduling for pod in snapshot.pods.values() if pod.scheduling is not None}
    terms = (term for rules in distinct for term in (*rules.affinity, *rules.anti_affinity))
    return any(term.namespace_selector is not None for term in terms)


def _at_home(
    found: Iterable[Evacuation], instances: Mapping[Key, Instance]
) -> Iterator[tuple[Evacuation, list[Instance]]]:
    guests: dict[str, list[Instance]] = {}
    for _, instance in sorted(instances.items()):
        if instance.phase not in _ENDED:
            guests.setdefault(instance.node, []).append(instance)
    return ((each, guests.get(each.host, [])) for each in found)


def _row(evacuation: Evacuation, guests: Iterable[Machine], judge: _Judge) -> HostRow:
    unknown = tuple(dict.fromkeys(rule for guest in guests for rule in guest.unknown))
    blockers = tuple((str(b.guest), b.codes, b.message) for b in evacuation.blockers if b.codes[0] not in judge.false)
    evacuable = NO if blockers else UNKNOWN if unknown else WAITS if evacuation.waiting else YES
    return HostRow(
        evacuation.host, evacuation.guests, evacuable, evacuation.seconds, blockers, evacuation.waiting, unknown
    )


def _rows_by_guests(guests: Iterable[Instance]) -> list[HostRow]:
    """Where nodes may not be read: the hosts that guests name."""
    counted: dict[str, int] = {}
    for guest in guests:
        counted[guest.node] = counted.get(guest.node, 0) + 1
    return [
        HostRow(node, count, UNKNOWN, None, unknown=(GAPS[0].rules,)) for node, count in sorted(counted.items()) if node
    ]
