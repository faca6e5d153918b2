"""A create that the API server did not accept is not repeated at once."""

from whimbrel.inventory.ledger import Ledger
from whimbrel.schedule.candidate import Candidate, Circumstances, Wait


def blocks(candidate: Candidate, _ledger: Ledger, circumstances: Circumstances) -> Wait | None:
    """Waits for the end of the refusal."""
    refusal = circumstances.refusals.get(candidate.migration_key)
    if refusal is None or refusal.until <= circumstances.now:
        return None
    return Wait("Refused", f"The API server did not accept the migration: {refusal.message}", refusal.until)
