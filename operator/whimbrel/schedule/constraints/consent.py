"""Nothing starts that the plan, as it stands now, does not permit; the next outlook specifies it anew."""

from whimbrel.inventory.ledger import Ledger
from whimbrel.schedule.candidate import Candidate, Circumstances, Wait


def blocks(candidate: Candidate, _ledger: Ledger, _circumstances: Circumstances) -> Wait | None:
    """Waits for a specification within the plan's bounds."""
    if not candidate.beyond:
        return None
    beyond = ", ".join(candidate.beyond)
    return Wait("NotPermitted", f"As specified it could {beyond}; the plan does not permit it any more.")
