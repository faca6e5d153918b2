"""Stun: pre-copy until a deadline, then suspend the guest while the rest is copied (KubeVirt's workload disruption).

Needs consent: a longest suspension (the stun guard cuts longer ones short by deleting the migration) and a longest
suspension when nobody guards, because KubeVirt by itself lets the guest stay suspended for one further deadline.
"""

from math import ceil

from whimbrel.api.migration_plan import Disruption, Permission
from whimbrel.api.virtual_machine_move import KubeVirtConfiguration, Rung
from whimbrel.forecast import pass_seconds, time_budget_units
from whimbrel.ladder.rung import Load, Offer

RUNG = Rung.STUN

ROUNDS_BEFORE_STUN = 1.5
"""Passes over memory before the guest is suspended, where the unattended limit leaves room: then only what is dirtied
again is left, instead of memory that was never sent."""


def offer(load: Load, disruption: Disruption) -> Offer | None:
    """None where the plan does not permit it, or where KubeVirt's shortest useful deadline exceeds the unattended limit.

    The shortest useful deadline is one pass over memory, in KubeVirt's units: suspending earlier would suspend the guest
    for memory that was never sent.
    """
    if disruption.stun != Permission.ALLOWED or disruption.max_downtime_ms is None:
        return None
    unattended_ms = disruption.unattended_downtime_ms or 0
    units = time_budget_units(load.memory_bytes)
    one_pass_s = pass_seconds(load.memory_bytes, load.rate_bytes_per_second)
    most = unattended_ms // 1000 // units
    least = ceil(one_pass_s / units)
    if most < least:
        return None
    per_gib = min(most, max(least, ceil(ROUNDS_BEFORE_STUN * one_pass_s / units)))
    return Offer(
        rung=RUNG,
        configuration=KubeVirtConfiguration(
            bandwidth_bytes_per_second=load.rate_bytes_per_second,
            completion_timeout_per_gib=per_gib,
            allow_workload_disruption=True,
        ),
        deadline_seconds=per_gib * units,
        budget_ms=disruption.max_downtime_ms,
        unattended_downtime_ms=per_gib * units * 1000,
    )
