"""Findings: what holds of the guests and hosts of one snapshot whatever a plan asks for; shared by all plans of a tick.

Most families never look at a plan (`OF_THE_PLAN`). What they say of a guest is found out once, by whoever asks first: the
outlook of a plan, of another one, or the appraisal of all hosts. Made by whoever assesses more than once on one ledger.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from whimbrel.api.migration_plan import Target
from whimbrel.inventory.hosts import Host
from whimbrel.inventory.ledger import Ledger
from whimbrel.inventory.snapshot import Snapshot
from whimbrel.preflight.family import Candidate, GuestFamily, HostFamily, PreflightReason
from whimbrel.preflight.lineup import Lineup, Terms


@dataclass(frozen=True, slots=True)
class Found:
    """What was found out about one guest, whoever wants to move it; where a plan has a say, its place is empty."""

    everywhere: tuple[PreflightReason, ...]
    demands: tuple[Hashable, ...]
    """One per family that looks at hosts."""
    classes: tuple[int, ...]
    """The same as numbers, not below zero: of a family, equal demands have one number."""
    masks: tuple[int, ...]
    """The hosts that nothing of each such family blocks."""
    suitable: int
    """Hosts that could run it, whatever room they have."""
    possible: int
    """Those of them that have room now and are not its source."""


class Findings:
    """What was found out so far. The ledger must stay as it is for as long as this is used."""

    __slots__ = (
        "_found",
        "_homes",
        "_judged",
        "_masks",
        "by_host",
        "everywhere",
        "hosts",
        "ledger",
        "lineup",
        "snapshot",
    )

    def __init__(
        self,
        hosts: Mapping[str, Host],
        ledger: Ledger,
        snapshot: Snapshot,
        everywhere: Sequence[GuestFamily],
        by_host: Sequence[HostFamily],
    ) -> None:
        """Nothing yet."""
        self.hosts, self.ledger, self.snapshot = hosts, ledger, snapshot
        self.everywhere, self.by_host = everywhere, by_host
        self.lineup = Lineup(hosts, Terms(Target(), ledger, snapshot))
        """The hosts under the terms of nobody."""
        self._found: dict[str, Found] = {}
        self._homes: dict[str, tuple[Hashable, ...]] = {}
        """What a source host supplies to each family that no plan has a say in, by its name."""
        self._judged: dict[tuple[int, Hashable], tuple[PreflightReason, ...]] = {}
        self._masks: dict[tuple[int, Hashable], tuple[int, int]] = {}

    def is_about(self, hosts: Mapping[str, Host], ledger: Ledger, snapshot: Snapshot) -> bool:
        """Whether it may be used for these: no others that are merely equal."""
        return self.hosts is hosts and self.ledger is ledger and self.snapshot is snapshot

    def of(self, guest: Candidate) -> Found:
        """What there is to say of a guest."""
        found = self._found.get(guest.instance.uid)
        if found is None:
            found = self._found[guest.instance.uid] = self._find(guest)
        return found

    def _find(self, guest: Candidate) -> Found:
        reasons: tuple[PreflightReason, ...] = ()
        for number, guest_family in enumerate(self.everywhere):
            if guest_family.OF_THE_PLAN:
                continue
            wanted = (number, guest_family.demand(guest))
            if wanted not in self._judged:
                self._judged[wanted] = tuple(guest_family.judge(wanted[1]))
            reasons += self._judged[wanted]
        suitable = possible = self.lineup.everybody
        homes = self._home_of(guest)
        demands: list[Hashable] = []
        classes: list[int] = []
        masks: list[int] = []
        for number, family in enumerate(self.by_host):
            if family.OF_THE_PLAN:
                demands.append(None)
                classes.append(0)
                masks.append(self.lineup.everybody)
                continue
            wanted = (number, family.demand(guest, homes[number]))
            if wanted not in self._masks:
                self._masks[wanted] = len(self._masks), family.mask(wanted[1], self.lineup)
            kind, mask = self._masks[wanted]
            demands.append(wanted[1])
            classes.append(kind)
            masks.append(mask)
            possible &= mask
            if not family.OF_THE_MOMENT:
                suitable &= mask
        return Found(reasons, tuple(demands), tuple(classes), tuple(masks), suitable, possible)

    def _home_of(self, guest: Candidate) -> tuple[Hashable, ...]:
        name, source = guest.instance.node, guest.source
        if name not in self._homes:
            self._homes[name] = tuple(
                None if source is None or family.OF_THE_PLAN else self.lineup.supply(family.supply, source)
                for family in self.by_host
            )
        return self._homes[name]


def host_demand(family: HostFamily, guest: Candidate, lineup: Lineup) -> Hashable:
    """What a guest needs, by what its source host supplies."""
    home = None if guest.source is None else lineup.supply(family.supply, guest.source)
    return family.demand(guest, home)
