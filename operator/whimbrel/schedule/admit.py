"""Which waiting moves may start now. Called by `engine` at every event."""

from collections.abc import Iterable
from operator import attrgetter
from typing import NamedTuple

from whimbrel.inventory.ledger import Ledger
from whimbrel.schedule.candidate import Candidate, Circumstances, Wait
from whimbrel.schedule.constraints import CONSTRAINTS


class Start(NamedTuple):
    """This move may start, or go on starting."""

    candidate: Candidate


class Held(NamedTuple):
    """This move waits, and why."""

    candidate: Candidate
    wait: Wait


def admit(candidates: Iterable[Candidate], ledger: Ledger, circumstances: Circumstances) -> list[Start | Held]:
    """Greedy on purpose: the quote did the searching, this only keeps the limits true at this instant.

    Moves that have begun to start come first, because they hold their slots; then in the order of their plans, the
    biggest first. The ledger is the caller's own copy and holds every admitted move afterwards.
    """
    verdicts: list[Start | Held] = []
    for candidate in sorted(candidates, key=attrgetter("turn")):
        wait = _first_blocker(candidate, ledger, circumstances)
        if wait is not None:
            verdicts.append(Held(candidate, wait))
        else:
            attempt = candidate.attempt
            ledger.reserve(candidate.instance, candidate.instance.node, attempt.target_node, attempt.landing_nodes)
            ledger.reserve_policy(attempt.policy_name)
            verdicts.append(Start(candidate))
    return verdicts


def _first_blocker(candidate: Candidate, ledger: Ledger, circumstances: Circumstances) -> Wait | None:
    for blocks in CONSTRAINTS:
        if (wait := blocks(candidate, ledger, circumstances)) is not None:
            return wait
    return None
