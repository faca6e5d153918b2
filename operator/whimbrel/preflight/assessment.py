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
from whimbrel.preflight.family import Candidate, HostFamily, PreflightReason, Reach
from whimbrel.preflight.findings import Findings, host_demand
from whimbrel.preflight.lineup import Lineup, Terms

MOST_JUDGED = 64
"""Distinct supplies that a demand is judged by where all reasons are put together."""


@dataclass(frozen=True, slots=True)
class _Case:
    """What was found out about one guest."""

    everywhere: tuple[PreflightReason, ...]
    demands: tuple[Hashable, ...]
    """One per family that looks at hosts."""
    masks: tuple[int, ...]
    """The hosts that nothing of each such family blocks."""
    suitable: int
    """Hosts that could run it, whatever room they have."""
    possible: int
    """Those of them that have room now and are not its source."""
    landing: tuple[str, ...]
    """Where it may land if the scheduler chooses; empty where its migration names a target."""


@dataclass(frozen=True, slots=True)
class Against:
    """One thing that stands against a guest on some hosts, or is to be known of it there."""

    reason: PreflightReason
    """As it is on the first of the hosts; what is found may differ on the others."""
    hosts: int
    """The hosts, as a mask."""


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
        template=ledger.source_launcher(instance),
        ledger=ledger,
        snapshot=snapshot,
        reach=reach,
        evacuated=evacuated,
    )


