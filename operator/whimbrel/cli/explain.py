"""`kubectl whimbrel explain plan/NAME [VM]`: why each virtual machine of a plan can go where, and the conflict in words.

From what the operator wrote into the plan and its moves; nothing is judged anew.
"""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from whimbrel.api import VirtualMachineMove
from whimbrel.api.quote import BlockedSummary
from whimbrel.api.text import listed
from whimbrel.api.virtual_machine_move import Judgement, Verdict
from whimbrel.cli import words
from whimbrel.cli.cluster import Conflict, Failure, PlanObject
from whimbrel.cli.output import Answer
from whimbrel.cli.quote import in_full, why_not
from whimbrel.cli.receipt import last_attempt, name
from whimbrel.cli.verb import Connect, Verb

PREFIXES = ("plan/", "mplan/", "migrationplan/", "migrationplans/")
MOST_COLUMNS = 8
"""Hosts that have a column each; more are told in words."""
HERE, TARGET, NOT_TOLD = "here", "target", words.NOTHING
MOST_NAMED = 4


def configure(parser: argparse.ArgumentParser) -> None:
    """plan/NAME and VM."""
    parser.add_argument("plan", metavar="plan/NAME", help="the MigrationPlan")
    parser.add_argument(
        "vm", metavar="VM", nargs="?", help="all reasons of this virtual machine, as name or namespace/name"
    )


def run(arguments: argparse.Namespace, connect: Connect) -> Answer:
    """The matrix, or one virtual machine in full."""
    wanted = arguments.plan
    for prefix in PREFIXES:
        wanted = wanted.removeprefix(prefix)
    cluster = connect()
    plan = cluster.plan(wanted)
    moves = cluster.moves(plan)
    if not moves and not plan.conflicts:
        status = plan.plan.status
        raise Failure(
            f"plan {plan} has nothing to explain yet ({status.message or status.phase}). "
            f"See what it selects: kubectl describe mplan {plan.name} -n {plan.namespace}"
        )
    return describe(plan, moves) if arguments.vm is None else describe_one(plan, moves, arguments.vm)


def describe(plan: PlanObject, moves: Sequence[VirtualMachineMove]) -> Answer:
    """The matrix of virtual machines and hosts, in short. Pure."""
    cells = {name(move): verdicts_by_host(move) for move in moves}
    hosts = sorted({host for by_host in cells.values() for host in by_host if host})
    wide = len(hosts) > MOST_COLUMNS or any(each.nodes_unnamed for move in moves for each in against_hosts(move))
    status = plan.plan.status
    notes = [f"Conflict: {conflict.message}" for conflict in plan.conflicts]
    if status.quote is not None and status.quote.blocked:
        notes.insert(0, _by_reason(status.quote.blocked))
    if any(move.status.verdicts or move.spec.refusals for move in moves):
        notes.append(
            f"All reasons of one virtual machine: kubectl whimbrel explain plan/{plan.name} VM -n {plan.namespace}"
        )
    return Answer(
        document={
            "plan": str(plan),
            "phase": str(status.phase),
            "conflicts": [_conflict(conflict) for conflict in plan.conflicts],
            "hosts": hosts,
            "virtualMachines": [_entry(move, cells[name(move)]) for move in moves],
        },
        title=f"Plan {plan}: {status.phase}. {status.message}".rstrip(),
        headers=("VM", "PHASE", "ANYWHERE", *(("BY HOST",) if wide else hosts)),
        rows=[_row(move, cells[name(move)], hosts, wide=wide) for move in moves],
        notes=notes,
    )


def _by_reason(blocked: Sequence[BlockedSummary]) -> str:
    """What keeps virtual machines where they are, by reason, as the plan's status counts it."""
    lines = ["What keeps virtual machines where they are:"]
    for each in blocked:
        names = listed(each.virtual_machines, more=each.count - len(each.virtual_machines))
        lines.append(f"  {each.reason}  {each.count}  {names}")
    return "\n".join(lines)


def against_hosts(move: VirtualMachineMove) -> tuple[Verdict, ...]:
    """What keeps it from single hosts: now, where it cannot move; else as it was when it was quoted."""
    told = move.status.verdicts or move.spec.refusals
    return tuple(each for each in told if each.node and (each.judgement == Judgement.BLOCK or not move.spec.attempt))


