"""The demo's pictures: the quote, the live table, the receipts, the verdict, as rich renderables and as plain lines."""

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from whimbrel.api import MigrationPlan, VirtualMachineMove
from whimbrel.api.ladder import Rung
from whimbrel.api.migration_plan import WaitSummary
from whimbrel.api.quote import Quote, QuotedMove
from whimbrel.api.virtual_machine_move import MovePhase
from whimbrel.cli import words
from whimbrel.cli.quote import telling, together
from whimbrel.cli.receipt import took
from whimbrel_lab.demo.report import Check, Witness
from whimbrel_lab.demo.sheet import Sheet
from whimbrel_lab.demo.view import Row, attempt_of

BAR_CELLS = 12
WHOLE_LIVE_COLUMNS = 110
"""From this width on the live table has its bars and reasons."""

_STYLES: Mapping[MovePhase, str] = {
    MovePhase.WAITING: "dim",
    MovePhase.STARTING: "cyan",
    MovePhase.COPYING: "bold cyan",
    MovePhase.MOVING: "bold cyan",
    MovePhase.STUNNED: "bold magenta",
    MovePhase.ABORTING: "yellow",
    MovePhase.VERIFYING: "cyan",
    MovePhase.SUCCEEDED: "green",
    MovePhase.SKIPPED: "yellow",
    MovePhase.BLOCKED: "yellow",
    MovePhase.FAILED: "bold red",
    MovePhase.CANCELLED: "yellow",
    MovePhase.UNVERIFIED: "bold red",
}


def quote(plan_name: str, plan: MigrationPlan, quoted: Quote, moves: Sequence[VirtualMachineMove]) -> RenderableType:
    """The quote, and under it every reason of each virtual machine that cannot move."""
    title = (
        f"The quote, before anything moves: plan {plan_name} can move {quoted.movable} of {quoted.virtual_machines}, "
        f"{words.how_long(quoted)}"
    )
    headers = ("VM", "from", "to", "expected", "to send", "by", "pause up to", "unattended")
    sheet = Sheet(headers, [_quote_cells(line) for line in quoted.moves], dispensable=(7, 4, 6), title=title)
    passed = [
        Text(f"{line.virtual_machine.partition('/')[2]} skips {each}", "dim")
        for line in quoted.moves
        for each in line.skipped
    ]
    return Group(sheet, *passed, *(refusal(move) for move in moves if move.status.verdicts))


def _quote_cells(line: QuotedMove) -> list[RenderableType]:
    name = line.virtual_machine.partition("/")[2]
    if not line.target_node:
        return [
            name,
            line.source_node,
            Text("stays", "yellow"),
            Text("cannot move, see below", "yellow"),
            "",
            "",
            "",
            "",
        ]
    return [
        name,
        line.source_node,
        line.target_node,
        words.expected(line.duration_p50_seconds, line.duration_p90_seconds),
        words.size(line.bytes_p50),
        line.rung or "",
        words.milliseconds(line.downtime_bound_ms),
        words.milliseconds(line.unattended_downtime_ms if line.rung is Rung.STUN else line.downtime_bound_ms),
    ]


def refusal(move: VirtualMachineMove) -> RenderableType:
    """All reasons of one virtual machine; one that holds for several nodes is told once."""
    text = Text()
    text.append(f"{move.spec.instance.name} cannot move:\n", "bold yellow")
    for (code, field, found, needed, remedy), nodes in together(telling(move.status.verdicts)).items():
        text.append(f"  {code}", "yellow")
        text.append(f" on {nodes}" if nodes else "", "yellow")
        text.append(f"  {field}" if field else "", "dim")
        text.append(f"  found: {found}" if found else "")
        text.append(f"  needed: {needed}\n" if needed else "\n")
        if remedy:
            text.append(f"      {remedy}\n", "italic")
    return text


def waiting_for(waits: Sequence[WaitSummary]) -> str:
    """Why moves wait, as the plan's status has it."""
    return "".join(f" · {wait.count} waiting: {wait.reason}" for wait in waits)


def live(title: str, rows: Sequence[Row]) -> RenderableType:
    """The table that changes while virtual machines move."""
    headers = ("VM", "from", "to", "phase", "", "copied", "rung", "try", "reason")
    cells = [_live_cells(row) for row in rows]
    return Sheet(headers, cells, dispensable=(4, 8), title=title, whole_from=WHOLE_LIVE_COLUMNS)


