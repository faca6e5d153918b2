"""What one move in flight needs now, as named needs; the engine turns them into writes.

At most one need per tick and object: each write is answered before the next is decided.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from whimbrel.api.virtual_machine_move import MovePhase
from whimbrel.lifecycle.evidence import Evidence, phase_of
from whimbrel.lifecycle.outcome import STARTING_LIMIT_S, Conclusion, NotYet, conclude


@dataclass(frozen=True, slots=True)
class RecordStarted:
    """The move's status must say that its current attempt has begun."""


@dataclass(frozen=True, slots=True)
class RecordAbort:
    """An abort must be recorded before it is asked for: a migration deleted before the hand-off leaves no trace."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class AbortMigration:
    """The recorded abort must be asked for."""

    why: str


@dataclass(frozen=True, slots=True)
class RecordEnd:
    """The attempt has ended."""

    conclusion: Conclusion


@dataclass(frozen=True, slots=True)
class LookAgain:
    """Nothing to do now; look again after so many seconds even if nothing changes."""

    after_s: float


Need = RecordStarted | RecordAbort | AbortMigration | RecordEnd | LookAgain


def needs(evidence: Evidence, unwanted: tuple[str, str] | None) -> Iterator[Need]:
    """All needs of a move whose attempt was begun.

    `unwanted` is (reason, message) where somebody has decided that the attempt must not go on; it is honoured in every
    phase but post-copy, which is irrevocable.
    """
    attempt, phase = evidence.attempt, phase_of(evidence)
    if attempt is None:
        return
    if phase == MovePhase.VERIFYING:
        match conclude(evidence, attempt):
            case Conclusion() as conclusion:
                yield RecordEnd(conclusion)
            case NotYet(wake_after_s=wait_s):
                yield LookAgain(wait_s)
        return
    if phase == MovePhase.POST_COPY:
        return
    if phase == MovePhase.ABORTING:
        abort = evidence.move.move.status.abort
        migration = evidence.migration
        if evidence.abort_recorded and abort is not None and migration is not None and not migration.deleting:
            yield AbortMigration(f"{abort.reason}: {abort.message}")
        return
    if unwanted is not None:
        yield RecordAbort(*unwanted)
        return
    if phase == MovePhase.STARTING and evidence.migration is not None:
        waited_s = (evidence.now - evidence.migration.created_at).total_seconds()
        if waited_s >= STARTING_LIMIT_S:
            phase_text = evidence.migration.phase or "without a phase"
            message = f"KubeVirt did not prepare the target within {STARTING_LIMIT_S} s (migration is {phase_text})."
            yield RecordAbort("StartTimeout", message)
            return
        yield LookAgain(STARTING_LIMIT_S - waited_s)
    if not evidence.start_recorded:
        yield RecordStarted()
