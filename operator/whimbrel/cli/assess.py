"""`kubectl whimbrel assess`: the whole cluster in one report: every virtual machine, movable where and why not; every host.

Needs rights to list and nothing of ours in the cluster. What may not be read is named at the top and makes verdicts unknown.
"""

import argparse
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from whimbrel.cli import hosts, page, words
from whimbrel.cli.appraisal import NO, UNKNOWN, WAITS, YES, Appraisal, Machine, appraise
from whimbrel.cli.cluster import Failure
from whimbrel.cli.collect import collect, to_stderr
from whimbrel.cli.output import Answer
from whimbrel.cli.verb import Connect, Verb

HEADERS = ("REASON", "VMS", "FOR EXAMPLE", "WHAT TO DO")
MOST_HOSTS = 20
LONGEST_CURE = 100


def configure(parser: argparse.ArgumentParser) -> None:
    """--html."""
    parser.add_argument("--html", metavar="FILE", help="write the whole report as one page that needs nothing else")


def run(arguments: argparse.Namespace, connect: Connect) -> Answer:
    """Collects, judges, tells."""
    collected = collect(connect(), to_stderr)
    to_stderr("judging")
    appraisal = appraise(collected)
    if arguments.html:
        try:
            Path(arguments.html).write_text(page.html(appraisal), encoding="utf-8")
        except OSError as problem:
            raise Failure(f"{arguments.html} cannot be written: {problem}") from problem
        to_stderr(f"{arguments.html} written")
    return describe(appraisal)


def describe(appraisal: Appraisal) -> Answer:
    """The report: a summary for people, everything for programs. Pure."""
    blocked = [host for host in appraisal.hosts if host.evacuable != YES]
    notes = [f"{host.name}: {hosts.blocked_by(host)}" for host in blocked[:MOST_HOSTS]]
    told = "\n".join(["Hosts that cannot be emptied now, or of which it is unknown:", *(f"  {note}" for note in notes)])
    if len(blocked) > MOST_HOSTS:
        told += f"\n  and {len(blocked) - MOST_HOSTS} more: kubectl whimbrel hosts"
    return Answer(
        document=document(appraisal),
        title="\n".join((*appraisal.premises(), summary(appraisal), hosts.headline(appraisal.hosts))),
        headers=HEADERS,
        rows=list(rows(appraisal.machines)),
        notes=[told] if blocked else [],
    )


def document(appraisal: Appraisal) -> dict[str, object]:
    """Everything, for programs: the same for the same cluster."""
    return {
        **hosts.preface(appraisal),
        "summary": {
            "virtualMachines": len(appraisal.machines),
            "movable": count(appraisal, YES),
            "waiting": count(appraisal, WAITS),
            "notMovable": count(appraisal, NO),
            "unknown": count(appraisal, UNKNOWN),
            "notRunning": len(appraisal.not_running),
            "hosts": len(appraisal.hosts),
            "hostsThatCanBeEmptied": sum(host.evacuable == YES for host in appraisal.hosts),
        },
        "hosts": [host.document() for host in appraisal.hosts],
        "virtualMachines": [machine.document() for machine in appraisal.machines],
        "notRunning": list(appraisal.not_running),
    }


def count(appraisal: Appraisal, movable: str) -> int:
    """How many virtual machines have this verdict."""
    return sum(machine.movable == movable for machine in appraisal.machines)


def summary(appraisal: Appraisal) -> str:
    """The virtual machines in one sentence."""
    parts = [f"{count(appraisal, YES)} can move now"]
    for movable, text in ((WAITS, "only wait"), (NO, "cannot move"), (UNKNOWN, "are unknown")):
        if found := count(appraisal, movable):
            parts.append(f"{found} {text}")
    if appraisal.not_running:
        parts.append(f"{len(appraisal.not_running)} more do not run")
    return f"Of {len(appraisal.machines)} virtual machines {', '.join(parts)}."


def rows(machines: Iterable[Machine]) -> Iterable[tuple[str, ...]]:
    """One line for each code that keeps any virtual machine from moving, the most frequent first."""
    counted: Counter[str] = Counter()
    examples: dict[str, tuple[str, str]] = {}
    for machine in machines:
        if machine.movable != NO:
            continue
        cures = {obstacle.reason.code: obstacle.reason.cure() for obstacle in reversed(machine.obstacles)}
        for code in machine.codes:
            counted[code] += 1
            examples.setdefault(code, (machine.name, cures[code]))
    for code, number in sorted(counted.items(), key=lambda item: (-item[1], item[0])):
        name, cure = examples[code]
        yield code, str(number), name, words.shortened(cure, LONGEST_CURE)


VERB = Verb("assess", "the whole cluster in one report: what can move where, what cannot and why", configure, run)