def _live_cells(row: Row) -> list[RenderableType]:
    return [
        row.virtual_machine,
        row.source,
        row.target,
        Text(row.phase, _STYLES.get(row.phase, "")),
        bar(row.percent),
        f"{row.percent:3d} %" if row.percent is not None else "",
        row.rung,
        str(row.attempt) if row.attempt else "",
        Text(row.reason, "dim"),
    ]


def bar(percent: int | None) -> Text:
    """A share as a bar; empty where nobody said."""
    if percent is None:
        return Text(" " * BAR_CELLS)
    full = round(percent * BAR_CELLS / 100)
    text = Text("━" * full, "green" if percent == 100 else "cyan")
    text.append("━" * (BAR_CELLS - full), "grey30")
    return text


def receipts(plan: MigrationPlan, moves: Sequence[VirtualMachineMove], witnesses: Sequence[Witness]) -> RenderableType:
    """Fact beside forecast. What a guest felt is by its own beats."""
    headers = ("VM", "from → to", "outcome", "took", "expected", "sent", "expected", "stood still", "up to", "by")
    by_name = {witness.name: witness for witness in witnesses}
    cells = [_receipt_cells(move, by_name.get(move.spec.instance.name)) for move in moves]
    return Group(
        Text(_receipts_title(plan), "bold"),
        Sheet(headers, cells, dispensable=(4, 6, 8, 5)),
        Text(
            "took: from the create to KubeVirt's end · expected: as likely longer as shorter, to nine chances in ten · "
            "sent: the hypervisor's count · stood still: longest silence between two beats of the guest itself · by: the "
            "rung (of so many tries)",
            "dim",
        ),
    )


def _receipts_title(plan: MigrationPlan) -> str:
    status = plan.status
    if status.started_at is None or status.finished_at is None or status.quote is None:
        return "The receipts"
    took = words.seconds((status.finished_at - status.started_at).total_seconds())
    return f"The receipts: all of it took {took}, expected: {words.how_long(status.quote)}"


def _receipt_cells(move: VirtualMachineMove, witness: Witness | None) -> list[RenderableType]:
    attempt, receipt, phase = attempt_of(move), move.status.receipt, move.status.phase
    outcome = Text(phase, _STYLES.get(phase, ""))
    if attempt is None or receipt is None:
        where = witness.started_on if witness else words.NOTHING
        return [move.spec.instance.name, where, outcome, "", "", "", "", "", "", ""]
    forecast = attempt.forecast
    return [
        move.spec.instance.name,
        f"{attempt.source_node} → {receipt.node}",
        outcome,
        took(move),
        words.expected(forecast.duration_p50_seconds, forecast.duration_p90_seconds),
        words.size(witness.sent_bytes if witness else None),
        words.size(forecast.bytes_p50),
        words.milliseconds(witness.beats.longest_gap_ms if witness else None),
        words.milliseconds(forecast.downtime_bound_ms),
        attempt.rung + (f" ({receipt.attempts})" if receipt.attempts > 1 else ""),
    ]


def verdict(checks: Sequence[Check]) -> RenderableType:
    """One line per check."""
    text = Text()
    for check in checks:
        text.append("✔ " if check.holds else "✘ ", "bold green" if check.holds else "bold red")
        text.append(f"{check.text}\n", "" if check.holds else "bold red")
    return text


def changed_lines(elapsed_s: float, rows: Sequence[Row], before: Mapping[str, Row]) -> list[str]:
    """One plain line for each row that says something new, and one for each further quarter of its memory."""
    lines = []
    for row in rows:
        last = before.get(row.virtual_machine)
        quarter = (row.percent or 0) // 25
        if last is not None and last.words() == row.words() and (last.percent or 0) // 25 == quarter:
            continue
        way = f"{row.source} → {row.target}" if row.target else "stays"
        percent = f"{row.percent} %" if row.percent is not None else ""
        rung = f"{row.rung} #{row.attempt}" if row.attempt else ""
        lines.append(
            f"{elapsed_s:6.1f} s  {row.virtual_machine:10} {way:18} {row.phase:10} {rung:10} {percent:>5} {row.reason}".rstrip()
        )
    return lines
