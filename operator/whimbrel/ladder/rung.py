"""What every rung of the ladder answers: may it be tried, and how is KubeVirt configured for it.

A rung is a module with `RUNG` and `offer(load, step, disruption)`, which answers an Offer, a Withheld, or None where the
plan does not permit it; `ladder.LADDER` lists them.
"""

from dataclasses import dataclass
from functools import cached_property

from whimbrel.api.ladder import Rung
from whimbrel.api.virtual_machine_move import KubeVirtConfiguration
from whimbrel.forecast import POD_START_UP, Disks, Guest, Path, Spread, Terms

NEVER_MEASURED = Spread(1.04, 1.2)
"""How much longer than computed copies take on a path where none was measured: encryption and headers cost 4 %, and one in ten
takes a fifth longer. Assumed, until moves of this cluster have told."""


@dataclass(frozen=True)
class Load:
    """What is to be moved, how fast it may be, and what this KubeVirt can do. Bytes and bytes per second."""

    memory_bytes: int
    rate_bytes_per_second: int
    """What admission guarantees, within the plan's bounds."""
    local_disk_bytes: int | None = 0
    """Local disks that are copied too and count in KubeVirt's time budget; None: of unknown size."""
    stall_detection: bool = False
    """Whether KubeVirt's alpha stall detection is on: it stops guests when it likes, not at the deadline."""
    workload_disruption: bool = True
    """Whether this KubeVirt can suspend a guest for the rest of the copy."""
    passes_devices_through: bool = False
    """Whether the guest holds devices of its host (VFIO): KubeVirt neither suspends it nor switches to post-copy then."""
    known: Guest | None = None
    """What is known of the guest's memory; None: nothing but its size."""
    link_bytes_per_second: int = 0
    """What the links leave it when the plan's bound is lifted, as in the last step and in post-copy; 0: the rate."""
    slowdown: Spread = NEVER_MEASURED
    start_up: Spread = POD_START_UP

    @cached_property
    def guest(self) -> Guest:
        """What is known of the guest."""
        return self.known or Guest(float(max(1, self.memory_bytes)), missing=("nothing is told of its memory",))

    @cached_property
    def path(self) -> Path:
        """What carries it."""
        link = max(self.link_bytes_per_second, self.rate_bytes_per_second)
        return Path(float(link), float(self.rate_bytes_per_second), slowdown=self.slowdown)

    @cached_property
    def disks(self) -> Disks:
        """Local disks that are copied before memory."""
        return Disks(float(self.local_disk_bytes or 0), float(self.rate_bytes_per_second))


@dataclass(frozen=True, slots=True)
class Offer:
    """A rung that the plan permits for this load, completely configured."""

    rung: Rung
    configuration: KubeVirtConfiguration
    deadline_seconds: int
    """KubeVirt's completion deadline under this configuration."""
    terms: Terms
    """The same, as the forecast understands it."""
    budget_ms: int | None = None
    """Longest suspension that is accepted; None where the guest is never suspended."""
    attended_downtime_ms: int | None = None
    """Longest suspension while an operator is alive."""
    unattended_downtime_ms: int | None = None
    """Longest suspension if no operator is alive."""
    most_wire_bytes: int | None = None
    """Most bytes that an attempt may send; None: unlimited."""
    most_attempts: int | None = None
    """Most attempts on this rung; None: as many as the plan leaves."""


@dataclass(frozen=True, slots=True)
class Withheld:
    """A rung that the plan permits and that is not offered for this load, with the reason in a sentence."""

    rung: Rung
    reason: str
