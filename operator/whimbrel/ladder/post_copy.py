"""PostCopy: pre-copy until a deadline, then the guest goes on at the target and fetches what it misses over the network.

Always ends, with a pause of milliseconds. Once it has begun nothing can abort it, no cap on the bandwidth holds any more
(performance reference B1.2, 7), and a network that fails costs the guest: it needs consent. Listed in `ladder.LADDER`.
"""

from math import ceil

from whimbrel.api.ladder import Disruption, LadderStep, Permission, Rung
from whimbrel.api.virtual_machine_move import KubeVirtConfiguration
from whimbrel.domain.quantities import time_budget_units
from whimbrel.forecast import AtDeadline, Terms, pass_seconds
from whimbrel.ladder.deadlines import most_wire_bytes, on_grid, too_short, units_of
from whimbrel.ladder.rung import Load, Offer, Withheld

RUNG = Rung.POST_COPY

PASSES_BEFORE = 1.5
"""Passes over memory before the switch: then most pages are there, and the guest waits for few."""


def offer(load: Load, step: LadderStep, disruption: Disruption) -> Offer | Withheld | None:
    """Permitted by `disruption.postCopy`; withheld where KubeVirt would do something else at the deadline."""
    if disruption.post_copy != Permission.ALLOWED:
        return None
    if load.passes_devices_through:
        return Withheld(
            RUNG,
            "The guest holds devices of its host: KubeVirt lets it stand still for as long as it takes instead of switching to "
            "post-copy.",
        )
    if load.stall_detection:
        return Withheld(
            RUNG,
            "KubeVirt's feature gate MigrationStallDetection is on: it may switch before the deadline, or stop the guest.",
        )
    one_pass_s = pass_seconds(load.memory_bytes, load.rate_bytes_per_second)
    wanted_s = PASSES_BEFORE * one_pass_s + (load.local_disk_bytes or 0) // load.rate_bytes_per_second
    per_gib = on_grid(ceil(wanted_s / time_budget_units(load.memory_bytes)))
    if step.max_duration_seconds is not None:
        per_gib = min(per_gib, step.max_duration_seconds // units_of(load))
    if per_gib < 1:
        return Withheld(RUNG, too_short(load, step))
    deadline_s = per_gib * units_of(load)
    return Offer(
        rung=RUNG,
        configuration=KubeVirtConfiguration(
            bandwidth_bytes_per_second=load.rate_bytes_per_second,
            completion_timeout_per_gib=per_gib,
            allow_post_copy=True,
            # From 1.5 KubeVirt does nothing at the deadline without it; with post-copy allowed it suspends no guest.
            allow_workload_disruption=load.workload_disruption,
        ),
        deadline_seconds=deadline_s,
        terms=Terms(deadline_s, AtDeadline.POST_COPY),
        most_wire_bytes=most_wire_bytes(step),
        most_attempts=step.max_attempts,
    )
