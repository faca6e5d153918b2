"""The price of a refusal, tested: the refused guest is moved at the bandwidth named for it, and at 15 % less.

A guest that pre-copy is foretold not to move within the time is tried all the same at its cap, as an operator's first attempt
would; what that has shown is known when the price is asked for. Two prices are named: one that as likely as not does, one
that very likely does. The higher must do and 15 % less than the lower must not; how often 15 % less than the higher does not
tells how dear the higher is.
"""

import random
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from whimbrel.domain.quantities import MIB
from whimbrel.forecast import bandwidth_price, fits
from whimbrel_lab.hypervisor import MigrationOptions
from whimbrel_lab.hypervisor.guest.image import RESERVED_BYTES
from whimbrel_lab.hypervisor.libvirt import LibvirtHypervisor
from whimbrel_lab.truth.judging import AT_ONCE, known_of, points_seen
from whimbrel_lab.truth.learning import Learnt
from whimbrel_lab.truth.recording import lab
from whimbrel_lab.truth.scenes import USUAL_DOWNTIME_MS, Means, Scene
from whimbrel_lab.truth.trial import Trial, begun, watch

FIRST_SEED = 1000
"""The scenes of the forecast have those below."""
WITHIN_PASSES = 3
"""A move is refused that takes longer than so many passes over memory at its cap."""
CHEAPER = 0.85
MEMORY_MIB = (64, 96, 128)
CAPS_MIB = (16, 20, 24)
PASS_S = (1.5, 2.5)
"""Short, so that thirty refusals are tested within a quarter of an hour."""


@dataclass(frozen=True, slots=True)
class Bargain:
    """A refusal, its prices in bytes per second, and whether moves at them ended within the time; None: not tried."""

    attempt: Trial
    low_bytes_per_second: int
    high_bytes_per_second: int
    did_at_high: bool
    did_below_high: bool
    did_below_low: bool

    def document(self) -> dict[str, Any]:
        """For a recording."""
        return asdict(self)

    @classmethod
    def of(cls, document: dict[str, Any]) -> "Bargain":
        """From a recording."""
        return cls(**{**document, "attempt": Trial.of(document["attempt"])})


def hopeless(seed: int) -> Scene:
    """A guest that dirties more than goes over: large sets and small ones, from a fifth more than the cap to four times it."""
    dice = random.Random(seed)
    memory, cap = dice.choice(MEMORY_MIB) * MIB, dice.choice(CAPS_MIB) * MIB
    touched = min(int(cap * dice.uniform(*PASS_S)), memory - RESERVED_BYTES) // MIB * MIB
    least = int(1.3 * cap * USUAL_DOWNTIME_MS / 1000)
    working_set = int(dice.uniform(least, touched)) // MIB * MIB
    dirty = int(cap * 1.2 * (4 / 1.2) ** dice.random())
    return Scene(seed, memory, touched, working_set, dirty, cap, Means.PRE_COPY)


def within_s(scene: Scene) -> float:
    """How long a move of this guest may take."""
    return WITHIN_PASSES * scene.pass_s


async def bargains(refusals: int, learnt: Learnt) -> AsyncIterator[Bargain]:
    """So many refusals, one after the other, with what an operator has learnt of the hypervisor."""
    async with lab(1) as started:
        found, seed = 0, FIRST_SEED
        while found < refusals:
            bargain = await _bargain(started, hopeless(seed), learnt)
            seed += 1
            if bargain is not None:
                found += 1
                yield bargain


async def _bargain(started: LibvirtHypervisor, scene: Scene, learnt: Learnt) -> Bargain | None:
    """None where the move is not refused, or does what it was refused for."""
    here, there = "truth-0", "truth-1"
    await started.start_guest(here, scene.guest())
    try:
        sampled = await started.dirty_rate(here, scene.guest().name)
        attempt = await _move(started, scene, sampled, here, there, scene.cap_bytes_per_second)
        known, path, terms = known_of(attempt, learnt), learnt.path(scene), learnt.terms(scene)
        limit_s = within_s(scene)
        if not attempt.failure or fits(known, path, terms, start_up=AT_ONCE, within_s=limit_s):
            return None
        known = replace(known, points=(*known.points, *points_seen(attempt, known, learnt)))
        named = bandwidth_price(
            known,
            path,
            terms,
            start_up=AT_ONCE,
            within_s=limit_s,
            failed_at_bytes_per_second=scene.cap_bytes_per_second,
        )
        low, high = named.p50_bytes_per_second, named.p90_bytes_per_second
        if low is None or high is None:
            return None

        async def does(rate: float) -> bool:
            nonlocal here, there
            moved = await _move(started, scene, sampled, here, there, int(rate) // MIB * MIB)
            if not moved.failure:
                here, there = there, here
            return not moved.failure and moved.duration_s <= limit_s

        did_at_high, did_below_high = await does(high), await does(CHEAPER * high)
        # What 15 % less than the higher does not do, less does not either.
        did_below_low = did_below_high and await does(CHEAPER * low)
        return Bargain(attempt, low, high, did_at_high, did_below_high, did_below_low)
    finally:
        for host in (here, there):
            await started.stop_guest(host, scene.guest().name)


async def _move(
    started: LibvirtHypervisor, scene: Scene, sampled: int | None, source: str, target: str, rate: int
) -> Trial:
    job = await begun(started, scene, source, target, MigrationOptions(rate))
    return await watch(started, replace(scene, cap_bytes_per_second=rate), sampled, job, within_s(scene))
