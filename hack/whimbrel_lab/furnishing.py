"""What stands in a lab when it opens: namespaces, KubeVirt's installation, hosts, and virtual machines that run already.

Put straight into the control plane, past admission: nobody waits for a thousand starts. Called by `Lab` alone.
"""

import asyncio
from collections.abc import Mapping

from whimbrel.simulation.kubevirt.values import Object, uid
from whimbrel_lab import fleet
from whimbrel_lab.clock import LabClock
from whimbrel_lab.controlplane.plane import ControlPlane
from whimbrel_lab.fleet import Places, Running
from whimbrel_lab.hypervisor import Hypervisor
from whimbrel_lab.kubevirt.nodes import heartbeats_keep_up
from whimbrel_lab.kubevirt.standin import StandIn
from whimbrel_lab.topology import INSTALL_NAMESPACE, LabGuest, Topology

STARTS_AT_ONCE = 4


class Furnishing:
    """Furnishes one lab, whose stand-in listens and does not act yet."""

    def __init__(
        self, plane: ControlPlane, standin: StandIn, hypervisor: Hypervisor, topology: Topology, clock: LabClock
    ) -> None:
        self._plane, self._standin, self._hypervisor = plane, standin, hypervisor
        self._topology, self._clock = topology, clock
        self._places = Places(clock, standin.kubelet.addresses)

    async def install(self, ca_bundle: str, namespace: str) -> None:
        """Namespaces, KubeVirt's installation, nodes and their virt-handlers."""
        spaces: dict[str, Mapping[str, str]] = {guest.namespace: {} for guest in self._topology.guests}
        spaces.update(self._topology.namespaces)
        documents: list[Object] = [
            {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": each, "labels": dict(spaces.get(each, {}))},
            }
            for each in sorted({*spaces, INSTALL_NAMESPACE, namespace})
        ]
        bundle = {"name": "kubevirt-ca", "namespace": INSTALL_NAMESPACE}
        documents.append(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": bundle, "data": {"ca-bundle": ca_bundle}}
        )
        await self._plane.load(documents)
        await self._seed(fleet.kubevirt(self._topology))
        await self._seed(fleet.handler_daemon_set(len(self._topology.hosts)))
        beats = self._topology.heartbeats and heartbeats_keep_up(len(self._topology.hosts), self._clock.scale)
        for host in self._topology.hosts:
            await self._seed(fleet.node(host, self._clock, heartbeat=beats))
            endpoint = self._standin.metrics.endpoint(host.name)
            await self._seed(fleet.handler_pod(host.name, *endpoint, self._clock))

    async def populate(self, *, revisions: bool) -> None:
        """Virtual machines that run already; the halted ones only as machines. `revisions`: with their ControllerRevisions,
        which KubeVirt's own virt-controller looks for.
        """
        installation = fleet.kubevirt(self._topology)
        nodes = {host.name: fleet.node(host, self._clock) for host in self._topology.hosts}
        gate = asyncio.Semaphore(STARTS_AT_ONCE)

        async def start(guest: LabGuest) -> None:
            async with gate:
                for document in fleet.storage(guest):
                    await self._seed(document)
                if guest.run_strategy in ("Halted", "Manual"):
                    await self._seed(fleet.machine(guest, self._topology))
                    return
                running = fleet.running(guest, self._topology, installation, nodes[guest.host], self._places)
                owner = await self._seed_running(running, revisions=revisions)
                made = self._topology.guest_spec(guest)
                await self._hypervisor.start_guest(guest.host, made)
                self._standin.handler.homes[owner] = guest.host, made

        await asyncio.gather(*(start(guest) for guest in self._topology.guests))

    async def _seed(self, document: Object) -> Object:
        return await self._plane.seed(self._places.identified(document))

    async def _seed_running(self, running: Running, *, revisions: bool) -> str:
        """Machine, instance and launcher, each naming its owner's UID as the server gave it; the instance's UID."""
        machine = await self._plane.seed(running.machine)
        if revisions:
            await self._plane.seed(fleet.revision(machine))
        instance = await self._plane.seed(fleet.renamed(running.instance, running.machine, machine))
        await self._plane.seed(fleet.renamed(running.pod, running.instance, instance))
        return uid(instance)
