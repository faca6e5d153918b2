"""The ladder: one file per rung, from gentle to hard, and the choice of the rung for an attempt."""

from whimbrel.api.ladder import Compression, Migration, Rung
from whimbrel.ladder import auto_converge, downtime_ramp, give_up, post_copy, pre_copy, stun
from whimbrel.ladder.choice import CLIMBS, Choice, Ladder, choose
from whimbrel.ladder.compression import compressed, obstacle
from whimbrel.ladder.presets import DEFAULT_PRESET, PRESETS, steps
from whimbrel.ladder.rung import Load, Offer, Withheld

LADDER = (pre_copy, auto_converge, downtime_ramp, stun, post_copy, give_up)

_BY_RUNG = {module.RUNG: module for module in LADDER}


def ladder_of(load: Load, migration: Migration) -> Ladder:
    """What the plan permits and this KubeVirt can do for a load, in the plan's order, completely configured."""
    wanted = steps(migration)
    answers = [_BY_RUNG[step.rung].offer(load, step, migration.disruption) for step in wanted]
    plain = _not_compressed(load, migration, wanted[0].rung)
    return Ladder(
        offers=tuple(answer for answer in answers if isinstance(answer, Offer)),
        withheld=tuple(answer for answer in (*answers, *plain) if isinstance(answer, Withheld)),
        gives_up=any(step.rung is Rung.GIVE_UP for step in wanted),
        order=tuple(step.rung for step in wanted),
    )


def _not_compressed(load: Load, migration: Migration, rung: Rung) -> tuple[Withheld, ...]:
    """That memory is copied as it is although the plan asks for compression, and why."""
    why = obstacle(load) if migration.compression is Compression.ZSTD else ""
    return (Withheld(rung, f"Memory is copied as it is: {why}."),) if why else ()


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
