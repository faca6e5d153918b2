"""Nothing starts while KubeVirt is absent, unhealthy or rolling out: a restarted virt-handler breaks migrations."""

from whimbrel.inventory.ledger import Ledger
from whimbrel.schedule.candidate import Candidate, Circumstances, Wait


def blocks(_candidate: Candidate, _ledger: Ledger, circumstances: Circumstances) -> Wait | None:
    """Waits for whatever preflight says of the platform."""
    first = circumstances.against_platform
    if first is None:
        return None
    return Wait(first.code, f"{first.field}: found {first.found}, needed {first.needed}. {first.cure()}")
