"""Preflight once more, for this pair and this instant: facts may have changed since the quote."""

from whimbrel.inventory.ledger import Ledger
from whimbrel.preflight import recheck
from whimbrel.schedule.candidate import Candidate, Circumstances, Wait


def blocks(candidate: Candidate, ledger: Ledger, circumstances: Circumstances) -> Wait | None:
    """Waits while the instance cannot go to its target; a re-quote will choose another where there is one."""
    if candidate.instance.node != candidate.attempt.source_node:
        message = f"It runs on {candidate.instance.node}, was quoted from {candidate.attempt.source_node}."
        return Wait("SourceChanged", message)
    reasons = recheck(
        candidate.instance,
        candidate.attempt.target_node,
        plan_spec=candidate.spec,
        hosts=circumstances.hosts,
        ledger=ledger,
        snapshot=circumstances.snapshot,
        allowed_nodes=candidate.attempt.allowed_nodes,
    )
    if not reasons:
        return None
    first = reasons[0]
    return Wait(first.code, f"{first.field}: found {first.found}, needed {first.needed}. {first.cure()}".strip())
