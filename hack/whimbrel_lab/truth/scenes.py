"""Migrations at random: guests from calm to hopeless, on links of several speeds. The same seed is the same scene.

Half of the seeds are held out: no constant of a forecast is ever fitted to them. Pure.
"""

import random
from dataclasses import dataclass, replace
from enum import StrEnum

from whimbrel.domain.quantities import MIB
from whimbrel_lab.hypervisor import GuestSpec
from whimbrel_lab.hypervisor.guest.image import RESERVED_BYTES

MEMORY_MIB = (64, 96, 128, 192, 256)
CAPS_MIB = (16, 24, 32, 48, 64)
OWN_BYTES = int(1.6 * MIB)
"""BIOS, program, stack and ACPI tables, as sent of idle guests; of what the image reserves for them the rest is zero."""
USUAL_DOWNTIME_MS = 300
"""QEMU's own limit, which KubeVirt leaves as it is unless its stall detection is told another."""
DOWNTIMES_MS = (100, USUAL_DOWNTIME_MS, USUAL_DOWNTIME_MS, 600, 1200)
LONGEST_PASS_S = 5
"""A hundred scenes are to be played within half an hour."""
SETTLE_S = 2.5
"""A guest's age when its migration begins: filled, and sampled once."""


class Split(StrEnum):
    """What a scene may be used for."""

    FIT = "fit"
    HELD_OUT = "held out"


class Means(StrEnum):
    """How the migration is to end."""

    PRE_COPY = "pre-copy"
    AUTO_CONVERGE = "auto-converge"
    STUN = "stun"


@dataclass(frozen=True, slots=True)
class Scene:
    """One migration to be. Rates are of distinct bytes rewritten, cyclically, within the working set."""

    seed: int
    memory_bytes: int
    touched_bytes: int
    working_set_bytes: int
    dirty_bytes_per_second: int
    cap_bytes_per_second: int
    means: Means
    allowed_downtime_ms: int = USUAL_DOWNTIME_MS
    """At which the hypervisor stops the guest by itself."""
    later_dirty_bytes_per_second: int | None = None
    """What it rewrites from the middle of the migration on; None: it goes on as it is."""
    changes_after_s: float = 0.0
    """Of the guest's life."""

    @property
    def split(self) -> Split:
        """By seed, so that no later choice moves a scene from one to the other."""
        return Split.FIT if self.seed % 2 == 0 else Split.HELD_OUT

    @property
    def pass_s(self) -> float:
        """One pass over what is touched, at the cap."""
        return self.touched_bytes / self.cap_bytes_per_second

    @property
    def allowed_downtime_s(self) -> float:
        """The same limit in seconds."""
        return self.allowed_downtime_ms / 1000

    @property
    def in_use_bytes(self) -> int:
        """What is not zero, as a guest agent or the domain would tell: its own program and BIOS are in use too."""
        return self.touched_bytes + OWN_BYTES

    @property
    def ratio(self) -> float:
        """Dirty rate over bandwidth: pre-copy converges below one."""
        return self.dirty_bytes_per_second / self.cap_bytes_per_second

    def guest(self) -> GuestSpec:
        """The guest that the lab starts."""
        return GuestSpec(
            f"truth-{self.seed}",
            self.memory_bytes,
            self.touched_bytes,
            self.working_set_bytes,
            self.dirty_bytes_per_second,
            self.later_dirty_bytes_per_second,
            self.changes_after_s,
        )


def again(first: Scene) -> Scene:
    """The next move of the same guest: plain pre-copy at a cap drawn anew; the guest goes on as it was when the first ended."""
    fast_enough = [cap * MIB for cap in CAPS_MIB if first.touched_bytes <= LONGEST_PASS_S * cap * MIB]
    return replace(
        first,
        means=Means.PRE_COPY,
        cap_bytes_per_second=random.Random(f"again {first.seed}").choice(fast_enough),
        dirty_bytes_per_second=first.later_dirty_bytes_per_second or first.dirty_bytes_per_second,
        later_dirty_bytes_per_second=None,
        changes_after_s=0.0,
    )


def scene(seed: int) -> Scene:
    """The scene of a seed."""
    dice = random.Random(seed)
    memory = dice.choice(MEMORY_MIB) * MIB
    cap = dice.choice(CAPS_MIB) * MIB
    touched = min(int((memory - RESERVED_BYTES) * dice.uniform(0.25, 0.95)), LONGEST_PASS_S * cap) // MIB * MIB
    working_set = max(MIB, int(touched * dice.choice((0.02, 0.1, 0.3, 0.6, 0.9))) // MIB * MIB)
    ratio = dice.choice((0.0, 0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 1.05, 1.2, 1.5, 2.0, 3.0)) * dice.uniform(0.95, 1.05)
    dirty = int(cap * ratio)
    means = dice.choice((Means.PRE_COPY, Means.PRE_COPY, Means.PRE_COPY, Means.AUTO_CONVERGE, Means.STUN))
    if ratio < 1 and means is not Means.PRE_COPY:
        means = Means.PRE_COPY
    later, at = None, 0.0
    if dice.random() < 0.2 and touched / cap > 2:
        later, at = int(cap * dice.choice((0.05, 0.4, 0.8, 1.3))), SETTLE_S + touched / cap * dice.uniform(0.3, 0.9)
    downtime = random.Random(f"downtime {seed}").choice(DOWNTIMES_MS)
    return Scene(seed, memory, touched, working_set, dirty, cap, means, downtime, later, at)
