"""The assessment: which of a plan's guests may go where, and every reason why not.

Linear in guests and in hosts; a pair is never judged unless somebody asks for its texts. Made by `preflight.assess`.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from whimbrel.domain.records import Instance
from whimbrel.inventory.hosts import Host
from whimbrel.inventory.ledger import Ledger
from whimbrel.inventory.snapshot import Snapshot
from whimbrel.preflight.family import Candidate, GuestFamily, HostFamily, PreflightReason, Reach
from whimbrel.preflight.lineup import Lineup, Terms


@dataclass(frozen=True, slots=True)
class _Case:
    """What was found out about one guest."""

    everywhere: tuple[PreflightReason, ...]
    demands: tuple[Hashable, ...]
    """One per family that looks at hosts."""
    suitable: int
    """Hosts that could run it, whatever room they have."""
    possible: int
    """Those of them that have room now and are not its source."""
    landing: tuple[str, ...]
    """Where it may land if the scheduler chooses; empty where its migration names a target."""


def candidate(
    instance: Instance,
    hosts: Mapping[str, Host],
    ledger: Ledger,
    snapshot: Snapshot,
    reach: Reach | None,
    *,
    evacuated: bool = False,
) -> Candidate:
    """An instance with what the cluster says of it."""
    return Candidate(
        instance=instance,
        source=hosts.get(instance.node),
        migration=ledger.unfinished_migration(instance.key),
        launchers=ledger.launchers(instance),
        requests=ledger.demand(instance),
        snapshot=snapshot,
        reach=reach,
        evacuated=evacuated,
    )


def host_demand(family: HostFamily, guest: Candidate, lineup: Lineup) -> Hashable:
    """What a guest needs, by what its source host supplies."""
    home = None if guest.source is None else lineup.supply(family.supply, guest.source)
    return family.demand(guest, home)


class Assessment:
    """Verdicts about the guests of one plan at one instant, by instance UID. An unknown UID cannot move, for no reason."""

    __slots__ = ("_cases", "_families", "_lineup")

    def __init__(self, lineup: Lineup, families: Sequence[HostFamily], cases: Mapping[str, _Case]) -> None:
        """Made by `Assessment.of`."""
        self._lineup = lineup
        self._families = families
        self._cases = cases

    @classmethod
    def of(
        cls,
        guests: Iterable[Candidate],
        lineup: Lineup,
        everywhere: Sequence[GuestFamily],
        by_host: Sequence[HostFamily],
    ) -> "Assessment":
        """Judge each distinct demand once."""
        judged: dict[tuple[int, Hashable], tuple[PreflightReason, ...]] = {}
        masks: dict[tuple[int, Hashable], int] = {}
        cases = {}
        for guest in guests:
            reasons: tuple[PreflightReason, ...] = ()
            for number, guest_family in enumerate(everywhere):
                wanted = (number, guest_family.demand(guest))
                if wanted not in judged:
                    judged[wanted] = tuple(guest_family.judge(wanted[1]))
                reasons += judged[wanted]
            demands = []
            suitable = possible = lineup.everybody
            for number, family in enumerate(by_host):
                wanted = (number, host_demand(family, guest, lineup))
                if wanted not in masks:
                    masks[wanted] = family.mask(wanted[1], lineup)
                demands.append(wanted[1])
                possible &= masks[wanted]
                if not family.OF_THE_MOMENT:
                    suitable &= masks[wanted]
            landing = guest.reach.allowed if guest.reach is not None else ()
            cases[guest.instance.uid] = _Case(reasons, tuple(demands), suitable, possible, landing)
        return cls(lineup, by_host, cases)

    @property
    def terms(self) -> Terms:
        """The plan's terms, with the ledger that was judged on."""
        return self._lineup.terms

    def movable(self, uid: str) -> bool:
        """Whether it may start now: nothing stands in the way, and some host takes it."""
        case = self._cases.get(uid)
        return case is not None and not any(reason.blocks for reason in case.everywhere) and case.possible != 0

    def transient(self, uid: str) -> bool:
        """Whether it cannot move now, but only because of what passes by itself: it waits and is not blocked."""
        case = self._cases.get(uid)
        return case is not None and any(reason.blocks for reason in case.everywhere) and self.mask(uid) != 0

    def mask(self, uid: str) -> int:
        """Hosts that can take it now, or when what passes has passed; 0 where a lasting reason stands against it."""
        case = self._cases.get(uid)
        return 0 if case is None or _lasting(case) else case.possible

    def suitable(self, uid: str) -> int:
        """Hosts that could run it, whatever room they have now, its source included; 0 as for `mask`."""
        case = self._cases.get(uid)
        return 0 if case is None or _lasting(case) else case.suitable

    def landing(self, uid: str) -> tuple[str, ...]:
        """Names of the hosts that it may land on if the scheduler chooses; empty where its migration names a target."""
        case = self._cases.get(uid)
        return () if case is None else case.landing

    def nodes(self, uid: str) -> tuple[str, ...]:
        """Names of the hosts of `mask`, sorted."""
        return self._lineup.names(self.mask(uid))

    def names(self, mask: int) -> tuple[str, ...]:
        """Names of the hosts of any mask of this assessment, sorted."""
        return self._lineup.names(mask)

    def hosts(self, mask: int) -> tuple[Host, ...]:
        """The hosts of any mask of this assessment, sorted by name."""
        chosen = set(self._lineup.names(mask))
        return tuple(host for host in self._lineup.hosts if host.name in chosen)

    def bit(self, node: str) -> int:
        """The mask of one host; 0 where there is none of that name."""
        return self._lineup.bit(node)

    def reasons(self, uid: str, limit: int | None = None) -> tuple[PreflightReason, ...]:
        """Every reason that holds everywhere, and where no host is possible each host's own, in a stable order.

        `limit` bounds how many are made: a thousand hosts have a thousand reasons each.
        """
        return tuple(islice(self._reasons(uid), limit))

    def reasons_on(self, uid: str, node: str) -> tuple[PreflightReason, ...]:
        """Every reason against one host."""
        case = self._cases.get(uid)
        host = next((host for host in self._lineup.hosts if host.name == node), None)
        return () if case is None or host is None else tuple(self._on(case, host))

    def notes(self, uid: str, node: str) -> tuple[PreflightReason, ...]:
        """What is to be known of a move that can be: warnings, and what is unknown."""
        case = self._cases.get(uid)
        return (
            () if case is None else tuple(_notes(_sorted(case.everywhere))) + tuple(_notes(self.reasons_on(uid, node)))
        )

    def _reasons(self, uid: str) -> Iterator[PreflightReason]:
        case = self._cases.get(uid)
        if case is None:
            return
        yield from _sorted(case.everywhere)
        if not case.possible:
            for host in self._lineup.hosts:
                yield from self._on(case, host)

    def _on(self, case: _Case, host: Host) -> Iterator[PreflightReason]:
        found = [
            replace(reason, node=host.name)
            for family, demand in zip(self._families, case.demands, strict=True)
            for reason in family.judge(demand, self._lineup.supply(family.supply, host))
        ]
        yield from _sorted(found)


def _lasting(case: _Case) -> bool:
    return any(reason.blocks and not reason.transient for reason in case.everywhere)


def _notes(reasons: Iterable[PreflightReason]) -> Iterator[PreflightReason]:
    return (reason for reason in reasons if not reason.blocks)


def _sorted(reasons: Iterable[PreflightReason]) -> list[PreflightReason]:
    return sorted(reasons, key=lambda reason: (reason.node, reason.code, reason.field, reason.found))
