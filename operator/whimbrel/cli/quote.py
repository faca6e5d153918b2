"""`kubectl whimbrel quote PLAN`: what will happen, before anything moves, with every reason of what cannot move."""

import argparse
from collections.abc import Iterable, Mapping, Sequence

from whimbrel.api import VirtualMachineMove
from whimbrel.api.quote import Quote, QuotedMove, TargetChoice
from whimbrel.api.text import listed
from whimbrel.api.virtual_machine_move import TERMINAL_PHASES, Judgement, Verdict
from whimbrel.cli import words
from whimbrel.cli.cluster import Failure, PlanObject
from whimbrel.cli.output import Answer
from whimbrel.cli.receipt import name
from whimbrel.cli.verb import Connect, Verb, takes_plan
from whimbrel.forecast import CERTAIN
from whimbrel.lifecycle.guard import attended_downtime_ms
from whimbrel.preflight.elsewhere import SourceNode

HEADERS = ("VM", "FROM", "TO", "EXPECTED", "BY", "LADDER", "PAUSE UP TO", "IF UNATTENDED", "CANNOT MOVE")
MOST_NAMED = 6
"""Virtual machines that are named for one remedy."""

SCHEDULER_CHOOSES = (
    "This KubeVirt cannot be told where to migrate to: the scheduler chooses among the nodes in spec.attempt.allowedNodes of "
    "each VirtualMachineMove, and a pod that it puts elsewhere is given up."
)


def run(arguments: argparse.Namespace, connect: Connect) -> Answer:
    """The quote as the operator wrote it."""
    cluster = connect()
    plan = cluster.plan(arguments.plan)
    quote = current_quote(plan)
    return describe(plan, quote, cluster.moves(plan))


def current_quote(plan: PlanObject) -> Quote:
    """The quote of the plan as it is now. Raises Failure where there is none yet."""
    status = plan.plan.status
    if status.quote is not None and status.observed_generation == plan.generation:
        return status.quote
    if status.observed_generation != plan.generation:
        raise Failure(
            f"plan {plan} has no quote of its present form yet. "
            "If this lasts, see whether the operator runs: kubectl get pods -A -l app.kubernetes.io/name=whimbrel"
        )
    said = (status.message, *(c.message for c in status.conditions if c.status != "True"))
    raise Failure(f"plan {plan} has no quote: {next(filter(None, said), f'it is {status.phase}')}")


def describe(plan: PlanObject, quote: Quote, moves: Sequence[VirtualMachineMove]) -> Answer:
    """The quote for people and for programs. Pure."""
    verdicts = {name(move): move.status.verdicts for move in moves if move.status.verdicts}
    omitted = {name(move): move.status.verdicts_omitted for move in moves}
    notes = [
        why_not(line.virtual_machine, verdicts[line.virtual_machine], omitted[line.virtual_machine])
        for line in quote.moves
        if not line.target_node and line.virtual_machine in verdicts
    ]
    if held := withheld(plan.namespace, quote.moves):
        notes.insert(0, held)
    if passed := skipped(plan.namespace, quote.moves):
        notes.insert(0, passed)
    if unstoppable := not_cut_short(plan.namespace, quote.moves):
        notes.insert(0, unstoppable)
    if any(line.target_chosen_by == TargetChoice.SCHEDULER for line in quote.moves):
        notes.insert(0, SCHEDULER_CHOOSES)
    if quote.conflicts:
        notes.insert(0, conflicts(quote))
    notes += filter(None, (guessed(plan.namespace, moves), beforehand(plan.namespace, moves)))
    if quote.omitted:
        notes.append(f"{quote.omitted} more are not shown here: kubectl get vmove -n {plan.namespace}")
    return Answer(
        document={
            "plan": str(plan),
            "phase": str(plan.plan.status.phase),
            "approved": plan.approved_hash == quote.hash,
            "quote": quote.to_json(),
            "verdicts": {vm: [verdict.to_json() for verdict in found] for vm, found in verdicts.items()},
        },
        title=headline(plan, quote),
        headers=HEADERS,
        rows=[row(line) for line in quote.moves],
        notes=notes,
    )


