"""What KubeVirt must be told of an attempt beside rate and time budget, so that it does what the rung says and no more.

Where KubeVirt's stall detection is on, it may let any guest stand still for longer than the hypervisor would, and ends or stops
what gets on no further, be it only for a while. So of every attempt the longest last step is said, and, except of the rung that
asks for it, that no standstill counts. Used by the rungs.
"""

from whimbrel.api.ladder import Compression
from whimbrel.api.virtual_machine_move import KubeVirtConfiguration
from whimbrel.domain.suspension import HYPERVISORS_DOWNTIME_MS
from whimbrel.ladder.rung import Load

NO_STALL_COUNTS_S = 1_000_000
"""Longer than any deadline, and the same for all guests: policies would be one for each size otherwise."""


def configuration(
    load: Load,
    per_gib: int,
    *,
    allow_auto_converge: bool = False,
    allow_post_copy: bool = False,
    allow_workload_disruption: bool = False,
    max_downtime_ms: int = HYPERVISORS_DOWNTIME_MS,
    stall_window_s: int = NO_STALL_COUNTS_S,
) -> KubeVirtConfiguration:
    """The configuration of an attempt; `stall_window_s`: after so long without progress a stall detector acts."""
    detects = load.stall_detection
    return KubeVirtConfiguration(
        bandwidth_bytes_per_second=load.rate_bytes_per_second,
        completion_timeout_per_gib=per_gib,
        allow_auto_converge=allow_auto_converge,
        allow_post_copy=allow_post_copy,
        allow_workload_disruption=allow_workload_disruption,
        max_downtime_ms=max_downtime_ms if detects else None,
        stall_window_seconds=stall_window_s if detects else None,
        compression=Compression.ZSTD if load.zstd and not allow_post_copy else None,
    )
