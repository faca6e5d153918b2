"""The hosts of one assessment in a fixed order, so that a set of hosts is an int: bit n is the nth host by name.

Whatever would ask every host about every guest asks here about classes instead: equal supplies, label values, amounts.
"""

from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar, cast

from whimbrel.api.ladder import Bandwidth
from whimbrel.api.migration_plan import Target
from whimbrel.domain.selectors import NodeSelectorTerm, Requirement
from whimbrel.domain.verdict import Reason
from whimbrel.inventory.hosts import Host
from whimbrel.inventory.labels import carries
from whimbrel.inventory.ledger import Ledger
from whimbrel.inventory.snapshot import Snapshot

D = TypeVar("D", bound=Hashable)
S = TypeVar("S", bound=Hashable)


class Drivers:
    """The CSI drivers of a snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        """Counts nothing yet."""
        self._snapshot = snapshot

    @cached_property
    def anywhere(self) -> frozenset[str]:
        """Drivers that some node runs."""
        return frozenset(driver for node in self._snapshot.csi_nodes.values() for driver in node.attach_limits)


@dataclass(frozen=True, slots=True)
class Terms:
    """What a plan asks of targets and links, and the ledger that they are counted on."""

    target: Target
    ledger: Ledger
    snapshot: Snapshot
    """For what belongs to a host. Read by `supply` alone."""
    bandwidth: Bandwidth = field(default_factory=Bandwidth)
    """The plan's bounds on the rate of one migration."""
    emptied: frozenset[str] = frozenset()
    """Names of the hosts that the plan brings guests away from: it brings none there."""
    csi: Drivers = field(init=False, compare=False, repr=False)
    """Which CSI drivers any node runs, found out when first asked."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "csi", Drivers(self.snapshot))

    @property
    def headroom_percent(self) -> int:
        """Percent of a target's memory that stays free."""
        return self.target.headroom.memory_percent

    def admits(self, host: Host) -> bool:
        """Whether the plan names this host as a possible target."""
        if host.name in (self.target.exclude_nodes or ()) or host.name in self.emptied:
            return False
        if self.target.node_names is not None:
            return host.name in self.target.node_names
        return carries(host.node.labels, self.target.node_selector or {})


