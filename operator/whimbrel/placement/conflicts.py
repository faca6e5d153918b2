"""Minimal conflicts: guests and rules that cannot be had together, none of which could be left out.

Guests are dropped first, then rules, each for good where the rest stays infeasible: leaving something out never makes a
feasible rest infeasible, so one pass by single members leaves an irreducible set. Several orders are tried and the
smallest set is kept. The oracle is `search`. Called by `solving` for what could not be placed.
"""

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from functools import partial
from typing import TypeVar

from whimbrel.placement.board import Frame
from whimbrel.placement.problem import Conflict, Kind, Member, Meter
from whimbrel.placement.search import feasible, likeness
from whimbrel.placement.wording import describe

M = TypeVar("M")
_READABLE = 8
"""With more rooms in question capacity is one member per resource, not per room."""


def find(frame: Frame, guests: Sequence[int], waiting: Iterable[int], meter: Meter) -> list[Conflict]:
    """Disjoint conflicts among guests, looked for around those that wait for a room, as far as the steps show them."""
    found: list[Conflict] = []
    named: set[int] = set()
    stuck = set(waiting)
    for suspects in _suspects(frame, guests, stuck, named):
        group = [guest for guest in suspects if guest not in named]
        while not stuck.isdisjoint(group) and _asked(frame, group, meter) is False:
            conflict = _smallest(frame, group, meter)
            if conflict is None:
                break
            found.append(conflict)
            named.update(frame.positions[uid] for uid in conflict.guests)
            group = [guest for guest in group if guest not in named]
        if stuck <= named:
            break
    return found


def _suspects(
    frame: Frame, guests: Sequence[int], waiting: Iterable[int], named: Container[int]
) -> Iterator[list[int]]:
    """Groups that may be infeasible by themselves, small and cheap ones first; the last is everybody.

    No group is made for guests that have been `named` in the meantime.
    """
    everybody = sorted(guests)
    stuck = sorted(waiting)
    alike: dict[object, int] = {}
    for guest in stuck:
        entry = frame.problem.guests[guest]
        plain = guest not in frame.rules_of
        alike.setdefault((frame.domains[guest], entry.demand, entry.headroom_percent) if plain else guest, guest)
    yield from ([guest] for guest in sorted(alike.values()))
    masks: dict[int, list[int]] = {}
    numbers: dict[int, list[int]] = {}
    for guest in stuck:
        masks.setdefault(frame.domains[guest], []).append(guest)
        for number in frame.rules_of.get(guest, ()):
            numbers.setdefault(number, []).append(guest)
    for mask in sorted(masks, key=lambda mask: (mask.bit_count(), mask)):
        if any(guest not in named for guest in masks[mask]):
            yield [other for other in everybody if not frame.domains[other] & ~mask]
    for number in sorted(numbers):
        if any(guest not in named for guest in numbers[number]):
            yield [other for other in everybody if number in frame.rules_of.get(other, ())]
    yield everybody


