"""Devices: does the host offer the devices and huge pages that the guest is built on, and is the link fit for its GPU?

What the launcher asks of device plugins it asks again at the target (KubeVirt contract §6.3, §10): kvm, tun, vhost-net, and
vhost-vsock of guests with a vsock, whose CID is unique in the cluster and so comes along. Here a kind that the node does not
offer at all is named; how much of it is left is counted by `capacity`. A GPU's frame buffer is copied while the guest
stands still, and what QEMU sends of a guest that stands still it sends without its rate limit: so it is the link's speed that
counts, not the share of one migration. Called through `preflight.FAMILIES`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from whimbrel.domain.quantities import MIB
from whimbrel.inventory.hosts import Host
from whimbrel.preflight import where
from whimbrel.preflight.family import Candidate, PreflightReason, PreflightUnknown
from whimbrel.preflight.lineup import Lineup, Terms

OF_THE_PLAN = False
OF_THE_MOMENT = False
NEEDS = "devices"

KUBEVIRTS = "devices.kubevirt.io/"
HUGE_PAGES = "hugepages-"
LARGE_FRAME_BUFFER_MIB = 1024
"""Of a larger one the guest would feel the copy: 1 GiB takes 9 s at 1 Gbit/s, and 0.9 s at 10 Gbit/s."""
FAST_LINK_MBPS = 10_000
LINK_FIELD = "HostProfile spec.migration.network.linkSpeedMbps"
FRAME_BUFFERS_FIELD = "HostProfile spec.devices.frameBuffers"


@dataclass(frozen=True, slots=True)
class Supply:
    """What a host has; equal for all hosts of one kind."""

    offered: frozenset[str]
    """Names of the resources of which it has any."""
    link_mbps: int
    """0: no profile applies."""
    frame_buffers: tuple[tuple[str, int], ...]
    """Declared sizes in MiB by resource, sorted."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What the guest is built on; equal for all guests of one class."""

    plugins: tuple[str, ...] = ()
    """Resources of KubeVirt's own device plugins."""
    huge_pages: str = ""
    """The resource, by size; empty: none."""
    gpus: tuple[str, ...] = ()
    """Resources of its GPUs."""
    link_mbps: int = 0
    """Of the source, where it has a GPU."""
    frame_buffers: tuple[tuple[str, int], ...] = ()
    """As the source declares them, where it has a GPU."""


class DevicePluginMissing(PreflightReason):
    """The guest's launcher asks for a device of KubeVirt's own, and the target offers none."""

    evidence = where.NODE
    remedy = "See whether virt-handler runs well on {node} and whether its kernel has the device for {needed}."


class HugePagesMissing(PreflightReason):
    """The guest's memory is made of huge pages of a size that the target has none of."""

    evidence = where.NODE
    remedy = "Reserve {needed} on {node} (a kernel parameter or sysctl, then restart the kubelet), or choose targets with them."


class GpuProfileMissing(PreflightReason):
    """The guest has a GPU of a kind that the target does not offer."""

    evidence = where.NODE
    remedy = "Choose targets that offer {needed}, or have the GPU's device plugin on {node} offer that profile."


class GpuLinkTooSlow(PreflightReason):
    """The guest's GPU has more than 1 GiB of frame buffer, which stands still while it is copied, and the link is slow."""

    evidence = where.PROFILES
    remedy = (
        "Move between hosts whose HostProfiles declare linkSpeedMbps of at least {needed}, or give the virtual machine a "
        "smaller GPU profile and restart it."
    )


class FrameBufferUnknown(PreflightUnknown):
    """The guest has a GPU whose frame buffer nobody declared, and the link may be too slow for it."""

    evidence = where.PROFILES
    remedy = (
        "Declare the size of the frame buffer of {needed} in spec.devices.frameBuffers of the HostProfile of {node}."
    )


REASONS = (DevicePluginMissing, HugePagesMissing, GpuProfileMissing, GpuLinkTooSlow, FrameBufferUnknown)


def demand(candidate: Candidate, home: Supply | None) -> Demand:
    """What the guest and its launcher are built on."""
    instance = candidate.instance
    hardware = instance.hardware
    launcher = next((pod for pod in candidate.launchers if pod.node == instance.node), None)
    requests = launcher.requests if launcher is not None else ()
    plugins = tuple(name for name, amount in requests if amount and name.startswith(KUBEVIRTS))
    huge_pages = HUGE_PAGES + hardware.huge_page_size if hardware.huge_page_size else ""
    if not hardware.gpu_resources or home is None:
        return Demand(plugins, huge_pages, hardware.gpu_resources)
    return Demand(plugins, huge_pages, hardware.gpu_resources, home.link_mbps, home.frame_buffers)


def supply(host: Host, terms: Terms) -> Supply:
    """What the node offers, and what its profile declares."""
    declared = host.profile.devices.frame_buffers if host.profile is not None else None
    return Supply(
        offered=frozenset(name for name, amount in host.node.allocatable if amount),
        link_mbps=host.migration.network.link_speed_mbps if host.migration is not None else 0,
        frame_buffers=tuple(sorted((each.resource, each.mebibytes) for each in declared or ())),
    )


def mask(demand: Demand, lineup: Lineup) -> int:
    """The hosts that have all of it."""
    return lineup.by_class(demand, supply, judge)


def judge(demand: Demand, supply: Supply) -> Iterator[PreflightReason]:
    """Every kind of device that the host does not have."""
    for name in demand.plugins:
        if name not in supply.offered:
            yield DevicePluginMissing(field=f"status.allocatable[{name}]", found="none", needed=name)
    if demand.huge_pages and demand.huge_pages not in supply.offered:
        yield HugePagesMissing(field=f"status.allocatable[{demand.huge_pages}]", found="none", needed=demand.huge_pages)
    # Of two declarations the larger: what is copied is the source's, and what is allocated for it the target's.
    here, there = dict(demand.frame_buffers), dict(supply.frame_buffers)
    sizes = here | {name: max(size, here.get(name, 0)) for name, size in there.items()}
    for name in demand.gpus:
        if name not in supply.offered:
            yield GpuProfileMissing(field=f"status.allocatable[{name}]", found="none", needed=name)
        yield from _across(name, sizes.get(name), demand.link_mbps, supply.link_mbps)


def _across(gpu: str, frame_buffer_mib: int | None, here_mbps: int, there_mbps: int) -> Iterator[PreflightReason]:
    """Whether the link carries the frame buffer; a host without a profile is refused for that already."""
    link_mbps = min(here_mbps, there_mbps)
    if not link_mbps or link_mbps >= FAST_LINK_MBPS:
        return
    if frame_buffer_mib is None:
        yield FrameBufferUnknown(field=FRAME_BUFFERS_FIELD, found=f"nothing of {gpu}", needed=gpu)
    elif frame_buffer_mib > LARGE_FRAME_BUFFER_MIB:
        size = f"{frame_buffer_mib * MIB / (1024 * MIB):.1f} GiB"
        yield GpuLinkTooSlow(
            field=LINK_FIELD, found=f"{link_mbps} Mbit/s for {size} of {gpu}", needed=f"{FAST_LINK_MBPS} Mbit/s"
        )
