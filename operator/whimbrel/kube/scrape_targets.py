"""Which virt-handlers to read now: those of migrations in flight always, the others in turn and within a budget.

Pure. virt-handler asks all its launchers at each scrape, so that nobody is asked more often than forecasts need. Called by
`kube.metrics_reader`.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from heapq import nsmallest

from whimbrel.api.virtual_machine_move import TERMINAL_PHASES
from whimbrel.domain.naming import LABEL_MANAGED
from whimbrel.domain.records import Instance, Key, Migration, Move, Pod

NODES_AT_A_TIME = 16
EACH_NODE_EVERY_S = 30.0
"""A node of which nothing is in flight. What a guest does and how much it uses changes slowly, for a forecast."""


@dataclass(frozen=True, slots=True)
class Flight:
    """A migration of ours that the nodes work at. `began` is None while KubeVirt has not said when."""

    migration_uid: str
    began: datetime | None


@dataclass(frozen=True, slots=True)
class Address:
    """Where a virt-handler listens."""

    ip: str
    port: int


@dataclass(frozen=True, slots=True)
class Target:
    """A virt-handler to read, and what to look for there."""

    node: str
    address: Address
    flights: Mapping[Key, Flight]
    running: Collection[Key]
    """Guests that run there; of others it is not believed."""


def in_flight(
    migrations: Mapping[Key, Migration], instances: Mapping[Key, Instance]
) -> Mapping[str, Mapping[Key, Flight]]:
    """Our unfinished migrations, by source node and key of the instance."""
    found: dict[str, dict[Key, Flight]] = defaultdict(dict)
    for migration in migrations.values():
        if migration.final or LABEL_MANAGED not in migration.labels:
            continue
        instance = instances.get(migration.instance_key)
        state = instance.migration if instance else None
        if instance is None or state is None or state.migration_uid != migration.uid or state.completed:
            continue
        found[state.source_node or instance.node][instance.key] = Flight(migration.uid, state.started_at)
    return found


def homes(instances: Mapping[Key, Instance]) -> Mapping[Key, str]:
    """The node of each guest that runs."""
    return {key: each.node for key, each in instances.items() if each.phase == "Running" and each.node}


def running_guests(instances: Mapping[Key, Instance]) -> Mapping[str, Collection[Key]]:
    """The guests that run on each node."""
    found: dict[str, set[Key]] = defaultdict(set)
    for key, node in homes(instances).items():
        found[node].add(key)
    return found


def awaited_nodes(moves: Iterable[Move], instances: Mapping[Key, Instance]) -> Collection[str]:
    """Nodes of guests that somebody means to move: their readings are needed first."""
    waiting = (instances.get(move.instance_key) for move in moves if move.move.status.phase not in TERMINAL_PHASES)
    return {instance.node for instance in waiting if instance is not None}


def addresses(pods: Iterable[Pod], namespace: str) -> Mapping[str, Address]:
    """The virt-handler of each node.

    KubeVirt's own are in its namespace; a pod elsewhere that is labelled like one is somebody's invention.
    """
    return {
        pod.node: Address(pod.ip, pod.metrics_port)
        for pod in pods
        if pod.handler and pod.key.namespace == namespace and pod.ip and pod.metrics_port and not pod.deleting
    }


def next_nodes(
    candidates: Iterable[str], awaited: Collection[str], read_at_s: Mapping[str, float], now_s: float, most: int
) -> list[str]:
    """Which of these nodes to read beside those of migrations in flight: the awaited first, then the one that was read
    longest ago. Whether a reading succeeded makes no difference, so that a dead node keeps nobody waiting.
    """
    due = [node for node in candidates if node not in read_at_s or now_s - read_at_s[node] >= EACH_NODE_EVERY_S]

    def urgency(node: str) -> tuple[bool, float, str]:
        return node not in awaited, read_at_s.get(node, float("-inf")), node

    return nsmallest(most, due, key=urgency) if most > 0 else []
