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
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from whimbrel.simulation.kubevirt.values import Object, final, migration_state, phase, status
from whimbrel_lab import chart, fleet
from whimbrel_lab.certs import authority
from whimbrel_lab.clock import LabClock
from whimbrel_lab.controlplane.counters import Counters
from whimbrel_lab.controlplane.embedded import EmbeddedControlPlane, Faults, Storage
from whimbrel_lab.controlplane.plane import ControlPlane, View, write_kubeconfig
from whimbrel_lab.controlplane.real.plane import RealControlPlane
from whimbrel_lab.errors import LabError
from whimbrel_lab.furnishing import Furnishing
from whimbrel_lab.hypervisor import Hypervisor
from whimbrel_lab.hypervisor.libvirt import LibvirtHypervisor, available
from whimbrel_lab.hypervisor.model import ModelHypervisor
from whimbrel_lab.kubevirt.client import ROUTES, Client
from whimbrel_lab.kubevirt.standin import USERS, StandIn
from whimbrel_lab.kubevirt.virt_controller import VirtController
from whimbrel_lab.topology import NAMESPACE, Topology

__all__ = ["INSTANCE", "MIGRATION", "Lab", "LabError", "Predicate"]

INSTANCE, MIGRATION = "VirtualMachineInstance", "VirtualMachineInstanceMigration"
_LOOK_EVERY_S = 0.2
Predicate = Callable[[], bool | Awaitable[bool]]


