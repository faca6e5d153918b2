"""The assessment: which of a plan's guests may go where, and every reason why not.

Linear in guests and in hosts; a pair is never judged unless somebody asks for its texts. Made by `preflight.assess`.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from whimbrel.domain.records import Instance
from whimbrel.inventory.hosts import Host
from whimbrel.inventory.ledger import Ledger
from whimbrel.inventory.snapshot import Snapshot
from whimbrel.preflight.family import Candidate, HostFamily, PreflightReason, Reach
from whimbrel.preflight.findings import Findings, Found, host_demand
from whimbrel.preflight.grouping import Against, against, counted, within
from whimbrel.preflight.lineup import Lineup, Terms

LEAST_JUDGED, MOST_PAIRS = 32, 32_768
"""Where all reasons are put together, a demand is judged by that many distinct supplies, or by more as long as a family's
demands and supplies make no more pairs than that: with few demands nothing is missed.
"""


@dataclass(frozen=True, slots=True)
class _Case(Found):
    """What was found out about one guest, what its plan asks for included: the numbers of those demands are below zero."""

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
        holder=ledger.holder(instance),
        template=ledger.source_launcher(instance),
        ledger=ledger,
        snapshot=snapshot,
        reach=reach,
        evacuated=evacuated,
    )


class Assessment:
    """Verdicts about the guests of one plan at one instant, by instance UID. An unknown UID cannot move, for no reason."""

    __slots__ = (
        "_against", "_cases", "_demands", "_families", "_lineup", "_lineups", "_offers", "_planned", "_refusals", "_refusing",
    )  # fmt: skip

    def __init__(self, lineup: Lineup, families: Sequence[HostFamily], cases: Mapping[str, _Case]) -> None:
        """Made by `Assessment.of`."""
        self._lineup = lineup
        self._families = families
        self._cases = cases
        self._offers: dict[str, tuple[Hashable, ...]] = {}
        """What a host supplies to each family, by its name."""
        self._demands: dict[int, int] = {}
        """By number of a family how many distinct demands its guests have."""
        self._against: dict[int, tuple[Against, ...]] = {}
        self._refusing: dict[int, tuple[Against, ...]] = {}
        self._refusals: dict[tuple[tuple[int, ...], int], tuple[PreflightReason, ...]] = {}
        self._lineups: dict[Ledger, Lineup] = {}
        self._planned: dict[tuple[Ledger, int, Hashable], tuple[Against, ...]] = {}

    @classmethod
    def of(cls, guests: Iterable[Candidate], lineup: Lineup, findings: Findings) -> "Assessment":
        """Judge each distinct demand once; what `findings` holds already of a guest is taken from there."""
        families = findings.by_host
        in_turn = [number for number, family in enumerate(families) if family.OF_THE_PLAN]
        own = [family for family in findings.everywhere if family.OF_THE_PLAN]
        judged: dict[tuple[int, Hashable], tuple[PreflightReason, ...]] = {}
        masks: dict[tuple[int, Hashable], tuple[int, int]] = {}
        cases = {}
        for guest in guests:
            found = findings.of(guest)
            reasons = found.everywhere
            for position, guest_family in enumerate(own):
                wanted = (position, guest_family.demand(guest))
                if wanted not in judged:
                    judged[wanted] = tuple(guest_family.judge(wanted[1]))
                reasons += judged[wanted]
            demands, classes, passed = list(found.demands), list(found.classes), list(found.masks)
            suitable, possible = found.suitable, found.possible
            for number in in_turn:
                family = families[number]
                wanted = (number, host_demand(family, guest, lineup))
                if wanted not in masks:
                    masks[wanted] = ~len(masks), family.mask(wanted[1], lineup)  # below zero: the others are findings'
                kind, mask = masks[wanted]
                demands[number], classes[number], passed[number] = wanted[1], kind, mask
                possible &= mask
                if not family.OF_THE_MOMENT:
                    suitable &= mask
            landing = guest.reach.allowed if guest.reach is not None else ()
            cases[guest.instance.uid] = _Case(
                reasons, tuple(demands), tuple(classes), tuple(passed), suitable, possible, landing
            )
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

    def reasons(self, uid: str) -> tuple[PreflightReason, ...]:
        """Every reason that holds everywhere, and where no host is possible what blocks each, in a stable order.

        A thousand hosts have a thousand reasons each: for people they are put together by `refusals`.
        """
        return tuple(self._reasons(uid))

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

        Each demand is judged once, and by so many distinct supplies that asking about every guest stays linear.
        """
        return self._put_together(uid, 0)

    def elsewhere(self, uid: str, home: str) -> tuple[Against, ...]:
        """The same without one host, on which the guest is."""
        return self._put_together(uid, self.bit(home))

    def refusals(self, uid: str, home: str) -> tuple[PreflightReason, ...]:
        """What blocks it on each host but one, on which it is, be it movable or not: put together like `against`, with the
        first hosts and their number. Equal guests of one host share the answer.
        """
        case = self._cases.get(uid)
        if case is None:
            return ()
        asked = (case.classes, self.bit(home))
        if asked not in self._refusals:
            found = (
                counted(each, self._lineup) for n in range(len(case.demands)) for each in self._refused(case, n, home)
            )
            self._refusals[asked] = tuple(sorted(found, key=_commonest))
        return self._refusals[asked]

    def refusals_on(
        self, ledger: Ledger, family: HostFamily, demand: Hashable, among: int
    ) -> tuple[PreflightReason, ...]:
        """What blocks a demand of one family on some of the hosts, as another ledger counts."""
        if ledger not in self._lineups:
            self._lineups[ledger] = Lineup(self.everybody(), replace(self.terms, ledger=ledger))
        lineup, number = self._lineups[ledger], self._families.index(family)
        asked = (ledger, number, demand)
        if asked not in self._planned:
            refused = lineup.everybody & ~family.mask(demand, lineup)
            self._planned[asked] = against(family, demand, lineup, refused, self._most(number))
        found = (each for each in self._planned[asked] if each.reason.blocks and each.hosts & among)
        there = (counted(within(each, among, family, demand, lineup), lineup) for each in found)
        return tuple(sorted(there, key=_commonest))

    def _put_together(self, uid: str, home: int) -> tuple[Against, ...]:
        case = self._cases.get(uid)
        if case is None:
            return ()
        found = list[Against]()
        for number, (kind, demand) in enumerate(zip(case.classes, case.demands, strict=True)):
            family = self._families[number]
            lineup = self._lineup_of(family)
            if kind not in self._against:
                self._against[kind] = against(family, demand, lineup, lineup.everybody, self._most(number))
            there = (each for each in self._against[kind] if each.hosts & ~home)
            found += [within(e, ~home, family, demand, lineup) if e.hosts & home else e for e in there]
        return tuple(sorted(found, key=lambda each: (-each.hosts.bit_count(), each.reason.code, each.reason.field)))

    def _refused(self, case: _Case, number: int, home: str) -> Iterator[Against]:
        """What one family refuses, without home. Only hosts that its mask leaves out are judged: mostly there are none."""
        others = ~self.bit(home)
        refused = self._lineup.everybody & ~case.masks[number]
        if not refused & others:
            return
        kind, family, demand = case.classes[number], self._families[number], case.demands[number]
        lineup = self._lineup_of(family)
        if kind not in self._refusing:
            self._refusing[kind] = against(family, demand, lineup, refused, self._most(number))
        for each in self._refusing[kind]:
            if each.reason.blocks and each.hosts & others:
                yield within(each, others, family, demand, lineup)

    def _most(self, number: int) -> int:
        if number not in self._demands:
            self._demands[number] = len({case.classes[number] for case in self._cases.values()})
        return max(LEAST_JUDGED, MOST_PAIRS // max(1, self._demands[number]))

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


def _commonest(reason: PreflightReason) -> tuple[int, str, str, str]:
    return -reason.node_count, reason.code, reason.field, reason.needed


def _lasting(case: _Case) -> bool:
    return any(reason.blocks and not reason.transient for reason in case.everywhere)


def _notes(reasons: Iterable[PreflightReason]) -> Iterator[PreflightReason]:
    return (reason for reason in reasons if not reason.blocks)


def _sorted(reasons: Iterable[PreflightReason]) -> list[PreflightReason]:
    return sorted(reasons, key=lambda reason: (reason.node, reason.code, reason.field, reason.found))
