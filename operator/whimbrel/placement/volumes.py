"""Attach limits as amounts of the problem: how many more volumes of a CSI driver each host takes.

Never more than there are: a volume that several guests of the problem use counts with each, be it on one host once they are
there, and what they leave is free only as far as nobody who stays uses it. Where only that stands against a placement
(`counted_twice`) it is posed without, on what preflight says of each guest by itself. Called by `placement.posing`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from whimbrel.domain.records import Instance
from whimbrel.inventory.attached import DriverVolumes
from whimbrel.inventory.hosts import Host
from whimbrel.inventory.ledger import Ledger
from whimbrel.placement.problem import Amounts

PREFIX = "attachable-volumes-csi-"
"""How Kubernetes calls such places where it lists them as a resource."""
_UNLIMITED = 1 << 40


def counted_twice(instances: Iterable[Instance], ledger: Ledger) -> frozenset[str]:
    """UIDs of guests one of whose volumes another of these uses, or somebody on another node: on a host where it is already it
    takes no place, and is counted all the same.
    """
    users: dict[tuple[str, str], set[str]] = {}
    found: set[str] = set()
    attached = ledger.attached
    for instance in instances if attached.limited else ():
        for driver, volumes in attached.of_guest(instance, ledger.source_launcher(instance)):
            for volume in volumes:
                users.setdefault((driver, volume), set()).add(instance.uid)
                if attached.nodes_of.get((driver, volume), frozenset()) - {instance.node}:
                    found.add(instance.uid)
    return frozenset(found.union(*(uids for uids in users.values() if len(uids) > 1)))


class Volumes:
    """The volumes of some guests that are placed together, of drivers whose places could run out."""

    def __init__(self, instances: Iterable[Instance], hosts: Mapping[str, Host], ledger: Ledger) -> None:
        """Linear in guests and their volumes; of no guests it counts nothing."""
        self._attached = ledger.attached
        self._demands: dict[str, DriverVolumes] = {}
        self._drivers: tuple[str, ...] = ()
        self._shared: Counter[tuple[str, str]] = Counter()
        """By node and driver, how much more these guests seem to take there than they would leave free."""
        if not self._attached.limited:
            return
        here: Counter[tuple[str, str, str]] = Counter()
        total: Counter[str] = Counter()
        for instance in instances:
            found = self._attached.of_guest(instance, ledger.source_launcher(instance))
            self._demands[instance.uid] = found
            for driver, volumes in found:
                total[driver] += len(volumes)
                here.update((instance.node, driver, volume) for volume in volumes)
        for (node, driver, volume), guests in here.items():
            everybody = self._attached.users(node, driver, volume)
            self._shared[node, driver] += guests - 1 if guests >= everybody else guests
        self._drivers = tuple(
            driver
            for driver, needed in sorted(total.items())
            if any(self._free(name, driver) < needed for name in hosts)
        )

    @property
    def names(self) -> Sequence[str]:
        """Names of the amounts."""
        return [PREFIX + driver for driver in self._drivers]

    def of(self, instance: Instance) -> Amounts:
        """How many places the guest takes wherever it runs."""
        if not self._drivers:
            return ()
        found = dict(self._demands.get(instance.uid, ()))
        return tuple(len(found.get(driver, ())) for driver in self._drivers)

    def free(self, node: str) -> Amounts:
        """How many places are free on a node."""
        return tuple(self._free(node, driver) for driver in self._drivers)

    def places(self, node: str) -> Amounts:
        """How many places a node has in all."""
        return tuple(self._attached.limits.get((node, driver), _UNLIMITED) for driver in self._drivers)

    def _free(self, node: str, driver: str) -> int:
        limit = self._attached.limits.get((node, driver))
        if limit is None:
            return _UNLIMITED
        return limit - self._attached.count(node, driver) - self._shared[node, driver]
