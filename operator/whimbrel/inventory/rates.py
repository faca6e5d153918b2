"""What the links at both ends leave to one migration, and how long one pass over memory takes at a rate.

The share of a link is guaranteed: no more migrations than slots are ever admitted, everybody's counted. Used by
`preflight`, which judges it, and through `forecast` by the ladder and the quote.
"""

from math import ceil

from whimbrel.api.host_profile import HostMigration
from whimbrel.domain.quantities import bytes_per_second_of_mbps, whole_mib


def outbound_share(source: HostMigration) -> int:
    """Bytes per second that a host leaves to each migration that leaves it."""
    return usable(source) // source.limits.parallel_outbound


def inbound_share(target: HostMigration) -> int:
    """Bytes per second that a host leaves to each migration that arrives."""
    return usable(target) // target.limits.parallel_inbound


def admitted_rate(source: HostMigration, target: HostMigration, max_mbps: int | None) -> int:
    """Bytes per second that admission guarantees one migration, in whole MiB/s.

    Each end's link divided by its slots in that direction, at most what the plan allows. No more migrations than slots
    are ever admitted, so this rate holds whatever else moves.
    """
    return capped(min(outbound_share(source), inbound_share(target)), max_mbps)


def capped(share_bytes_per_second: int, max_mbps: int | None) -> int:
    """What one migration is given of its share: at most what the plan allows, in whole MiB/s."""
    if max_mbps is not None:
        share_bytes_per_second = min(share_bytes_per_second, bytes_per_second_of_mbps(max_mbps))
    return whole_mib(share_bytes_per_second)


def slower_link(source: HostMigration, target: HostMigration) -> int:
    """Bytes per second of the slower migration link of both ends."""
    return bytes_per_second_of_mbps(min(source.network.link_speed_mbps, target.network.link_speed_mbps))


def stream_rate(source: HostMigration, target: HostMigration) -> int | None:
    """Most bytes per second that one stream carries from one host to another: the less of what both declare; None: neither."""
    said = [host.network.single_stream_mbps for host in (source, target) if host.network.single_stream_mbps is not None]
    return bytes_per_second_of_mbps(min(said)) if said else None


def pass_seconds(size_bytes: int, rate_bytes_per_second: int) -> int:
    """Whole seconds, rounded up and at least one, of one pass over so many bytes."""
    return max(1, ceil(size_bytes / rate_bytes_per_second))


def usable(host: HostMigration) -> int:
    """Bytes per second of a host's link that migrations may take, in each direction."""
    return bytes_per_second_of_mbps(host.network.link_speed_mbps) * host.limits.share_percent // 100
