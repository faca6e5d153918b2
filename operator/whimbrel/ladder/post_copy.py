"""PostCopy: pre-copy until a deadline, then the guest goes on at the target and fetches what it misses over the network.

Always ends, with a pause of milliseconds. Once it has begun nothing can abort it, no cap on the bandwidth holds any more
(performance reference B1.2, 7), and a network that fails costs the guest: it needs consent. Listed in `ladder.LADDER`.
"""

from functools import partial

from whimbrel.api.ladder import Disruption, LadderStep, Permission, Rung
from whimbrel.forecast import AtDeadline, Terms
from whimbrel.ladder.configuration import configuration
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
            "The guest has VFIO devices: KubeVirt lets it stand still for as long as it takes instead of switching to "
            "post-copy.",
        )
    configure = partial(
        configuration,
        load,
        allow_post_copy=True,
        # From 1.5 KubeVirt does nothing at the deadline without it; with post-copy allowed it suspends no guest.
        allow_workload_disruption=load.workload_disruption,
    )
    memory_s = PASSES_BEFORE * load.pass_s(post_copy=True)
    return offered(RUNG, load, step, memory_s, Terms(at_deadline=AtDeadline.POST_COPY), configure)
