"""`kubectl whimbrel receipt PLAN`: what became of each virtual machine.

Fact beside forecast, and by what it was measured.
"""

import argparse
from collections.abc import Sequence
from typing import Any

from whimbrel.api import VirtualMachineMove
from whimbrel.api.migration_plan import PlanReceipt
from whimbrel.api.virtual_machine_move import IN_VAIN, TERMINAL_PHASES, AttemptSpec
from whimbrel.cli import words
from whimbrel.cli.cluster import Failure, PlanObject
from whimbrel.cli.output import Answer
from whimbrel.cli.verb import Connect, Verb, takes_plan

HEADERS = (
    "VM", "PHASE", "FROM", "TO", "TOOK", "EXPECTED", "SENT", "EXPECTED", "STOOD STILL", "UP TO", "BY", "ATTEMPTS", "REASON",
)  # fmt: skip


TIMES_S = 1
"""KubeVirt's and Kubernetes' times have whole seconds."""


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
        notes += [measured_by(moves), cost(moves)]
    if plan.plan.status.receipt is not None:
        notes.append(in_all(plan.plan.status.receipt))
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
        took(move),
        words.expected(forecast.duration_p50_seconds, forecast.duration_p90_seconds) if forecast else words.NOTHING,
        words.measured_bytes(receipt.bytes) if receipt else words.NOTHING,
        words.size(forecast.bytes_p50) if forecast else words.NOTHING,
        words.measured_ms(receipt.downtime_ms) if receipt else words.NOTHING,
        words.milliseconds(forecast.attended_downtime_ms or forecast.downtime_bound_ms if forecast else None),
        attempt.rung if attempt else words.NOTHING,
        str(receipt.attempts) if receipt else words.NOTHING,
        move.status.reason,
    )


def took(move: VirtualMachineMove) -> str:
    """How long the successful attempt took from its create on, as it was expected: start-up and copy. `not measured` where
    either was not seen.
    """
    receipt = move.status.receipt
    if receipt is None:
        return words.NOTHING
    start_up_s = move.status.history[-1].start_up_seconds if move.status.history else None
    if receipt.duration_ms.value is None or start_up_s is None:
        return words.measured_ms(receipt.duration_ms)
    return f"{words.seconds(start_up_s + receipt.duration_ms.value / 1000)} ±{TIMES_S} s"


def measured_by(moves: Sequence[VirtualMachineMove]) -> str:
    """By what the figures were measured; each once."""
    receipts = [move.status.receipt for move in moves if move.status.receipt]
    took = sorted({words.source(r.duration_ms) for r in receipts})
    sent = sorted({words.source(r.bytes) for r in receipts})
    still = sorted({words.source(r.downtime_ms) for r in receipts})
    return f"Measured by: took {', '.join(took)}; sent {', '.join(sent)}; stood still {', '.join(still)}."


def cost(moves: Sequence[VirtualMachineMove]) -> str:
    """What the moves took of their links and of their guests' processors, as far as it was measured; of those as well that
    moved nobody.
    """
    receipts = [move.status.receipt for move in moves if move.status.receipt and move.status.receipt.rung is not None]
    shares = sorted(r.link_share_percent.value for r in receipts if r.link_share_percent.value is not None)
    untold = sum(any(record.may_have_throttled for record in move.status.history) for move in moves)
    least_to_most = " to ".join(dict.fromkeys(str(share) for share in shares[:1] + shares[-1:]))
    link = f"{least_to_most} % of a link" if shares else "the share of the link was not measured"
    throttle = (
        f"{untold} may have been throttled, KubeVirt does not tell how long" if untold else "nobody was throttled"
    )
    return f"Cost: {link}; {throttle}{_stood_still_in_vain(moves)}."


def _stood_still_in_vain(moves: Sequence[VirtualMachineMove]) -> str:
    """How long guests were suspended by attempts that did not move them; empty where none is known to have been."""
    records = [record for move in moves for record in move.status.history if record.outcome in IN_VAIN]
    pauses = [record.paused_ms for record in records if record.paused_ms is not None]
    return f"; failed attempts suspended guests for up to {words.milliseconds(max(pauses))}" if pauses else ""


def in_all(receipt: PlanReceipt) -> str:
    """What the whole plan came to, beside what was expected of it."""
    expected = words.expected(receipt.quoted_p50_seconds, receipt.quoted_p90_seconds)
    judged = receipt.p90_held + receipt.p90_missed
    cost = [*([_sent(receipt)] if receipt.moved else []), *_in_vain(receipt)]
    lines = [
        f"In all: {receipt.moved} moved in {words.seconds(receipt.duration_seconds)} (expected {expected}), by "
        f"{receipt.attempts} attempt{'s' * (receipt.attempts != 1)}{'; ' * bool(cost)}{', '.join(cost)}."
    ]
    if judged:
        lines.append(f"{receipt.p90_held} of {judged} took no longer than was said with nine chances in ten.")
    untold = {"bytes": receipt.bytes_unmeasured, "downtime": receipt.downtime_unmeasured}
    said = [f"the {what} of {count}" for what, count in untold.items() if count]
    if said:
        lines.append(f"Nobody measured {' and '.join(said)}.")
    return " ".join(lines)


def _sent(receipt: PlanReceipt) -> str:
    """What successful attempts sent; a sum of nothing measured is no figure."""
    measured = receipt.moved > receipt.bytes_unmeasured
    return f"≥ {words.size(receipt.bytes)} sent" if measured else "nobody measured what was sent"


def _in_vain(receipt: PlanReceipt) -> list[str]:
    """What attempts sent that moved nobody; empty where there was none."""
    unmeasured = receipt.wasted_unmeasured
    said = [f"≥ {words.size(receipt.wasted_bytes)} of attempts that failed"] if receipt.wasted_bytes else []
    if unmeasured:
        said.append(f"of {unmeasured} attempt{'s' * (unmeasured > 1)} that failed nobody measured what was sent")
    return said


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
