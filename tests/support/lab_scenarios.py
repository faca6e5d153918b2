"""A lab, an operator beside it, and the words in which end-to-end tests speak of plans, moves and migrations.

Everything is waited for by looking after each change in the API server; nothing sleeps for a fixed time.
"""

import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from support.chart_roles import ACCOUNT, ACCOUNT_NAMESPACE, Refusals, grant_chart_roles
from support.lab_history import Witness, is_operator, member
from support.operator_process import OperatorProcess, Operators, operators
from support.real_history import RealWitness
from whimbrel.domain.resources import MIGRATIONS
from whimbrel_lab.controlplane.counters import WRITES, RequestKey
from whimbrel_lab.controlplane.real.audit import AuditLog
from whimbrel_lab.controlplane.real.plane import RealControlPlane
from whimbrel_lab.controlplane.real.server import Endpoint
from whimbrel_lab.hypervisor import Hypervisor
from whimbrel_lab.kubevirt.client import ROUTES
from whimbrel_lab.kubevirt.standin import USERS
from whimbrel_lab.lab import INSTANCE, MIGRATION, Lab, LabError
from whimbrel_lab.topology import LabGuest, LabHost, Timing, Topology

Object = dict[str, Any]

API_VERSION = "whimbrel.dev/v1alpha1"
PLAN, PROFILE, MOVE, POLICY = "MigrationPlan", "HostProfile", "VirtualMachineMove", "MigrationPolicy"
FINALIZER = "whimbrel.dev/migrations-in-flight"
RESERVED = "whimbrel.dev/"
MANAGED = "whimbrel.dev/managed"
OPERATOR_USER = f"system:serviceaccount:{ACCOUNT_NAMESPACE}:{ACCOUNT}"
"""As whom the API server knows the operator."""
MIB = 1024**2
FAST_LINK = 125_000_000
QUICK = Timing(pod_start_s=0.15, target_preparation_s=0.05, termination_s=0.1)
WAIT_S = 30.0
NO_WRITE = frozenset({"events.events.k8s.io", "leases.coordination.k8s.io"})
"""Not counted: they are bounded by time and by transitions."""


def hosts(count: int = 3, link_bytes_per_second: int = FAST_LINK, **others: Any) -> tuple[LabHost, ...]:
    """node-1 … with equal links."""
    return tuple(
        LabHost(f"node-{n}", link_bytes_per_second=link_bytes_per_second, **others) for n in range(1, count + 1)
    )


def guests(count: int, host: str = "node-1", touched_mib: int = 16, **others: Any) -> tuple[LabGuest, ...]:
    """vm-1 … on one host, small enough to move within a second."""
    return tuple(
        LabGuest(f"vm-{n}", host, memory_bytes=64 * MIB, touched_bytes=touched_mib * MIB, **others)
        for n in range(1, count + 1)
    )


def topology(machines: Sequence[LabGuest], nodes: Sequence[LabHost] = (), **others: Any) -> Topology:
    """A data centre whose pods start quickly."""
    spaces = {ACCOUNT_NAMESPACE: {}, **others.pop("namespaces", {})}
    return Topology(
        hosts=nodes or hosts(), guests=machines, timing=QUICK, heartbeats=False, namespaces=spaces, **others
    )


def profile(link_mbps: int = 1000, out: int = 2, into: int = 2, name: str = "all", **selector: str) -> Object:
    """A HostProfile; without labels it is for all nodes."""
    migration = {
        "enabled": True,
        "network": {"linkSpeedMbps": link_mbps},
        "limits": {"parallelOutbound": out, "parallelInbound": into},
    }
    spec = {"nodeSelector": selector, "migration": migration}
    return {"apiVersion": API_VERSION, "kind": PROFILE, "metadata": {"name": name}, "spec": spec}


