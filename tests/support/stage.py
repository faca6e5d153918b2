"""A cluster on which a test plays KubeVirt by hand, one act at a time, while the engine decides on what it sees.

Over `simulation.world`, which assigns UIDs and versions. Unlike a simulation nothing here happens by itself.
"""

import copy
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Self

from support.foreign import CAPABILITIES
from whimbrel.domain.decision import (
    Announcement,
    Create,
    Decisions,
    Delete,
    JsonPatch,
    ReplaceSpec,
    ReplaceStatus,
    Write,
)
from whimbrel.domain.records import Capabilities, Key
from whimbrel.domain.resources import (
    INSTANCES,
    KUBEVIRTS,
    MIGRATION_PLANS,
    MIGRATION_POLICIES,
    MIGRATIONS,
    NODES,
    PODS,
    VIRTUAL_MACHINE_MOVES,
    Resource,
)
from whimbrel.domain.samples import GuestReadings, MigrationSample, Reading
from whimbrel.engine import Engine, decide
from whimbrel.inventory.projections import PROJECTIONS
from whimbrel.inventory.snapshot import FIELDS, Refusal, Snapshot
from whimbrel.simulation.kubevirt.values import owner_reference
from whimbrel.simulation.topology import GuestShape, HostShape, Topology, a_plan, a_profile, apply, populate
from whimbrel.simulation.world import ApiError, Object, World, timestamp
from whimbrel.status.evacuation import remembered

DB1 = Key("default", "db1")
STUN = {"stun": "Allowed", "maxDowntimeMs": 5000, "unattendedDowntimeMs": 10_000}
DEFAULTS = {
    "bandwidthPerMigration": "0",
    "completionTimeoutPerGiB": 150,
    "allowAutoConverge": False,
    "allowPostCopy": False,
    "allowWorkloadDisruption": False,
}


def emptying(node: str = "node-1", *, leave: bool = True, **spec: Any) -> dict[str, Any]:
    """The spec of a plan that empties a node."""
    rule = "Leave" if leave else "Block"
    return {"virtualMachines": {"onNodes": {"names": [node]}, "nonMigratable": rule}, **spec}


def _with_finalizer(_actor: str, resource: Resource, old: Object | None, new: Object) -> Object:
    if resource != MIGRATIONS or old is not None:
        return new
    return {**new, "metadata": {**new["metadata"], "finalizers": ["kubevirt.io/migrationJobFinalize"]}}


