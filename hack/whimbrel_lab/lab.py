"""`Lab`: a running data centre as an async context manager – control plane, KubeVirt, hosts, virtual machines.

    async with Lab(topology.simple(), speed=20) as lab:
        await lab.create_foreign_migration("vm-01", node="node-2")
        await lab.wait_until(lambda: lab.node_of("vm-01") == "node-2", timeout_s=10)

Used by the demo, by `python -m whimbrel_lab up` and by end-to-end tests.
"""

import asyncio
import contextlib
import inspect
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from whimbrel.simulation.kubevirt.values import Object, final, migration_state, phase, status
from whimbrel_lab import fleet
from whimbrel_lab.certs import authority
from whimbrel_lab.clock import LabClock
from whimbrel_lab.controlplane.embedded import (
    Counters,
    EmbeddedControlPlane,
    Faults,
    Storage,
    service_account,
)
from whimbrel_lab.controlplane.embedded.storage import Change
from whimbrel_lab.fleet import Places
from whimbrel_lab.hypervisor import Hypervisor
from whimbrel_lab.hypervisor.libvirt import LibvirtHypervisor, available
from whimbrel_lab.hypervisor.model import ModelHypervisor
from whimbrel_lab.kubevirt.client import ROUTES, Client
from whimbrel_lab.kubevirt.standin import StandIn
from whimbrel_lab.topology import INSTALL_NAMESPACE, NAMESPACE, LabGuest, Topology

INSTANCE, MIGRATION = "VirtualMachineInstance", "VirtualMachineInstanceMigration"
STARTS_AT_ONCE = 4
_LOOK_EVERY_S = 0.2
Predicate = Callable[[], bool | Awaitable[bool]]


class LabError(Exception):
    """The lab cannot do what was asked; the text says why and what to do."""


