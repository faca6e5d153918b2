"""PreCopy: copy memory while the guest runs, within a time budget. Disturbs nothing and needs no consent.

At the deadline KubeVirt aborts and the guest goes on at the source. Listed in `ladder.LADDER`.
"""

from whimbrel.api.ladder import Disruption, LadderStep, Rung
from whimbrel.api.virtual_machine_move import KubeVirtConfiguration
from whimbrel.forecast import Terms
from whimbrel.ladder.deadlines import copy_budget, most_wire_bytes, too_short, units_of
from whimbrel.ladder.rung import Load, Offer, Withheld

RUNG = Rung.PRE_COPY


def offer(load: Load, step: LadderStep, _disruption: Disruption) -> Offer | Withheld:
    """Always permitted: pre-copy never disturbs the guest."""
    per_gib = copy_budget(load, step, may_throttle=False)
    if per_gib is None:
        return Withheld(RUNG, too_short(load, step))
    deadline_s = per_gib * units_of(load)
    return Offer(
        rung=RUNG,
        configuration=KubeVirtConfiguration(
            bandwidth_bytes_per_second=load.rate_bytes_per_second, completion_timeout_per_gib=per_gib
        ),
        deadline_seconds=deadline_s,
        terms=Terms(deadline_s),
        most_wire_bytes=most_wire_bytes(step),
        most_attempts=step.max_attempts,
    )
