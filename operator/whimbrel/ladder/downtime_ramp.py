"""DowntimeRamp: copy while the guest runs, and let the last step take longer once the copy gets on no further.

KubeVirt's stall detector does it (alpha in 1.9, contract §5.4): it raises the hypervisor's downtime limit once, at a round that
is as small as rounds get, and the hypervisor stops the guest when all that is pending goes over within that. No suspension that
somebody would have to end; but nothing could end it either, so the limit is half of what the plan permits. Listed in
`ladder.LADDER`.
"""

from functools import partial

from whimbrel.api.ladder import Disruption, LadderStep, Permission, Rung
from whimbrel.forecast import Ramp, Terms, unattended_downtime_ms
from whimbrel.forecast.pre_copy import SWITCH_OVER_WITHIN_S
from whimbrel.inventory.projections.kubevirt import STALL_WINDOW_S
from whimbrel.ladder.configuration import configuration
from whimbrel.ladder.deadlines import healthy_s, offered, on_grid, on_grid_below
from whimbrel.ladder.rung import Load, Offer, Withheld

RUNG = Rung.DOWNTIME_RAMP

SHORTEST_WINDOW_S, LONGEST_WINDOW_S = 10, STALL_WINDOW_S
"""The longest is KubeVirt's own; a guest that is copied in a second shows sooner that its rounds do not shrink any more."""
ROUNDS_IN_WINDOW = 3
"""Passes over memory, the longest that a round can be."""


def offer(load: Load, step: LadderStep, disruption: Disruption) -> Offer | Withheld | None:
    """Permitted by `disruption.stun`; withheld where KubeVirt has no stall detector that is switched on."""
    if disruption.stun != Permission.ALLOWED or disruption.max_downtime_ms is None:
        return None
    if not load.stall_detection:
        return Withheld(
            RUNG,
            "It needs KubeVirt 1.9 with its alpha feature gate MigrationStallDetection; where the ladder has Stun, that stands "
            "in for it.",
        )
    if load.passes_devices_through:
        return Withheld(
            RUNG,
            "The guest has VFIO devices: what they have still to send is not counted, so the last step could be longer.",
        )
    limit_ms = on_grid_below(most_last_step_ms(disruption.max_downtime_ms))
    window_s = min(LONGEST_WINDOW_S, max(SHORTEST_WINDOW_S, on_grid(ROUNDS_IN_WINDOW * load.pass_s())))
    terms = Terms(ramp=Ramp(limit_ms / 1000, window_s))
    memory_s = healthy_s(load, terms) + window_s + SWITCH_OVER_WITHIN_S
    configure = partial(configuration, load, max_downtime_ms=limit_ms, stall_window_s=window_s)
    found = offered(RUNG, load, step, memory_s, terms, configure)
    return (
        found
        if isinstance(found, Withheld)
        else found.within(disruption.max_downtime_ms, unattended_downtime_ms(terms))
    )


def most_last_step_ms(budget_ms: int) -> int:
    """The longest last step of a plan that accepts a pause of so many milliseconds: half of it, for nothing can end it."""
    return budget_ms // 2