class Lab:
    """`hypervisor` is `model`, `libvirt`, `auto` (libvirt where the machine has it) or one made elsewhere, not yet started.

    `speed` makes lab time run faster than the wall; real QEMU knows only speed 1. `folder` holds the kubeconfig; without
    it a temporary one is made and removed.
    """

    def __init__(
        self,
        topology: Topology,
        *,
        hypervisor: str | Hypervisor = "model",
        speed: float = 1.0,
        folder: Path | None = None,
        port: int = 0,
        with_definitions: bool = True,
    ) -> None:
        self.topology = topology
        self.clock = LabClock(scale=speed)
        self.plane = EmbeddedControlPlane(self.clock, port)
        self.hypervisor, self.hypervisor_name = _hypervisor(hypervisor, topology, self.clock, speed)
        self.standin: StandIn
        self.client: Client
        self._folder = folder
        self._with_definitions = with_definitions
        self._stack = AsyncExitStack()
        self._waiters: set[asyncio.Event] = set()
        self._migrations = 0

    @property
    def url(self) -> str:
        """The API server's address."""
        return self.plane.url

    @property
    def counters(self) -> Counters:
        """Requests by client, verb and resource."""
        return self.plane.counters

    @property
    def faults(self) -> Faults:
        """Faults of the API server."""
        return self.plane.faults

    @property
    def storage(self) -> Storage:
        """All objects, without HTTP, admission and validation."""
        return self.plane.storage

    @property
    def kubeconfig(self) -> Path:
        """Path of the administrator's kubeconfig."""
        return self.folder / "kubeconfig"

    @property
    def folder(self) -> Path:
        """Where the lab's files are."""
        if self._folder is None:
            raise LabError("the lab is not up: use `async with Lab(...)`")
        return self._folder

    def kubeconfig_for(self, account: str, namespace: str = "whimbrel") -> Path:
        """A kubeconfig whose user is this service account, so that the counters know its requests."""
        user = service_account(namespace, account)
        token = f"lab-account-{namespace}-{account}"
        self.plane.tokens[token] = user
        return self.plane.write_kubeconfig(self.folder / f"kubeconfig-{namespace}-{account}", token, NAMESPACE)

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def _start(self) -> None:
        if self._folder is None:
            self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="whimbrel-lab-")))
        self._folder.mkdir(parents=True, exist_ok=True)
        await self._stack.enter_async_context(self.plane)
        self.plane.write_kubeconfig(self.kubeconfig)
        self.storage.observe(self._wake)
        if self._with_definitions:
            await self.plane.load(fleet.definitions())
        else:
            await self.plane.load(fleet.definitions(fleet.DEFINITIONS[:1]))
        self._stack.push_async_callback(self.hypervisor.stop)
        await self.hypervisor.start()
        issuer = authority()
        self.standin = StandIn(
            self.plane,
            self.hypervisor,
            self.clock,
            issuer,
            self.topology.timing,
            heartbeats=self.topology.heartbeats,
        )
        self._stack.push_async_callback(self.standin.stop)
        hosts = [host.name for host in self.topology.hosts]
        await self.standin.listen(hosts)
        await self._furnish(issuer.bundle)
        await self._populate()
        await self.standin.start()
        self.client = await self._stack.enter_async_context(Client(self.url, user_agent="whimbrel-lab-user"))

    async def _furnish(self, ca_bundle: str) -> None:
        """Namespaces, KubeVirt's installation, nodes and their virt-handlers."""
        spaces: dict[str, Mapping[str, str]] = {guest.namespace: {} for guest in self.topology.guests}
        spaces.update(self.topology.namespaces)
        documents: list[Object] = [
            {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": each, "labels": dict(spaces.get(each, {}))},
            }
            for each in sorted({*spaces, INSTALL_NAMESPACE, NAMESPACE})
        ]
        bundle = {"name": "kubevirt-ca", "namespace": INSTALL_NAMESPACE}
        documents.append(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": bundle, "data": {"ca-bundle": ca_bundle}}
        )
        await self.plane.load(documents)
        places = Places(self.clock, self.standin.kubelet.addresses)
        self._store(places, fleet.kubevirt(self.topology))
        self._store(places, fleet.handler_daemon_set(len(self.topology.hosts)))
        for host in self.topology.hosts:
            self._store(places, fleet.node(host, self.clock))
            self._store(places, fleet.handler_pod(host.name, *self.standin.metrics.endpoint(host.name), self.clock))

    async def _populate(self) -> None:
        """Virtual machines that run already; the halted ones only as machines."""
        places = Places(self.clock, self.standin.kubelet.addresses)
        installation = self.storage.read(ROUTES["KubeVirt"].resource, "kubevirt", INSTALL_NAMESPACE) or {}
        nodes = {host.name: fleet.node(host, self.clock) for host in self.topology.hosts}
        gate = asyncio.Semaphore(STARTS_AT_ONCE)

        async def start(guest: LabGuest, uid: str) -> None:
            async with gate:
                made = self.topology.guest_spec(guest)
                await self.hypervisor.start_guest(guest.host, made)
                self.standin.handler.homes[uid] = guest.host, made

        starts = []
        for guest in self.topology.guests:
            for claim in fleet.claims(guest):
                self._store(places, claim)
            if guest.run_strategy in ("Halted", "Manual"):
                self._store(places, fleet.machine(guest, self.topology))
                continue
            made = fleet.running(guest, self.topology, installation, nodes[guest.host], places)
            for document in (made.machine, made.instance, made.pod):
                self.storage.save(ROUTES[document["kind"]].resource, document)
            starts.append(start(guest, made.instance["metadata"]["uid"]))
        await asyncio.gather(*starts)

    def _store(self, places: Places, document: Object) -> None:
        self.storage.save(ROUTES[document["kind"]].resource, places.identified(document))

    async def wait_until(self, predicate: Predicate, timeout_s: float, what: str = "") -> None:
        """Until the predicate holds; looked at after every change in the API server. LabError after so many real seconds."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_s
        changed = asyncio.Event()
        self._waiters.add(changed)
        try:
            while True:
                changed.clear()
                answer = predicate()
                if await answer if inspect.isawaitable(answer) else answer:
                    return
                left = end - loop.time()
                if left <= 0:
                    wish = what or inspect.getdoc(predicate) or predicate
                    raise LabError(f"after {timeout_s:g} s it is still not so: {wish}")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), min(left, _LOOK_EVERY_S))
        finally:
            self._waiters.discard(changed)

    def _wake(self, resource: str, change: Change) -> None:
        for waiter in self._waiters:
            waiter.set()

    async def quiet(self, for_s: float, timeout_s: float) -> bool:
        """Whether within `timeout_s` real seconds nothing at all was written for `for_s` seconds."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_s
        while loop.time() < end:
            version = self.storage.version
            await asyncio.sleep(for_s)
            if self.storage.version == version:
                return True
        return False

    def read(self, kind: str, name: str, namespace: str = NAMESPACE) -> Object | None:
        """One object out of the storage, None where there is none."""
        route = ROUTES[kind]
        return self.storage.read(route.resource, name, namespace if route.namespaced else "")

    def items(self, kind: str, namespace: str = "") -> list[Object]:
        """All objects of a kind out of the storage."""
        return list(self.storage.items(ROUTES[kind].resource, namespace))

    def node_of(self, name: str, namespace: str = NAMESPACE) -> str:
        """The node that an instance runs on, empty where there is none."""
        return str(status(self.read(INSTANCE, name, namespace) or {}).get("nodeName") or "")

    def state_of(self, name: str, namespace: str = NAMESPACE) -> Mapping[str, object]:
        """An instance's migration state."""
        return migration_state(self.read(INSTANCE, name, namespace) or {})

    def migrations_of(self, name: str, namespace: str = NAMESPACE) -> list[Object]:
        """All migrations of an instance, anybody's."""
        return [each for each in self.items(MIGRATION, namespace) if each["spec"].get("vmiName") == name]

    def guest_name(self, name: str, namespace: str = NAMESPACE) -> str:
        """What the hypervisor calls a machine's guest."""
        guest = next((each for each in self.topology.guests if each.key == (namespace, name)), None)
        return self.topology.guest_spec(guest).name if guest else f"{namespace}.{name}"

    async def create_foreign_migration(
        self,
        name: str,
        namespace: str = NAMESPACE,
        *,
        node: str = "",
        migration_name: str = "",
        annotations: Mapping[str, str] | None = None,
    ) -> Object:
        """Somebody else's migration of a machine, to a node if one is named. Raises RequestRefused."""
        self._migrations += 1
        spec: Object = {"vmiName": name}
        if node:
            spec["addedNodeSelector"] = {"kubernetes.io/hostname": node}
        return await self.client.create(
            {
                "apiVersion": "kubevirt.io/v1",
                "kind": MIGRATION,
                "metadata": {
                    "name": migration_name or f"foreign-{name}-{self._migrations}",
                    "namespace": namespace,
                    "annotations": dict(annotations or {}),
                },
                "spec": spec,
            }
        )

    async def ended(self, migration: Object, timeout_s: float = 30.0) -> str:
        """`Succeeded` or `Failed`, once a migration is over; `Gone` when it vanished."""
        name, namespace = migration["metadata"]["name"], migration["metadata"]["namespace"]

        def over() -> bool:
            found = self.read(MIGRATION, name, namespace)
            return found is None or final(found)

        await self.wait_until(over, timeout_s, f"migration {namespace}/{name} has ended")
        found = self.read(MIGRATION, name, namespace)
        return phase(found) if found else "Gone"

    async def in_phase(self, migration: Object, *wanted: str, timeout_s: float = 30.0) -> Object:
        """The migration, once it is in one of these phases."""
        name, namespace = migration["metadata"]["name"], migration["metadata"]["namespace"]

        def there() -> bool:
            return phase(self.read(MIGRATION, name, namespace) or {}) in wanted

        await self.wait_until(there, timeout_s, f"migration {namespace}/{name} is {' or '.join(wanted)}")
        return self.read(MIGRATION, name, namespace) or {}

    async def delete_migration(self, migration: Object) -> None:
        """Abort: DELETE with the migration's UID."""
        members = migration["metadata"]
        await self.client.delete(MIGRATION, members["name"], members["namespace"], members["uid"])

    async def delete_vm(self, name: str, namespace: str = NAMESPACE) -> None:
        """Delete a machine and with it its instance."""
        await self.client.delete("VirtualMachine", name, namespace)

    async def restart_vm(self, name: str, namespace: str = NAMESPACE) -> None:
        """Delete a machine's instance; its run strategy makes another, with another UID."""
        await self.client.delete(INSTANCE, name, namespace)

    async def label_instance(self, name: str, labels: Mapping[str, str | None], namespace: str = NAMESPACE) -> Object:
        """Set labels of an instance; None takes one away."""
        return await self.client.patch(INSTANCE, name, namespace, {"metadata": {"labels": dict(labels)}})

    async def fail_node(self, name: str, *, guests_survive: bool = False) -> None:
        """A node stops answering; with `guests_survive` only its kubelet does."""
        await self.standin.nodes.fail(name, guests_survive=guests_survive)

    async def restore_node(self, name: str) -> None:
        """A failed node answers again, without the guests that it lost."""
        await self.standin.nodes.restore(name)

    async def cordon(self, name: str, unschedulable: bool = True) -> None:
        """`kubectl cordon`, or `uncordon`."""
        await self.client.patch("Node", name, "", {"spec": {"unschedulable": unschedulable or None}})

    def stall_pods(self, node: str) -> None:
        """Pods on this node stay Pending until `resume_pods`, as with an image that cannot be pulled."""
        self.standin.kubelet.stalled.add(node)

    def resume_pods(self, node: str) -> None:
        """The kubelet starts pods again."""
        self.standin.kubelet.stalled.discard(node)
        self.standin.kubelet.look_again(node)

    async def request_evacuation(self, name: str, namespace: str = NAMESPACE) -> None:
        """What KubeVirt's eviction webhook does to an instance whose pod is to be evicted."""
        token = "lab-apiserver"
        async with Client(self.url, token) as client:
            instance = await client.get(INSTANCE, name, namespace)
            instance["status"]["evacuationNodeName"] = instance["status"]["nodeName"]
            await client.replace(instance)


def _hypervisor(wanted: str | Hypervisor, topology: Topology, clock: LabClock, speed: float) -> tuple[Hypervisor, str]:
    if not isinstance(wanted, str):
        return wanted, type(wanted).__name__
    hosts = [host.spec for host in topology.hosts]
    obstacle = available() if wanted in ("auto", "libvirt") else None
    if wanted == "libvirt" or (wanted == "auto" and obstacle is None):
        if obstacle is not None:
            raise LabError(f"libvirt cannot be used here: {obstacle}. Use --hypervisor model.")
        if speed != 1.0:
            raise LabError(f"real QEMU runs at speed 1, not {speed:g}. Use --hypervisor model for faster time.")
        return LibvirtHypervisor(hosts), "libvirt"
    if wanted in ("auto", "model"):
        return ModelHypervisor(hosts, clock), "model"
    raise LabError(f"there is no hypervisor {wanted!r}: use model, libvirt or auto")