def headline(plan: PlanObject, quote: Quote) -> str:
    """The quote in two lines. Once a plan has begun its quote counts all machines, but as movable only the rest."""
    status = plan.plan.status
    if status.finished_at is not None:
        ended = f"nothing of it is left to move ({status.phase}); what became of it: kubectl whimbrel receipt"
        return f"Plan {plan}: {ended}.\nQuote {quote.hash}"
    can = f"{quote.movable} of {quote.virtual_machines} virtual machines can move"
    if status.started_at is not None:
        can = f"of {quote.virtual_machines} virtual machines, {quote.movable or 'none'} not begun yet can move"
    if quote.movable:
        can += f", {words.how_long(quote)}"
    elif status.started_at is None:
        can += f", in at least {words.seconds(quote.duration_seconds)}"
    return f"Plan {plan}: {can} ({status.phase}).\nQuote {quote.hash}"


def row(line: QuotedMove) -> tuple[str, ...]:
    """One virtual machine's line."""
    return (
        line.virtual_machine,
        line.source_node or words.NOTHING,
        _target(line),
        _expected(line) if line.target_node else words.NOTHING,
        line.rung or words.NOTHING,
        " → ".join(line.rungs) or words.NOTHING,
        words.milliseconds(line.attended_downtime_ms or line.budget_ms or line.downtime_bound_ms),
        words.milliseconds(line.unattended_downtime_ms),
        ", ".join(line.reasons),
    )


def _expected(line: QuotedMove) -> str:
    """How long, and how likely it moves at all where that is not as good as sure: whoever approves it should know."""
    said, chance = words.expected(line.duration_p50_seconds, line.duration_p90_seconds), line.chance_percent
    return said if chance is None or chance >= 100 * CERTAIN else f"{said}, chance {chance} %"


def _target(line: QuotedMove) -> str:
    expected = " (expected)" if line.target_chosen_by == TargetChoice.SCHEDULER else ""
    via = f" via {line.via_node}" if line.via_node else ""
    return f"{line.target_node}{via}{expected}" if line.target_node else words.NOTHING


def withheld(namespace: str, lines: Iterable[QuotedMove]) -> str:
    """Rungs that the plan permits and that are not offered: one line per reason, with all machines that it is about.

    Names are short within `namespace`. Empty where nothing is withheld.
    """
    machines: dict[str, list[str]] = {}
    for line in lines:
        for reason in line.withheld:
            machines.setdefault(reason, []).append(_short(namespace, line.virtual_machine))
    told = [f"  {', '.join(names)}: {reason}" for reason, names in machines.items()]
    return "\n".join(["What the plan permits and they do not get:", *told]) if told else ""


def skipped(namespace: str, lines: Iterable[QuotedMove]) -> str:
    """Rungs that are passed over because they would not do: one line per machine. Empty where there are none."""
    told = [f"  {_short(namespace, line.virtual_machine)}: {'; '.join(line.skipped)}" for line in lines if line.skipped]
    return "\n".join(["Passed over, by the forecast:", *told]) if told else ""


def not_cut_short(namespace: str, lines: Iterable[QuotedMove]) -> str:
    """Whose pause nothing can end early, so that PAUSE UP TO is longer than a guard would let it be. Empty: nobody's."""
    names = [
        _short(namespace, line.virtual_machine)
        for line in lines
        if line.budget_ms is not None and (line.attended_downtime_ms or 0) > attended_downtime_ms(line.budget_ms)
    ]
    if not names:
        return ""
    return (
        f"PAUSE UP TO of {', '.join(names)} is KubeVirt's own limit: where its stall detection or a device makes it raise "
        "the hypervisor's limit, nothing ends a last step early. Such a rung begins only if it is foretold to take "
        "half of maxDowntimeMs at most."
    )