def verdicts_by_host(move: VirtualMachineMove) -> Mapping[str, tuple[str, ...]]:
    """What is known of each host that is named: codes that block it, `target` or `here`. What holds anywhere is under the
    empty name.
    """
    found: dict[str, list[str]] = {}
    for verdict in move.status.verdicts:
        if not verdict.node and (verdict.judgement == Judgement.BLOCK or not move.spec.attempt):
            found.setdefault("", []).append(verdict.code)
    for verdict in against_hosts(move):
        for node in verdict.nodes:
            found.setdefault(node, []).append(verdict.code)
    found |= {node: [what] for node, what in _ends(move).items()}
    return {host: tuple(dict.fromkeys(codes)) for host, codes in sorted(found.items())}


def _ends(move: VirtualMachineMove) -> Mapping[str, str]:
    """Its target and where it is, as far as they are known."""
    attempt = last_attempt(move)
    if attempt is not None:
        return {attempt.target_node: TARGET, attempt.source_node: HERE}
    return {move.spec.instance.node: HERE} if move.spec.instance.node else {}


def _row(
    move: VirtualMachineMove, by_host: Mapping[str, tuple[str, ...]], hosts: Sequence[str], *, wide: bool
) -> tuple[str, ...]:
    anywhere = ", ".join(by_host.get("", ())) or NOT_TOLD
    first = (name(move), str(move.status.phase), anywhere)
    if wide:
        return (*first, _in_words(move))
    return (*first, *(", ".join(map(_short, by_host.get(host, ()))) or NOT_TOLD for host in hosts))


def _in_words(move: VirtualMachineMove) -> str:
    """Each code with the hosts that it holds on; what several verdicts of one code say is put together."""
    named = {what: [node] for node, what in _ends(move).items()}
    unnamed: dict[str, int] = {}
    for verdict in against_hosts(move):
        code = _short(verdict.code)
        named.setdefault(code, []).extend(verdict.nodes)
        unnamed[code] = unnamed.get(code, 0) + verdict.nodes_unnamed
    told = (f"{code}: {listed(at, MOST_NAMED, unnamed.get(code, 0))}" for code, at in named.items())
    return "; ".join(told) or NOT_TOLD


def _short(code: str) -> str:
    return HERE if code == "SourceNode" else code


def describe_one(plan: PlanObject, moves: Sequence[VirtualMachineMove], vm: str) -> Answer:
    """Every reason of one virtual machine. Raises Failure where the plan has no move of it. Pure."""
    full = vm if "/" in vm else f"{plan.namespace}/{vm}"
    move = next((each for each in moves if name(each) == full), None)
    if move is None:
        known = ", ".join(name(each) for each in moves[:MOST_NAMED]) or "none"
        raise Failure(
            f"plan {plan} has no move of {full} (it has: {known}). List them: kubectl get vmove -n {plan.namespace}"
        )
    attempt = last_attempt(move)
    conflicts = [conflict for conflict in plan.conflicts if full in conflict.virtual_machines]
    notes = [f"Conflict: {conflict.message}" for conflict in conflicts]
    if move.status.verdicts:
        notes.append(why_not(full, move.status.verdicts, move.status.verdicts_omitted))
    elif move.spec.refusals:
        notes.append(in_full(f"Where {full} cannot go:", move.spec.refusals, move.spec.refusals_omitted))
    if move.spec.notes:
        notes.append(to_know(full, move.spec.notes))
    where = f", {attempt.source_node} to {attempt.target_node}" if attempt else ""
    return Answer(
        document={
            "plan": str(plan),
            **_entry(move, verdicts_by_host(move)),
            "message": move.status.message,
            "verdicts": [verdict.to_json() for verdict in move.status.verdicts],
            "verdictsOmitted": move.status.verdicts_omitted,
            "refusals": [verdict.to_json() for verdict in move.spec.refusals],
            "refusalsOmitted": move.spec.refusals_omitted,
            "notes": [verdict.to_json() for verdict in move.spec.notes],
            "conflicts": [_conflict(conflict) for conflict in conflicts],
        },
        title=f"{full}: {move.status.phase}{where}. {move.status.message}".rstrip(),
        notes=notes or ["Nothing stands against it."],
    )


def to_know(virtual_machine: str, notes: Sequence[Verdict]) -> str:
    """What is to be known of a move beforehand, as one reads reasons."""
    return in_full(f"Of {virtual_machine} is to be known:", notes)


def _entry(move: VirtualMachineMove, by_host: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    return {
        "virtualMachine": name(move),
        "phase": str(move.status.phase),
        "reason": move.status.reason,
        "anywhere": list(by_host.get("", ())),
        "byHost": {host: list(codes) for host, codes in by_host.items() if host},
    }


def _conflict(conflict: Conflict) -> dict[str, Any]:
    return {"message": conflict.message, "virtualMachines": list(conflict.virtual_machines)}


VERB = Verb("explain", "why each virtual machine of a plan can go where, and conflicts in words", configure, run)