class Lineup:
    """Hosts by bit, with what was already found out about them. Lives as long as a tick looks at one snapshot."""

    __slots__ = (
        "_amounts", "_bits", "_classes", "_domains", "_labels", "_supplies", "_terms", "_under", "_wanted", "common",
        "everybody", "hosts", "terms",
    )  # fmt: skip

    def __init__(self, hosts: Mapping[str, Host], terms: Terms) -> None:
        """All hosts of the cluster under a plan's terms."""
        self.terms = terms
        self.common = self
        """The lineup in which that is found out in which no plan has a say."""
        self.hosts = tuple(hosts[name] for name in sorted(hosts))
        self.everybody = (1 << len(self.hosts)) - 1
        self._bits = {host.name: 1 << position for position, host in enumerate(self.hosts)}
        self._wanted: int | None = None
        self._supplies: dict[Callable[..., Hashable], dict[str, Hashable]] = {}
        self._classes: dict[Callable[..., Hashable], dict[Hashable, int]] = {}
        self._labels: dict[str, dict[str, int]] = {}
        self._domains: dict[tuple[str, frozenset[str] | None], int] = {}
        self._terms: dict[tuple[NodeSelectorTerm, ...], int] = {}
        self._amounts: dict[Callable[..., int], tuple[list[int], list[int]]] = {}
        self._under: dict[tuple[str, str, frozenset[str]], Lineup] = {}

    def under(self, terms: Terms) -> "Lineup":
        """The same hosts under a plan's terms, on the same ledger and snapshot: labels and amounts are found out once for
        all plans, supplies for all that ask for the same, for a plan may have a say in them.
        """
        asked = (terms.target.model_dump_json(), terms.bandwidth.model_dump_json(), terms.emptied)
        if asked not in self._under:
            self._under[asked] = self._made_for(terms)
        return self._under[asked]

    def _made_for(self, terms: Terms) -> "Lineup":
        other = Lineup({}, terms)
        other.common = self.common
        other.hosts, other.everybody, other._bits = self.hosts, self.everybody, self._bits
        other._labels, other._domains, other._terms = self._labels, self._domains, self._terms
        other._amounts = self._amounts
        return other

    @property
    def wanted(self) -> int:
        """The hosts that the plan names as possible targets: those that `terms.admits`."""
        if self._wanted is None:
            target = self.terms.target
            if target.node_names is not None:
                mask = self._mask(target.node_names)
            else:
                mask = self.everybody
                for label, value in (target.node_selector or {}).items():
                    mask &= self.carrying(label, value)
            self._wanted = mask & ~self._mask(target.exclude_nodes or ()) & ~self._mask(self.terms.emptied)
        return self._wanted

    def _mask(self, names: Iterable[str]) -> int:
        mask = 0
        for name in names:
            mask |= self._bits.get(name, 0)
        return mask

    def bit(self, name: str) -> int:
        """The mask of one host; 0 where there is none of that name."""
        return self._bits.get(name, 0)

    def names(self, mask: int) -> tuple[str, ...]:
        """Names of the hosts of a mask, sorted."""
        found = []
        while mask:
            lowest = mask & -mask
            found.append(self.hosts[lowest.bit_length() - 1].name)
            mask ^= lowest
        return tuple(found)

    def supply(self, supply: Callable[[Host, Terms], S], host: Host) -> S:
        """What a host supplies, found out once."""
        known = self._supplies.get(supply)
        if known is None:
            known = self._supplies[supply] = {}
        name = host.node.name
        if name not in known:
            known[name] = supply(host, self.terms)
        return cast(S, known[name])

    def by_class(self, demand: D, supply: Callable[[Host, Terms], S], judge: Callable[[D, S], Iterable[Reason]]) -> int:
        """The hosts that `judge` finds nothing blocking against, asked once for each distinct supply."""
        passed = 0
        for known, mask in self.classes(supply).items():
            if not any(reason.blocks for reason in judge(demand, known)):
                passed |= mask
        return passed

    def classes(self, supply: Callable[[Host, Terms], S]) -> Mapping[S, int]:
        """The hosts by what they supply, found out once; the first host by name comes first."""
        if supply not in self._classes:
            grouped: dict[Hashable, int] = {}
            for host in self.hosts:
                offered = self.supply(supply, host)
                grouped[offered] = grouped.get(offered, 0) | self._bits[host.name]
            self._classes[supply] = grouped
        return cast(Mapping[S, int], self._classes[supply])

    def domains(self, label: str) -> tuple[int, ...]:
        """The hosts that carry a label, by its value, in the order of the values."""
        self.carrying(label, "")
        return tuple(mask for _, mask in sorted(self._labels[label].items()))

    def within(self, label: str, values: frozenset[str] | None) -> int:
        """The hosts whose node carries this label with one of these values, or with any; found out once."""
        known = (label, values)
        if known not in self._domains:
            if values is None:
                mask = sum(self._bits[host.name] for host in self.hosts if label in host.node.labels)
            else:
                mask = 0
                for value in values:
                    mask |= self.carrying(label, value)
            self._domains[known] = mask
        return self._domains[known]

    def carrying(self, label: str, value: str) -> int:
        """The hosts whose node carries this label with this value."""
        values = self._labels.get(label)
        if values is None:
            values = self._labels[label] = {}
            for host in self.hosts:
                found = host.node.labels.get(label)
                if found is not None:
                    values[found] = values.get(found, 0) | self._bits[host.name]
        return values.get(value, 0)

    def selected(self, terms: tuple[NodeSelectorTerm, ...]) -> int:
        """The hosts that any of these terms selects, found out once for each set of terms."""
        if terms not in self._terms:
            passed = 0
            for term in terms:
                mask = self.everybody if term.by_label or term.by_field else 0
                for requirement in term.by_label:
                    mask &= self._labelled(requirement)
                if term.by_field:
                    fields = NodeSelectorTerm(by_field=term.by_field)
                    mask &= sum(bit for name, bit in self._bits.items() if fields.selects(name, {}))
                passed |= mask
            self._terms[terms] = passed
        return self._terms[terms]

    def _labelled(self, requirement: Requirement) -> int:
        if requirement.operator != "In":
            return sum(self._bits[host.name] for host in self.hosts if requirement.holds(host.node.labels))
        mask = 0
        for value in requirement.values:
            mask |= self.carrying(requirement.key, value)
        return mask

    def at_least(self, measure: Callable[[Host, Terms], int], amount: int) -> int:
        """The hosts that have at least this amount of what is measured, in which no plan may have a say."""
        if measure not in self._amounts:
            ordered = sorted((measure(host, self.common.terms), self._bits[host.name]) for host in self.hosts)
            masks = [0]
            for _, bit in reversed(ordered):
                masks.append(masks[-1] | bit)
            self._amounts[measure] = ([found for found, _ in ordered], masks[::-1])
        amounts, masks = self._amounts[measure]
        return masks[bisect_left(amounts, amount)]