class Lab:
    """`hypervisor` is `model`, `libvirt`, `auto` (libvirt where the machine has it) or one made elsewhere, not yet started.

    `control_plane` is `embedded`, `real`, or one made elsewhere, not yet started. `speed` makes lab time run faster than
    the wall; real QEMU and a real API server know only speed 1. `folder` holds the kubeconfig; without it a temporary one
    is made and removed. `definitions` are loaded in place of the lab's own of KubeVirt and the repository's. `namespace`
    takes the place of `default`: where a method names none, this one is meant. `virt_controller` is a program that plays
    KubeVirt's controller instead of the stand-in.
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
        control_plane: str | ControlPlane = "embedded",
        virt_controller: Path | None = None,
        definitions: Sequence[Object] | None = None,
        namespace: str = NAMESPACE,
    ) -> None:
        self.namespace = namespace
        self.topology = topology.placed_in(namespace)
        self.clock = LabClock(scale=speed)
        self.plane = _control_plane(control_plane, self.clock, port)
        if speed != 1.0 and not self.plane.scalable_clock:
            raise LabError(f"a real API server has the wall's clock, speed {speed:g} is for the embedded one.")
        self.hypervisor, self.hypervisor_name = _hypervisor(hypervisor, topology, self.clock, speed)
        self.standin: StandIn
        self.client: Client
        self._virt_controller = virt_controller
        if virt_controller is not None and self.plane.scalable_clock:
            raise LabError("KubeVirt's own virt-controller needs a real API server: use control_plane='real'")
        self._folder = folder
        shipped = (*(fleet.DEFINITIONS if with_definitions else fleet.DEFINITIONS[:1]), fleet.NETWORK_DEFINITIONS)
        self._definitions = fleet.definitions(shipped, topology.version) if definitions is None else list(definitions)
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
    def view(self) -> View:
        """All objects, without a request."""
        return self.plane.view

    @property
    def embedded(self) -> EmbeddedControlPlane:
        """The control plane, where it is the embedded one. Raises LabError on a real one."""
        if not isinstance(self.plane, EmbeddedControlPlane):
            raise LabError("this is only to be had on the embedded control plane")
        return self.plane

    @property
    def faults(self) -> Faults:
        """Faults of the embedded API server."""
        return self.embedded.faults

    @property
    def storage(self) -> Storage:
        """The embedded API server's objects, without HTTP, admission and validation."""
        return self.embedded.storage

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

    async def kubeconfig_for(self, account: str, namespace: str = "whimbrel") -> Path:
        """A kubeconfig whose user is this service account; on a real server the account must exist."""
        access = await self.plane.account(namespace, account)
        return write_kubeconfig(self.folder / f"kubeconfig-{namespace}-{account}", access, self.namespace)

    async def install_operator(self, namespace: str, account: str = "whimbrel") -> Path:
        """The operator's account and, on a real server, all that the chart installs; answers the account's kubeconfig.

        Nobody runs the Deployment: the operator is started by whoever asks.
        """
        await self.plane.load([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}])
        if not isinstance(self.plane, EmbeddedControlPlane):
            documents = await chart.rendered(namespace)
            await self.plane.load(each for each in documents if each["kind"] != "CustomResourceDefinition")
        return await self.kubeconfig_for(account, namespace)

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
        self._stack.push_async_callback(self.plane.stop)
        await self.plane.start()
        write_kubeconfig(self.kubeconfig, self.plane.access(), self.namespace, self.plane.name)
        await self.plane.load(self._definitions)
        self.view.observe(self._wake)
        await self.plane.look()
        self._stack.push_async_callback(self.hypervisor.stop)
        await self.hypervisor.start()
        issuer = authority()
        controller: VirtController | None = None
        if self._virt_controller is not None:
            access = self.plane.access(USERS["controller"])
            controller = VirtController(self._virt_controller, access, self.folder)
        self.standin = StandIn(
            self.plane,
            self.hypervisor,
            self.clock,
            issuer,
            self.topology.timing,
            heartbeats=self.topology.heartbeats,
            virt_controller=controller,
        )
        self._stack.push_async_callback(self.standin.stop)
        hosts = [host.name for host in self.topology.hosts]
        await self.standin.listen(hosts)
        furnishing = Furnishing(self.plane, self.standin, self.hypervisor, self.topology, self.clock)
        await furnishing.install(issuer.bundle, self.namespace)
        await furnishing.populate(revisions=controller is not None)
        await self.standin.start()
        self.client = await self._stack.enter_async_context(
            Client(self.plane.access(), "whimbrel-lab-user", self.view.hear)
        )

    async def wait_until(self, predicate: Predicate, timeout_s: float, what: str = "") -> None:
        """Until the predicate holds; looked at after every change in the API server. LabError after so many real seconds.

        LabError at once where what acts or sees in the lab has ended: then nothing would change any more.
        """
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
                self._check()
                left = end - loop.time()
                if left <= 0:
                    wish = what or inspect.getdoc(predicate) or predicate
                    raise LabError(f"after {timeout_s:g} s it is still not so: {wish}")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), min(left, _LOOK_EVERY_S))
        finally:
            self._waiters.discard(changed)

    def _check(self) -> None:
        self.standin.check()
        if isinstance(self.plane, RealControlPlane):
            self.plane.view.check()

    def _wake(self, _resource: str, _before: Object | None, _after: Object | None) -> None:
        for waiter in self._waiters:
            waiter.set()

    async def quiet(self, for_s: float, timeout_s: float) -> bool:
        """Whether within `timeout_s` real seconds nothing at all was written for `for_s` seconds."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_s
        while loop.time() < end:
            version = self.view.changes
            await asyncio.sleep(for_s)
            if self.view.changes == version:
                return True
        return False

    def read(self, kind: str, name: str, namespace: str = "") -> Object | None:
        """One object as the control plane shows it, None where there is none."""
        route = ROUTES[kind]
        return self.view.read(route.resource, name, (namespace or self.namespace) if route.namespaced else "")

    def items(self, kind: str, namespace: str = "") -> list[Object]:
        """All objects of a kind as the control plane shows them."""
        return list(self.view.items(ROUTES[kind].resource, namespace))

    def node_of(self, name: str, namespace: str = "") -> str:
        """The node that an instance runs on, empty where there is none."""
        return str(status(self.read(INSTANCE, name, namespace) or {}).get("nodeName") or "")

    def state_of(self, name: str, namespace: str = "") -> Mapping[str, object]:
        """An instance's migration state."""
        return migration_state(self.read(INSTANCE, name, namespace) or {})

    def migrations_of(self, name: str, namespace: str = "") -> list[Object]:
        """All migrations of an instance, anybody's."""
        return [
            each for each in self.items(MIGRATION, namespace or self.namespace) if each["spec"].get("vmiName") == name
        ]

    def guest_name(self, name: str, namespace: str = "") -> str:
        """What the hypervisor calls a machine's guest."""
        key = namespace or self.namespace, name
        guest = next((each for each in self.topology.guests if each.key == key), None)
        return self.topology.guest_spec(guest).name if guest else f"{key[0]}.{name}"

    async def create_foreign_migration(
        self,
        name: str,
        namespace: str = "",
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
                    "namespace": namespace or self.namespace,
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

    async def delete_vm(self, name: str, namespace: str = "") -> None:
        """Delete a machine and with it its instance."""
        await self.client.delete("VirtualMachine", name, namespace or self.namespace)

    async def restart_vm(self, name: str, namespace: str = "") -> None:
        """Delete a machine's instance; its run strategy makes another, with another UID."""
        await self.client.delete(INSTANCE, name, namespace or self.namespace)

    async def label_instance(self, name: str, labels: Mapping[str, str | None], namespace: str = "") -> Object:
        """Set labels of an instance; None takes one away."""
        change = {"metadata": {"labels": dict(labels)}}
        return await self.client.patch(INSTANCE, name, namespace or self.namespace, change)

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

    async def evict(self, pod: Object, annotations: Mapping[str, str] | None = None) -> None:
        """What `kubectl drain` asks for. Raises RequestRefused with whatever the API server answers."""
        members = pod["metadata"]
        metadata = {"name": members["name"], "namespace": members["namespace"], "annotations": dict(annotations or {})}
        path = f"/api/v1/namespaces/{members['namespace']}/pods/{members['name']}/eviction"
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
        await self.client.send("POST", path, body)

    async def request_evacuation(self, name: str, namespace: str = "") -> None:
        """What KubeVirt's eviction webhook does to an instance whose pod is to be evicted."""
        async with Client(self.plane.access(USERS["apiserver"])) as client:
            instance = await client.get(INSTANCE, name, namespace or self.namespace)
            instance["status"]["evacuationNodeName"] = instance["status"]["nodeName"]
            await client.replace(instance)


def _control_plane(wanted: str | ControlPlane, clock: LabClock, port: int) -> ControlPlane:
    if not isinstance(wanted, str):
        return wanted
    if wanted == "real":
        return RealControlPlane(USERS.values(), port=port)
    if wanted == "embedded":
        return EmbeddedControlPlane(clock, port)
    raise LabError(f"there is no control plane {wanted!r}: use embedded or real")


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