class Assessment:
    """Verdicts about the guests of one plan at one instant, by instance UID. An unknown UID cannot move, for no reason."""

    __slots__ = ("_against", "_cases", "_families", "_lineup", "_offers")

    def __init__(self, lineup: Lineup, families: Sequence[HostFamily], cases: Mapping[str, _Case]) -> None:
        """Made by `Assessment.of`."""
        self._lineup = lineup
        self._families = families
        self._cases = cases
        self._against: dict[tuple[int, Hashable], tuple[Against, ...]] = {}
        self._offers: dict[str, tuple[Hashable, ...]] = {}
        """What a host supplies to each family, by its name."""

    @classmethod
    def of(cls, guests: Iterable[Candidate], lineup: Lineup, findings: Findings) -> "Assessment":
        """Judge each distinct demand once; what `findings` holds already of a guest is taken from there."""
        families = findings.by_host
        in_turn = [number for number, family in enumerate(families) if family.OF_THE_PLAN]
        own = [family for family in findings.everywhere if family.OF_THE_PLAN]
        judged: dict[tuple[int, Hashable], tuple[PreflightReason, ...]] = {}
        masks: dict[tuple[int, Hashable], int] = {}
        cases = {}
        for guest in guests:
            found = findings.of(guest)
            reasons = found.everywhere
            for position, guest_family in enumerate(own):
                wanted = (position, guest_family.demand(guest))
                if wanted not in judged:
                    judged[wanted] = tuple(guest_family.judge(wanted[1]))
                reasons += judged[wanted]
            demands, passed = list(found.demands), list(found.masks)
            suitable, possible = found.suitable, found.possible
            for number in in_turn:
                family = families[number]
                wanted = (number, host_demand(family, guest, lineup))
                if wanted not in masks:
                    masks[wanted] = family.mask(wanted[1], lineup)
                demands[number], passed[number] = wanted[1], masks[wanted]
                possible &= masks[wanted]
                if not family.OF_THE_MOMENT:
                    suitable &= masks[wanted]
            landing = guest.reach.allowed if guest.reach is not None else ()
            cases[guest.instance.uid] = _Case(reasons, tuple(demands), tuple(passed), suitable, possible, landing)
        return cls(lineup, families, cases)

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

    def free(self, uid: str) -> int:
        """Hosts that could take it now, whatever stands against moving it at all."""
        case = self._cases.get(uid)
        return 0 if case is None else case.possible

    def suitable(self, uid: str) -> int:
        """Hosts that could run it, whatever room they have now, its source included; 0 as for `mask`."""
        case = self._cases.get(uid)
        return 0 if case is None or _lasting(case) else case.suitable

    def lasting(self, uid: str) -> bool:
        """Whether a reason that does not pass by itself keeps it from every host."""
        case = self._cases.get(uid)
        return case is None or _lasting(case)

    def masks(self, uid: str) -> tuple[int, ...]:
        """The hosts that suit it by each family that looks at hosts, in the order of `families`."""
        case = self._cases.get(uid)
        return () if case is None else case.masks

    @property
    def families(self) -> Sequence[HostFamily]:
        """The families that look at hosts."""
        return self._families

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

    def mask_by(self, family: HostFamily, demand: Hashable) -> int:
        """The hosts that suit a demand of one family, be it what was judged or not."""
        return family.mask(demand, self._lineup_of(family))

    def _lineup_of(self, family: HostFamily) -> Lineup:
        """Where a family's supplies are found out: with all plans, unless a plan has a say in them."""
        return self._lineup if family.OF_THE_PLAN else self._lineup.common

    def domains(self, label: str) -> tuple[int, ...]:
        """The hosts by value of a node label, in the order of the values; hosts without it are in none."""
        return self._lineup.domains(label)

    def everybody(self) -> Mapping[str, Host]:
        """All hosts that were judged, by name."""
        return {host.name: host for host in self._lineup.hosts}

    def bit(self, node: str) -> int:
        """The mask of one host; 0 where there is none of that name."""
        return self._lineup.bit(node)

    def reasons(self, uid: str, limit: int | None = None) -> tuple[PreflightReason, ...]:
        """Every reason that holds everywhere, and where no host is possible what blocks each, in a stable order.

        `limit` bounds how many are made: a thousand hosts have a thousand reasons each.
        """
        return tuple(islice(self._reasons(uid), limit))

    def reasons_on(self, uid: str, node: str) -> tuple[PreflightReason, ...]:
        """Every reason against one host."""
        case = self._cases.get(uid)
        bit = self._lineup.bit(node)
        return tuple(self._on(case, self._lineup.hosts[bit.bit_length() - 1])) if case is not None and bit else ()

    def everywhere(self, uid: str) -> tuple[PreflightReason, ...]:
        """Every reason that holds for all targets, warnings and unknowns included, in a stable order."""
        case = self._cases.get(uid)
        return () if case is None else tuple(_sorted(case.everywhere))

    def against(self, uid: str) -> tuple[Against, ...]:
        """Every reason of single hosts, put together by code, field and what is needed; most hosts first.

        Each demand is judged once, and by `MOST_JUDGED` distinct supplies at most, so that asking about every guest stays
        linear; further hosts that its family refuses are counted with the reason that most hosts have.
        """
        case = self._cases.get(uid)
        if case is None:
            return ()
        found: list[Against] = []
        for number, demand in enumerate(case.demands):
            asked = (number, demand)
            if asked not in self._against:
                self._against[asked] = tuple(self._judged(self._families[number], demand))
            found += self._against[asked]
        return tuple(sorted(found, key=lambda each: (-each.hosts.bit_count(), each.reason.code, each.reason.field)))

    def elsewhere(self, uid: str, home: str) -> tuple[Against, ...]:
        """The same without one host, on which the guest is."""
        return tuple(
            self._without(each, uid, self.bit(home)) for each in self.against(uid) if each.hosts & ~self.bit(home)
        )

    def _without(self, each: Against, uid: str, home: int) -> Against:
        others = each.hosts & ~home
        first = self._lineup.hosts[_first(others)].name
        if others == each.hosts or each.reason.node == first:
            return Against(each.reason, others)
        wanted = (each.reason.code, each.reason.field, each.reason.needed)
        there = (r for r in self.reasons_on(uid, first) if (r.code, r.field, r.needed) == wanted)
        return Against(next(there, each.reason), others)

    def _judged(self, family: HostFamily, demand: Hashable) -> Iterator[Against]:
        grouped: dict[tuple[str, str, str], Against] = {}
        rest, lineup = 0, self._lineup_of(family)
        for number, (offered, mask) in enumerate(lineup.classes(family.supply).items()):
            if number >= MOST_JUDGED:
                rest |= mask
                continue
            for reason in family.judge(demand, offered):
                key = (reason.code, reason.field, reason.needed)
                held = grouped.get(key)
                if held is None:
                    grouped[key] = Against(replace(reason, node=self._lineup.hosts[_first(mask)].name), mask)
                else:
                    grouped[key] = Against(held.reason, held.hosts | mask)
        rest &= ~family.mask(demand, lineup) if rest else 0
        if rest and not any(each.reason.blocks for each in grouped.values()):
            found = family.judge(demand, lineup.supply(family.supply, lineup.hosts[_first(rest)]))
            name = self._lineup.hosts[_first(rest)].name
            grouped |= {(r.code, r.field, r.needed): Against(replace(r, node=name), rest) for r in found}
        elif rest:
            most = max((k for k, each in grouped.items() if each.reason.blocks), key=lambda k: _size(grouped[k]))
            grouped[most] = Against(grouped[most].reason, grouped[most].hosts | rest)
        yield from grouped.values()

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
                yield from (reason for reason in self._on(case, host) if reason.blocks)

    def _on(self, case: _Case, host: Host) -> Iterator[PreflightReason]:
        offers = self._offers.get(host.name)
        if offers is None:
            offers = tuple(self._lineup_of(each).supply(each.supply, host) for each in self._families)
            self._offers[host.name] = offers
        found = [
            replace(reason, node=host.name)
            for family, demand, offered in zip(self._families, case.demands, offers, strict=True)
            for reason in family.judge(demand, offered)
        ]
        yield from _sorted(found)


def _first(mask: int) -> int:
    return (mask & -mask).bit_length() - 1


def _size(against: Against) -> int:
    return against.hosts.bit_count()


def _lasting(case: _Case) -> bool:
    return any(reason.blocks and not reason.transient for reason in case.everywhere)


def _notes(reasons: Iterable[PreflightReason]) -> Iterator[PreflightReason]:
    return (reason for reason in reasons if not reason.blocks)


def _sorted(reasons: Iterable[PreflightReason]) -> list[PreflightReason]:
    return sorted(reasons, key=lambda reason: (reason.node, reason.code, reason.field, reason.found))
