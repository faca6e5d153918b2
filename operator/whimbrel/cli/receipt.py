"""`kubectl whimbrel receipt PLAN`: what became of each virtual machine.

Fact beside forecast, and by what it was measured.
"""

import argparse
from collections.abc import Sequence
from typing import Any

from whimbrel.api import VirtualMachineMove
from whimbrel.api.virtual_machine_move import TERMINAL_PHASES, AttemptSpec
from whimbrel.cli import words
from whimbrel.cli.cluster import Failure, PlanObject
from whimbrel.cli.output import Answer
from whimbrel.cli.verb import Connect, Verb, takes_plan

HEADERS = ("VM", "PHASE", "FROM", "TO", "TOOK", "QUOTED", "SENT", "STOOD STILL", "PAUSE UP TO", "ATTEMPTS", "REASON")


def run(arguments: argparse.Namespace, connect: Connect) -> Answer:
    """The receipts of all moves of the plan, finished or not."""
    cluster = connect()
    plan = cluster.plan(arguments.plan)
    moves = cluster.moves(plan)
    if not moves:
        raise Failure(
            f"plan {plan} has no moves ({plan.plan.status.message or plan.plan.status.phase}). "
            f"See what it selects: kubectl describe mplan {plan.name} -n {plan.namespace}"
        )
    return describe(plan, moves)


def describe(plan: PlanObject, moves: Sequence[VirtualMachineMove]) -> Answer:
    """The receipts for people and for programs. Pure."""
    ended = sum(move.status.phase in TERMINAL_PHASES for move in moves)
    notes = [f"{name(move)}: {move.status.message}" for move in moves if _worth_a_note(move)]
    if any(move.status.receipt for move in moves):
        notes.append(measured_by(moves))
    return Answer(
        document={"plan": str(plan), "phase": str(plan.plan.status.phase), "moves": [entry(move) for move in moves]},
        title=f"Plan {plan}: {plan.plan.status.phase}, {ended} of {len(moves)} moves have ended.",
        headers=HEADERS,
        rows=[row(move) for move in moves],
        notes=notes,
    )


def _worth_a_note(move: VirtualMachineMove) -> bool:
    """Whether the message says more than the line does: it did not move, or not at the first try."""
    status = move.status
    return bool(status.message) and status.phase != "Succeeded" and status.reason != "Started"


def name(move: VirtualMachineMove) -> str:
    """`namespace/name` of the virtual machine."""
    return f"{move.spec.instance.namespace}/{move.spec.instance.name}"


def last_attempt(move: VirtualMachineMove) -> AttemptSpec | None:
    """The specification of the newest attempt."""
    return move.status.attempt or move.spec.attempt


def row(move: VirtualMachineMove) -> tuple[str, ...]:
    """One virtual machine's line."""
    attempt, receipt = last_attempt(move), move.status.receipt
    first = move.spec.attempt
    forecast = attempt.forecast if attempt else None
    return (
        name(move),
        move.status.phase,
        (first.source_node if first else "") or words.NOTHING,
        (receipt.node if receipt and receipt.node else attempt.target_node if attempt else "") or words.NOTHING,
        words.measured_ms(receipt.duration_ms) if receipt else words.NOTHING,
        f"≥ {words.seconds(forecast.duration_seconds)}" if forecast else words.NOTHING,
        words.measured_bytes(receipt.bytes) if receipt else words.NOTHING,
        words.measured_ms(receipt.downtime_ms) if receipt else words.NOTHING,
        words.milliseconds(forecast.budget_ms if forecast else None),
        str(receipt.attempts) if receipt else words.NOTHING,
        move.status.reason,
    )


def measured_by(moves: Sequence[VirtualMachineMove]) -> str:
    """By what the figures were measured; each once."""
    receipts = [move.status.receipt for move in moves if move.status.receipt]
    took = sorted({words.source(r.duration_ms) for r in receipts})
    sent = sorted({words.source(r.bytes) for r in receipts})
    still = sorted({words.source(r.downtime_ms) for r in receipts})
    return f"Measured by: took {', '.join(took)}; sent {', '.join(sent)}; stood still {', '.join(still)}."


def entry(move: VirtualMachineMove) -> dict[str, Any]:
    """One move for programs."""
    attempt = last_attempt(move)
    return {
        "virtualMachine": name(move),
        "phase": str(move.status.phase),
        "reason": move.status.reason,
        "message": move.status.message,
        "sourceNode": move.spec.attempt.source_node if move.spec.attempt else "",
        "attempt": attempt.to_json() if attempt else None,
        "history": [record.to_json() for record in move.status.history],
        "receipt": move.status.receipt.to_json() if move.status.receipt else None,
    }


VERB = Verb("receipt", "what became of each virtual machine, fact beside forecast", takes_plan, run)
