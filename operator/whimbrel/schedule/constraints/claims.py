"""Two plans on one virtual machine: the older has it, the other waits."""

from whimbrel.inventory.ledger import Ledger
from whimbrel.schedule.candidate import Candidate, Circumstances, Wait
from whimbrel.schedule.reasons import ANOTHER_PLAN, plan_as_known


def blocks(candidate: Candidate, _ledger: Ledger, circumstances: Circumstances) -> Wait | None:
    """Waits while another plan has the instance."""
    owner = circumstances.claims.get(candidate.instance.uid)
    if owner is None or owner == candidate.plan_uid:
        return None
    name = plan_as_known(circumstances.plan_names.get(owner, owner), candidate.plan_key.namespace)
    subject = name.capitalize() if name == ANOTHER_PLAN else f"The older plan {name}"
    return Wait("ClaimedByPlan", f"{subject} has this virtual machine; it goes on when that plan is done.")
