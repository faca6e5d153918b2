"""What a plan's quote says of machines that another plan has: before anything moves, not only when their turn comes.

Called by `review`; that such a move waits is held by `constraints.claims`.
"""

from collections.abc import Iterable
from dataclasses import replace

from whimbrel.domain.records import Plan
from whimbrel.schedule.outlook import Line
from whimbrel.schedule.reasons import claimed_by, plan_as_known
from whimbrel.schedule.survey import Survey


def told_of_claims(lines: Iterable[Line], plan: Plan, survey: Survey) -> tuple[Line, ...]:
    """The lines of a plan; each that another plan has says which. It blocks nothing: its turn comes when that one is done."""
    names = {each.uid: plan_as_known(str(each.key), plan.key.namespace) for each in survey.plans}
    return tuple(
        line
        if (owner := survey.claims.get(line.instance.uid, plan.uid)) == plan.uid
        else _claimed(line, names.get(owner, "a plan that is gone"))
        for line in lines
    )


def _claimed(line: Line, owner: str) -> Line:
    reason = claimed_by(owner)
    if line.target is not None:
        return replace(line, notes=(reason, *line.notes))
    return line if line.settled else replace(line, reasons=(*line.reasons, reason))
