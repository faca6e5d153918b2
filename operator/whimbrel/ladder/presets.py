"""The documented ladders, and the ladder of a plan: what it may try, from gentle to hard. Called by `ladder.choice`."""

from collections.abc import Mapping

from whimbrel.api.ladder import Disruption, LadderStep, Migration, Permission, Preset, Rung

DEFAULT_PRESET = Preset.BALANCED

PRESETS: Mapping[Preset, tuple[Rung, ...]] = {
    Preset.GENTLE: (Rung.PRE_COPY, Rung.AUTO_CONVERGE),
    Preset.BALANCED: (Rung.PRE_COPY, Rung.AUTO_CONVERGE, Rung.DOWNTIME_RAMP, Rung.STUN),
    Preset.ASSERTIVE: (Rung.PRE_COPY, Rung.AUTO_CONVERGE, Rung.DOWNTIME_RAMP, Rung.STUN, Rung.POST_COPY),
}
"""Each is the one before and more; what a rung does to guests is asked of `disruption` all the same."""


def steps(migration: Migration) -> tuple[LadderStep, ...]:
    """The plan's ladder, without rungs that its consent does not permit; empty where an owner's word leaves none of them."""
    wanted = migration.ladder or tuple(LadderStep(rung=rung) for rung in PRESETS[migration.preset or DEFAULT_PRESET])
    once = {step.rung: step for step in reversed(wanted)}
    return tuple(step for step in wanted if once[step.rung] is step and permits(migration.disruption, step.rung))


def permits(disruption: Disruption, rung: Rung) -> bool:
    """Whether consent covers a rung."""
    asked = {
        Rung.AUTO_CONVERGE: disruption.throttle,
        Rung.DOWNTIME_RAMP: disruption.stun,
        Rung.STUN: disruption.stun,
        Rung.POST_COPY: disruption.post_copy,
    }
    return asked.get(rung, Permission.ALLOWED) == Permission.ALLOWED
