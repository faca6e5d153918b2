"""The stand-in's view of the cluster and its way to write: caches with indexes, and effects carried out.

Shared by all parts of the stand-in; each part writes through a `Hand` of its own identity.
"""

import asyncio
import hashlib
from collections.abc import Iterable

from whimbrel.simulation.kubevirt import queueing
from whimbrel.simulation.kubevirt.effects import Again, Create, Effect, Emit, Remove, Replace, ReplaceStatus
from whimbrel.simulation.kubevirt.values import (
    JOB_UID_LABEL,
    Object,
    controller_uid,
    final,
    labels,
    name,
    namespace,
    phase,
    spec,
    status,
    timestamp,
    uid,
)
from whimbrel_lab.clock import LabClock
from whimbrel_lab.kubevirt.cache import Cache, Key
from whimbrel_lab.kubevirt.client import ROUTES, Client, RequestRefused

KINDS = (
    "Namespace", "Node", "Pod", "PersistentVolumeClaim", "KubeVirt", "MigrationPolicy", "VirtualMachine",
    "VirtualMachineInstance", "VirtualMachineInstanceMigration",
)  # fmt: skip


class Cluster:
    """All caches."""

    def __init__(self, client: Client, clock: LabClock) -> None:
        self.clock = clock
        self.caches = {kind: Cache(kind, client) for kind in KINDS}
        self.namespaces = self.caches["Namespace"]
        self.nodes = self.caches["Node"]
        self.pods = self.caches["Pod"]
        self.claims = self.caches["PersistentVolumeClaim"]
        self.policies = self.caches["MigrationPolicy"]
        self.machines = self.caches["VirtualMachine"]
        self.instances = self.caches["VirtualMachineInstance"]
        self.migrations = self.caches["VirtualMachineInstanceMigration"]
        self.pods_of = self.pods.index(lambda pod: controller_uid(pod) or None)
        self.pods_on = self.pods.index(lambda pod: str(spec(pod).get("nodeName") or "") or None)
        self.targets = self.pods.index(lambda pod: labels(pod).get(JOB_UID_LABEL) or None)
        self.unplaced = self.pods.index(lambda pod: None if spec(pod).get("nodeName") or final(pod) else "pods")
        self.migrations_of = self.migrations.index(_instance_key)
        self.unfinished = self.migrations.index(lambda migration: None if final(migration) else "unfinished")
        self.instances_by_uid = self.instances.index(lambda instance: uid(instance))
        self.migrations_by_uid = self.migrations.index(lambda migration: uid(migration))

    @property
    def kubevirt(self) -> Object | None:
        """The one KubeVirt object."""
        return next(iter(self.caches["KubeVirt"].objects.values()), None)

    def instance(self, of_uid: str) -> Object | None:
        """The instance with this UID."""
        found = self.instances_by_uid[of_uid]
        return found[0] if found else None

    def launchers(self, instance: Object) -> list[Object]:
        """All launcher pods of an instance."""
        return self.pods_of[uid(instance)]

    def slots(self, migration: Object) -> tuple[int, int]:
        """How many other migrations take a slot, in the cluster and out of this one's node."""
        own = self.instances.get(*_instance_key(migration))
        node = str(status(own or {}).get("nodeName") or "")
        running = outbound = 0
        for other in self.unfinished["unfinished"]:
            if uid(other) == uid(migration):
                continue
            pending_with_pod = phase(other) == "Pending" and bool(self.targets[uid(other)])
            if not queueing.runs(other, has_target_pod=pending_with_pod):
                continue
            running += 1
            instance = self.instances.get(*_instance_key(other))
            if instance is not None and node in queueing.outbound_nodes(instance):
                outbound += 1
        return running, outbound

    async def run(self) -> None:
        """Watch everything for ever."""
        async with asyncio.TaskGroup() as group:
            for cache in self.caches.values():
                group.create_task(cache.run(), name=f"watch-{cache.kind}")

    async def synced(self) -> None:
        """Until every kind was listed."""
        await asyncio.gather(*(cache.synced.wait() for cache in self.caches.values()))


class Hand:
    """Carries effects out under one identity and tells the caches at once. An event is sent once, not at every pass.

    A second write to an object in one pass follows upon the first: only what somebody else wrote meanwhile is a conflict.
    """

    def __init__(self, cluster: Cluster, client: Client, component: str) -> None:
        self.client = client
        self._cluster = cluster
        self._component = component
        self._sent: dict[str, None] = {}

    async def carry(self, effects: Iterable[Effect]) -> float | None:
        """Carry out in order; the soonest wish to be called again. Raises RequestRefused at the first refusal."""
        again: float | None = None
        versions: dict[str, str] = {}
        for effect in effects:
            if isinstance(effect, Again):
                again = effect.after_s if again is None else min(again, effect.after_s)
            elif isinstance(effect, Emit):
                await self._emit(effect)
            elif isinstance(effect, Remove):
                await self._remove(effect)
            else:
                if (version := versions.get(uid(effect.body))) is not None:
                    effect.body["metadata"]["resourceVersion"] = version
                written = await self._write(effect)
                versions[uid(written)] = written["metadata"]["resourceVersion"]
        return again

    async def write(self, document: Object) -> Object:
        """Replace an object and tell the cache."""
        return await self._write(Replace(document))

    async def _write(self, effect: Create | Replace | ReplaceStatus) -> Object:
        if isinstance(effect, Create):
            answer = await self.client.create(effect.body)
        elif isinstance(effect, Replace):
            answer = await self.client.replace(effect.body)
        else:
            answer = await self.client.replace_status(effect.body)
        self._cluster.caches[effect.body["kind"]].put(answer)
        return answer

    async def _remove(self, effect: Remove) -> None:
        try:
            await self.client.delete(effect.kind, effect.name, effect.namespace, effect.uid)
        except RequestRefused as refused:
            if not refused.conflict:
                raise

    async def _emit(self, effect: Emit) -> None:
        regarding = effect.regarding
        known = f"{uid(regarding)}/{effect.reason}/{effect.message}"
        if known in self._sent:
            return
        self._sent[known] = None
        if len(self._sent) > 5000:
            del self._sent[next(iter(self._sent))]
        now = timestamp(self._cluster.clock.now())
        digest = hashlib.sha256(known.encode()).hexdigest()[:16]
        body: Object = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{name(regarding)[:200]}.{digest}",
                "namespace": namespace(regarding) or "default",
            },
            "involvedObject": {
                "apiVersion": regarding.get("apiVersion") or ROUTES[regarding["kind"]].api_version,
                "kind": regarding["kind"],
                "name": name(regarding),
                "namespace": namespace(regarding),
                "uid": uid(regarding),
            },
            "count": 1,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "message": effect.message,
            "reason": effect.reason,
            "source": {"component": self._component},
            "type": effect.type,
        }
        try:
            await self.client.create(body)
        except RequestRefused as refused:
            if refused.code not in (404, 409):
                raise


def _instance_key(migration: Object) -> Key:
    return namespace(migration), str(spec(migration).get("vmiName") or "")
