"""The demo's verdict: what the operator said, held against what the guests themselves and the hosts say. Pure.

The receipts' downtime is the longest silence between two beats of the guest, not a figure of the operator's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from whimbrel.api import VirtualMachineMove
from whimbrel.api.ladder import Rung
from whimbrel.api.virtual_machine_move import TERMINAL_PHASES, MovePhase
from whimbrel.cli.quote import telling
from whimbrel_lab.demo.view import attempt_of
from whimbrel_lab.hypervisor import BeatReport

REASONS_SHOWN = 3
"""So many reasons at once, at least, the virtual machine that cannot move has to be refused with."""


@dataclass(frozen=True, slots=True)
class Witness:
    """What is known of one virtual machine besides its move: from its guest, its hosts and the API server."""

    name: str
    started_on: str
    runs_on: tuple[str, ...]
    """Hosts on which its guest is found after the end; exactly one is right."""
    instance_uid: str
    """UID of its VirtualMachineInstance after the end; empty: gone."""
    beats: BeatReport
    beats_on: bool
    """Whether new beats came after the end."""
    memory_seen: bool
    """Whether the guest has looked at all of its memory since the end."""
    sent_bytes: int | None
    """Bytes sent for it in all tries, by the hypervisor."""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the verdict."""

    holds: bool
    text: str


def checks(moves: Sequence[VirtualMachineMove], witnesses: Sequence[Witness], budget_ms: int) -> tuple[Check, ...]:
    """The verdict's lines. `budget_ms`: the longest pause that the plan consents to."""
    by_name = {move.spec.instance.name: move for move in moves}
    pairs = [(witness, by_name.get(witness.name)) for witness in witnesses]
    moved = [w for w, move in pairs if move is not None and move.status.phase is MovePhase.SUCCEEDED]
    stayed = [w for w, move in pairs if move is not None and move.status.phase is MovePhase.SKIPPED]
    return (
        _all(
            f"every move ended: {len(moved)} moved, {len(stayed)} stayed with reasons",
            [f"{w.name} {_ending(move)}" for w, move in pairs if not _ended_well(move)],
        ),
        _all(
            "no guest restarted: every count of beats went on",
            [f"{w.name} began anew {w.beats.restarts} times" for w in witnesses if w.beats.restarts],
            [f"{w.name} beats no more" for w in witnesses if not w.beats_on],
        ),
        _all(
            "every guest has looked at all of its memory since, and found it as it wrote it",
            [f"{w.name} found a page that differs" for w in witnesses if not w.beats.memory_intact],
            [f"{w.name} has not looked at all of it in time" for w in witnesses if not w.memory_seen],
        ),
        _all(
            "every guest runs once, where its receipt says",
            [text for w, move in pairs if move is not None and (text := _misplaced(w, move))],
        ),
        _all(
            f"no guest stood still for longer than the consented {budget_ms / 1000:g} s",
            [
                f"{w.name} stood still for {w.beats.longest_gap_ms / 1000:.2f} s"
                for w in witnesses
                if w.beats.longest_gap_ms > budget_ms
            ],
        ),
    )


def story_checks(moves: Sequence[VirtualMachineMove], stunned: str, blocked: str) -> tuple[Check, ...]:
    """That the demo showed what it is there to show: a stun, and a refusal with several reasons, each with its remedy."""
    by_name = {move.spec.instance.name: move for move in moves}
    busy, stuck = by_name.get(stunned), by_name.get(blocked)
    attempt = attempt_of(busy) if busy else None
    told = telling(stuck.status.verdicts) if stuck else ()
    codes = sorted({verdict.code for verdict in told})
    return (
        Check(
            attempt is not None and attempt.rung is Rung.STUN,
            f"{stunned}, which writes faster than its link copies, moved by a stun",
        ),
        Check(
            len(codes) >= REASONS_SHOWN and all(verdict.remedy for verdict in told),
            f"{blocked} was refused with every reason at once: {', '.join(codes) or 'none was given'}",
        ),
    )


def _all(text: str, *broken: Sequence[str]) -> Check:
    found = [each for group in broken for each in group]
    return Check(not found, text if not found else f"NOT SO: {text} – {'; '.join(found)}")


def _ended_well(move: VirtualMachineMove | None) -> bool:
    return move is not None and move.status.phase in (MovePhase.SUCCEEDED, MovePhase.SKIPPED)


def _ending(move: VirtualMachineMove | None) -> str:
    if move is None:
        return "has no move"
    phase, status = move.status.phase, move.status
    if phase not in TERMINAL_PHASES:
        return f"is still {phase}"
    return f"ended {phase}" + (f" ({status.reason}: {status.message})" if status.reason or status.message else "")


def _misplaced(witness: Witness, move: VirtualMachineMove) -> str:
    receipt, attempt = move.status.receipt, attempt_of(move)
    expected = witness.started_on
    if move.status.phase is MovePhase.SUCCEEDED:
        expected = attempt.target_node if attempt else ""
        if receipt is None or receipt.node != expected:
            return f"{witness.name}: the receipt names {receipt.node if receipt else 'nothing'}, not {expected}"
    if witness.runs_on != (expected,):
        return f"{witness.name} should run on {expected}, runs on {', '.join(witness.runs_on) or 'no host'}"
    if witness.instance_uid != move.spec.instance.uid:
        return f"{witness.name} is another instance than the one that was quoted"
    return ""