class Stage:
    """Three hosts, db1 on node-1, a profile for all hosts; `written` holds every accepted write of the engine."""

    def __init__(
        self,
        *guests: GuestShape,
        hosts: int = 3,
        profile: Mapping[str, Any] | None = None,
        migrations: Mapping[str, Any] | None = None,
        capabilities: Capabilities | None = CAPABILITIES,
        version: str = "v1.9.0",
    ) -> None:
        self.seconds = 0.0
        self.world = World(lambda: self.seconds, _with_finalizer)
        self.written: list[Write] = []
        self.refused: list[str] = []
        self.announced: list[Announcement] = []
        self.samples: dict[Key, MigrationSample] = {}
        self.courses: dict[Key, tuple[MigrationSample, ...]] = {}
        self.readings: dict[Key, GuestReadings] = {}
        self.refusals: dict[Key, Refusal] = {}
        self._engine = Engine()
        self._records: dict[tuple[Resource, Key], tuple[Object, Any]] = {}
        self.capabilities = capabilities
        """What KubeVirt can be told."""
        self.denied: tuple[str, ...] = ()
        self.remembers = False
        """Whether one process goes on, and so remembers who blocked; otherwise each tick is the first after a start."""
        self.blocked: Mapping[str, datetime] | None = None
        self.outlook_due = True
        """Whether ticks quote anew; otherwise stored quotes stand."""
        shapes = [HostShape(f"node-{number}") for number in range(1, hosts + 1)]
        populate(
            self.world, Topology(shapes, guests or (GuestShape("db1", "node-1"),), migrations or {}, version=version)
        )
        if profile != {}:
            apply(self.world, a_profile(**(profile or {})))

    # What the engine does

    def snapshot(self) -> Snapshot:
        """What the engine sees now."""
        records: dict[str, Any] = {
            FIELDS[resource]: {
                key: self._record(resource, key, body) for key, body in self.world.objects(resource).items()
            }
            for resource in PROJECTIONS
        }
        return Snapshot(
            now=self.world.now,
            samples=self.samples,
            courses=self.courses,
            readings=self.readings,
            refusals=self.refusals,
            outlook_due=self.outlook_due,
            capabilities=self.capabilities,
            denied=self.denied,
            blocked=self.blocked if self.remembers else None,
            **records,
        )

    def _record(self, resource: Resource, key: Key, body: Object) -> Any:
        """The record of an object: as in a store, the same one for as long as the object is."""
        held = self._records.get((resource, key))
        if held is None or held[0] != body:
            held = self._records[resource, key] = copy.deepcopy(body), PROJECTIONS[resource](body)
        return held[1]

    def tick(self) -> Decisions:
        """One decision, and its writes; it is that of somebody who sees the cluster for the first time."""
        snapshot = self.snapshot()
        decisions = self._engine.decide(snapshot)
        assert decisions == decide(snapshot)
        for write in decisions.writes:
            try:
                self._send(write)
                self.written.append(write)
            except ApiError as error:
                self.refused.append(str(error))
        self.announced += decisions.announcements
        if decisions.hosts is not None:
            self.blocked = remembered(self.blocked, decisions.hosts, self.world.now)
        return decisions

    def settle(self) -> list[Write]:
        """Ticks until nothing is written any more; answers all that was."""
        before = len(self.written)
        for _ in range(40):
            if not self.tick().writes:
                return self.written[before:]
        raise AssertionError(f"still writing after 40 ticks: {[write.why for write in self.written[-4:]]}")

    def _send(self, write: Write) -> None:
        match write:
            case Create():
                self.world.create("whimbrel", write.resource, write.body)
            case ReplaceSpec():
                self.world.replace("whimbrel", write.resource, write.key, write.body)
            case ReplaceStatus():
                self.world.replace_status("whimbrel", write.resource, write.key, write.body)
            case JsonPatch():
                self.world.patch("whimbrel", write.resource, write.key, write.operations)
            case Delete():
                self.world.delete("whimbrel", write.resource, write.key, write.uid)

    # What people do

    def plan(self, name: str = "plan", **spec: Any) -> Key:
        """Applies a plan; without a spec one that empties node-1 and leaves what cannot move."""
        apply(self.world, a_plan(name, spec if "virtualMachines" in spec else emptying(**spec)))
        return Key("default", name)

    def edit(self, resource: Resource, key: Key, *path: str, value: Any) -> None:
        """Sets one member of an object; None takes it away."""
        body = self.body(resource, key)

        def changed(document: Mapping[str, Any], steps: tuple[str, ...]) -> dict[str, Any]:
            first, *rest = steps
            inner = changed(document.get(first) or {}, tuple(rest)) if rest else value
            return {k: v for k, v in {**document, first: inner}.items() if v is not None or k != first}

        edited = changed(body, path)
        write = self.world.replace_status if path[0] == "status" and resource != INSTANCES else self.world.replace
        write("user", resource, key, edited)

    def told(self, vm: str = "db1", *, dirty_mib: int = 20, in_use_mib: int = 1024) -> None:
        """What metrics tell of a guest: dirtied within a second, and memory in use."""
        now = self.world.now
        self.readings[Key("default", vm)] = GuestReadings(
            "node-1", Reading(float(dirty_mib << 20), now), Reading(float(in_use_mib << 20), now)
        )

    def approve(self, key: Key, value: str) -> None:
        """Annotates a plan."""
        self.edit(MIGRATION_PLANS, key, "metadata", "annotations", value={"whimbrel.dev/approve": value})

    def delete(self, resource: Resource, key: Key) -> None:
        """kubectl delete."""
        self.world.delete("user", resource, key)

    # What there is

    def body(self, resource: Resource, key: Key) -> Object:
        """An object that must be there."""
        found = self.world.get(resource, key)
        assert found is not None, f"{resource.kind} {key} is not there"
        return found

    def status_of(self, plan: str | Key = "plan") -> Mapping[str, Any]:
        """The status of a plan."""
        key = plan if isinstance(plan, Key) else Key("default", plan)
        return self.body(MIGRATION_PLANS, key).get("status") or {}

    def reason(self, plan: str = "plan", condition: str = "Ready") -> str:
        """The reason of a plan's condition."""
        return str(next(c["reason"] for c in self.status_of(plan)["conditions"] if c["type"] == condition))

    def move(self, vm: str = "db1", plan: str = "plan") -> Object:
        """The move of a virtual machine under a plan."""
        owner = self.body(MIGRATION_PLANS, Key("default", plan))["metadata"]["uid"]
        found = [
            body
            for body in self.world.objects(VIRTUAL_MACHINE_MOVES).values()
            if body["spec"]["instance"]["name"] == vm and body["metadata"]["ownerReferences"][0]["uid"] == owner
        ]
        assert len(found) == 1, f"{len(found)} moves of {vm} under {plan}"
        return found[0]

    def outcome(self, vm: str = "db1", plan: str = "plan") -> tuple[str, str]:
        """Phase and reason in the status of a move."""
        status = self.move(vm, plan).get("status") or {}
        return status.get("phase", ""), status.get("reason", "")

    def migrations(self, vm: str = "db1") -> list[Object]:
        """Migrations of an instance, the oldest first."""
        return [body for body in self.world.objects(MIGRATIONS).values() if body["spec"]["vmiName"] == vm]

    def unfinished(self, vm: str = "db1") -> Object:
        """The one migration of an instance that has not ended."""
        (found,) = [
            m for m in self.migrations(vm) if (m.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
        ]
        return found

    def labels(self, vm: str = "db1") -> dict[str, str]:
        """Our labels on an instance."""
        labels = self.body(INSTANCES, Key("default", vm))["metadata"].get("labels") or {}
        return {key: value for key, value in labels.items() if key.startswith("whimbrel.dev/")}

    def kinds(self, *resources: Resource) -> list[str]:
        """The writes on these kinds so far, as `Verb Kind`."""
        return [
            f"{type(write).__name__} {write.resource.kind}" for write in self.written if write.resource in resources
        ]

    # What KubeVirt does

    def _phase(self, migration: Object, phase: str) -> None:
        key = Key(migration["metadata"]["namespace"], migration["metadata"]["name"])
        self.world.replace_status(
            "kubevirt", MIGRATIONS, key, {**self.body(MIGRATIONS, key), "status": {"phase": phase}}
        )
        body = self.body(MIGRATIONS, key)
        if phase in ("Succeeded", "Failed"):
            self.world.replace(
                "kubevirt", MIGRATIONS, key, {**body, "metadata": {**body["metadata"], "finalizers": []}}
            )

    def _instance(self, vm: str, node: str | None = None, **state: Any) -> None:
        key = Key("default", vm)
        body = self.body(INSTANCES, key)
        status = {**body["status"], "migrationState": {**body["status"].get("migrationState", {}), **state}}
        if node is not None:
            pods = {
                pod["metadata"]["uid"]: node
                for pod in self.world.objects(PODS).values()
                if pod["spec"]["nodeName"] == node
            }
            status |= {"nodeName": node, "activePods": pods}
        self.world.replace("kubevirt", INSTANCES, key, {**body, "status": status})

    def foreign_migration(self, vm: str = "db1", name: str = "by-hand") -> Object:
        """Somebody calls virtctl migrate."""
        body = {"metadata": {"name": name, "namespace": "default"}, "spec": {"vmiName": vm}}
        return self.world.create("user", MIGRATIONS, body)

    def hand_off(
        self, vm: str = "db1", *, to: str = "", configuration: Mapping[str, Any] | None = None, policy: str = ""
    ) -> None:
        """The target launcher runs, the configuration is resolved, and the nodes take over; `policy`: which one won."""
        migration = self.unfinished(vm)
        instance = self.body(INSTANCES, Key("default", vm))
        node = to or migration["spec"]["addedNodeSelector"]["kubernetes.io/hostname"]
        self._phase(migration, "PreparingTarget")
        name, uid = f"virt-launcher-{vm}-{migration['metadata']['name']}", migration["metadata"]["uid"]
        labels = {
            "kubevirt.io": "virt-launcher",
            "kubevirt.io/created-by": instance["metadata"]["uid"],
            "kubevirt.io/migrationJobUID": uid,
        }
        owners = [owner_reference({"apiVersion": INSTANCES.api_version, "kind": INSTANCES.kind, **instance})]
        metadata = {"name": name, "namespace": "default", "labels": labels, "ownerReferences": owners}
        pod = {"metadata": metadata, "spec": {"nodeName": node}}
        self.world.create("setup", PODS, {**pod, "status": {"phase": "Running"}})
        resolved, winner = self._resolved(instance)
        body = self.body(INSTANCES, Key("default", vm))
        fresh = {
            "migrationUid": uid,
            "sourceNode": body["status"]["nodeName"],
            "targetNode": node,
            "targetPod": name,
            "migrationConfiguration": dict(configuration or resolved),
            "migrationPolicyName": policy or winner,
        }
        self.world.replace(
            "kubevirt", INSTANCES, Key("default", vm), {**body, "status": {**body["status"], "migrationState": fresh}}
        )

    def _resolved(self, instance: Object) -> tuple[Mapping[str, Any], str]:
        labels = instance["metadata"].get("labels") or {}
        for key, policy in self.world.objects(MIGRATION_POLICIES).items():
            wanted = policy["spec"]["selectors"]["virtualMachineInstanceSelector"]
            if wanted.items() <= labels.items():
                return {k: v for k, v in policy["spec"].items() if k != "selectors"}, key.name
        stated = self.body(KUBEVIRTS, Key("kubevirt", "kubevirt"))["spec"]["configuration"]["migrations"]
        return {**DEFAULTS, **stated}, ""

    def copying(self, vm: str = "db1") -> Self:
        """From the create of a migration to its memory being copied, everybody told."""
        self.settle()
        self.hand_off(vm)
        self.copy(vm)
        self.settle()
        return self

    def copy(self, vm: str = "db1", mode: str = "PreCopy") -> None:
        """Copying begins, or goes on in another mode."""
        state = self.body(INSTANCES, Key("default", vm))["status"]["migrationState"]
        self._phase(self.unfinished(vm), "Running")
        self._instance(vm, mode=mode, startTimestamp=state.get("startTimestamp") or timestamp(self.world.now))

    def arrive(self, vm: str = "db1", *, finish: bool = True) -> None:
        """The guest runs at its target; `finish`: and KubeVirt calls the migration succeeded."""
        state = self.body(INSTANCES, Key("default", vm))["status"]["migrationState"]
        source = state["sourceNode"]
        for key, pod in list(self.world.objects(PODS).items()):
            mine = pod["metadata"]["labels"].get("kubevirt.io/created-by") == self._uid(vm)
            if mine and pod["spec"]["nodeName"] == source:
                self.world.replace_status("kubevirt", PODS, key, {**pod, "status": {"phase": "Succeeded"}})
        self._instance(vm, state["targetNode"], completed=True, endTimestamp=timestamp(self.world.now))
        if finish:
            self._phase(self.unfinished(vm), "Succeeded")

    def fail(self, vm: str = "db1", **state: Any) -> None:
        """The nodes give up: `abortStatus="Succeeded"` is a deadline, with `abortRequested=True` somebody's wish."""
        self._instance(vm, failed=True, completed=True, endTimestamp=timestamp(self.world.now), **state)
        self.lose_target(vm)

    def lose_target(self, vm: str = "db1") -> None:
        """The migration ends without its guest having moved."""
        migration = self.unfinished(vm)
        for key, pod in list(self.world.objects(PODS).items()):
            if pod["metadata"]["labels"].get("kubevirt.io/migrationJobUID") == migration["metadata"]["uid"]:
                self.world.replace_status("kubevirt", PODS, key, {**pod, "status": {"phase": "Failed"}})
        self._phase(migration, "Failed")

    def not_converged(self, vm: str = "db1") -> None:
        """A whole attempt that ends at KubeVirt's deadline."""
        self.hand_off(vm)
        self.copy(vm)
        self.settle()
        self.seconds += 60
        self.fail(vm, abortStatus="Succeeded", failureReason="Live migration has been aborted")

    def carry_out_abort(self, vm: str = "db1") -> None:
        """What a DELETE of a running migration comes to."""
        self._instance(vm, abortRequested=True)
        self.fail(vm, abortStatus="Succeeded", failureReason="Live migration has been aborted")

    def _uid(self, vm: str) -> str:
        return str(self.body(INSTANCES, Key("default", vm))["metadata"]["uid"])

    def node(self, name: str, **spec: Any) -> None:
        """Changes a node: `ready=False`, `unschedulable=True`."""
        if "ready" in spec:
            condition = {"type": "Ready", "status": "True" if spec["ready"] else "False"}
            self.edit(NODES, Key("", name), "status", "conditions", value=[condition])
        if "unschedulable" in spec:
            self.edit(NODES, Key("", name), "spec", "unschedulable", value=spec["unschedulable"])


def a_copying_stage(**spec: Any) -> Stage:
    """A stage on which the plan's first migration has been handed off and copies."""
    stage = Stage()
    stage.plan(**spec)
    stage.settle()
    stage.hand_off()
    stage.copy()
    stage.settle()
    return stage


def key_of(body: Any) -> Key:
    """Key of a raw object."""
    return Key(body["metadata"]["namespace"], body["metadata"]["name"])
