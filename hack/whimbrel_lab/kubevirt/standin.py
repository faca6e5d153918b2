"""The whole stand-in: all of KubeVirt's parts, the kubelets and, where the control plane has none, the scheduler.

An async context manager. Each part writes under the identity that it would have, so that admission and counters know it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from whimbrel.simulation.kubevirt import admission, policies
from whimbrel_lab.certs import Authority
from whimbrel_lab.clock import LabClock
from whimbrel_lab.controlplane.embedded import EmbeddedControlPlane
from whimbrel_lab.controlplane.plane import ControlPlane
from whimbrel_lab.controlplane.users import User, service_account
from whimbrel_lab.errors import check_running
from whimbrel_lab.hypervisor import Hypervisor
from whimbrel_lab.kubevirt.admission import ApiLookout, Lookout, StorageLookout, VirtApi
from whimbrel_lab.kubevirt.client import Client
from whimbrel_lab.kubevirt.cluster import Cluster, Hand
from whimbrel_lab.kubevirt.controller import Controller
from whimbrel_lab.kubevirt.handler import Handler
from whimbrel_lab.kubevirt.kubelet import Kubelet
from whimbrel_lab.kubevirt.metrics import Metrics
from whimbrel_lab.kubevirt.nodes import Nodes
from whimbrel_lab.kubevirt.scheduler import Scheduler
from whimbrel_lab.kubevirt.virt_controller import VirtController
from whimbrel_lab.topology import INSTALL_NAMESPACE, Timing

LOG = logging.getLogger(__name__)
USERS: Mapping[str, User] = {
    "controller": service_account(INSTALL_NAMESPACE, "kubevirt-controller"),
    "handler": service_account(INSTALL_NAMESPACE, "kubevirt-handler"),
    "apiserver": service_account(INSTALL_NAMESPACE, "kubevirt-apiserver"),
    "scheduler": User("system:kube-scheduler", ("system:authenticated",)),
    "kubelet": User("system:node:lab", ("system:nodes", "system:authenticated")),
}
"""The identities that the stand-in writes under."""
assert all(USERS[each].name == admission.account(each) for each in ("controller", "handler", "apiserver"))


class StandIn:
    """KubeVirt, scheduler and kubelets on one control plane; with a `virt_controller`, that one plays its own part."""

    def __init__(
        self,
        plane: ControlPlane,
        hypervisor: Hypervisor,
        clock: LabClock,
        authority: Authority,
        timing: Timing,
        *,
        heartbeats: bool = True,
        virt_controller: VirtController | None = None,
    ) -> None:
        self._plane = plane
        self._virt_controller = virt_controller
        self._stack = AsyncExitStack()
        self._task: asyncio.Task[None] | None = None
        self._close_admission: Callable[[], Awaitable[None]] | None = None
        clients = {part: Client(plane.access(user), f"whimbrel-lab-{part}") for part, user in USERS.items()}
        self._clients = clients
        self.cluster = Cluster(clients["controller"], clock)
        hands = {part: Hand(self.cluster, client, _component(part)) for part, client in clients.items()}
        self.metrics = Metrics(clock, authority, INSTALL_NAMESPACE)
        self.kubelet = Kubelet(self.cluster, hands["kubelet"], timing.pod_start_s, timing.termination_s)
        self.handler = Handler(
            self.cluster,
            hands["handler"],
            hypervisor,
            self.kubelet,
            self.metrics,
            timing.target_preparation_s,
        )
        self.controller = None if virt_controller else Controller(self.cluster, hands["controller"])
        self.scheduler = None if plane.own_scheduler else Scheduler(self.cluster, hands["scheduler"])
        self.nodes = Nodes(self.cluster, hands["kubelet"], self.kubelet, self.handler, self.metrics, heartbeats)
        self.metrics.dirty_rates = self.handler.dirty_rates
        self.metrics.resident_sets = self.handler.resident_sets
        self.metrics.release = lambda: policies.observed_release(self.cluster.kubevirt)

    async def listen(self, nodes: Iterable[str]) -> None:
        """Open the nodes' metrics endpoints; before `start`, so that virt-handler's pods can name their ports."""
        await self.metrics.start(nodes)

    async def start(self) -> None:
        """Watch the cluster and begin to act; returns when everything was listed once."""
        for client in self._clients.values():
            await self._stack.enter_async_context(client)
        virt_api = VirtApi(self._lookout(), self._clients["apiserver"])
        self._close_admission = await self._plane.register(virt_api.webhooks())
        self._stack.push_async_callback(self.close_admission)
        self._task = asyncio.create_task(self._run(), name="kubevirt-stand-in")
        synced = asyncio.ensure_future(self.cluster.synced())
        await asyncio.wait({synced, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            synced.cancel()
            await self._task
        await synced
        if self._virt_controller is not None:
            self._stack.push_async_callback(self._virt_controller.stop)
            await self._virt_controller.start(self._clients["apiserver"])

    async def close_admission(self) -> None:
        """Virt-api is gone: nothing is refused or changed any more; safe to call twice."""
        close, self._close_admission = self._close_admission, None
        if close is not None:
            await close()

    def check(self) -> None:
        """LabError when a part of it has failed, with the cause: the others have ended with it."""
        check_running(self._task, "the KubeVirt stand-in")

    async def stop(self) -> None:
        """End everything, whatever has failed, and only then raise that; safe to call twice."""
        task, self._task = self._task, None
        async with AsyncExitStack() as rest:
            rest.push_async_callback(self._stack.aclose)
            rest.push_async_callback(self.metrics.stop)
            for part in (self.handler, self.kubelet, self.scheduler, self.controller):
                if part is not None:
                    rest.callback(part.close)
            if task is not None:
                task.cancel()
                await asyncio.wait({task})
                check_running(task, "the KubeVirt stand-in")

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def _lookout(self) -> Lookout:
        if isinstance(self._plane, EmbeddedControlPlane):
            return StorageLookout(self._plane.storage)
        return ApiLookout(self._clients["apiserver"])

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.cluster.run(), name="stand-in-caches")
            await self.cluster.synced()
            for part in (self.controller, self.scheduler, self.kubelet, self.handler, self.nodes):
                if part is None:
                    continue
                group.create_task(part.run(), name=f"stand-in-{type(part).__name__.lower()}")


def _component(part: str) -> str:
    return {
        "controller": "virtualmachine-controller",
        "handler": "virt-handler",
        "apiserver": "virt-api",
    }.get(part, part)
