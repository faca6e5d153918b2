"""PreCopy: copy memory while the guest runs, within a time budget. Disturbs nothing and needs no consent.

At the deadline KubeVirt aborts and the guest goes on at the source. Listed in `ladder.LADDER`.
"""

from functools import partial

from whimbrel.api.ladder import Disruption, LadderStep, Rung
from whimbrel.forecast import Terms
from whimbrel.ladder.configuration import configuration
from whimbrel.ladder.deadlines import healthy_s, offered
from whimbrel.ladder.rung import Load, Offer, Withheld

RUNG = Rung.PRE_COPY


def offer(load: Load, step: LadderStep, _disruption: Disruption) -> Offer | Withheld:
    """Always permitted: pre-copy never disturbs the guest."""
    return offered(RUNG, load, step, healthy_s(load, Terms()), Terms(), partial(configuration, load))
