"""What can hold a move back, one file each: `blocks(candidate, ledger, circumstances) -> Wait | None`.

The first that blocks is the reason that people read. Slots come before fitness, which costs most: a tick looks closely
only at as many moves as there are free slots.
"""

from collections.abc import Callable

from whimbrel.inventory.ledger import Ledger
from whimbrel.schedule.candidate import Candidate, Circumstances, Wait
from whimbrel.schedule.constraints import (
    capabilities,
    claims,
    consent,
    fitness,
    foreign_migration,
    guest_left_paused,
    host_slots,
    kubevirt_health,
    kubevirt_slots,
    policies,
    refusals,
    retry_delay,
    turn,
)

CONSTRAINTS: tuple[Callable[[Candidate, Ledger, Circumstances], Wait | None], ...] = (
    consent.blocks,
    claims.blocks,
    kubevirt_health.blocks,
    capabilities.blocks,
    foreign_migration.blocks,
    guest_left_paused.blocks,
    refusals.blocks,
    retry_delay.blocks,
    turn.blocks,
    kubevirt_slots.blocks,
    host_slots.blocks,
    policies.blocks,
    fitness.blocks,
)
