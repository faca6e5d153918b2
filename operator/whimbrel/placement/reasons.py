"""Why a virtual machine that could go somewhere by itself has no place beside the others."""

from whimbrel.preflight import PreflightReason, PreflightUnknown, where


class PlacementConflict(PreflightReason):
    """Some virtual machines and rules cannot be had together, and none of them could be left out of the conflict."""

    evidence = where.PLAN
    remedy = (
        "Change any one thing that the plan's status.quote.conflicts names for it: a virtual machine less, a rule less, or "
        "more room. Each by itself resolves the conflict."
    )


class NoWayThere(PreflightReason):
    """It has a place, and no order of moves leads there, by way of another host neither."""

    evidence = where.PLAN
    remedy = "Free room on its target or on a third host for the time in between: {found}."


class PlacementUndecided(PreflightUnknown):
    """The search found neither a place beside the others nor a proof that there is none."""

    evidence = where.PLAN
    blocks = True
    remedy = (
        "Plan fewer virtual machines at once, or give them more possible targets; it is tried again at each outlook."
    )


REASONS = (PlacementConflict, NoWayThere, PlacementUndecided)


def conflicting(words: str) -> PlacementConflict:
    """A conflict, in words, as a reason of each of its guests."""
    return PlacementConflict(field="spec.target", found=words, needed="a place for each of them")


def no_way(words: str) -> NoWayThere:
    """The reason of a guest that is stuck, with what it is stuck behind."""
    return NoWayThere(field="spec.target", found=words, needed="an order of moves that is possible at every step")


def undecided() -> PlacementUndecided:
    """The reason of a guest that nothing was found out about."""
    return PlacementUndecided(field="spec.target", found="no place in the steps allowed", needed="a place")
