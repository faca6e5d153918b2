"""PostCopy: pre-copy until a deadline, then the guest goes on at the target and fetches what it misses over the network.

Always ends, with a pause of milliseconds. Once it has begun nothing can abort it, no cap on the bandwidth holds any more
(performance reference B1.2, 7), and a network that fails costs the guest: it needs consent. Listed in `ladder.LADDER`.
"""

from whimbrel.api.ladder import Disruption, LadderStep, Permission, Rung
from whimbrel.forecast import AtDeadline, Terms, pass_seconds
from whimbrel.ladder.deadlines import offered
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
    memory_s = PASSES_BEFORE * pass_seconds(load.memory_bytes, load.rate_bytes_per_second)
    return offered(
        RUNG,
        load,
        step,
        memory_s,
        Terms(at_deadline=AtDeadline.POST_COPY),
        allow_post_copy=True,
        # From 1.5 KubeVirt does nothing at the deadline without it; with post-copy allowed it suspends no guest.
        allow_workload_disruption=load.workload_disruption,
    )
