"""Where a target has not room for all that are to come, they come in the order that the outlook found.

Out of order, one that arrives early could take the room that another needs to make way for it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from whimbrel.domain.records import Instance, Key
from whimbrel.inventory.ledger import Ledger, PodDemand
from whimbrel.placement import names
from whimbrel.schedule.candidate import Candidate, Circumstances, Crowd, Wait

MOST_TOLD = 5


def blocks(candidate: Candidate, _ledger: Ledger, circumstances: Circumstances) -> Wait | None:
    """Waits until an outlook says that nobody has to come before it."""
    target = candidate.attempt.target_node
    crowd = circumstances.crowded.get(target)
    if candidate.begun or candidate.in_turn or crowd is None:
        return None
    message = f"{target} has not room for all that are to come."
    if crowd.leaving:
        have = "has" if len(crowd.leaving) == 1 else "have"
        message += f" First {_told(crowd.leaving, len(crowd.leaving), candidate)} {have} to leave it."
    elif others := len(crowd.coming) - 1:
        message += f" The next outlook says whether {_told(crowd.coming, others, candidate)} or this one comes first."
    return Wait("WaitsForItsTurn", message)


def _told(keys: Sequence[Key], count: int, candidate: Candidate) -> str:
    """So many, the first by name, without itself. Who reads a plan may know the names of its own namespace, of others only how
    many there are. It looks at a handful, because each of thousands asks.
    """
    first = [key for key in keys[: MOST_TOLD + 1] if key != candidate.instance.key][:MOST_TOLD]
    namespace = candidate.plan_key.namespace
    return names([str(key) if key.namespace == namespace else "" for key in first], count - len(first))


def crowded(candidates: Iterable[Candidate], ledger: Ledger) -> Mapping[str, Crowd]:
    """Targets that have not room now for everything that is to come; the ledger holds none of it yet."""
    coming: dict[str, list[Instance]] = {}
    leaving: dict[str, list[Key]] = {}
    for candidate in candidates:
        instance = candidate.instance
        coming.setdefault(candidate.attempt.target_node, []).append(instance)
        leaving.setdefault(instance.node, []).append(instance.key)
    return {
        node: Crowd(
            tuple(sorted({*leaving.get(node, ()), *ledger.departing(node)})),
            tuple(sorted(guest.key for guest in arrivals)),
        )
        for node, arrivals in coming.items()
        if _lacks_room(node, [ledger.demand(guest) for guest in arrivals], ledger)
        or _lacks_places(node, arrivals, ledger)
    }


def _lacks_room(node: str, demands: Sequence[PodDemand], ledger: Ledger) -> bool:
    others: Counter[str] = Counter()
    for demand in demands:
        for resource, amount in demand.others:
            others[resource] += amount
    return (
        ledger.free_memory_bytes(node) < sum(demand.memory_bytes for demand in demands)
        or ledger.free_cpu_millicores(node) < sum(demand.cpu_millicores for demand in demands)
        or ledger.free_pods(node) < sum(demand.pods for demand in demands)
        or any(ledger.free(node, resource) < amount for resource, amount in others.items())
    )


def _lacks_places(node: str, guests: Sequence[Instance], ledger: Ledger) -> bool:
    """Whether the node does not take the volumes of all of them."""
    attached = ledger.attached
    coming: dict[str, set[str]] = {}
    for guest in guests if attached.limited else ():
        for driver, volumes in attached.of_guest(guest, ledger.source_launcher(guest)):
            coming.setdefault(driver, set()).update(volumes)
    return any(
        (limit := attached.limits.get((node, driver))) is not None
        and attached.count(node, driver) + len(volumes - attached.used(node, driver)) > limit
        for driver, volumes in coming.items()
    )
