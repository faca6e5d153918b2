"""The bound on our MigrationPolicies: KubeVirt looks through all of the cluster's at every hand-off, and people read them."""

from whimbrel.inventory.ledger import Ledger
from whimbrel.ladder.policy import MOST_POLICIES
from whimbrel.schedule.candidate import Candidate, Circumstances, Wait

_FULL = Wait(
    "PolicyLimit",
    f"There are {MOST_POLICIES} MigrationPolicies of Whimbrel's, all in use, and it needs another one.",
)


def blocks(candidate: Candidate, ledger: Ledger, _circumstances: Circumstances) -> Wait | None:
    """Waits where it needs a policy that is not there, and as many are there as may be. At the bound those that nothing under
    way needs are swept (`schedule.sweeping`), so that it waits for moves that will end.
    """
    name = candidate.attempt.policy_name
    return _FULL if name and name not in ledger.policies and len(ledger.policies) >= MOST_POLICIES else None
