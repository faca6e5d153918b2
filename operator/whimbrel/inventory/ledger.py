"""The ledger: the only place that counts memory, CPU, devices, pod slots and migration slots – everybody's, ours included.

Built from a snapshot in one linear pass. Copy it, then reserve on the copy: whoever decides sees its own decisions counted.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

from whimbrel.domain.quotas import Limits, Quota
from whimbrel.domain.records import Instance, Key, Migration, Node, Pod
from whimbrel.domain.scheduling import Admission
from whimbrel.inventory import flights
from whimbrel.inventory.attached import Attached
from whimbrel.inventory.flights import InFlight
from whimbrel.inventory.journeys import Journeys
from whimbrel.inventory.neighbours import Arrival, Crowds, Neighbours
from whimbrel.inventory.pods import PodDemand, Pods
from whimbrel.inventory.snapshot import Snapshot

__all__ = ["InFlight", "Ledger", "PodDemand"]


@dataclass(frozen=True, slots=True)
class _Facts:
    """What does not change while a tick decides; shared by all copies."""

    snapshot: Snapshot
    nodes: Mapping[str, Node]
    pods: Pods
    unfinished: Mapping[Key, InFlight]
    """By key of the instance."""
    lingering: Mapping[str, int]
    """Outbound slots by node that KubeVirt counts although nothing leaves there: see `_lingering`."""
    crowds: Crowds
    journeys: Journeys
    quotas: Mapping[str, tuple[Quota, ...]]
    """By namespace, sorted by name."""
    limits: Mapping[str, tuple[Limits, ...]]


class Ledger:
    """Who takes what of which node, and who moves from where to where."""

    __slots__ = (
        "_arrivals", "_attached", "_cpu", "_facts", "_gone", "_holders", "_in_flight", "_inbound", "_memory", "_neighbours",
        "_others", "_outbound", "_pods", "_policies", "_spaces",
    )  # fmt: skip

    def __init__(self, facts: _Facts) -> None:
        """An empty ledger over these facts; use `Ledger.of`."""
        self._facts = facts
        self._memory: Counter[str] = Counter()
        self._cpu: Counter[str] = Counter()
        self._pods: Counter[str] = Counter()
        self._others: dict[str, Counter[str]] = {}
        self._outbound: Counter[str] = Counter()
        self._inbound: Counter[str] = Counter()
        self._in_flight = 0
        self._policies: frozenset[str] = frozenset()
        """Names of our MigrationPolicies."""
        self._arrivals: list[Arrival] = []
        self._gone: frozenset[str] = frozenset()
        """UIDs of instances that are thought of as having left their nodes."""
        self._holders: list[tuple[str, Pod]] = []
        self._neighbours: Neighbours | None = None
        self._attached: Attached | None = None
        self._spaces: Mapping[str, str] | None = None

    @classmethod
    def of(cls, snapshot: Snapshot, before: "Ledger | None" = None) -> Self:
        """The ledger of a snapshot; `before`: one of an earlier snapshot, whose pods need not be counted again if no pod
        has changed since.

        Pods that have not ended count where they are bound, and where the scheduler has evicted others for them. Each
        unfinished migration counts at its source, at its target where that is known, and reserves the target until its
        target launcher is bound and so counts itself. A pod is a launcher in the instance's own namespace alone: of other
        namespaces' pods only what they take of nodes counts.
        """
        pods = before._facts.pods if before is not None else None
        if pods is None or pods.records is not snapshot.pods:
            pods = Pods(snapshot.pods)
        by_hostname = {node.hostname: node.name for node in snapshot.nodes.values()}
        unfinished = [
            flights.in_flight(migration, snapshot, pods.arrival(migration), by_hostname)
            for migration in snapshot.migrations.values()
            if not migration.final and not flights.abandoned(migration, snapshot, pods.arrival(migration))
        ]
        ledger = cls(
            _Facts(
                snapshot=snapshot,
                nodes={node.name: node for node in snapshot.nodes.values()},
                pods=pods,
                unfinished=flights.by_instance(unfinished, snapshot),
                lingering=Counter(node for flight in unfinished for node in flights.lingering(flight, snapshot)),
                crowds=Crowds(snapshot),
                journeys=Journeys(snapshot),
                quotas=_by_namespace(snapshot.quotas),
                limits=_by_namespace(snapshot.limits),
            )
        )
        ledger._memory, ledger._cpu, ledger._pods = Counter(pods.memory), Counter(pods.cpu), Counter(pods.pods)
        ledger._policies = frozenset(key.name for key, policy in snapshot.policies.items() if policy.ours)
        ledger._others = {name: Counter(taken) for name, taken in pods.others.items()}
        for node, waiting in pods.nominated.items():
            for pod in waiting:
                if not pod.migration_uid:  # a target launcher is reserved for by its migration, below
                    ledger._take(node, PodDemand(pod.memory_bytes, pod.cpu_millicores, pod.requests))
        for flight in unfinished:
            instance = snapshot.instances.get(flight.migration.instance_key)
            ledger._count_migration(flight.source, flight.arrivals)
            arrival = pods.arrival(flight.migration)
            if instance is not None and flight.target and not _counts_itself(arrival):
                ledger.reserve_arrival(instance, flight.target, made=arrival is not None)
            elif instance is not None and instance.hotplugged and arrival is not None and not arrival.ended:
                ledger._reserve_holder(instance, arrival)
        return ledger

    def copy(self) -> "Ledger":
        """An independent ledger with the same counts."""
        other = Ledger(self._facts)
        other._memory, other._cpu, other._pods = self._memory.copy(), self._cpu.copy(), self._pods.copy()
        other._others = {name: taken.copy() for name, taken in self._others.items()}
        other._outbound, other._inbound = self._outbound.copy(), self._inbound.copy()
        other._in_flight = self._in_flight
        other._policies = self._policies
        other._arrivals, other._neighbours = self._arrivals.copy(), self._neighbours
        other._holders = self._holders.copy()
        other._attached, other._gone = self._attached, self._gone
        return other

    def reserve(self, instance: Instance, source: str, target: str, arrivals: Iterable[str]) -> None:
        """Count a migration that the snapshot does not show yet: what it takes of the target, and its slots, the inbound
        one at each node where it may arrive.
        """
        self._count_migration(source, arrivals)
        self.reserve_arrival(instance, target)

    def reserve_arrival(self, instance: Instance, target: str, *, made: bool = False) -> None:
        """Count only what an instance will take of a target, as planning ahead does; `made`: its launcher exists already."""
        demand = self.demand(instance)
        self._take(target, demand)
        template = self.source_launcher(instance)
        if instance.hotplugged:
            self._holders.append((instance.key.namespace, self._facts.pods.holders.like(template)))
        if template is not None:
            self._arrivals.append(Arrival(instance, template, target, made))
            self._neighbours = self._attached = None

    def release_departures(self, instances: Sequence[Instance]) -> None:
        """Count that instances have left their nodes, as planning ahead does: their launchers are no neighbours any more."""
        for instance in instances:
            self._take(instance.node, self._taken(instance), -1)
        self._gone |= {instance.uid for instance in instances}
        self._neighbours = self._attached = None

    def leaving(self) -> tuple[Instance, ...]:
        """Instances that migrations are about to bring elsewhere, sorted by key; not those that nobody will end."""
        return flights.leaving(self._facts.unfinished, self._facts.snapshot)

    def settled(self) -> "Ledger":
        """As it will be when everything that is under way has arrived, and nothing else has changed."""
        other = self.copy()
        other.release_departures(self.leaving())
        other._outbound, other._inbound, other._in_flight = Counter(), Counter(), 0
        return other

    def outbound(self, node: str) -> int:
        """Unfinished migrations that leave the node."""
        return self._outbound[node]

    def departing(self, node: str) -> tuple[Key, ...]:
        """Keys of the instances whose unfinished migrations leave the node, sorted."""
        return tuple(sorted(key for key, flight in self._facts.unfinished.items() if flight.source == node))

    def outbound_of_kubevirt(self, node: str) -> int:
        """The same as KubeVirt counts them against its own limit: never fewer."""
        return self._outbound[node] + self._facts.lingering.get(node, 0)

    def inbound(self, node: str) -> int:
        """Unfinished migrations that arrive at the node, as far as their targets are known."""
        return self._inbound[node]

    @property
    def journeys(self) -> Journeys:
        """Between which nodes guests have been moved before."""
        return self._facts.journeys

    @property
    def policies(self) -> frozenset[str]:
        """Names of our MigrationPolicies, those that are about to be made included."""
        return self._policies

    def reserve_policy(self, name: str) -> None:
        """A policy of this name is needed; empty: none is."""
        if name and name not in self._policies:
            self._policies |= {name}

    @property
    def in_flight(self) -> int:
        """Unfinished migrations in the whole cluster."""
        return self._in_flight

    def free_memory_bytes(self, node: str, headroom_percent: int = 0) -> int:
        """Allocatable memory that nobody requests and that is not headroom; negative where a node is overcommitted."""
        found = self._facts.nodes.get(node)
        if found is None:
            return 0
        return found.allocatable_memory_bytes * (100 - headroom_percent) // 100 - self._memory[node]

    def free_cpu_millicores(self, node: str) -> int:
        """Allocatable CPU that nobody requests; negative where a node is overcommitted."""
        found = self._facts.nodes.get(node)
        return 0 if found is None else found.allocatable_cpu_millicores - self._cpu[node]

    def free_pods(self, node: str) -> int:
        """How many more pods the node takes."""
        found = self._facts.nodes.get(node)
        return 0 if found is None else found.allocatable_pods - self._pods[node]

    def free(self, node: str, resource: str) -> int:
        """How much of any other resource nobody requests: none where the node does not list it."""
        found = self._facts.nodes.get(node)
        offered = next((amount for name, amount in found.allocatable if name == resource), 0) if found else 0
        taken = self._others.get(resource)
        return offered if taken is None else offered - taken[node]

    def fits(self, demand: PodDemand, node: str, headroom_percent: int = 0) -> bool:
        """Whether the node has room for this demand too; what it does not ask for is not looked at."""
        return (
            self.free_pods(node) >= demand.pods
            and (not demand.memory_bytes or self.free_memory_bytes(node, headroom_percent) >= demand.memory_bytes)
            and (not demand.cpu_millicores or self.free_cpu_millicores(node) >= demand.cpu_millicores)
            and all(self.free(node, name) >= amount for name, amount in demand.others)
        )

    def launchers(self, instance: Instance) -> tuple[Pod, ...]:
        """Launchers of the instance that have not ended, target launchers included, sorted by UID."""
        return self._facts.pods.launchers.get((instance.uid, instance.key.namespace), ())

    def launchers_on(self, node: str) -> Sequence[Pod]:
        """Launchers on a node that have not ended, in no particular order."""
        if self._spaces is None:
            self._spaces = {
                instance.uid: instance.key.namespace for instance in self._facts.snapshot.instances.values()
            }
        found = self._facts.pods.launchers_on.get(node, ())
        return [pod for pod in found if self._spaces.get(pod.instance_uid) == pod.key.namespace]

    def source_launcher(self, instance: Instance) -> Pod | None:
        """The launcher that the guest runs in: the one on its node. After a move that is the former target launcher."""
        for pod in self.launchers(instance):
            if pod.node == instance.node:
                return pod
        return None

    def demand(self, instance: Instance) -> PodDemand:
        """What the instance takes of a node: the requests of its source launcher, else at least its guest memory."""
        pod = self.source_launcher(instance)
        demand = PodDemand(instance.memory_bytes, 0) if pod is None else self._facts.pods.demand(pod)
        return demand.beside(self._facts.pods.holders.like(pod)) if instance.hotplugged else demand

    def _taken(self, instance: Instance) -> PodDemand:
        """What the instance takes of its node now, of what is seen; nothing that stands in for a pod that nobody sees."""
        pod = self.source_launcher(instance)
        if pod is None or not instance.hotplugged or self._facts.pods.holders.seen(pod) is not None:
            return self.demand(instance)
        return self._facts.pods.demand(pod)

    def holder(self, instance: Instance) -> Pod | None:
        """What holds the guest's hotplugged volumes beside its launcher, or what stands in for it; None: it has none."""
        return self._facts.pods.holders.like(self.source_launcher(instance)) if instance.hotplugged else None

    @property
    def neighbours(self) -> Neighbours:
        """The pods that a target launcher would find around it, arrivals included."""
        if self._neighbours is None:
            crowds = self._facts.crowds
            self._neighbours = Neighbours(crowds.without(self._gone) if self._gone else crowds, self._arrivals)
        return self._neighbours

    @property
    def attached(self) -> Attached:
        """The volumes on all nodes, those of arrivals included."""
        if self._attached is None:
            self._attached = Attached(self._facts.snapshot, self._arrivals, self._gone)
        return self._attached

    def quotas(self, namespace: str) -> tuple[Quota, ...]:
        """The resource quotas of a namespace."""
        return self._facts.quotas.get(namespace, ())

    def limits(self, namespace: str) -> tuple[Limits, ...]:
        """The limit ranges of a namespace."""
        return self._facts.limits.get(namespace, ())

    def launchers_to_come(self, namespace: str) -> tuple[Admission, ...]:
        """Of launchers and of pods beside them that will be made in a namespace and that no quota counts yet, what they
        ask of it.
        """
        templates = [
            each.template for each in self._arrivals if not each.made and each.template.key.namespace == namespace
        ]
        return _asked([*templates, *(holder for place, holder in self._holders if place == namespace)])

    def launchers_to_go(self, namespace: str) -> tuple[Admission, ...]:
        """The same of one launcher of each guest of the namespace that moves, and of what is beside it."""
        moving = {
            each.instance.uid: each.template for each in self._arrivals if each.template.key.namespace == namespace
        }
        beside = [self.holder(each.instance) for each in self._arrivals if each.instance.key.namespace == namespace]
        for key, flight in self._facts.unfinished.items():
            pod = self._facts.pods.arrival(flight.migration)
            if key.namespace == namespace and pod is not None and not pod.ended and pod.instance_uid not in moving:
                moving[pod.instance_uid] = pod
                instance = self._facts.snapshot.instances.get(key)
                beside.append(self.holder(instance) if instance is not None else None)
        return _asked([*moving.values(), *(pod for pod in beside if pod is not None)])

    @property
    def nominated(self) -> Mapping[str, tuple[Pod, ...]]:
        """Pods that are not bound and for which the scheduler makes room, by node and in no particular order."""
        return self._facts.pods.nominated

    def unfinished_migration(self, instance: Key) -> Migration | None:
        """The migration of the instance that has not ended; of several the one that KubeVirt handed to the nodes."""
        flight = self._facts.unfinished.get(instance)
        return None if flight is None else flight.migration

    def arrival(self, migration: Migration) -> Pod | None:
        """The target launcher of a migration; None before there is one."""
        return self._facts.pods.arrival(migration)

    def flight(self, instance: Key) -> InFlight | None:
        """The same migration with its source and target."""
        return self._facts.unfinished.get(instance)

    def _take(self, node: str, demand: PodDemand, times: int = 1) -> None:
        self._memory[node] += times * demand.memory_bytes
        self._cpu[node] += times * demand.cpu_millicores
        self._pods[node] += times * demand.pods
        for name, amount in demand.others:
            self._others.setdefault(name, Counter())[node] += times * amount

    def _reserve_holder(self, instance: Instance, arrival: Pod) -> None:
        """Count the pod that will hold hotplugged volumes beside a target launcher which counts itself already."""
        seen = self._facts.pods.holders.seen(arrival)
        expected = seen or self._facts.pods.holders.like(self.source_launcher(instance))
        if seen is None:
            self._holders.append((instance.key.namespace, expected))
        if seen is None or not seen.node:
            self._take(arrival.node, PodDemand(expected.memory_bytes, expected.cpu_millicores, expected.requests))

    def _count_migration(self, source: str, arrivals: Iterable[str]) -> None:
        self._in_flight += 1
        if source:
            self._outbound[source] += 1
        for node in arrivals:
            self._inbound[node] += 1


R = TypeVar("R", Quota, Limits)


def _by_namespace(records: Mapping[Key, R]) -> Mapping[str, tuple[R, ...]]:
    found: dict[str, list[R]] = {}
    for key in sorted(records):
        found.setdefault(key.namespace, []).append(records[key])
    return {namespace: tuple(listed) for namespace, listed in found.items()}


def _asked(pods: Iterable[Pod]) -> tuple[Admission, ...]:
    """In an order that does not depend on whose they are."""
    return tuple(sorted((pod.admission for pod in pods if pod.admission is not None), key=repr))


def _counts_itself(arrival: Pod | None) -> bool:
    """Whether a target launcher is bound, and so among its node's pods; or has ended, and takes nothing any more."""
    return arrival is not None and (bool(arrival.node) or arrival.ended)
