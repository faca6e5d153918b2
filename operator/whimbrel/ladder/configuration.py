"""What KubeVirt must be told of an attempt beside rate and time budget, so that it does what the rung says and no more.

Where KubeVirt's stall detection is on, it may let any guest stand still for longer than the hypervisor would, and may act
before the deadline: so both are said of every attempt. Used by the rungs.
"""

from whimbrel.api.ladder import Compression
from whimbrel.api.virtual_machine_move import KubeVirtConfiguration
from whimbrel.domain.suspension import HYPERVISORS_DOWNTIME_MS
from whimbrel.ladder.rung import Load


def configuration(
    load: Load,
    per_gib: int,
    deadline_s: int,
    *,
    allow_auto_converge: bool = False,
    allow_post_copy: bool = False,
    allow_workload_disruption: bool = False,
    max_downtime_ms: int = HYPERVISORS_DOWNTIME_MS,
    stall_window_s: int | None = None,
    acts_at_deadline: bool = False,
) -> KubeVirtConfiguration:
    """`acts_at_deadline`: nothing may happen before the deadline; a stall detector then looks at nothing shorter.

    `stall_window_s`: after so long without progress a stall detector acts; None: KubeVirt's own.
    """
    detects = load.stall_detection
    if acts_at_deadline:
        stall_window_s = deadline_s + 1
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