def conflicts(quote: Quote) -> str:
    """Why not all can be placed, one line for each conflict."""
    lines = ["Not all can be placed. Each of these is resolved by changing one thing of it:"]
    lines += [f"  {conflict.message}" for conflict in quote.conflicts]
    if quote.conflicts_omitted:
        lines.append(f"  and {quote.conflicts_omitted} more")
    return "\n".join(lines)


def telling(verdicts: Iterable[Verdict]) -> tuple[Verdict, ...]:
    """The verdicts without warnings, and without those on the source as a target, which help nobody unless they are all."""
    found = tuple(v for v in verdicts if v.judgement is not Judgement.WARN)
    sources = {v.node for v in found if v.code == SourceNode.__name__}
    return tuple(v for v in found if not v.node or v.node not in sources) or found


def beforehand(namespace: str, moves: Iterable[VirtualMachineMove]) -> str:
    """What is to be known of those that can move: one line per remedy, with the first machines that it is about."""
    machines: dict[tuple[str, str], list[str]] = {}
    for move in moves:
        machine = _short(namespace, name(move))
        for note in move.spec.notes if move.status.phase not in TERMINAL_PHASES else ():
            about = machines.setdefault((note.code, note.remedy), [])
            if machine not in about:
                about.append(machine)
    told = [f"  {code}: {listed(names, MOST_NAMED)}\n      {remedy}" for (code, remedy), names in machines.items()]
    return "\n".join(["To be known beforehand:", *told]) if told else ""


def guessed(namespace: str, moves: Iterable[VirtualMachineMove]) -> str:
    """What nobody has told of guests that can move: one line per lack, with the first machines. Empty where all is known."""
    machines: dict[str, list[str]] = {}
    for move in moves:
        attempt = move.spec.attempt if move.status.phase not in TERMINAL_PHASES else None
        for lack in attempt.forecast.missing if attempt is not None else ():
            machines.setdefault(lack, []).append(_short(namespace, name(move)))
    told = [f"  {listed(names, MOST_NAMED)}: {lack}" for lack, names in machines.items()]
    return "\n".join(["Not known, so that the forecast is an estimate:", *told]) if told else ""


def _short(namespace: str, machine: str) -> str:
    """The name of a virtual machine for somebody who looks at this namespace."""
    return machine.removeprefix(f"{namespace}/")


def why_not(virtual_machine: str, verdicts: Iterable[Verdict], omitted: int) -> str:
    """All reasons of one virtual machine that cannot move."""
    return in_full(f"{virtual_machine} cannot move:", telling(verdicts), omitted)


def in_full(title: str, verdicts: Iterable[Verdict], omitted: int = 0) -> str:
    """Verdicts below a title, each with the field, the values, the nodes it is about, and the remedy.

    `omitted`: how many more there are that were not written down.
    """
    lines = [title]
    for (code, field, found, needed, remedy), where in together(verdicts).items():
        at = f" [{where}]" if where else ""
        values = ", ".join(
            text for text in (f"found {found}" if found else "", f"needed {needed}" if needed else "") if text
        )
        lines.append(f"  {code}{at}  {field}{': ' if field and values else ''}{values}")
        if remedy:
            lines.append(f"      {remedy}")
    if omitted:
        lines.append(f"  and {omitted} further reasons")
    return "\n".join(lines)


def together(verdicts: Iterable[Verdict]) -> Mapping[tuple[str, str, str, str, str], str]:
    """By code, field, value found, value needed and remedy the nodes, in words; older releases have a verdict for each."""
    named: dict[tuple[str, str, str, str, str], list[str]] = {}
    unnamed: dict[tuple[str, str, str, str, str], int] = {}
    for each in verdicts:
        said = (each.code, each.field, each.found, each.needed, each.remedy)
        named.setdefault(said, []).extend(each.nodes)
        unnamed[said] = unnamed.get(said, 0) + each.nodes_unnamed
    return {said: listed(nodes, more=unnamed[said]) for said, nodes in named.items()}


VERB = Verb("quote", "what will happen, before anything moves", takes_plan, run)
