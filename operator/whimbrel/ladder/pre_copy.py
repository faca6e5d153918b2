"""PreCopy: copy memory while the guest runs, within a time budget. Disturbs nothing and needs no consent.

At the deadline KubeVirt aborts and the guest goes on at the source. Listed in `ladder.LADDER`.
"""

from math import ceil

from whimbrel.api.migration_plan import Disruption
from whimbrel.api.virtual_machine_move import KubeVirtConfiguration, Rung
from whimbrel.forecast import pass_seconds, time_budget_units
from whimbrel.ladder.rung import Load, Offer

RUNG = Rung.PRE_COPY

PASSES = 3
"""Passes over memory that the time budget allows for."""
MIN_BUDGET_S = 10
"""Shortest time budget in seconds: a small guest still needs time for its last rounds and the switch-over."""


def offer(load: Load, _disruption: Disruption) -> Offer:
    """Always offered: pre-copy never disturbs the guest."""
    disk_bytes, rate = load.local_disk_bytes or 0, load.rate_bytes_per_second
    wanted_s = max(MIN_BUDGET_S, PASSES * pass_seconds(load.memory_bytes, rate) + disk_bytes // rate)
    units = time_budget_units(load.memory_bytes + disk_bytes)
    # KubeVirt counts the disks by what is written to them, perhaps nothing: memory alone must give the time for both.
    per_gib = ceil(wanted_s / time_budget_units(load.memory_bytes))
    return Offer(
        rung=RUNG,
        configuration=KubeVirtConfiguration(
            bandwidth_bytes_per_second=load.rate_bytes_per_second, completion_timeout_per_gib=per_gib
        ),
        deadline_seconds=per_gib * units,
    )
