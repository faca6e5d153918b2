"""AutoConverge: copy while the guest runs, and slow its processors down as long as it writes faster than is copied.

The hypervisor throttles by 20 %, then 10 % more each time, up to 99 % (performance reference B1.2, 6): the guest feels it
until it has moved. As SDPS of vSphere does without asking, so it needs consent here. Listed in `ladder.LADDER`.
"""

from functools import partial

from whimbrel.api.ladder import Disruption, LadderStep, Permission, Rung
from whimbrel.forecast import Terms
from whimbrel.ladder.configuration import configuration
from whimbrel.ladder.deadlines import healthy_s, offered
from whimbrel.ladder.rung import Load, Offer, Withheld

RUNG = Rung.AUTO_CONVERGE


def offer(load: Load, step: LadderStep, disruption: Disruption) -> Offer | Withheld | None:
    """Permitted by `disruption.throttle`."""
    if disruption.throttle != Permission.ALLOWED:
        return None
    terms = Terms(may_throttle=True)
    configure = partial(configuration, load, allow_auto_converge=True)
    return offered(RUNG, load, step, healthy_s(load, terms), terms, configure)
