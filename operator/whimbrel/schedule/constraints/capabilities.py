"""Nothing starts of which this KubeVirt would drop a field without a word; the next outlook specifies it anew."""

from whimbrel.inventory.ledger import Ledger
from whimbrel.schedule.candidate import UNKNOWN_CAPABILITIES, Candidate, Circumstances, Wait


def blocks(candidate: Candidate, _ledger: Ledger, _circumstances: Circumstances) -> Wait | None:
    """Waits until KubeVirt's schemas were read, and for a specification that they can express."""
    if candidate.lacking is None:
        return UNKNOWN_CAPABILITIES
    if not candidate.lacking:
        return None
    lacking = ", ".join(candidate.lacking)
    return Wait("FieldNotServed", f"As specified it needs {lacking}, which this KubeVirt does not know.")
