"""Undeclared: which facts of HostProfiles the rules would need, and nobody has declared.

What a profile leaves out makes verdicts unknown, for some guest, somewhere, later. Here it is said beforehand, of each profile:
only what a guest that runs needs, or what other profiles declare and so could be compared with. Called by `status`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from whimbrel.api.host_profile import HostProfileSpec, MigrationNetwork
from whimbrel.domain.records import Instance
from whimbrel.inventory.hosts import Host
from whimbrel.inventory.snapshot import Snapshot
from whimbrel.preflight import cpu, cpu_compatibility
from whimbrel.preflight.devices import FAST_LINK_MBPS
from whimbrel.preflight.interfaces import key_of, secondary

_COMPARED = ("name", "subnets", "mtu")
_RUNS = frozenset({"Running", "Unknown"})


@dataclass(frozen=True, slots=True)
class Undeclared:
    """A fact that is missing."""

    field: str
    """As `spec.cpu.baseline`."""
    why: str
    """Who needs it, in words that stay the same while somebody does."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What guests and other profiles make worth knowing; equal while that does not change."""

    baseline: bool
    counters: bool
    segments: bool
    gpus: tuple[str, ...]
    """Resources of device plugins, sorted."""
    network: tuple[str, ...]
    """Members of `spec.migration.network` that some profile in effect declares."""


def wanted(snapshot: Snapshot, hosts: Mapping[str, Host]) -> Wanted:
    """Of the whole cluster: any guest may come to any host. One linear pass."""
    guests = [instance for instance in snapshot.instances.values() if instance.phase in _RUNS]
    declared = {host.profile_name: host.migration.network for host in hosts.values() if host.migration is not None}
    return Wanted(
        baseline=any(_sees_its_host(guest, snapshot) for guest in guests),
        counters=any(cpu_compatibility.counts_on_counters(guest, snapshot) for guest in guests),
        segments=any(_on_a_segment(guest, snapshot) for guest in guests),
        gpus=tuple(sorted({name for guest in guests for name in guest.hardware.gpu_resources})),
        network=tuple(name for name in _COMPARED if any(getattr(each, name) is not None for each in declared.values())),
    )


def undeclared(spec: HostProfileSpec, needed: Wanted) -> Iterator[Undeclared]:
    """What a profile in effect should say and does not."""
    if needed.baseline and spec.cpu.baseline is None:
        why = "Guests see their host's own processor or its NUMA nodes; those with host-passthrough do not move without it."
        yield Undeclared("spec.cpu.baseline", why)
    if needed.counters and spec.cpu.baseline is None and spec.cpu.performance_counters is None:
        why = "Guests count on performance counters, and do not move without it or a baseline."
        yield Undeclared("spec.cpu.performanceCounters", why)
    network = spec.migration.network
    for name in needed.network:
        if getattr(network, name) is None:
            why = "Other HostProfiles declare it; whether these nodes agree with them is not known."
            yield Undeclared(f"spec.migration.network.{name}", why)
    if needed.segments and network.segments is None:
        why = "Guests are on networks with a layer-2 segment; whether these nodes reach it is not known."
        yield Undeclared("spec.migration.network.segments", why)
    yield from _frame_buffers(spec, network, needed.gpus)


def _frame_buffers(spec: HostProfileSpec, network: MigrationNetwork, gpus: tuple[str, ...]) -> Iterator[Undeclared]:
    """Over a fast link any frame buffer may go."""
    known = {each.resource for each in spec.devices.frame_buffers or ()}
    for name in gpus if network.link_speed_mbps < FAST_LINK_MBPS else ():
        if name not in known:
            why = f"Guests have such a GPU, and over a link below {FAST_LINK_MBPS} Mbit/s its size matters."
            yield Undeclared(f"spec.devices.frameBuffers[{name}]", why)


def _sees_its_host(guest: Instance, snapshot: Snapshot) -> bool:
    model = cpu.model_of(guest, snapshot, guest.architecture)
    return model == cpu.HOST_PASSTHROUGH or guest.hardware.numa_passthrough


def _on_a_segment(guest: Instance, snapshot: Snapshot) -> bool:
    attachments = (snapshot.networks.get(key_of(name)) for name in secondary(guest.interfaces))
    return any(each is not None and not each.spans for each in attachments)
