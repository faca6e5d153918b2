"""No guest is suspended while another was left paused: nobody knows whether the next one would run again."""

from whimbrel.inventory.ledger import Ledger
from whimbrel.schedule.candidate import Candidate, Circumstances, Wait


def blocks(candidate: Candidate, _ledger: Ledger, circumstances: Circumstances) -> Wait | None:
    """Waits, where the attempt could suspend its guest, until every guest was seen running again."""
    configuration = candidate.attempt.configuration
    if not configuration.allow_workload_disruption or configuration.allow_post_copy or not circumstances.left_paused:
        return None
    readable = [
        guest for guest in circumstances.left_paused if guest.instance.namespace == candidate.plan_key.namespace
    ]
    if not readable:
        return Wait(
            "GuestLeftPaused", "A guest of another namespace was left paused after a stun; no guest is suspended."
        )
    first = readable[0]
    return Wait("GuestLeftPaused", f"{first.instance} {first.found}; no guest is suspended meanwhile. {first.recovery}")
