"""The ladder: one file per rung, from gentle to hard, and the choice of the rung for an attempt."""

from whimbrel.api.migration_plan import Disruption
from whimbrel.api.virtual_machine_move import AttemptRecord, Rung
from whimbrel.ladder import pre_copy, stun
from whimbrel.ladder.rung import Load, Offer, Withheld

LADDER = (pre_copy, stun)

CLIMBS = frozenset({"NotConverged"})
"""Reasons of a failed attempt after which a stronger rung may help; after any other the same rung is tried again."""


def offers(load: Load, disruption: Disruption) -> tuple[Offer, ...]:
    """All rungs that the plan permits for this load, from gentle to hard; never empty."""
    answers = (rung.offer(load, disruption) for rung in LADDER)
    return tuple(answer for answer in answers if isinstance(answer, Offer))


def withheld(load: Load, disruption: Disruption) -> tuple[Withheld, ...]:
    """Rungs that the plan permits and that are not offered for this load, with the reasons."""
    answers = (rung.offer(load, disruption) for rung in LADDER)
    return tuple(answer for answer in answers if isinstance(answer, Withheld))


def next_offer(available: tuple[Offer, ...], history: tuple[AttemptRecord, ...]) -> Offer:
    """The rung for the next attempt: the gentlest at first, one higher after each attempt that did not converge."""
    order = [offer.rung for offer in available]
    if not history:
        return available[0]
    last = history[-1]
    at = order.index(last.rung) if last.rung in order else 0
    if last.reason in CLIMBS:
        at = min(at + 1, len(order) - 1)
    return available[at]


__all__ = ["CLIMBS", "LADDER", "Load", "Offer", "Rung", "Withheld", "next_offer", "offers", "withheld"]
