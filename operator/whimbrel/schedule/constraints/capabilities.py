"""Nothing starts of which this KubeVirt would drop a field without a word; the next outlook specifies it anew."""

from whimbrel.inventory.ledger import Ledger
from whimbrel.ladder.served import unserved
from whimbrel.schedule.candidate import UNKNOWN_CAPABILITIES, Candidate, Circumstances, Wait


def blocks(candidate: Candidate, _ledger: Ledger, circumstances: Circumstances) -> Wait | None:
    """Waits until KubeVirt's schemas were read, and for a specification that they can express."""
    served = circumstances.snapshot.capabilities
    if served is None:
        return UNKNOWN_CAPABILITIES
    lacking = unserved(candidate.attempt, served)
    if not lacking:
        return None
    return Wait("FieldNotServed", f"As specified it needs {', '.join(lacking)}, which this KubeVirt does not know.")