def plan(name: str = "empty-node-1", namespace: str = "", **spec: Any) -> Object:
    """A MigrationPlan, of the lab's namespace if none is named; without `virtualMachines` it empties node-1."""
    spec = {"virtualMachines": {"onNodes": {"names": ["node-1"]}}, **spec}
    return {
        "apiVersion": API_VERSION,
        "kind": PLAN,
        "metadata": {"name": name, **({"namespace": namespace} if namespace else {})},
        "spec": spec,
    }


def plan_of(name: str, *vms: str, **spec: Any) -> Object:
    """A MigrationPlan for these virtual machines."""
    return plan(name, virtualMachines={"names": list(vms)}, **spec)


STUN: Object = {"stun": "Allowed", "maxDowntimeMs": 5000, "unattendedDowntimeMs": 10000}
"""The demo's consent."""


class Scene:
    """A running lab and what a test asks of it."""

    def __init__(self, lab: Lab, witness: Witness | RealWitness, replicas: Operators) -> None:
        self.lab, self.witness, self._operators = lab, witness, replicas

    # Acting

    async def operator(self, name: str = "whimbrel-0", *arguments: str, ready: bool = True) -> OperatorProcess:
        """Starts a replica under the operator's service account."""
        return await self.operator_by(
            await self.lab.kubeconfig_for(ACCOUNT, ACCOUNT_NAMESPACE), name, *arguments, ready=ready
        )

    async def operator_by(
        self, kubeconfig: Path, name: str = "whimbrel-0", *arguments: str, ready: bool = True
    ) -> OperatorProcess:
        """Starts a replica that reaches the API server by this kubeconfig."""
        process = await self._operators.launch(kubeconfig, name, ("--namespace", ACCOUNT_NAMESPACE, *arguments))
        if ready:
            await process.until_ready()
        return process

    async def apply(self, *documents: Object) -> Object:
        """Creates them; the last as the server has it. Raises RequestRefused."""
        made: Object = {}
        for document in documents:
            if ROUTES[document["kind"]].namespaced:
                metadata = {"namespace": self.lab.namespace, **document["metadata"]}
                document = {**document, "metadata": metadata}
            made = await self.lab.client.create(document)
        return made

    async def change(self, kind: str, name: str, spec: Object) -> None:
        """A merge patch of an object's spec, as `kubectl patch` or an applied edit would send it."""
        await self.lab.client.patch(kind, name, "" if kind == PROFILE else self.lab.namespace, {"spec": spec})

    async def annotate(self, name: str, annotations: Mapping[str, str | None]) -> None:
        """Annotates a plan."""
        await self.lab.client.patch(PLAN, name, self.lab.namespace, {"metadata": {"annotations": dict(annotations)}})

    # Seeing

    def plan(self, name: str = "empty-node-1") -> Object:
        """The plan; empty where there is none."""
        return self.lab.read(PLAN, name) or {}

    def status(self, name: str = "empty-node-1") -> Object:
        """The plan's status; empty where there is none."""
        return dict(self.plan(name).get("status") or {})

    def condition(self, kind: str, name: str = "empty-node-1") -> Object:
        """A condition of the plan; empty where it is not stated."""
        stated = self.status(name).get("conditions") or ()
        return next((each for each in stated if each["type"] == kind), {})

    def moves(self, name: str = "empty-node-1") -> dict[str, Object]:
        """The plan's moves by name of their virtual machine."""
        uid = member(self.plan(name), "metadata", "uid")
        return {
            each["spec"]["instance"]["name"]: each
            for each in self.lab.items(MOVE)
            if any(owner["uid"] == uid for owner in each["metadata"].get("ownerReferences") or ())
        }

    def phases(self, name: str = "empty-node-1") -> dict[str, str]:
        """Stored phase of each of the plan's moves."""
        return {vm: str(member(move, "status", "phase") or "") for vm, move in self.moves(name).items()}

    def ours(self) -> list[Object]:
        """The operator's own migrations."""
        return [each for each in self.lab.items(MIGRATION) if MANAGED in (each["metadata"].get("labels") or {})]

    def all_ours(self) -> list[Object]:
        """The operator's own migrations, those that are gone included."""
        return [
            dict(change.after)
            for change in self.witness.of(MIGRATIONS)
            if change.verb == "create" and change.after and MANAGED in (change.after["metadata"].get("labels") or {})
        ]

    def ours_in_flight(self) -> list[Object]:
        """The operator's unfinished migrations."""
        return [each for each in self.ours() if _unfinished(each)]

    def in_flight(self, vm: str) -> Object | None:
        """The operator's unfinished migration of a virtual machine."""
        for each in self.ours():
            if each["spec"]["vmiName"] == vm and _unfinished(each):
                return each
        return None

    def copying(self, vm: str) -> bool:
        """Whether its memory is being copied under a migration of the operator's."""
        found = self.in_flight(vm)
        state = self.lab.state_of(vm)
        return (
            found is not None
            and state.get("migrationUid") == found["metadata"]["uid"]
            and bool(state.get("startTimestamp"))
            and not state.get("completed")
        )

    def left_over(self) -> list[str]:
        """What must not be there once nothing is in flight: labels on instances, policies, finalizers, migrations."""
        found = [
            f"label {label} on {each['metadata']['name']}"
            for each in self.lab.items(INSTANCE)
            for label in each["metadata"].get("labels") or {}
            if label.startswith(RESERVED)
        ]
        found += [f"policy {each['metadata']['name']}" for each in self.lab.items(POLICY)]
        found += [
            f"finalizer on {each['metadata']['name']}"
            for each in self.lab.items(PLAN)
            if FINALIZER in (each["metadata"].get("finalizers") or ())
        ]
        found += [f"migration {each['metadata']['name']}" for each in self.ours() if _unfinished(each)]
        return found

    def operator_writes(self, since: Counter[RequestKey] | None = None) -> Counter[str]:
        """The operator's writes by verb and resource, by the API server's own count; Events, Leases and reviews apart."""
        counted = self.lab.counters.since(since or Counter())
        found: Counter[str] = Counter()
        for key, count in counted.items():
            reviewing = key.resource.endswith(".authorization.k8s.io")
            if is_operator(key.client) and key.verb in WRITES and key.resource not in NO_WRITE and not reviewing:
                found[f"{key.verb} {key.resource}{'/' if key.subresource else ''}{key.subresource}"] += count
        return found

    async def counted(self) -> Counter[RequestKey]:
        """The server's count, with all that was answered before now: what a watch tells, a real one's audit log tells later.

        A request of our own that shows in the log shows that those before it do.
        """
        counters, name = self.lab.counters, f"probe-{uuid.uuid4().hex}"
        if isinstance(counters, AuditLog):
            await self.lab.client.find(PLAN, name, self.lab.namespace)

            def logged() -> bool:
                counters.read()
                return any(request.name == name for request in counters.requests)

            await self.until(logged, "the audit log has the request that was just answered")
        return counters.snapshot()

    # Waiting

    async def until(self, predicate: Callable[[], Any], what: str, within_s: float = WAIT_S) -> None:
        """Until it holds; fails with what the plans and moves say then."""
        try:
            await self.lab.wait_until(lambda: bool(predicate()), within_s, what)
        except LabError as late:
            raise AssertionError(f"{late}\n{self.report()}") from None

    async def until_phase(self, *phases: str, name: str = "empty-node-1", within_s: float = WAIT_S) -> Object:
        """Until the plan is in one of these phases; its status."""
        await self.until(lambda: self.status(name).get("phase") in phases, f"plan {name} is {phases}", within_s)
        return self.status(name)

    async def until_reason(self, reason: str, name: str = "empty-node-1", within_s: float = WAIT_S) -> Object:
        """Until the plan's condition Ready has this reason; the condition."""
        await self.until(lambda: self.condition("Ready", name).get("reason") == reason, f"{name}: {reason}", within_s)
        return self.condition("Ready", name)

    async def until_at_rest(self, within_s: float = WAIT_S) -> None:
        """Until nothing is left over."""
        await self.until(lambda: not self.left_over(), "nothing is left over", within_s)

    async def remains(self, predicate: Callable[[], Any], what: str, for_s: float) -> None:
        """That it holds after every change for so long: an absence can only be waited out."""
        try:
            await self.lab.wait_until(lambda: not predicate(), for_s)
        except LabError:
            return
        raise AssertionError(f"it was not so for {for_s:g} s: {what}\n{self.report()}")

    async def clear(self) -> None:
        """Deletes all plans and everybody's unfinished migrations, and waits until nothing is left of them."""
        for each in self.lab.items(PLAN):
            await self.lab.client.delete(PLAN, each["metadata"]["name"], each["metadata"]["namespace"])
        for each in self.lab.items(MIGRATION):
            if MANAGED not in (each["metadata"].get("labels") or {}) and _unfinished(each):
                await self.lab.delete_migration(each)
        await self.until(lambda: not self.lab.items(PLAN), "the plans are gone")
        await self.until_at_rest()

    def report(self) -> str:
        """Plans, moves and migrations in a few lines."""
        lines = [f"left over: {self.left_over()}"]
        for each in self.lab.items(PLAN):
            stated = each.get("status") or {}
            lines.append(f"plan {each['metadata']['name']}: {stated.get('phase')} {stated.get('message')}")
            lines += [f"  waits: {wait}" for wait in stated.get("waits") or ()]
            for vm, move in self.moves(each["metadata"]["name"]).items():
                known = move.get("status") or {}
                history = [(old.get("outcome"), old.get("reason")) for old in known.get("history") or ()]
                lines.append(
                    f"  {vm}: {known.get('phase')} {known.get('reason')} {known.get('message')} {history}, "
                    f"on {self.lab.node_of(vm)}"
                )
        for each in self.lab.items(MIGRATION):
            lines.append(f"migration {each['metadata']['name']}: {member(each, 'status', 'phase')}")
        return "\n".join(lines)


