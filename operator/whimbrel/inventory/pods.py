"""The pods of a snapshot, counted: what they take of their nodes, and which of them are launchers.

Made by the ledger, which keeps it from tick to tick for as long as no pod changes.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from whimbrel.domain.records import Key, Migration, Pod
from whimbrel.domain.scheduling import Amounts
from whimbrel.inventory.hotplug import Holders


@dataclass(frozen=True, slots=True)
class PodDemand:
    """What a launcher takes from its node, by requests, with the pod beside it where one holds hotplugged volumes."""

    memory_bytes: int
    cpu_millicores: int
    others: Amounts = ()
    """Everything else: ephemeral storage, huge pages, devices."""
    pods: int = 1

    def beside(self, other: Pod) -> "PodDemand":
        """This and another pod."""
        others = Counter(dict(self.others))
        others.update(dict(other.requests))
        return PodDemand(
            self.memory_bytes + other.memory_bytes,
            self.cpu_millicores + other.cpu_millicores,
            tuple(sorted(others.items())),
            self.pods + 1,
        )


class Pods:
    """Who is where and takes what; found out in one pass, and nothing of it changes afterwards but for `demands`."""

    __slots__ = (
        "_arrivals",
        "cpu",
        "demands",
        "holders",
        "launchers",
        "launchers_on",
        "memory",
        "nominated",
        "others",
        "pods",
        "records",
    )

    def __init__(self, records: Mapping[Key, Pod]) -> None:
        """Pods that have not ended count where they are bound."""
        self.records = records
        self._arrivals: dict[tuple[str, str], Pod] = {}
        """Target launchers by UID of the migration and their own namespace."""
        self.launchers: dict[tuple[str, str], tuple[Pod, ...]] = {}
        """Launchers that have not ended, by instance UID and their own namespace, sorted by pod UID. What a pod says of itself
        counts in the instance's namespace alone: whoever looks asks for that one.
        """
        self.launchers_on: dict[str, list[Pod]] = {}
        """The same by node, in no particular order, of any namespace."""
        self.nominated: dict[str, tuple[Pod, ...]] = {}
        """Pods that are not bound and for which the scheduler makes room, by node."""
        self.memory: dict[str, int] = {}
        self.cpu: dict[str, int] = {}
        self.pods: dict[str, int] = {}
        self.others: dict[str, dict[str, int]] = {}
        self.holders = Holders(records.values())
        self.demands: dict[Key, PodDemand] = {}
        """By key of a launcher, as far as they were asked for."""
        memory, cpu, pods, launchers = self.memory, self.cpu, self.pods, self.launchers
        for pod in records.values():
            if pod.migration_uid:
                meant = (pod.migration_uid, pod.key.namespace)
                held = self._arrivals.get(meant)
                self._arrivals[meant] = pod if held is None else max(pod, held, key=_liveness)
            if pod.ended:
                continue
            if pod.nomination is not None:
                room = pod.nomination.node
                self.nominated[room] = (*self.nominated.get(room, ()), pod)
            node, guest = pod.node, pod.instance_uid
            if guest:
                own = (guest, pod.key.namespace)
                launchers[own] = (pod,) if own not in launchers else tuple(sorted((*launchers[own], pod), key=_uid))
                self.launchers_on.setdefault(node, []).append(pod)
            if node:
                memory[node] = memory.get(node, 0) + pod.memory_bytes
                cpu[node] = cpu.get(node, 0) + pod.cpu_millicores
                pods[node] = pods.get(node, 0) + 1
                for name, amount in pod.requests:
                    taken = self.others.setdefault(name, {})
                    taken[node] = taken.get(node, 0) + amount

    def arrival(self, migration: Migration) -> Pod | None:
        """The target launcher of a migration, in its namespace; None before there is one."""
        return self._arrivals.get((migration.uid, migration.key.namespace))

    def demand(self, pod: Pod) -> PodDemand:
        """What a launcher takes of its node, put together once."""
        found = self.demands.get(pod.key)
        if found is None:
            found = self.demands[pod.key] = PodDemand(pod.memory_bytes, pod.cpu_millicores, pod.requests)
        return found


def _uid(pod: Pod) -> str:
    return pod.uid


def _liveness(pod: Pod) -> tuple[bool, bool, str]:
    """Of several target launchers of one migration, made one after the other, the one that counts ranks highest."""
    return (not pod.ended, bool(pod.node), pod.uid)
