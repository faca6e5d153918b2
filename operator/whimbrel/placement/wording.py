"""Conflicts in words: who cannot be placed, and what stands against it, one clause each."""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace

from whimbrel.placement.board import Frame, rooms_of
from whimbrel.placement.problem import Apart, EvenSpread, Guest, Kind, Member, Problem, Rule, Together, text

_GIB = 1 << 30
_NAMED = 6
"""More names than these are counted, not listed."""


_UNNAMED = ""
"""Stands for the name of a guest that the reader may know nothing of."""


def names(listed: Sequence[str], more: int = 0) -> str:
    """ "a", "a and b", "a, b and c", "a, b, c, d, e and 7 more"; of empty names only how many: "a and 2 virtual machines of
    other namespaces". `more`: how many there are beyond those listed.
    """
    shown = [name for name in listed if name != _UNNAMED]
    unnamed = len(listed) - len(shown)
    if len(shown) > _NAMED:
        shown, more = shown[: _NAMED - 1], more + len(shown) - _NAMED + 1
    if more:
        shown.append(f"{more} more")
    if unnamed == 1:
        shown.append("a virtual machine of another namespace")
    elif unnamed:
        shown.append(f"{unnamed} virtual machines of other namespaces")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def as_read(guest: Guest, readable: Set[str] | None) -> Guest:
    """A guest, without its name where its UID is not among the readable ones; None: all are."""
    return guest if readable is None or guest.uid in readable else replace(guest, name=_UNNAMED)


def describe(frame: Frame, uids: Iterable[str], rules: Iterable[Member], readable: Set[str] | None = None) -> str:
    """One sentence for a conflict: its guests, then each rule. Only names of `readable` guests are spelled; None: all."""
    problem = frame.problem
    guests = {uid: as_read(problem.guests[frame.positions[uid]], readable) for uid in uids}
    who = sorted(guest.name for guest in guests.values())
    listed = list(rules)
    clauses = [
        *_between(problem, guests, listed),
        *_facts(problem, guests, listed),
        *_capacity(frame, listed),
        *(f"{rule.number} % of a target's memory must stay free" for rule in listed if rule.kind is Kind.HEADROOM),
    ]
    if any(rule.kind is Kind.HOST_FAILURES for rule in listed):
        lost = problem.host_failures
        clauses.append(f"the cluster must be able to lose {lost} {'host' if lost == 1 else 'hosts'}")
    subject = f"{names(who)} cannot be placed" if len(who) == 1 else f"{names(who)} cannot all be placed"
    return f"{subject}: {', and '.join(clauses)}." if clauses else f"{subject}."


def _between(problem: Problem, guests: Mapping[str, Guest], rules: Iterable[Member]) -> list[str]:
    found = []
    for member in rules:
        if member.kind is Kind.RULE:
            rule = problem.rules[member.number]
            involved = sorted(guest.name for uid, guest in guests.items() if uid in rule.guests)
            found.append(rule_in_words(rule, involved))
            if isinstance(rule, Apart) and (few := _few(problem, rule, len(involved))):
                found.append(few)
    return found


def _few(problem: Problem, rule: Apart, guests: int) -> str:
    """How many domains there are, where that is fewer than guests, in words; else empty."""
    count = len(rule.domains)
    if count >= guests:
        return ""
    single = all(domain.bit_count() == 1 for domain in rule.domains)
    what = ("host" if count == 1 else "hosts") if single else ("group of hosts" if count == 1 else "groups of hosts")
    return f"there {'is' if count == 1 else 'are'} only {count} {what} for that"


def rule_in_words(rule: Rule, involved: Sequence[str]) -> str:
    """The rule in its own words, or what it says of these guests by name."""
    if words := text(rule.words):
        return words
    match rule:
        case Apart():
            return f"{names(involved)} must stay apart"
        case Together():
            return f"{names(involved) if involved else 'others'} must run where a partner runs"
        case EvenSpread():
            return (
                f"{names(involved)} must be spread evenly, at most {rule.max_skew} more in one domain than in another"
            )


def _facts(problem: Problem, guests: Mapping[str, Guest], rules: Iterable[Member]) -> list[str]:
    """Equal facts of several guests are one clause."""
    who = sorted(guest.name for guest in guests.values())
    needed: dict[tuple[str, int], list[str]] = {}
    for member in rules:
        if member.kind is Kind.FACT:
            guest = guests[member.guest]
            fact = guest.facts[member.number]
            needed.setdefault((text(fact.words), fact.mask), []).append(guest.name)
    everywhere = (1 << len(problem.rooms)) - 1
    found = []
    for (words, mask), needing in needed.items():
        subject = _subject(sorted(needing), who)
        if not words:
            found.append(_taking(problem, "them" if len(needing) > 1 else "it", mask & everywhere))
            continue
        verb = "need" if len(needing) > 1 else "needs"
        if not mask & everywhere:
            found.append(f"no host has the {words} {subject} {verb}")
            continue
        suitable, missing = rooms_of(mask & everywhere), rooms_of(everywhere & ~mask)
        if len(missing) < len(suitable):
            lacking = names([problem.rooms[room].name for room in missing])
            found.append(f"{lacking} {'lacks' if len(missing) == 1 else 'lack'} the {words} {subject} {verb}")
        else:
            having = names([problem.rooms[room].name for room in suitable])
            found.append(f"only {having} {'has' if len(suitable) == 1 else 'have'} the {words} {subject} {verb}")
    return found


def _taking(problem: Problem, guests: str, mask: int) -> str:
    """That only some hosts take these guests at all."""
    if not mask:
        return f"no host takes {guests}"
    missing = rooms_of(((1 << len(problem.rooms)) - 1) & ~mask)
    if len(missing) < mask.bit_count():
        return f"{names([problem.rooms[room].name for room in missing])} may not take {guests}"
    return f"only {names([problem.rooms[room].name for room in rooms_of(mask)])} may take {guests}"


def _subject(needing: list[str], who: list[str]) -> str:
    if needing == who and len(who) > 1:
        return "both" if len(who) == 2 else "all"
    return "it" if needing == who else names(needing)


def _capacity(frame: Frame, rules: Iterable[Member]) -> list[str]:
    problem = frame.problem
    found = []
    for member in rules:
        if member.kind is not Kind.CAPACITY:
            continue
        resource = problem.resources[member.resource]
        if member.number < 0:
            found.append(f"the hosts have not enough {_called_resource(resource)} free")
            continue
        room = problem.rooms[member.number]
        base = frame.base[member.number][member.resource]
        leaving = base != room.free[member.resource]
        free = amount(resource, base)
        departed = " once all have left that are to move" if leaving else ""
        found.append(f"{room.name} has {free} of {_called_resource(resource)} free{departed}")
    return found


def _called_resource(resource: str) -> str:
    return resource.removesuffix("_bytes").removesuffix("_millicores").replace("_", " ")


def amount(resource: str, value: int) -> str:
    """An amount for people; what is less than nothing is nothing."""
    value = max(0, value)
    if resource.endswith("_bytes"):
        return f"{value / _GIB:.1f} GiB"
    return f"{value}m" if resource.endswith("_millicores") else str(value)