def _unfinished(migration: Object) -> bool:
    return member(migration, "status", "phase") not in ("Succeeded", "Failed")


@asynccontextmanager
async def scene(
    centre: Topology,
    folder: Path,
    *,
    hypervisor: str | Hypervisor = "model",
    granted: bool = True,
    server: Endpoint | None = None,
    **options: Any,
) -> AsyncIterator[Scene]:
    """A lab that is up, where the operator may do what the chart grants (`granted`) or nothing, and a witness of all.

    On the embedded control plane, or on a real API server where one is given: there in a namespace of its own. At the end
    no safety invariant may have been broken at any revision, nor anything refused that the chart should grant.
    """
    if server is not None:
        plane = RealControlPlane(USERS.values(), server)
        options = {**options, "control_plane": plane, "namespace": f"test-{uuid.uuid4().hex[:8]}"}
    lab = Lab(centre, hypervisor=hypervisor, **options)
    early = Witness(lab) if server is None else None
    async with lab, operators(folder) as replicas:
        witness = early or RealWitness(lab)
        refusals = Refusals(lab)
        if granted:
            await grant_chart_roles(lab)
        await witness.begin()
        try:
            yield Scene(lab, witness, replicas)
            broken = await witness.judged()
            assert not broken, f"broken at some revision: {broken}"
            if granted:
                assert not refusals.asked(), f"the operator asks for what the chart does not grant: {refusals.asked()}"
        finally:
            await witness.end()


def landed(scene: Scene, name: str = "empty-node-1") -> dict[str, tuple[str, str]]:
    """Of each move that succeeded: the node that its receipt names, and the node that its instance is on."""
    return {
        vm: (str(member(move, "status", "receipt", "node")), scene.lab.node_of(vm))
        for vm, move in scene.moves(name).items()
        if member(move, "status", "phase") == "Succeeded"
    }


def attempts(migrations: Iterable[Object]) -> Counter[tuple[str, str]]:
    """How many migrations of the operator's each (instance, attempt) has."""
    found: Counter[tuple[str, str]] = Counter()
    for each in migrations:
        found[each["spec"]["vmiName"], each["metadata"]["labels"]["whimbrel.dev/attempt"]] += 1
    return found
