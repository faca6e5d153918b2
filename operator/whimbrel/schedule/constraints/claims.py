"""Two plans on one virtual machine: the older has it, the other waits."""

from whimbrel.inventory.ledger import Ledger
from whimbrel.schedule.candidate import Candidate, Circumstances, Wait


def blocks(candidate: Candidate, _ledger: Ledger, circumstances: Circumstances) -> Wait | None:
    """Waits while another plan has the instance."""
    owner = circumstances.claims.get(candidate.instance.uid)
    if owner is None or owner == candidate.plan_uid:
        return None
    name = circumstances.plan_names.get(owner, owner)
    return Wait("ClaimedByPlan", f"The older plan {name} has this virtual machine; it goes on when that plan is done.")
