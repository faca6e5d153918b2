"""Where a target has not room for all that are to come, they come in the order that the outlook found.

Out of order, one that arrives early could take the room that another needs to make way for it.
"""

from collections.abc import Iterable

from whimbrel.inventory.ledger import Ledger, PodDemand
from whimbrel.schedule.candidate import Candidate, Circumstances, Wait


def blocks(candidate: Candidate, _ledger: Ledger, circumstances: Circumstances) -> Wait | None:
    """Waits until an outlook says that nobody has to come before it."""
    target = candidate.attempt.target_node
    if candidate.begun or candidate.in_turn or target not in circumstances.crowded:
        return None
    return Wait("WaitsForItsTurn", f"{target} has not room for all that are to come before others have left it.")


def crowded(candidates: Iterable[Candidate], ledger: Ledger) -> frozenset[str]:
    """Targets that have not room now for everything that is to come; the ledger holds none of it yet."""
    coming: dict[str, list[PodDemand]] = {}
    for candidate in candidates:
        coming.setdefault(candidate.attempt.target_node, []).append(ledger.demand(candidate.instance))
    return frozenset(
        node
        for node, demands in coming.items()
        if ledger.free_memory_bytes(node) < sum(demand.memory_bytes for demand in demands)
        or ledger.free_cpu_millicores(node) < sum(demand.cpu_millicores for demand in demands)
        or ledger.free_pods(node) < len(demands)
    )
