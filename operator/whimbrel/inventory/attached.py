"""Attached: which CSI volumes are on which node, counted as the scheduler counts them against a node's limits.

A volume counts where a pod uses it and where it is attached, once; what is on its way to a node counts, too. But one that is
attached and that no pod uses there, as just after a guest has left, counts again when it comes back: so does the scheduler
count. Looked at when first asked. Called by the ledger, which hands it to the family of preflight that judges.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property

from whimbrel.domain.records import Instance, Key, Pod
from whimbrel.domain.storage import Volume
from whimbrel.inventory.neighbours import Arrival
from whimbrel.inventory.snapshot import Snapshot

DriverVolumes = tuple[tuple[str, frozenset[str]], ...]
"""Sorted pairs of driver and the names of its volumes."""


class Attached:
    """The CSI volumes on all nodes of a snapshot, with those of what arrives."""

    def __init__(self, snapshot: Snapshot, arrivals: Iterable[Arrival], gone: frozenset[str] = frozenset()) -> None:
        """Looks at nothing yet. `gone`: UIDs of guests that are thought of as having left their nodes."""
        self._snapshot = snapshot
        self._arrivals = tuple(arrivals)
        self._gone = gone

    @cached_property
    def limits(self) -> Mapping[tuple[str, str], int]:
        """By node and driver, how many volumes it takes, where it says so."""
        return {
            (node.key.name, driver): limit
            for node in self._snapshot.csi_nodes.values()
            for driver, limit in node.attach_limits.items()
            if limit is not None
        }

    @cached_property
    def limited(self) -> frozenset[str]:
        """Drivers that have a limit on some node."""
        return frozenset(driver for _, driver in self.limits)

    @cached_property
    def _used(self) -> Mapping[tuple[str, str], Counter[str]]:
        """By node and driver, how many pods use each volume, by its name."""
        found: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        for pod in self._snapshot.pods.values():
            if pod.claims and pod.node and not pod.ended and pod.instance_uid not in self._gone:
                for volume in self._bound(pod.key.namespace, pod.claims):
                    found[pod.node, volume.driver][volume.key.name] += 1
        for arrival in self._arrivals:
            for driver, names in self.of_guest(arrival.instance, arrival.template):
                found[arrival.node, driver].update(names)
        return found

    @cached_property
    def nodes_of(self) -> Mapping[tuple[str, str], frozenset[str]]:
        """By driver and name of a volume the nodes where pods use it."""
        found: dict[tuple[str, str], set[str]] = defaultdict(set)
        for (node, driver), users in self._used.items():
            for volume in users:
                found[driver, volume].add(node)
        return {volume: frozenset(nodes) for volume, nodes in found.items()}

    @cached_property
    def _left(self) -> frozenset[tuple[str, str]]:
        """Node and name of each volume that those use who are gone: it is detached behind them."""
        return frozenset(
            (pod.node, volume.key.name)
            for pod in (self._snapshot.pods.values() if self._gone else ())
            if pod.instance_uid in self._gone
            for volume in self._bound(pod.key.namespace, pod.claims)
        )

    @cached_property
    def _unused(self) -> Mapping[tuple[str, str], set[str]]:
        """Names of the volumes that are attached and that no pod uses, by node and driver."""
        found: dict[tuple[str, str], set[str]] = defaultdict(set)
        for each in self._snapshot.attachments.values():
            place = (each.node, each.driver)
            unused = each.volume_name not in self._used.get(place, ())
            if each.driver in self.limited and unused and (each.node, each.volume_name) not in self._left:
                found[place].add(each.volume_name)
        return found

    @cached_property
    def _places(self) -> Mapping[tuple[str, str], set[str]]:
        """Nodes where a pod uses a volume, by driver and volume."""
        found: dict[tuple[str, str], set[str]] = defaultdict(set)
        for (node, driver), volumes in self._used.items():
            for volume in volumes:
                found[driver, volume].add(node)
        return found

    def count(self, node: str, driver: str) -> int:
        """How many of the driver's volumes are on a node."""
        return len(self._used.get((node, driver), ())) + len(self._unused.get((node, driver), ()))

    def used(self, node: str, driver: str) -> frozenset[str]:
        """Names of those that pods use there."""
        return frozenset(self._used.get((node, driver), ()))

    def users(self, node: str, driver: str, volume: str) -> int:
        """How many pods use one of them there."""
        used = self._used.get((node, driver))
        return 0 if used is None else used[volume]

    def nodes_using(self, driver: str, volumes: Iterable[str]) -> set[str]:
        """Nodes where pods use some of these volumes already."""
        return {node for volume in volumes for node in self._places.get((driver, volume), ())}

    def of_guest(self, instance: Instance, template: Pod | None) -> DriverVolumes:
        """The volumes that a guest needs wherever it runs, of drivers that have limits."""
        if not self.limited:
            return ()
        claims = dict.fromkeys(each.claim for each in instance.volumes if each.claim)
        if template is not None:
            claims |= dict.fromkeys(template.claims)
        found: dict[str, set[str]] = defaultdict(set)
        for volume in self._bound(instance.key.namespace, claims):
            found[volume.driver].add(volume.key.name)
        return tuple((driver, frozenset(found[driver])) for driver in sorted(found))

    def _bound(self, namespace: str, claims: Iterable[str]) -> Iterator[Volume]:
        """The volumes of limited drivers that claims are bound to."""
        if not self.limited:
            return
        for name in claims:
            claim = self._snapshot.claims.get(Key(namespace, name))
            volume = self._snapshot.volumes.get(Key("", claim.volume_name)) if claim is not None else None
            if volume is not None and volume.driver in self.limited:
                yield volume
