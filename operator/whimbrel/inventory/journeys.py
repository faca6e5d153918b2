"""Journeys: between which nodes guests have been moved with success of late; the only proof that one node reaches the other.

Seen in finished moves of ours, and in what instances still show of their last migration, anybody's. What is older than
`RECENT` proves nothing: networks are rebuilt.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cached_property

from whimbrel.api.virtual_machine_move import MovePhase
from whimbrel.inventory.snapshot import Snapshot

RECENT = timedelta(days=30)
"""How long a finished move is evidence of its path."""


class Journeys:
    """Finished moves of a snapshot, looked at once, when first asked."""

    def __init__(self, snapshot: Snapshot) -> None:
        """Looks at nothing yet."""
        self._snapshot = snapshot

    def made(self, source: str, target: str) -> bool:
        """Whether some guest has been moved from the one node to the other within `RECENT`."""
        return source in self._arrived.get(target, ())

    @cached_property
    def _arrived(self) -> Mapping[str, set[str]]:
        """Names of source nodes by that of the target."""
        found: dict[str, set[str]] = {}
        for instance in self._snapshot.instances.values():
            state = instance.migration
            if state is not None and state.completed and not state.failed and self._is_recent(state.ended_at):
                found.setdefault(state.target_node, set()).add(state.source_node)
        for record in self._snapshot.moves.values():
            spec, status = record.move.spec, record.move.status
            attempt = status.attempt or spec.attempt
            if (
                status.phase == MovePhase.SUCCEEDED
                and status.receipt is not None
                and attempt is not None
                and self._is_recent(status.finished_at)
            ):
                found.setdefault(status.receipt.node, set()).add(attempt.source_node)
        return found

    def _is_recent(self, ended_at: datetime | None) -> bool:
        return ended_at is not None and self._snapshot.now - ended_at <= RECENT
