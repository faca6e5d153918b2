"""What plans have yet to bring to their targets: room that nobody takes yet and that is not free either.

Only of plans whose gate was open when last seen. Called by `engine` and `following`.
"""

from collections.abc import Iterator
from functools import cached_property

from whimbrel.api.migration_plan import PlanPhase
from whimbrel.api.virtual_machine_move import AttemptSpec, MovePhase
from whimbrel.domain.records import Instance, Plan
from whimbrel.inventory.ledger import Ledger
from whimbrel.placement import planned
from whimbrel.schedule.docket import permitted
from whimbrel.schedule.survey import Survey, still_chooses


def coming(plan: Plan, survey: Survey) -> Iterator[tuple[Instance, AttemptSpec]]:
    """Virtual machines that the plan may move and whose migration is not there, each with its stored specification."""
    if plan.plan is None or not still_chooses(plan):
        return
    if not permitted(plan, plan.plan.spec) or plan.status.phase == PlanPhase.BLOCKED:
        return
    for move in survey.moves_of(plan):
        evidence = survey.evidence[move.key]
        waits = survey.phases[move.key] is MovePhase.WAITING and survey.claims.get(move.instance_uid) == plan.uid
        if waits and evidence.same_guest and evidence.instance is not None and evidence.attempt is not None:
            yield evidence.instance, evidence.attempt


class Ahead:
    """What one tick knows of the time when all that waits has arrived; holds next attempts as they are specified."""

    def __init__(self, survey: Survey) -> None:
        """Counts nothing before somebody asks."""
        self._survey = survey
        self.specified: list[tuple[Instance, str]] = []
        """Who goes on to which target by a specification of this very tick."""

    @cached_property
    def ledger(self) -> Ledger:
        """Everybody at the target that is written down for it, and gone from its source."""
        found = [each for plan in self._survey.plans for each in coming(plan, self._survey)]
        targets = {instance.uid: attempt.target_node for instance, attempt in found}
        return planned([instance for instance, _ in found], targets, self._survey.ledger)

    def specify(self, instance: Instance, target: str) -> None:
        """Count a further attempt of this virtual machine."""
        self.specified.append((instance, target))
        self.ledger.reserve_arrival(instance, target)
        self.ledger.release_departures([instance])
