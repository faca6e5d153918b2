"""Permissions: may the operator do to this virtual machine what a migration takes?

What the API server says of the operator's own account; it holds for every virtual machine, and nothing starts meanwhile. A
right that a write needs in the middle of a move – the abort of a migration – must be there before the move begins. Called
through `preflight.FAMILIES`. Kinds that may not be *read* are no matter of this file: without them nothing is decided.
"""

from collections.abc import Iterator

from whimbrel.api.text import listed
from whimbrel.preflight.family import Candidate, PreflightReason

OF_THE_PLAN = False

MOST_NAMED = 8


class OperatorLacksPermission(PreflightReason):
    """The API server does not permit the operator something that a migration takes, so none is begun."""

    transient = True
    evidence = (
        "kubectl auth can-i VERB RESOURCE -A --as=system:serviceaccount:NAMESPACE:whimbrel; /readyz of the operator"
    )
    remedy = "Apply the ClusterRole of Whimbrel's chart and its binding: it must be allowed to {needed}."


REASONS = (OperatorLacksPermission,)


def demand(candidate: Candidate) -> tuple[str, ...]:
    """What is not permitted; the same for all guests."""
    return candidate.snapshot.denied


def judge(demand: tuple[str, ...]) -> Iterator[PreflightReason]:
    """One reason for all that is missing: it is mended in one place."""
    if demand:
        needed = listed(demand, MOST_NAMED)
        yield OperatorLacksPermission(field="ClusterRole", found="not permitted", needed=needed)
