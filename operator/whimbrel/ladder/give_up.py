"""GiveUp: the end of a ladder. Where the rung before it did not converge, no further attempt is begun.

Without it the last rung is tried again until the plan's attempts are spent: a busy guest may calm down. Listed in
`ladder.LADDER`.
"""

from whimbrel.api.ladder import Disruption, LadderStep, Rung
from whimbrel.ladder.rung import Load

RUNG = Rung.GIVE_UP


def offer(_load: Load, _step: LadderStep, _disruption: Disruption) -> None:
    """Begins nothing."""
    return