def _asked(frame: Frame, guests: Sequence[int], meter: Meter, without: frozenset[Member] = frozenset()) -> bool | None:
    """The oracle's answer; no single question may take more than a part of the steps."""
    part = Meter(meter.left // 4)
    answer = feasible(frame, guests, part, without)
    meter.spend(part.spent)
    return answer


def _smallest(frame: Frame, group: Sequence[int], meter: Meter) -> Conflict | None:
    """Of the irreducible sets that some orders lead to, the one with the fewest members."""
    found: list[tuple[int, tuple[int, ...], tuple[Member, ...]]] = []
    cores: set[tuple[int, ...]] = set()
    for order in (sorted(group), sorted(group, reverse=True)):
        core = shrink(
            order,
            lambda some: _denied(_asked(frame, some, meter)),
            lambda guest: likeness(frame, guest, frame.domains[guest]),
        )
        if core is not None:
            cores.add(tuple(sorted(core)))
    for guests in sorted(cores):
        for rules in _orders(frame, guests):
            kept = _necessary(frame, guests, rules, meter)
            if kept is not None:
                found.append((len(guests) + len(kept), guests, tuple(sorted(kept))))
    if not found:
        return None
    _, guests, kept_rules = min(found)
    uids = sorted(frame.problem.guests[guest].uid for guest in guests)
    return _conflict(frame, uids, kept_rules)


def _conflict(frame: Frame, uids: Sequence[str], rules: Sequence[Member]) -> Conflict:
    members = (*(Member(Kind.GUEST, uid) for uid in uids), *rules)
    retell = partial(describe, frame, uids, rules)
    return Conflict(tuple(uids), tuple(sorted(members)), describe(frame, uids, rules), retell)


def _necessary(frame: Frame, guests: Sequence[int], rules: Sequence[Member], meter: Meter) -> list[Member] | None:
    """Those rules without any one of which the guests could be placed; None where the steps do not suffice to tell."""
    everything = frozenset(rules)

    def infeasible(some: Sequence[Member]) -> bool | None:
        return _denied(_asked(frame, guests, meter, everything.difference(some)))

    return shrink(rules, infeasible) if infeasible(rules) else None


def _denied(answer: bool | None) -> bool | None:
    return None if answer is None else not answer


def _orders(frame: Frame, guests: Sequence[int]) -> Iterator[list[Member]]:
    """The rules that bear on some guests, what should rather be left out first."""
    problem = frame.problem
    everywhere = 0
    facts: list[Member] = []
    between: set[int] = set()
    percents: set[int] = set()
    for guest in guests:
        entry = problem.guests[guest]
        everywhere |= frame.domains[guest]
        percents.add(entry.headroom_percent)
        between.update(frame.rules_of.get(guest, ()))
        for number, fact in enumerate(entry.facts):
            if fact.mask & frame.everywhere != frame.everywhere:
                facts.append(Member(Kind.FACT, entry.uid, number))
    one_by_one = len(problem.rooms) <= _READABLE
    capacity = [
        Member(Kind.CAPACITY, number=room, resource=resource)
        for resource in reversed(range(len(problem.resources)))
        for room in (range(len(problem.rooms)) if one_by_one else (-1,))
    ]
    others = [Member(Kind.HOST_FAILURES)] if problem.host_failures else []
    others += [Member(Kind.RULE, number=number) for number in sorted(between, reverse=True)]
    others += [Member(Kind.HEADROOM, number=percent) for percent in sorted(percents - {0})]
    yield [*others, *capacity, *facts]
    yield [*facts, *others, *capacity]


def shrink(
    items: Sequence[M],
    infeasible: Callable[[Sequence[M]], bool | None],
    alike: Callable[[M], object] = lambda item: item,
) -> list[M] | None:
    """What is left of an infeasible collection when no single item can be dropped; earlier items are dropped rather.

    Large pieces are tried first, so few necessary items among many are found in few questions. What holds of a piece holds
    of every other whose items are `alike`, one by one: of equal guests one is asked about. None where a question that
    decides was not answered.
    """
    kept = list(items)
    needed: set[frozenset[tuple[object, int]]] = set()
    size = max(1, len(kept) // 2)
    while kept:
        start = 0
        while start < len(kept):
            rest = kept[:start] + kept[start + size :]
            piece = frozenset(Counter(map(alike, kept[start : start + size])).items())
            answer = False if piece in needed else infeasible(rest)
            if answer is None and size == 1:
                return None
            if answer:
                kept = rest
            else:
                start += size
                if answer is False:
                    needed.add(piece)
        if size == 1:
            break
        size = max(1, size // 2)
    return kept


def narrow(frame: Frame, guest: int) -> Conflict | None:
    """The conflict of a guest that no room suits at all; None where one does. Asks no oracle: there may be thousands."""
    entry = frame.problem.guests[guest]
    if frame.domains[guest]:
        return None

    def suited_nowhere(some: Sequence[int]) -> bool:
        mask = frame.everywhere
        for number in some:
            mask &= entry.facts[number].mask
        return not mask

    orders = (range(len(entry.facts)), range(len(entry.facts) - 1, -1, -1))
    found = (sorted(shrink(order, suited_nowhere) or ()) for order in orders)
    kept = min(found, key=lambda some: (len(some), some))
    rules = [Member(Kind.FACT, entry.uid, number) for number in kept]
    return _conflict(frame, (entry.uid,), rules)
