"""Conditions in the shape of `metav1.Condition`: the transition time changes only with the status."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from whimbrel.api.scalars import Condition, ConditionStatus


@dataclass(frozen=True, slots=True)
class Claim:
    """What a condition shall say."""

    type: str
    status: bool | None
    reason: str
    message: str = ""


def conditions(
    stored: Iterable[Condition], claims: Iterable[Claim], generation: int, now: datetime
) -> tuple[Condition, ...]:
    """The conditions for these claims, sorted by type; transition times carried over where the status is unchanged."""
    before = {condition.type: condition for condition in stored}
    result = []
    for claim in sorted(claims, key=lambda c: c.type):
        status = {True: ConditionStatus.TRUE, False: ConditionStatus.FALSE, None: ConditionStatus.UNKNOWN}[claim.status]
        old = before.get(claim.type)
        since = old.last_transition_time if old is not None and old.status == status else now.replace(microsecond=0)
        result.append(
            Condition(
                type=claim.type,
                status=status,
                observed_generation=generation,
                last_transition_time=since,
                reason=claim.reason,
                message=claim.message[:4096],
            )
        )
    return tuple(result)
