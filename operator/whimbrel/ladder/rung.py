"""What every rung of the ladder answers: may it be tried, and how is KubeVirt configured for it.

A rung is a module with `RUNG` and `offer(load, disruption)`, which answers an Offer, a Withheld, or None where the plan
does not permit it; `ladder.LADDER` lists them from gentle to hard.
"""

from dataclasses import dataclass

from whimbrel.api.virtual_machine_move import KubeVirtConfiguration, Rung


@dataclass(frozen=True, slots=True)
class Load:
    """What is to be moved, and how fast it may be."""

    memory_bytes: int
    rate_bytes_per_second: int
    local_disk_bytes: int | None = 0
    """Local disks that are copied too and count in KubeVirt's time budget; None: of unknown size."""
    stall_detection: bool = False
    """Whether KubeVirt's alpha stall detection is on: it stops guests when it likes, not at the deadline."""
    workload_disruption: bool = True
    """Whether this KubeVirt can suspend a guest for the rest of the copy."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A rung that the plan permits for this load, completely configured."""

    rung: Rung
    configuration: KubeVirtConfiguration
    deadline_seconds: int
    """KubeVirt's completion deadline under this configuration."""
    budget_ms: int | None = None
    """Longest suspension that is accepted; None where the guest is never suspended."""
    unattended_downtime_ms: int | None = None
    """Longest suspension if no operator is alive."""


@dataclass(frozen=True, slots=True)
class Withheld:
    """A rung that the plan permits and that is not offered for this load, with the reason in a sentence."""

    rung: Rung
    reason: str
