"""The status of a move: written where it changes, and closed where the move ends.

Used by `following`, `restating` and `review`.
"""

from collections.abc import Iterator
from datetime import datetime

from whimbrel.api.virtual_machine_move import MovePhase, VirtualMachineMoveStatus
from whimbrel.domain.conditions import Claim, conditions
from whimbrel.domain.decision import ReplaceStatus
from whimbrel.domain.records import Move
from whimbrel.lifecycle import writes


def changed(move: Move, status: VirtualMachineMoveStatus, why: str) -> Iterator[ReplaceStatus]:
    """The write of a move's status; none where it says so already."""
    write = writes.move_status(move, status, f"{move.instance_key}: {why}")
    if write is not None:
        yield write


def closed(
    move: Move, phase: MovePhase, reason: str, message: str, now: datetime, **also: object
) -> VirtualMachineMoveStatus:
    """The stored status of a move that has ended at `now`; `also`: further members that change with it."""
    stored = move.move.status
    claim = Claim("Finished", True, reason, message)
    update = {
        "phase": phase,
        "reason": reason,
        "message": message,
        "finished_at": now.replace(microsecond=0),
        "conditions": conditions(stored.conditions, [claim], move.generation, now),
    }
    return stored.model_copy(update=update | also)
