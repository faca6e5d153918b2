"""Everything in a cluster that is not ours: virt-api, virt-controller, scheduler and kubelets, on an Agenda over a World.

The rules are `simulation.kubevirt`'s; here is only who looks at what, and when. The nodes' side of a migration is in
`simulation.launchers`.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from whimbrel.domain.records import Key
from whimbrel.domain.resources import (
    INSTANCES,
    KUBEVIRTS,
    MIGRATION_POLICIES,
    MIGRATIONS,
    NAMESPACES,
    NODES,
    PODS,
    VIRTUAL_MACHINES,
    Resource,
)
from whimbrel.simulation.agenda import Agenda, Alarm
from whimbrel.simulation.kubevirt import admission, instances, machines, migrations, policies, queueing, scheduling
from whimbrel.simulation.kubevirt.effects import Again, Create, Effects, Emit, Remove, Replace, ReplaceStatus
from whimbrel.simulation.kubevirt.launchers import containers_ready
from whimbrel.simulation.kubevirt.phases import View
from whimbrel.simulation.kubevirt.values import (
    CREATED_BY_LABEL,
    JOB_UID_LABEL,
    UNPAUSED_GATE,
    clone,
    condition,
    condition_true,
    deleting,
    final,
    labels,
    name,
    phase,
    spec,
    status,
    uid,
    with_condition,
)
from whimbrel.simulation.world import ApiError, Change, Object, Refused, World, key_of

CONTROLLER = admission.account("controller")
KUBELET = "kubelet"
SCHEDULER = "scheduler"
_RESOURCES: Mapping[tuple[str, str], Resource] = {
    (each.api_version, each.kind): each for each in (VIRTUAL_MACHINES, INSTANCES, MIGRATIONS, PODS)
}


@dataclass(frozen=True, slots=True)
class Pace:
    """How long KubeVirt's and Kubernetes' parts take, in virtual seconds."""

    controller_s: float = 0.06
    scheduler_s: float = 0.05
    pod_start_s: float = 2.5
    pod_end_s: float = 1.0
    prepare_s: float = 0.4
    """From the hand-off to the target's ports, and from those to the copy's begin."""
    finish_s: float = 0.15
    """From the guest's arrival to virt-handler's last word, in three steps."""


class DataCentre:
    """Reacts to changes of the world; `started` hears of each pod whose containers began to run."""

    def __init__(self, agenda: Agenda, pace: Pace) -> None:
        self.world = World(lambda: agenda.seconds, self._admit)
        self.events: list[Emit] = []
        self._agenda, self._pace = agenda, pace
        self._alarms: dict[tuple[Resource, Key], Alarm] = {}
        self._by_instance: dict[Key, dict[Key, None]] = defaultdict(dict)
        self._pods_of: dict[str, dict[Key, None]] = defaultdict(dict)
        self._used: dict[str, Counter[str]] = defaultdict(Counter)
        self._asked: dict[str, dict[str, int]] = {}
        self._unbound: dict[Key, None] = {}
        self._unfinished: dict[Key, None] = {}
        self._scheduling = Alarm(agenda, self._schedule)

    # virt-api

    def _admit(self, actor: str, resource: Resource, old: Object | None, new: Object) -> Object:
        refused: admission.Refused | None = None
        if resource == MIGRATIONS:
            if old is not None:
                refused = admission.review_migration_update(new, old)
            else:
                new = admission.migration_made(dict(new))
                target = Key(new["metadata"]["namespace"], str(spec(new).get("vmiName")))
                instance = self.world.get(INSTANCES, target)
                refused = admission.review_migration_create(
                    new, actor, instance, self.migrations_of(target), self.kubevirt
                )
        elif resource == INSTANCES and actor != "setup":
            if old is None:
                new = admission.instance_made(dict(new))
            else:
                new = admission.instance_changed(dict(new), old, actor)
                refused = admission.review_instance_update(new, old, actor)
        elif resource == MIGRATION_POLICIES:
            refused = admission.review_policy(new, old, self.kubevirt)
        if refused is not None:
            raise Refused(refused.message)
        return new

    # What there is

    @property
    def kubevirt(self) -> dict[str, Any] | None:
        """The KubeVirt object."""
        return next((dict(body) for body in self.world.objects(KUBEVIRTS).values()), None)

    def migrations_of(self, instance: Key) -> list[dict[str, Any]]:
        """All migrations of an instance, ended ones too."""
        found = (self.world.get(MIGRATIONS, key) for key in self._by_instance.get(instance, ()))
        return [dict(body) for body in found if body is not None]

    def launchers_of(self, instance: Object | None) -> list[dict[str, Any]]:
        """All launcher pods of an instance."""
        if instance is None:
            return []
        found = (self.world.get(PODS, key) for key in self._pods_of.get(uid(instance), ()))
        return [dict(body) for body in found if body is not None]

    def node_ready(self, node: str) -> bool:
        """Whether a node's kubelet and virt-handler are alive."""
        body = self.world.get(NODES, Key("", node))
        return body is not None and condition_true(body, "Ready")

    # Who looks at what

    def take_stock(self) -> None:
        """Learns of the launchers that ran before anybody looked."""
        for key, pod in self.world.objects(PODS).items():
            self._account(pod, there=not final(pod))
            self._pods_of[labels(pod).get(CREATED_BY_LABEL, "")][key] = None

    def notice(self, change: Change) -> None:
        """Wakes whoever watches that kind."""
        body = change.after or change.before or {}
        match change.resource:
            case r if r == MIGRATIONS:
                self._notice_migration(change, body)
            case r if r == INSTANCES:
                self._wake(INSTANCES, change.key)
                self._wake(VIRTUAL_MACHINES, Key(change.key.namespace, change.key.name))
                for key in self._by_instance.get(change.key, ()):
                    self._wake(MIGRATIONS, key)
            case r if r == PODS:
                self._notice_pod(change, body)
            case r if r == VIRTUAL_MACHINES:
                self._wake(VIRTUAL_MACHINES, change.key)
            case r if r == NODES:
                self._scheduling.after(self._pace.scheduler_s)
                for key, pod in self.world.objects(PODS).items():
                    if spec(pod).get("nodeName") == change.key.name and not final(pod):
                        self._agenda.after(self._pace.pod_start_s, partial(self._run_pod, key, uid(pod)))

    def _notice_migration(self, change: Change, body: Object) -> None:
        instance = Key(change.key.namespace, body["spec"]["vmiName"])
        if change.after is None:
            self._by_instance[instance].pop(change.key, None)
        else:
            self._by_instance[instance][change.key] = None
            self._wake(MIGRATIONS, change.key)
        if change.after is not None and not final(body):
            self._unfinished[change.key] = None
            return
        self._unfinished.pop(change.key, None)
        if change.after is None or (change.before is not None and not final(change.before)):
            waiting = [each for each in self._unfinished_migrations() if phase(each) == "Pending"]
            for each in queueing.woken(waiting, policies.cluster_configuration(self.kubevirt)):
                self._wake(MIGRATIONS, key_of(each))

    def _unfinished_migrations(self) -> list[Object]:
        found = (self.world.get(MIGRATIONS, key) for key in self._unfinished)
        return [body for body in found if body is not None]

    def _notice_pod(self, change: Change, body: Object) -> None:
        owner = labels(body).get(CREATED_BY_LABEL, "")
        instance = Key(change.key.namespace, labels(body).get("vm.kubevirt.io/name", ""))
        self._account(body, there=change.after is not None and not final(body))
        if change.after is None:
            self._pods_of[owner].pop(change.key, None)
            self._unbound.pop(change.key, None)
            self._scheduling.after(self._pace.scheduler_s)
        else:
            self._pods_of[owner][change.key] = None
            if not spec(body).get("nodeName"):
                self._unbound[change.key] = None
                self._scheduling.after(self._pace.scheduler_s)
            elif change.key in self._unbound:
                del self._unbound[change.key]
                self._agenda.after(self._pace.pod_start_s, partial(self._run_pod, change.key, uid(body)))
            if condition_true(body, UNPAUSED_GATE) and not condition_true(body, "Ready") and not final(body):
                self._agenda.after(self._pace.controller_s, partial(self._make_ready, change.key))
        self._wake(INSTANCES, instance)
        for key in self._by_instance.get(instance, ()):
            self._wake(MIGRATIONS, key)

    def _account(self, pod: Object, *, there: bool) -> None:
        """Keeps books of what the pods of each node take."""
        node = spec(pod).get("nodeName")
        if there and node and uid(pod) not in self._asked:
            self._asked[uid(pod)] = scheduling.requests(pod)
            self._used[node].update(self._asked[uid(pod)])
        elif not there and uid(pod) in self._asked:
            self._used[str(node)].subtract(self._asked.pop(uid(pod)))

    # virt-controller

    def _wake(self, resource: Resource, key: Key) -> None:
        if (resource, key) not in self._alarms:
            self._alarms[resource, key] = Alarm(self._agenda, partial(self._reconcile, resource, key))
        self._alarms[resource, key].after(self._pace.controller_s)

    def _reconcile(self, resource: Resource, key: Key) -> None:
        body = self.world.get(resource, key)
        if body is None:
            del self._alarms[resource, key]
            return
        now = self.world.now
        if resource == MIGRATIONS:
            effects = migrations.step(self._view(dict(body)))
        elif resource == INSTANCES:
            effects = instances.step(dict(body), self.launchers_of(body), now, self.kubevirt)
        else:
            instance = self.world.get(INSTANCES, key)
            effects = machines.step(dict(body), dict(instance) if instance is not None else None, now)
        if self._carry_out(effects, self._alarms[resource, key]):
            self._alarms[resource, key].after(self._pace.controller_s)

    def _view(self, migration: dict[str, Any]) -> View:
        key = Key(migration["metadata"]["namespace"], str(spec(migration).get("vmiName")))
        instance = self.world.get(INSTANCES, key)
        node = self.world.get(NODES, Key("", str(status(instance or {}).get("nodeName"))))
        namespace = self.world.get(NAMESPACES, Key("", key.namespace))
        waits = phase(migration) == "Pending"
        slots = self._slots(migration, instance) if waits and instance is not None else (0, 0)
        return View(
            migration=migration,
            instance=dict(instance) if instance is not None else None,
            launchers=self.launchers_of(instance),
            now=self.world.now,
            siblings=[each for each in self.migrations_of(key) if uid(each) != uid(migration)],
            source_node=dict(node) if node is not None else None,
            nodes=[dict(each) for each in self.world.objects(NODES).values()]
            if phase(migration) == "Scheduling"
            else (),
            policies=[dict(each) for each in self.world.objects(MIGRATION_POLICIES).values()],
            namespace_labels=labels(namespace or {}),
            kubevirt=self.kubevirt,
            running=slots[0],
            outbound=slots[1],
        )

    def _slots(self, migration: Object, instance: Object) -> tuple[int, int]:
        """How many other migrations take a slot, in the cluster and of the same source node."""
        node, running, outbound = str(status(instance).get("nodeName") or ""), 0, 0
        for body in self._unfinished_migrations():
            if uid(body) == uid(migration):
                continue
            other = self.world.get(INSTANCES, Key(body["metadata"]["namespace"], body["spec"]["vmiName"]))
            own = phase(body) == "Pending" and any(
                labels(pod).get(JOB_UID_LABEL) == uid(body) for pod in self.launchers_of(other)
            )
            if queueing.runs(body, has_target_pod=own):
                running += 1
                outbound += other is not None and node in queueing.outbound_nodes(other)
        return running, outbound

    def _carry_out(self, effects: Effects, alarm: Alarm) -> bool:
        """Sends what a step wants written; True where something was refused, so that the step must run again."""
        again = False
        for effect in effects:
            try:
                match effect:
                    case Create(body):
                        self.world.create(CONTROLLER, _RESOURCES[body["apiVersion"], body["kind"]], body)
                    case Replace(body):
                        self.world.replace(CONTROLLER, _RESOURCES[body["apiVersion"], body["kind"]], key_of(body), body)
                    case ReplaceStatus(body):
                        resource = _RESOURCES[body["apiVersion"], body["kind"]]
                        self.world.replace_status(CONTROLLER, resource, key_of(body), body)
                    case Remove():
                        resource = _RESOURCES[effect.api_version, effect.kind]
                        self.world.delete(CONTROLLER, resource, Key(effect.namespace, effect.name), effect.uid)
                    case Emit():
                        self.events.append(effect)
                    case Again(after_s):
                        alarm.after(after_s)
            except ApiError:
                again = True
        return again

    # Scheduler and kubelet

    def _schedule(self) -> None:
        nodes = [dict(body) for body in self.world.objects(NODES).values()]
        for key in list(self._unbound):
            pod = self.world.get(PODS, key)
            if pod is None or deleting(pod) or final(pod):
                self._unbound.pop(key, None)
                continue
            near = [self.world.get(PODS, each) for each in self._pods_of[labels(pod).get(CREATED_BY_LABEL, "")]]
            placed = [
                dict(each) for each in near if each is not None and spec(each).get("nodeName") and not final(each)
            ]
            node, why = scheduling.place(pod, nodes, self._used, placed)
            if node:
                self.world.replace(SCHEDULER, PODS, key, {**pod, "spec": {**pod["spec"], "nodeName": node}})
                continue
            self._scheduling.after(5.0)
            if condition(pod, "PodScheduled") is None:
                told = clone(dict(pod))
                told["status"]["conditions"] = with_condition(
                    status(told).get("conditions"), "PodScheduled", "False", self.world.now, "Unschedulable", why
                )
                self.world.replace_status(SCHEDULER, PODS, key, told)

    def _run_pod(self, key: Key, pod_uid: str) -> None:
        pod = self.world.get(PODS, key)
        if pod is None or uid(pod) != pod_uid or phase(pod) != "Pending":
            return
        if not self.node_ready(str(spec(pod).get("nodeName"))):
            return
        running = clone(dict(pod))
        running["status"] = {
            "phase": "Running",
            "podIP": "10.0.0.2",
            "containerStatuses": [{"name": "compute", "ready": True, "state": {"running": {}}}],
            "conditions": [],
        }
        self.world.replace_status(KUBELET, PODS, key, running)

    def _make_ready(self, key: Key) -> None:
        pod = self.world.get(PODS, key)
        if pod is None or final(pod) or not containers_ready(pod) or condition_true(pod, "Ready"):
            return
        ready = clone(dict(pod))
        ready["status"]["conditions"] = with_condition(status(ready).get("conditions"), "Ready", "True", self.world.now)
        self.world.replace_status(KUBELET, PODS, key, ready)

    def end_pod(self, namespace: str, pod_name: str, ended_as: str) -> None:
        """A launcher's containers ended."""
        pod = self.world.get(PODS, Key(namespace, pod_name))
        if pod is None or final(pod):
            return
        over = {**pod, "status": {**pod["status"], "phase": ended_as, "containerStatuses": []}}
        self.world.replace_status(KUBELET, PODS, Key(namespace, name(pod)), over)
