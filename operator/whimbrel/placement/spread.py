"""Spread: the biggest guests first, each to the host that keeps most memory free after its arrival.

A queue of hosts by free memory stands for each set of suitable hosts, of which there are few; free memory only shrinks
while planning, so an entry that is out of date is put back once and no host is asked about every guest.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from heapq import heapify, heappop, heappush

from whimbrel.domain.records import Instance
from whimbrel.inventory.ledger import Ledger, PodDemand
from whimbrel.preflight import Assessment, PreflightReason, capacity


class _Queue:
    """Suitable hosts, the one with most free memory first, then by name."""

    __slots__ = ("_headroom_percent", "_heap", "_hopeless", "_ledger")

    def __init__(self, names: Iterable[str], ledger: Ledger, headroom_percent: int) -> None:
        self._ledger = ledger
        self._headroom_percent = headroom_percent
        self._heap = [(-self._free(name), name) for name in names]
        heapify(self._heap)
        self._hopeless: set[PodDemand] = set()

    def _free(self, name: str) -> int:
        return self._ledger.free_memory_bytes(name, self._headroom_percent)

    def roomiest(self, demand: PodDemand, source: str) -> str | None:
        """The host with most free memory that has room for the demand and is not the source."""
        if demand in self._hopeless:
            return None
        passed_over = []
        found = None
        while self._heap and -self._heap[0][0] >= demand.memory_bytes:
            noted, name = heappop(self._heap)
            free = self._free(name)
            if free != -noted:
                heappush(self._heap, (-free, name))
                continue
            passed_over.append((noted, name))
            if name != source and self._ledger.fits(demand, name, self._headroom_percent):
                found = name
                break
        for entry in passed_over:
            heappush(self._heap, entry)
        if found is None and not self._ledger.fits(demand, source, self._headroom_percent):
            self._hopeless.add(demand)
        return found


def place(
    instances: Iterable[Instance], assessment: Assessment, ledger: Ledger, keep: Mapping[str, str]
) -> Mapping[str, str | None]:
    """By instance UID the target node, or None where nothing has room or nothing is suitable.

    `keep` holds targets chosen before, by instance UID. The ledger is not changed; it must not hold reservations for
    these instances. Guests that only wait for something to pass get a target, too.
    """
    plan = ledger.copy()
    headroom = assessment.terms.headroom_percent
    ordered = sorted(
        instances, key=lambda instance: (-ledger.demand(instance).memory_bytes, instance.key, instance.uid)
    )
    targets: dict[str, str | None] = {instance.uid: None for instance in ordered}
    for instance in ordered:
        wanted = keep.get(instance.uid)
        if wanted is None or wanted == instance.node or not _open(instance, assessment) & assessment.bit(wanted):
            continue
        if plan.fits(ledger.demand(instance), wanted, headroom):
            targets[instance.uid] = wanted
            plan.reserve_arrival(instance, wanted)
    queues: dict[int, _Queue] = {}
    for instance in ordered:
        suitable = _open(instance, assessment)
        if targets[instance.uid] is not None or not suitable:
            continue
        if suitable not in queues:
            queues[suitable] = _Queue(assessment.names(suitable), plan, headroom)
        chosen = queues[suitable].roomiest(ledger.demand(instance), instance.node)
        if chosen is not None:
            targets[instance.uid] = chosen
            plan.reserve_arrival(instance, chosen)
    return targets


def _open(instance: Instance, assessment: Assessment) -> int:
    """Hosts that suit a guest and that nothing of the moment closes, such as a pod that must not be near. Its source stays in,
    so that guests of one class have one set of hosts, wherever they are.
    """
    now = assessment.mask(instance.uid) | assessment.bit(instance.node)
    return assessment.suitable(instance.uid) & now


def planned(instances: Iterable[Instance], targets: Mapping[str, str | None], ledger: Ledger) -> Ledger:
    """The ledger as it will be when all of these have arrived and none has left."""
    after = ledger.copy()
    for instance in instances:
        target = targets.get(instance.uid)
        if target is not None:
            after.reserve_arrival(instance, target)
    return after


def capacity_reasons(instance: Instance, assessment: Assessment, after: Ledger) -> tuple[PreflightReason, ...]:
    """Why a guest that could go somewhere got no target: what each suitable host lacks on the planned ledger."""
    terms = replace(assessment.terms, ledger=after)
    demand = after.demand(instance)
    return tuple(
        replace(reason, node=host.name)
        for host in assessment.hosts(assessment.suitable(instance.uid))
        if host.name != instance.node
        for reason in capacity.judge(demand, capacity.supply(host, terms))
    )
