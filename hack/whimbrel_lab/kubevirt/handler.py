"""virt-handler on every node: starts guests, prepares targets, runs migrations from the source, ends them on the target.

It writes only its own members of an instance, by PUT, again after a conflict. One object plays all nodes; a node that is
powered off plays no part.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from whimbrel.simulation.kubevirt import agents, monitor, policies
from whimbrel.simulation.kubevirt.effects import normal, warning
from whimbrel.simulation.kubevirt.values import (
    TARGET_NODE_LABEL,
    Object,
    controller_uid,
    deleting,
    final,
    labels,
    migration_state,
    name,
    namespace,
    phase,
    spec,
    status,
    uid,
)
from whimbrel_lab.hypervisor import GuestSpec, Hypervisor, HypervisorError, JobProgress
from whimbrel_lab.kubevirt import launcher
from whimbrel_lab.kubevirt.cache import Key, key_of
from whimbrel_lab.kubevirt.client import RequestRefused
from whimbrel_lab.kubevirt.cluster import Cluster, Hand
from whimbrel_lab.kubevirt.guests import guest_of, has_agent, recorded_address
from whimbrel_lab.kubevirt.kubelet import Kubelet
from whimbrel_lab.kubevirt.metrics import Metrics
from whimbrel_lab.kubevirt.work import WorkQueue

LOG = logging.getLogger(__name__)
WORKERS = 4
LOST_CONNECTION = "operation failed: Lost connection to destination host"
_ATTEMPTS = 20
Change = Callable[[Object], Object]


class InstanceGone(Exception):
    """The instance was deleted, or its migration is no longer this one."""


@dataclass(slots=True)
class _Journey:
    """A migration that this node runs."""

    migration_uid: str
    source: str
    target: str
    abort_asked: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class Handler:
    """Serves all instances of all nodes."""

    def __init__(
        self,
        cluster: Cluster,
        hand: Hand,
        hypervisor: Hypervisor,
        kubelet: Kubelet,
        metrics: Metrics,
        target_preparation_s: float,
    ) -> None:
        self.homes: dict[str, tuple[str, GuestSpec]] = {}
        """Where each instance's guest runs, by instance UID."""
        self._cluster = cluster
        self._clock = cluster.clock
        self._hand = hand
        self._hypervisor = hypervisor
        self._kubelet = kubelet
        self._metrics = metrics
        self._target_preparation_s = target_preparation_s
        self._queue: WorkQueue[Key] = WorkQueue(cluster.clock)
        self._journeys: dict[str, _Journey] = {}
        self._prepared_at: dict[str, float] = {}
        self._paused: set[str] = set()
        self._ports = 41_000
        cluster.instances.observe(self._instance_changed)
        cluster.pods.observe(self._pod_changed)
        kubelet.before_removal = self._launcher_goes

    async def run(self) -> None:
        """Serve until cancelled; running migrations end with it."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(WORKERS):
                    group.create_task(self._queue.serve(self._reconcile))
        finally:
            tasks = [journey.task for journey in self._journeys.values() if journey.task]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def close(self) -> None:
        """Forget what is still to come."""
        self._queue.close()

    def pause(self, node: str) -> None:
        """The node's virt-handler begins nothing new until `resume`, as while it is being rolled out."""
        self._paused.add(node)

    def resume(self, node: str) -> None:
        """The node's virt-handler is back and looks at everything."""
        self._paused.discard(node)
        for key in self._cluster.instances.objects:
            self._queue.add(key)

    async def power_off(self, node: str) -> None:
        """The node is gone with its guests; migrations to it break, migrations from it fall silent."""
        for journey in [each for each in self._journeys.values() if each.source == node]:
            if journey.task is not None:
                journey.task.cancel()
        arriving = [owner for owner, journey in self._journeys.items() if journey.target == node]
        for owner, (home, guest) in list(self.homes.items()):
            if home == node:
                del self.homes[owner]
                await self._hypervisor.stop_guest(node, guest.name)
            elif owner in arriving:
                await self._hypervisor.stop_guest(node, guest.name)

    def lost(self, instance: Object) -> bool:
        """Whether an instance that should run has no guest any more."""
        return phase(instance) == "Running" and uid(instance) not in self.homes

    async def dirty_rates(self, node: str) -> list[tuple[Object, int]]:
        """Running instances of a node that do not migrate, with their dirty rates."""
        found = [each for each in self._running_guests(node) if uid(each[0]) not in self._journeys]
        rates = await asyncio.gather(*(self._hypervisor.dirty_rate(node, guest.name) for _, guest in found))
        return [(instance, rate) for (instance, _), rate in zip(found, rates, strict=True) if rate is not None]

    async def resident_sets(self, node: str) -> list[tuple[Object, int]]:
        """Running instances of a node, also those that leave it, with the memory that their processes hold."""
        found = self._running_guests(node)
        sizes = await asyncio.gather(*(self._hypervisor.resident_bytes(node, guest.name) for _, guest in found))
        return [(instance, size) for (instance, _), size in zip(found, sizes, strict=True) if size is not None]

    def _running_guests(self, node: str) -> list[tuple[Object, GuestSpec]]:
        homes = [(self._cluster.instance(owner), home, guest) for owner, (home, guest) in self.homes.items()]
        return [
            (instance, guest)
            for instance, home, guest in homes
            if home == node and instance is not None and phase(instance) == "Running"
        ]

    def _instance_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            self._prepared_at.pop(uid(old or {}), None)
            return
        state = migration_state(new)
        journey = self._journeys.get(uid(new))
        if state.get("abortRequested") and journey and journey.migration_uid == state.get("migrationUid"):
            journey.abort_asked.set()
        if phase(new) == "Scheduled" or TARGET_NODE_LABEL in labels(new):
            self._queue.add(key_of(new))

    async def _reconcile(self, key: Key) -> None:
        instance = self._cluster.instances.get(*key)
        if instance is None:
            return
        node = str(status(instance).get("nodeName") or "")
        if phase(instance) == "Scheduled" and not deleting(instance) and self._alive(node):
            await self._start_guest(instance, node)
        if await self._lost_launcher(instance):
            return
        state = migration_state(instance)
        if TARGET_NODE_LABEL not in labels(instance) or not state.get("migrationUid"):
            return
        if state.get("completed"):
            await self._close_migration(instance)
        elif not state.get("targetNodeAddress"):
            await self._prepare_target(key, instance)
        elif not state.get("startTimestamp"):
            self._begin(instance)

    async def _start_guest(self, instance: Object, node: str) -> None:
        guest = guest_of(instance)
        if uid(instance) not in self.homes:
            self.homes[uid(instance)] = node, guest
            try:
                await self._hypervisor.start_guest(node, guest)
            except HypervisorError as problem:
                del self.homes[uid(instance)]
                await self._hand.carry((warning(instance, "SyncFailed", str(problem)),))
                raise
        claims = {
            name(claim): claim
            for claim in self._cluster.claims.objects.values()
            if namespace(claim) == namespace(instance)
        }
        known_node = self._cluster.nodes.get("", node) or {"metadata": {"name": node}}
        address = self._address(instance)

        def running(found: Object) -> Object:
            return agents.guest_running(
                found, known_node, self._clock.now(), kubevirt=self._cluster.kubevirt, address=address, claims=claims,
                agent=has_agent(found),
            )  # fmt: skip

        await self._apply(instance, running, migrating=False)

    async def _prepare_target(self, key: Key, instance: Object) -> None:
        state = migration_state(instance)
        if not self._acts(str(state["targetNode"])):
            return
        now_s = self._clock.monotonic()
        due_s = self._prepared_at.setdefault(str(state["migrationUid"]), now_s + self._target_preparation_s)
        if now_s < due_s:
            self._queue.add_after(key, due_s - now_s)
            return
        self._prepared_at.pop(str(state["migrationUid"]), None)
        self._ports = 41_000 + (self._ports - 41_000 + 3) % 20_000
        ports = range(self._ports, self._ports + 3)
        await self._apply(instance, lambda found: agents.target_prepared(found, "127.0.0.1", ports))
        text = f"Migration Target is listening at 127.0.0.1, on ports: {', '.join(map(str, ports))}"
        await self._hand.carry((normal(instance, "PreparingTarget", text),))

    def _begin(self, instance: Object) -> None:
        state = migration_state(instance)
        owner = uid(instance)
        known = self._journeys.get(owner)
        source = str(state["sourceNode"])
        if known is not None or not self._acts(source) or owner not in self.homes:
            return
        journey = _Journey(str(state["migrationUid"]), source, str(state["targetNode"]))
        if state.get("abortRequested"):
            journey.abort_asked.set()
        self._journeys[owner] = journey
        journey.task = asyncio.create_task(self._travel(instance, journey), name=f"migrate-{name(instance)}")

    async def _travel(self, instance: Object, journey: _Journey) -> None:
        """The source's part of one migration, and at its end the target's."""
        key = key_of(instance)
        try:
            await self._migrate(instance, journey)
        except InstanceGone:
            LOG.debug("%s: gone while it migrated", key)
        except asyncio.CancelledError:
            raise
        except Exception:
            LOG.exception("%s: migration", key)
        finally:
            self._metrics.forget(journey.source, *key)
            del self._journeys[uid(instance)]
            self._queue.add(key)

    async def _migrate(self, instance: Object, journey: _Journey) -> None:
        state = migration_state(instance)
        configuration = state.get("migrationConfiguration") or {}
        guest = self.homes[uid(instance)][1]
        rules = monitor.rules(configuration, instance, self._cluster.kubevirt)
        options = launcher.options(configuration, instance)
        try:
            job = await self._hypervisor.migrate(journey.source, journey.target, guest.name, options)
        except HypervisorError as problem:
            refusal = str(problem)
            await self._apply(instance, lambda found: agents.failed(found, self._clock.now(), refusal))
            return
        follower = asyncio.ensure_future(
            launcher.follow(job, rules, self._clock, journey.abort_asked, self._reports(instance, journey))
        )
        try:
            await self._apply(instance, lambda found: agents.started(found, self._clock.now()))
            text = f"VirtualMachineInstance is migrating to {journey.target}."
            await self._hand.carry((normal(instance, "Migrating", text),))
            verdict = await follower
        finally:
            follower.cancel()
        if verdict.outcome.completed:
            await self._arrive(instance, journey, guest)
        else:
            await self._fail(instance, journey, verdict)

    def _reports(self, instance: Object, journey: _Journey) -> launcher.Reports:
        async def mode(changed: str) -> None:
            await self._apply(instance, lambda found: agents.mode_changed(found, changed))

        async def abort(abort_status: str) -> None:
            await self._apply(instance, lambda found: agents.abort_progress(found, abort_status))

        def progress(sample: JobProgress) -> None:
            self._metrics.sample(journey.source, *key_of(instance), sample)

        return launcher.Reports(self._unless_gone(mode), self._unless_gone(abort), progress)

    @staticmethod
    def _unless_gone(report: Callable[[str], Awaitable[None]]) -> Callable[[str], Awaitable[None]]:
        async def told(text: str) -> None:
            try:
                await report(text)
            except InstanceGone:
                LOG.debug("nobody to tell: %s", text)

        return told

    async def _arrive(self, instance: Object, journey: _Journey, guest: GuestSpec) -> None:
        self.homes[uid(instance)] = journey.target, guest
        await self._apply(instance, lambda found: agents.domain_seen(found, self._clock.now()))
        address = self._address(instance, journey.migration_uid)
        await self._apply(instance, lambda found: agents.moved(found, self._clock.now(), address))
        text = f"The VirtualMachineInstance migrated to node {journey.target}."
        await self._hand.carry((normal(instance, "Migrated", text),))
        await self._apply(instance, agents.completed)

    async def _fail(self, instance: Object, journey: _Journey, verdict: launcher.Verdict) -> None:
        reason, aborted = verdict.outcome.reason, verdict.outcome.aborted
        if not self._alive(journey.target):
            reason, aborted = LOST_CONNECTION, False
        elif aborted:
            says_why = policies.observed_release(self._cluster.kubevirt).names_own_aborts
            reason = (verdict.reason if says_why else "") or agents.ABORTED
        await self._apply(instance, lambda found: agents.failed(found, self._clock.now(), reason, aborted=aborted))
        text = f"VirtualMachineInstance migration uid {journey.migration_uid} failed. reason:{reason}"
        await self._hand.carry((warning(instance, "Migrated", text),))

    async def _close_migration(self, instance: Object) -> None:
        """The launcher that is left over ends, and the label of the target goes."""
        if uid(instance) in self._journeys:
            return
        state = migration_state(instance)
        left, ended = (
            (state.get("targetPod"), "Failed") if state.get("failed") else (state.get("sourcePod"), "Succeeded")
        )
        pod = self._cluster.pods.get(namespace(instance), str(left or ""))
        if pod is not None:
            self._kubelet.finish(pod, ended)
        await self._apply(instance, agents.released, migrating=False)

    async def _launcher_goes(self, pod: Object) -> None:
        """A launcher pod is being removed: the guest in it ends, or the one on its way to it stays where it is."""
        owner = controller_uid(pod)
        home = self.homes.get(owner)
        node = str(spec(pod).get("nodeName") or "")
        journey = self._journeys.get(owner)
        if home is None or final(pod):  # the guest may be back on this node, in another launcher
            return
        if journey is not None and node == journey.target and node != home[0]:
            await self._hypervisor.stop_guest(node, home[1].name)
        elif node == home[0]:
            await self._guest_gone(owner)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None or not final(new) or (old is not None and final(old)):
            return
        if (instance := self._cluster.instance(controller_uid(new))) is not None:
            self._queue.add(key_of(instance))

    async def _lost_launcher(self, instance: Object) -> bool:
        """Whether the launcher in which the guest should be has ended: then so has the instance."""
        node = status(instance).get("nodeName")
        here = [pod for pod in self._cluster.launchers(instance) if spec(pod).get("nodeName") == node]
        if phase(instance) != "Running" or not here or not all(final(pod) for pod in here):
            return False
        home = self.homes.get(uid(instance))
        if home is None or home[0] == node:
            await self._guest_gone(uid(instance))
            return True
        return False

    async def _guest_gone(self, owner: str) -> None:
        """The guest ends with its launcher, and the instance before its pods are gone, so that its migrations learn of it."""
        home = self.homes.pop(owner, None)
        if home is not None:
            await self._hypervisor.stop_guest(home[0], home[1].name)
        instance = self._cluster.instance(owner)
        if instance is None or phase(instance) not in ("Scheduled", "Running"):
            return
        end = "Succeeded" if deleting(instance) else "Failed"
        with contextlib.suppress(InstanceGone):
            await self._apply(instance, lambda found: agents.ended(found, self._clock.now(), end), migrating=False)

    async def _apply(self, instance: Object, change: Change, *, migrating: bool = True) -> None:
        """Change the instance as it is now; raises InstanceGone when it, or this migration of it, is gone."""
        key, own = key_of(instance), migration_state(instance).get("migrationUid")
        for _ in range(_ATTEMPTS):
            found = self._cluster.instances.get(*key)
            if found is None or uid(found) != uid(instance):
                raise InstanceGone
            if migrating and migration_state(found).get("migrationUid") != own:
                raise InstanceGone
            changed = change(found)
            if changed == found:
                return
            try:
                await self._hand.write(changed)
                return
            except RequestRefused as refused:
                if refused.code == 404:
                    raise InstanceGone from refused
                if refused.code != 409:
                    raise
            fresh = await self._hand.client.find("VirtualMachineInstance", key[1], key[0])
            if fresh is None:
                raise InstanceGone
            self._cluster.instances.put(fresh)
        raise RequestRefused(409, "Conflict", f"{key}: changed {_ATTEMPTS} times while it was being written")

    def _alive(self, node: str) -> bool:
        return bool(node) and node not in self._kubelet.powered_off

    def _acts(self, node: str) -> bool:
        return self._alive(node) and node not in self._paused

    def _address(self, instance: Object, migration_uid: str = "") -> str:
        """IP of the launcher that the guest runs in."""
        pods = self._cluster.targets[migration_uid] if migration_uid else self._cluster.launchers(instance)
        addresses = [str(status(pod).get("podIP") or "") for pod in pods]
        return addresses[0] if addresses else recorded_address(instance)
