"""virt-controller: machines, instances, migrations and evacuations, each with a queue of its own.

Migrations are served one at a time, so that the limits hold; the rest by a few workers.
"""

import asyncio

from whimbrel.simulation.kubevirt import evacuation, instances, machines, migrations, policies, queueing
from whimbrel.simulation.kubevirt.effects import Create
from whimbrel.simulation.kubevirt.phases import View
from whimbrel.simulation.kubevirt.values import (
    JOB_UID_LABEL,
    Object,
    controller_uid,
    final,
    labels,
    metadata,
    name,
    namespace,
    phase,
    spec,
    status,
    uid,
)
from whimbrel_lab.kubevirt.cache import Key, key_of
from whimbrel_lab.kubevirt.client import RequestRefused
from whimbrel_lab.kubevirt.cluster import Cluster, Hand
from whimbrel_lab.kubevirt.work import WorkQueue

WORKERS = 4


class Controller:
    """Runs until cancelled."""

    def __init__(self, cluster: Cluster, hand: Hand) -> None:
        self._cluster = cluster
        self._hand = hand
        self._machines: WorkQueue[Key] = WorkQueue(cluster.clock)
        self._instances: WorkQueue[Key] = WorkQueue(cluster.clock)
        self._migrations: WorkQueue[Key] = WorkQueue(cluster.clock)
        self._evacuations: WorkQueue[Key] = WorkQueue(cluster.clock)
        cluster.machines.observe(self._machine_changed)
        cluster.instances.observe(self._instance_changed)
        cluster.pods.observe(self._pod_changed)
        cluster.migrations.observe(self._migration_changed)
        cluster.nodes.observe(self._node_changed)

    async def run(self) -> None:
        """Serve all queues."""
        async with asyncio.TaskGroup() as group:
            for _ in range(WORKERS):
                group.create_task(self._machines.serve(self._machine))
                group.create_task(self._instances.serve(self._instance))
            group.create_task(self._migrations.serve(self._migration))
            group.create_task(self._evacuations.serve(self._evacuate))

    def close(self) -> None:
        """Forget what is still to come."""
        for queue in (self._machines, self._instances, self._migrations, self._evacuations):
            queue.close()

    def _machine_changed(self, old: Object | None, new: Object | None) -> None:
        self._machines.add(key_of(new or old or {}))

    def _instance_changed(self, old: Object | None, new: Object | None) -> None:
        document = new or old or {}
        key = key_of(document)
        self._instances.add(key)
        self._machines.add(key)
        for migration in self._cluster.migrations_of[key]:
            self._migrations.add(key_of(migration), queueing.priority(migration))
        if status(document).get("evacuationNodeName"):
            self._evacuations.add(key)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        pod = new or old or {}
        if (instance := self._cluster.instance(controller_uid(pod))) is not None:
            self._instances.add(key_of(instance))
            for migration in self._cluster.migrations_of[key_of(instance)]:
                own = labels(pod).get(JOB_UID_LABEL) == uid(migration)
                if not final(migration) and (own or phase(migration) == "Pending"):
                    self._migrations.add(key_of(migration), queueing.priority(migration))

    def _migration_changed(self, old: Object | None, new: Object | None) -> None:
        migration = new or old or {}
        self._migrations.add(key_of(migration), queueing.priority(migration))
        over = new is None or final(new)
        if over and old is not None and not final(old):
            self._wake_pending()
            self._evacuations.add((namespace(migration), str(spec(migration).get("vmiName") or "")))

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            return
        tainted = bool(spec(new).get("taints"))
        for instance in self._cluster.instances.objects.values():
            shown = status(instance)
            if shown.get("nodeName") == name(new) and (tainted or shown.get("evacuationNodeName")):
                self._evacuations.add(key_of(instance))

    def _wake_pending(self) -> None:
        pending = [each for each in self._cluster.unfinished["unfinished"] if phase(each) == "Pending"]
        configuration = policies.cluster_configuration(self._cluster.kubevirt)
        for migration in queueing.woken(pending, configuration):
            self._migrations.add((namespace(migration), name(migration)), queueing.priority(migration))

    async def _machine(self, key: Key) -> None:
        if (machine := self._cluster.machines.get(*key)) is not None:
            instance = self._cluster.instances.get(*key)
            await self._hand.carry(machines.step(machine, instance, self._cluster.clock.now()))

    async def _instance(self, key: Key) -> None:
        if (instance := self._cluster.instances.get(*key)) is not None:
            pods = sorted(self._cluster.launchers(instance), key=_age)
            now = self._cluster.clock.now()
            await self._hand.carry(instances.step(instance, pods, now, self._cluster.kubevirt))

    async def _migration(self, key: Key) -> None:
        migration = self._cluster.migrations.get(*key)
        if migration is None:
            return
        view = self.view(migration)
        effects = migrations.step(view)
        try:
            again = await self._hand.carry(effects)
        except RequestRefused as refused:
            created = any(isinstance(effect, Create) for effect in effects)
            if refused.conflict or refused.code != 403 or not created:
                raise
            again = await self._hand.carry(migrations.creation_refused(view, refused.message))
        if again is not None:
            self._migrations.add_after(key, again, queueing.priority(migration))

    def view(self, migration: Object) -> View:
        """All that virt-controller looks at for one migration, as the caches have it now."""
        cluster = self._cluster
        target = (namespace(migration), str(spec(migration).get("vmiName") or ""))
        instance = cluster.instances.get(*target)
        running, outbound = cluster.slots(migration) if phase(migration) == "Pending" else (0, 0)
        space = cluster.namespaces.get("", target[0])
        return View(
            migration=migration,
            instance=instance,
            launchers=cluster.launchers(instance) if instance else (),
            now=cluster.clock.now(),
            siblings=[each for each in cluster.migrations_of[target] if uid(each) != uid(migration)],
            source_node=cluster.nodes.get("", str(status(instance or {}).get("nodeName") or "")),
            nodes=tuple(cluster.nodes.objects.values()),
            policies=tuple(cluster.policies.objects.values()),
            namespace_labels=labels(space or {}),
            kubevirt=cluster.kubevirt,
            running=running,
            outbound=outbound,
        )

    async def _evacuate(self, key: Key) -> None:
        instance = self._cluster.instances.get(*key)
        if instance is None:
            return
        node = self._cluster.nodes.get("", str(status(instance).get("nodeName") or ""))
        taint = policies.cluster_configuration(self._cluster.kubevirt)["nodeDrainTaintKey"]
        found = self._cluster.migrations_of[key]
        launchers = self._cluster.launchers(instance)
        await self._hand.carry(evacuation.step(instance, node, found, launchers, self._cluster.kubevirt, taint))


def _age(pod: Object) -> tuple[str, str]:
    return str(metadata(pod).get("creationTimestamp") or ""), name(pod)
