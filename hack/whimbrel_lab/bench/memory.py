"""What the operator's memory grows by with each virtual machine that it watches, two pods each.

An API server full of objects as large as real ones, the operator beside it as its own process, its resident memory read
from the kernel once all is taken in.
"""

import asyncio
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from whimbrel.simulation.kubevirt.values import Object
from whimbrel_lab import fleet
from whimbrel_lab.bench.figures import Figure
from whimbrel_lab.bench.operator_process import MIB, BenchFailed, OperatorProcess, Resident, operator
from whimbrel_lab.clock import LabClock
from whimbrel_lab.controlplane.embedded import EmbeddedControlPlane
from whimbrel_lab.kubevirt.client import ROUTES
from whimbrel_lab.kubevirt.kubelet import Addresses
from whimbrel_lab.topology import GIB, INSTALL_NAMESPACE, LabGuest, LabHost, Topology

BASE_GOAL_MIB = 120.0
PER_MACHINE_GOAL_KIB = 2.0
BOUND = 1.25
"""The promise is broken where a goal is exceeded by more than a quarter: allocators round as they like."""
MACHINES_PER_HOST = 40
MACHINES_PER_NAMESPACE = 100
INTAKE_S = 90.0
SETTLE_S = 4.0


def topology(machines: int) -> Topology:
    """Forty machines on each host, a hundred in each namespace."""
    hosts = [
        LabHost(f"node-{number:04}", memory_bytes=256 * GIB, cpu=64)
        for number in range(max(2, machines // MACHINES_PER_HOST))
    ]
    guests = [
        LabGuest(
            f"vm-{number:05}",
            hosts[number % len(hosts)].name,
            namespace=f"team-{number // MACHINES_PER_NAMESPACE:03}",
            memory_bytes=2 * GIB,
            labels={"app": f"app-{number % 50}", "tier": ("front", "middle", "back")[number % 3]},
        )
        for number in range(machines)
    ]
    return Topology(hosts=hosts, guests=guests)


def objects(wanted: Topology) -> Iterator[Object]:
    """Everything of such a cluster that the operator watches, as heavy as API servers deliver it."""
    clock = LabClock()
    places = fleet.Places(clock, Addresses())
    installation = fleet.kubevirt(wanted)
    nodes = {host.name: fleet.node(host, clock) for host in wanted.hosts}
    for name in sorted({guest.namespace for guest in wanted.guests} | {INSTALL_NAMESPACE}):
        yield places.identified({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield places.identified(installation)
    for node in nodes.values():
        yield heavy(places.identified(node))
    for guest in wanted.guests:
        made = fleet.running(guest, wanted, installation, nodes[guest.host], places)
        for document in (made.machine, made.instance, made.pod, places.identified(volume_pod(guest, made.pod))):
            yield heavy(document)


def volume_pod(guest: LabGuest, launcher: Object) -> Object:
    """The pod that holds a machine's hotplugged volumes: its second one."""
    owner = {"apiVersion": "v1", "kind": "Pod", "name": launcher["metadata"]["name"]}
    container = {
        "name": "hotplug-disk",
        "image": launcher["spec"]["containers"][0]["image"],
        "command": ["/bin/sh", "-c", "/usr/bin/container-disk --copy-path /path/hp"],
        "resources": {"limits": {"cpu": "100m", "memory": "80M"}, "requests": {"cpu": "10m", "memory": "2M"}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"hp-volume-{guest.name}",
            "namespace": guest.namespace,
            "labels": {"kubevirt.io": "hotplug-disk"},
            "ownerReferences": [{**owner, "uid": launcher["metadata"]["uid"], "controller": True}],
        },
        "spec": {**launcher["spec"], "containers": [container], "nodeName": guest.host},
        "status": launcher["status"],
    }


def heavy(document: Object) -> Object:
    """The object with what field managers leave on it, which is about as large as the rest, in place."""
    content = {key: value for key, value in document.items() if key in ("spec", "status")}
    document["metadata"]["managedFields"] = [
        {"manager": "somebody", "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": _fields(content)}
    ]
    return document


def _fields(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {f"f:{key}": _fields(member) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return {f'k:{{"index":"{number}"}}': {".": {}, **_fields(member)} for number, member in enumerate(value)}
    return {}


async def weigh(machines: int) -> Resident:
    """Resident memory of an operator that has taken in so many machines. Raises BenchFailed where it does not."""
    with tempfile.TemporaryDirectory(prefix="whimbrel-bench-") as name:
        folder = Path(name)
        async with EmbeddedControlPlane(history=64) as plane:
            await plane.load(fleet.definitions())
            for document in objects(topology(machines)):
                plane.storage.save(ROUTES[document["kind"]].resource, document)
            path = plane.write_kubeconfig(folder / "kubeconfig")
            async with operator(path, folder / "operator.log") as process:
                await _taken_in(process, machines)
                await asyncio.sleep(SETTLE_S)
                return process.resident()


async def _taken_in(process: OperatorProcess, machines: int) -> None:
    deadline = time.monotonic() + INTAKE_S
    wanted = {"VirtualMachine": machines, "VirtualMachineInstance": machines, "Pod": 2 * machines}
    while True:
        held = await process.records()
        if all(held.get(kind, 0) >= count for kind, count in wanted.items()) and await process.ticks():
            return
        if time.monotonic() > deadline:
            raise BenchFailed(f"after {INTAKE_S:g} s the operator holds {held}, and not {wanted}")
        await asyncio.sleep(0.2)


async def measure(*, quick: bool) -> Sequence[Figure]:
    """Memory with a thousand and with ten thousand machines (quick: 500 and 2 500), and the slope between."""
    few, many = (500, 2_500) if quick else (1_000, 10_000)
    return tuple(memory_figures({machines: await weigh(machines) for machines in (few, many)}))


def memory_figures(found: Mapping[int, Resident]) -> Iterator[Figure]:
    """Each size against its goal, and what one machine more costs."""
    for machines, resident in sorted(found.items()):
        goal_mib = BASE_GOAL_MIB + machines * PER_MACHINE_GOAL_KIB / 1024
        yield Figure(
            f"memory.{machines}", f"resident memory with {machines} VMs, two pods each", resident.now_bytes / MIB, "MiB",
            f"≤ {goal_mib:.0f} MiB", goal_mib, holds=True, bound=BOUND * goal_mib,
        )  # fmt: skip
        yield Figure(f"memory.{machines}.peak", "and at its highest", resident.peak_bytes / MIB, "MiB")
    few, many = min(found), max(found)
    slope_kib = (found[many].now_bytes - found[few].now_bytes) / (many - few) / 1024
    yield Figure(f"memory.slope_{many}", "and for each VM more", slope_kib, "KiB")
