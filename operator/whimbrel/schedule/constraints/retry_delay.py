"""A failed attempt is repeated after a delay that doubles; one that only did not converge climbs at once."""

from datetime import timedelta

from whimbrel.api.virtual_machine_move import AttemptOutcome
from whimbrel.inventory.ledger import Ledger
from whimbrel.ladder import CLIMBS
from whimbrel.schedule.candidate import Candidate, Circumstances, Wait

FIRST_DELAY_S = 5


def blocks(candidate: Candidate, _ledger: Ledger, circumstances: Circumstances) -> Wait | None:
    """Waits 5, 10, 20 … seconds from the end of the last attempt."""
    history = candidate.move.move.status.history
    if not history:
        return None
    failures = sum(record.outcome is not AttemptOutcome.SUCCEEDED for record in history)
    last = history[-1]
    if last.outcome is AttemptOutcome.SUCCEEDED or last.reason in CLIMBS or last.ended_at is None:
        return None
    until = last.ended_at + timedelta(seconds=FIRST_DELAY_S * 2 ** (failures - 1))
    if until <= circumstances.now:
        return None
    return Wait("RetryDelay", f"Attempt {last.number} failed ({last.reason}); the next follows shortly.", until)
