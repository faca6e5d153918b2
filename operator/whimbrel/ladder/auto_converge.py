"""AutoConverge: copy while the guest runs, and slow its processors down as long as it writes faster than is copied.

The hypervisor throttles by 20 %, then 10 % more each time, up to 99 % (performance reference B1.2, 6): the guest feels it
until it has moved. As SDPS of vSphere does without asking, so it needs consent here. Listed in `ladder.LADDER`.
"""

from whimbrel.api.ladder import Disruption, LadderStep, Permission, Rung
from whimbrel.api.virtual_machine_move import KubeVirtConfiguration
from whimbrel.forecast import Terms
from whimbrel.ladder.deadlines import copy_budget, most_wire_bytes, too_short, units_of
from whimbrel.ladder.rung import Load, Offer, Withheld

RUNG = Rung.AUTO_CONVERGE


def offer(load: Load, step: LadderStep, disruption: Disruption) -> Offer | Withheld | None:
    """Permitted by `disruption.throttle`."""
    if disruption.throttle != Permission.ALLOWED:
        return None
    per_gib = copy_budget(load, step, may_throttle=True)
    if per_gib is None:
        return Withheld(RUNG, too_short(load, step))
    deadline_s = per_gib * units_of(load)
    return Offer(
        rung=RUNG,
        configuration=KubeVirtConfiguration(
            bandwidth_bytes_per_second=load.rate_bytes_per_second,
            completion_timeout_per_gib=per_gib,
            allow_auto_converge=True,
        ),
        deadline_seconds=deadline_s,
        terms=Terms(deadline_s, may_throttle=True),
        most_wire_bytes=most_wire_bytes(step),
        most_attempts=step.max_attempts,
    )
