"""`kubectl whimbrel hosts [NODE]`: can each host be emptied now, in how long at the least, and if not, who blocks it and why.

Judged here and now with the user's own rights; no operator is asked and none need be installed.
"""

import argparse
from collections.abc import Iterable, Sequence

from whimbrel.api.text import listed
from whimbrel.cli import words
from whimbrel.cli.appraisal import NO, UNKNOWN, WAITS, YES, Appraisal, HostRow, Machine, Obstacle, appraise
from whimbrel.cli.cluster import Failure
from whimbrel.cli.collect import collect
from whimbrel.cli.output import Answer
from whimbrel.cli.verb import Connect, Verb

HEADERS = ("HOST", "GUESTS", "CAN BE EMPTIED", "IN", "BLOCKED BY")
MOST_BLOCKERS = 3
MOST_HOSTS = 6


def configure(parser: argparse.ArgumentParser) -> None:
    """NODE."""
    parser.add_argument("node", metavar="NODE", nargs="?", help="show this host alone, with all reasons in full")


def run(arguments: argparse.Namespace, connect: Connect) -> Answer:
    """All hosts, or one in full."""
    appraisal = appraise(collect(connect()))
    return describe(appraisal) if arguments.node is None else describe_one(appraisal, arguments.node)


def describe(appraisal: Appraisal) -> Answer:
    """All hosts, for people and for programs. Pure."""
    return Answer(
        document={**preface(appraisal), "hosts": [host.document() for host in appraisal.hosts]},
        title="\n".join((*appraisal.premises(), headline(appraisal.hosts))),
        headers=HEADERS,
        rows=[row(host) for host in appraisal.hosts],
        notes=["All reasons of one host: kubectl whimbrel hosts NODE"]
        if any(h.blockers for h in appraisal.hosts)
        else [],
    )


def preface(appraisal: Appraisal) -> dict[str, object]:
    """What everything else in a document depends on."""
    return {
        "profilesAssumed": appraisal.assumed,
        "capabilitiesAssumed": not appraisal.capabilities_known,
        "unread": [{"kind": kind, "why": why} for kind, why in appraisal.unread],
    }


def headline(hosts: Sequence[HostRow]) -> str:
    """How many can be emptied."""
    can = sum(host.evacuable == YES for host in hosts)
    waiting = sum(host.evacuable == WAITS for host in hosts)
    doubtful = sum(host.evacuable == UNKNOWN for host in hosts)
    more = f", {waiting} once what they wait for has passed" if waiting else ""
    return (
        f"{can} of {len(hosts)} hosts can be emptied now{more}{f', of {doubtful} it is unknown' if doubtful else ''}."
    )


def row(host: HostRow) -> tuple[str, ...]:
    """One host's line. The time is of the guests that can leave."""
    time = words.NOTHING if host.evacuable == NO or host.seconds is None else f"≥ {words.seconds(host.seconds)}"
    return (host.name, str(host.guests), host.evacuable, time if host.guests else words.seconds(0), blocked_by(host))


def blocked_by(host: HostRow) -> str:
    """The first blockers with their most telling codes, or what is waited for, or what is not known."""
    if host.evacuable == WAITS:
        return f"(waits for: {', '.join(host.waiting)})"
    if not host.blockers:
        return f"(unknown: {'; '.join(host.unknown)})" if host.unknown else ""
    return listed([f"{machine} ({codes[0]})" for machine, codes, _ in host.blockers], MOST_BLOCKERS)


def describe_one(appraisal: Appraisal, node: str) -> Answer:
    """One host with all reasons of all of its blockers. Raises Failure where there is none of that name. Pure."""
    host = next((each for each in appraisal.hosts if each.name == node), None)
    if host is None:
        known = ", ".join(each.name for each in appraisal.hosts[:MOST_HOSTS]) or "none"
        raise Failure(f"there is no host {node} (there are: {known}). List them: kubectl whimbrel hosts")
    machines = {machine.name: machine for machine in appraisal.machines if machine.node == node}
    blocking = [machines[name] for name, _, _ in host.blockers if name in machines]
    told = {name: message for name, _, message in host.blockers}
    return Answer(
        document={
            **preface(appraisal),
            **host.document(),
            "virtualMachines": [machine.document() for machine in machines.values()],
        },
        title="\n".join((*appraisal.premises(), sentence(host))),
        notes=[in_full(machine, told.get(machine.name, "")) for machine in blocking],
    )


def sentence(host: HostRow) -> str:
    """What is to be said of one host."""
    guests = f"{host.guests} virtual {'machine' if host.guests == 1 else 'machines'}"
    least = words.seconds(host.seconds)
    match host.evacuable:
        case "yes":
            return f"{host.name}: {guests}; it can be emptied now, in at least {least}."
        case "waits":
            return f"{host.name}: {guests}; it can be emptied once this has passed: {', '.join(host.waiting)}."
        case "unknown":
            return f"{host.name}: {guests}; whether it can be emptied is unknown: {'; '.join(host.unknown)}."
        case _:
            return f"{host.name}: {guests}; it cannot be emptied: {_block(len(host.blockers))}."


def _block(count: int) -> str:
    return "1 of them blocks it" if count == 1 else f"{count} of them block it"


def in_full(machine: Machine, message: str = "") -> str:
    """Every reason of one virtual machine, each with the field, the values, the hosts that it is about, and the remedy.

    `message` is what keeps it from leaving together with the others, where nothing does so by itself.
    """
    lines = [f"{machine.name}:"]
    shown = [o for o in machine.obstacles if o.reason.blocks] if machine.movable == NO else []
    if not shown and message:
        lines.append(f"  {message}")
    for obstacle in shown or machine.obstacles:
        lines += obstacle_lines(obstacle)
    return "\n".join(lines)


def obstacle_lines(obstacle: Obstacle) -> Iterable[str]:
    """One reason, and its remedy below."""
    reason = obstacle.reason
    values = ", ".join(
        text
        for text in (
            f"found {reason.found}" if reason.found else "",
            f"needed {reason.needed}" if reason.needed else "",
        )
        if text
    )
    where = f" [{hosts_in_words(obstacle)}]" if obstacle.count else ""
    kind = "" if reason.blocks else f" ({str(reason.judgement).lower()})"
    yield f"  {reason.code}{kind}{where}  {reason.field}{': ' if reason.field and values else ''}{values}"
    if cure := reason.cure():
        yield f"      {cure}"


def hosts_in_words(obstacle: Obstacle) -> str:
    """The hosts that a reason is about."""
    return listed(obstacle.hosts, MOST_HOSTS, obstacle.count - len(obstacle.hosts))


VERB = Verb("hosts", "can each host be emptied now, in how long, and who blocks it", configure, run)
