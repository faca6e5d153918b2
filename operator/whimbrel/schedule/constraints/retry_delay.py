"""A failed attempt is repeated after a delay that doubles; one that only did not converge climbs at once."""

from datetime import timedelta

from whimbrel.inventory.ledger import Ledger
from whimbrel.ladder import CLIMBS
from whimbrel.schedule.candidate import Candidate, Circumstances, Wait

FIRST_DELAY_S = 5


def blocks(candidate: Candidate, _ledger: Ledger, circumstances: Circumstances) -> Wait | None:
    """Waits 5, 10, 20 … seconds from the end of the last attempt."""
    history = candidate.move.move.status.history
    if not history or history[-1].reason in CLIMBS or history[-1].ended_at is None:
        return None
    until = history[-1].ended_at + timedelta(seconds=FIRST_DELAY_S * 2 ** (len(history) - 1))
    if until <= circumstances.now:
        return None
    return Wait(
        "RetryDelay", f"Attempt {history[-1].number} failed ({history[-1].reason}); the next follows shortly.", until
    )
