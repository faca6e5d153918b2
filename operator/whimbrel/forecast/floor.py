"""The floor of a migration's duration: memory divided by the admitted rate.

No migration of a guest with non-zero memory is faster than one pass over it. Used by `ladder` and `engine`.
"""

from math import ceil

from whimbrel.api.host_profile import HostMigration
from whimbrel.domain.quantities import bytes_per_second_of_mbps, whole_mib


def admitted_rate(source: HostMigration, target: HostMigration, max_mbps: int | None) -> int:
    """Bytes per second that admission guarantees one migration, in whole MiB/s.

    Each end's link divided by its slots in that direction, at most what the plan allows. No more migrations than slots
    are ever admitted, so this rate holds whatever else moves.
    """
    shares = [
        bytes_per_second_of_mbps(source.network.link_speed_mbps) // source.limits.parallel_outbound,
        bytes_per_second_of_mbps(target.network.link_speed_mbps) // target.limits.parallel_inbound,
    ]
    if max_mbps is not None:
        shares.append(bytes_per_second_of_mbps(max_mbps))
    return whole_mib(min(shares))


def pass_seconds(memory_bytes: int, rate_bytes_per_second: int) -> int:
    """Whole seconds, rounded up and at least one, of one pass over memory."""
    return max(1, ceil(memory_bytes / rate_bytes_per_second))
