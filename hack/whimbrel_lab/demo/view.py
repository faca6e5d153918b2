"""What the live table shows, from the objects that a user can read too. Pure.

A plan's status names progress only every 15 s, so phase and progress of what is in flight come fresher, as `Glimpse`s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from whimbrel.api import VirtualMachineMove
from whimbrel.api.virtual_machine_move import TERMINAL_PHASES, AttemptSpec, MovePhase
from whimbrel.cli.quote import telling

_SELF_EVIDENT = frozenset({"Started", "Verified"})
"""Reasons that say no more than the phase does."""

_UNDER_WAY = frozenset({MovePhase.COPYING, MovePhase.STUNNED, MovePhase.POST_COPY, MovePhase.VERIFYING})
"""Phases in which a share of this attempt's memory is copied; before, the hypervisor may still tell of the last one."""


@dataclass(frozen=True, slots=True)
class Glimpse:
    """What one look at the cluster tells of a move. `percent`: None where nobody said; `node`: where its guest runs."""

    phase: MovePhase
    percent: int | None = None
    node: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the live table."""

    virtual_machine: str
    source: str
    target: str
    phase: MovePhase
    percent: int | None
    rung: str
    attempt: int
    reason: str

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it under this plan."""
        return self.phase in TERMINAL_PHASES

    def words(self) -> tuple[str, ...]:
        """What a change of is worth a line of its own where there is no live table."""
        return (self.target, self.phase, self.rung, str(self.attempt), self.reason)


def attempt_of(move: VirtualMachineMove) -> AttemptSpec | None:
    """The newest attempt's specification."""
    return move.status.attempt or move.spec.attempt


def rows(
    moves: Sequence[VirtualMachineMove], glimpses: Mapping[str, Glimpse], before: Mapping[str, Row]
) -> tuple[Row, ...]:
    """The table's lines by name. `glimpses` and `before` (the lines shown last) go by name of the virtual machine.

    Within one attempt a percentage never goes backwards.
    """
    return tuple(
        _row(move, glimpses.get(move.spec.instance.name), before.get(move.spec.instance.name))
        for move in sorted(moves, key=lambda move: move.spec.instance.name)
    )


def _row(move: VirtualMachineMove, glimpse: Glimpse | None, before: Row | None) -> Row:
    name, attempt, status = move.spec.instance.name, attempt_of(move), move.status
    phase, percent = status.phase, None
    if glimpse is not None and status.phase not in TERMINAL_PHASES:
        phase, percent = glimpse.phase, glimpse.percent if glimpse.phase in _UNDER_WAY else None
    if phase is MovePhase.SUCCEEDED:
        percent = 100
    elif before is not None and attempt is not None and before.attempt == attempt.number and before.percent is not None:
        percent = max(before.percent, percent or 0)
    reasons = ", ".join(dict.fromkeys(verdict.code for verdict in telling(status.verdicts)))
    return Row(
        virtual_machine=name,
        source=attempt.source_node if attempt else glimpse.node if glimpse else "",
        target=attempt.target_node if attempt else "",
        phase=phase,
        percent=percent,
        rung=attempt.rung if attempt else "",
        attempt=attempt.number if attempt else 0,
        reason=reasons or ("" if status.reason in _SELF_EVIDENT else status.reason),
    )
