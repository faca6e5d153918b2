"""The ladder: one file per rung, from gentle to hard, and the choice of the rung for an attempt."""

from whimbrel.api.ladder import MIN_DOWNTIME_MS, Compression, LadderStep, Migration, Rung
from whimbrel.domain.naming import ANNOTATION_BUDGET_MS
from whimbrel.ladder import auto_converge, downtime_ramp, give_up, post_copy, pre_copy, stun
from whimbrel.ladder.choice import CLIMBS, Choice, Ladder, choose
from whimbrel.ladder.compression import compressed, obstacle
from whimbrel.ladder.consent import permitted_by_owner
from whimbrel.ladder.presets import DEFAULT_PRESET, PRESETS, steps
from whimbrel.ladder.rung import Load, Offer, Withheld

LADDER = (pre_copy, auto_converge, downtime_ramp, stun, post_copy, give_up)

_BY_RUNG = {module.RUNG: module for module in LADDER}


def ladder_of(load: Load, migration: Migration) -> Ladder:
    """What plan and owner permit and this KubeVirt can do for a load, in the plan's order, completely configured."""
    permitted = permitted_by_owner(migration, load.owner_limit_ms)
    wanted = steps(permitted)
    answers = [_BY_RUNG[step.rung].offer(load, step, permitted.disruption) for step in wanted]
    offers = tuple(answer for answer in answers if isinstance(answer, Offer))
    held = [answer for answer in answers if isinstance(answer, Withheld)]
    return Ladder(
        offers=offers,
        withheld=(*held, *_kept_by_owner(migration, wanted), *_not_compressed(load, migration, offers)),
        gives_up=any(step.rung is Rung.GIVE_UP for step in wanted),
        order=tuple(step.rung for step in wanted),
    )


def _kept_by_owner(migration: Migration, wanted: tuple[LadderStep, ...]) -> tuple[Withheld, ...]:
    """Rungs that the plan permits and the guest's owner does not."""
    why = (
        f"The owner's annotation {ANNOTATION_BUDGET_MS} permits no such pause: it is less than {MIN_DOWNTIME_MS}, or no whole "
        "number of milliseconds."
    )
    rungs = {step.rung for step in wanted}
    return tuple(Withheld(step.rung, why) for step in steps(migration) if step.rung not in rungs)


def _not_compressed(load: Load, migration: Migration, offers: tuple[Offer, ...]) -> tuple[Withheld, ...]:
    """On which rungs memory is copied as it is although the plan asks for compression, and why."""
    if migration.compression is not Compression.ZSTD or not offers:
        return ()
    if why := obstacle(load):
        return (Withheld(offers[0].rung, f"Memory is copied as it is: {why}."),)
    why = "KubeVirt compresses nothing where it may switch to post-copy"
    plain = (offer for offer in offers if offer.configuration.compression is None)
    return tuple(Withheld(offer.rung, f"Memory is copied as it is: {why}.") for offer in plain)


__all__ = [
    "CLIMBS",
    "DEFAULT_PRESET",
    "LADDER",
    "PRESETS",
    "Choice",
    "Ladder",
    "Load",
    "Offer",
    "Withheld",
    "choose",
    "compressed",
    "ladder_of",
    "steps",
]
