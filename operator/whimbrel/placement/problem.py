"""The problem that placement solves, in numbers and masks: rooms, guests, and the rules between guests.

Nothing here knows of Kubernetes. A set of hosts is an int whose bit n is the nth room; rooms are sorted by name. Amounts
are tuples aligned with `Problem.resources`, of which the first is memory in bytes and the second CPU in millicores.
"""

from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise

from whimbrel.api.migration_plan import Strategy

Amounts = tuple[int, ...]
Words = str | Callable[[], str]
"""A text, or what makes it when somebody asks."""
Telling = Callable[[Set[str]], str]
"""A text that spells only the names of the guests with these UIDs, and counts the others."""


def text(words: Words) -> str:
    """The text itself."""
    return words if isinstance(words, str) else words()


@dataclass(frozen=True, slots=True)
class Room:
    """A host. `free` is what nobody takes now, the guests of the problem counted at their sources.

    Where it is negative a resource is overdrawn: until enough has left only guests arrive that ask for none of it.
    """

    name: str
    free: Amounts
    allocatable: Amounts
    """Headroom is a percentage of the first."""
    restarts: Amounts = ()
    """What of its fixed occupants must start elsewhere if the host is lost; empty: nothing."""
    spare: bool = True
    """Whether guests of a lost host could start here: a host that takes no pods, or that is being emptied, is no spare one."""


@dataclass(frozen=True, slots=True)
class Fact:
    """What one family of preflight says of one guest: the hosts that suit it."""

    words: Words
    """What the guest needs of them, such as "huge pages"; empty: that they take it at all."""
    mask: int


@dataclass(frozen=True, slots=True)
class Guest:
    """A virtual machine to be placed. It may stay where it is only if its facts suit its source."""

    uid: str
    name: str
    demand: Amounts
    facts: tuple[Fact, ...] = ()
    source: int | None = None
    """Position of the room that it occupies now."""
    headroom_percent: int = 0
    """Of the target's allocatable memory, to stay free after its arrival."""
    strategy: Strategy = Strategy.SPREAD
    keep: int | None = None
    """Position of the room chosen before, which stays chosen while it is possible."""
    via: int | None = None
    """Position of the room that it was to go to first, on its way there."""


@dataclass(frozen=True, slots=True)
class Apart:
    """No two of these guests in one domain, unless neither arrives there. Rooms outside all domains are free to all."""

    guests: frozenset[str]
    domains: tuple[int, ...]
    words: Words = ""


@dataclass(frozen=True, slots=True)
class Together:
    """Each of `guests` that moves arrives in a domain where a fixed partner or another one of `partners` is.

    One that is a partner itself may also stay in its domain: the launcher that it leaves is there until it has come.
    """

    guests: frozenset[str]
    partners: frozenset[str]
    domains: tuple[int, ...]
    fixed: int = 0
    """Rooms where a partner is that does not move."""
    words: Words = ""


@dataclass(frozen=True, slots=True)
class EvenSpread:
    """A domain takes one of these while it has at most `max_skew` more of them than the emptiest domain, itself included.

    The scheduler's DoNotSchedule, asked at the moment of an arrival alone: the launcher that is left still counts, and what
    becomes of a domain afterwards is nobody's concern. So it is asked where guests are placed or moved one after the other;
    an assignment as such does not break it. Rooms outside all domains take everybody. With fewer domains than `min_domains`
    the emptiest counts as empty.
    """

    guests: frozenset[str]
    domains: tuple[int, ...]
    max_skew: int = 1
    fixed: tuple[int, ...] = ()
    """How many that do not move each domain has; empty: none."""
    min_domains: int = 1
    words: Words = ""


Rule = Apart | Together | EvenSpread


@dataclass(frozen=True, slots=True)
class Problem:
    """All guests of all active plans at once. Make it with `Problem.of`."""

    resources: tuple[str, ...]
    rooms: tuple[Room, ...]
    guests: tuple[Guest, ...]
    rules: tuple[Rule, ...] = ()
    host_failures: int = 0
    """So many hosts can be lost after the placement: of memory and of CPU, what all spare hosts have free is no less than what
    the so many largest hold for guests, taken or free (others than spare ones: taken); and each guest has room on as many spare
    hosts beside its own.
    """

    @classmethod
    def of(
        cls,
        resources: Iterable[str],
        rooms: Iterable[Room],
        guests: Iterable[Guest],
        rules: Iterable[Rule] = (),
        host_failures: int = 0,
    ) -> "Problem":
        """The same value whatever the order of guests and rules.

        Raises ValueError where rooms are not sorted by name, a UID occurs twice, or a rule names an unknown guest.
        """
        placed = tuple(rooms)
        if any(a.name >= b.name for a, b in pairwise(placed)):
            raise ValueError("rooms must be sorted by name, because masks count them by position")
        ordered, listed = sorted(guests, key=_rank), sorted(rules, key=_rule_rank)
        known = {guest.uid for guest in ordered}
        if len(known) != len(ordered):
            raise ValueError("two guests have the same UID")
        for rule in listed:
            if unknown := _named(rule) - known:
                raise ValueError(f"a rule names guests that are not in the problem: {', '.join(sorted(unknown))}")
        return cls(tuple(resources), placed, tuple(ordered), tuple(listed), host_failures)


def _named(rule: Rule) -> frozenset[str]:
    return rule.guests | rule.partners if isinstance(rule, Together) else rule.guests


def _rank(guest: Guest) -> tuple[int, Amounts, str, str]:
    """The most constrained first, by powers of two of the hosts that suit; then the biggest."""
    mask = -1
    for fact in guest.facts:
        mask &= fact.mask
    suitable = mask.bit_count().bit_length() if mask >= 0 else 64
    return suitable, tuple(-amount for amount in guest.demand), guest.name, guest.uid


def _rule_rank(rule: Rule) -> tuple[str, list[str], tuple[int, ...], tuple[object, ...]]:
    match rule:
        case Apart():
            more: tuple[object, ...] = ()
        case Together():
            more = (rule.fixed, tuple(sorted(rule.partners)))
        case EvenSpread():
            more = (rule.max_skew, rule.fixed, rule.min_domains)
    return type(rule).__name__, sorted(rule.guests), rule.domains, more


class Kind(StrEnum):
    """What a member of a conflict is."""

    GUEST = "guest"
    FACT = "fact"
    CAPACITY = "capacity"
    HEADROOM = "headroom"
    RULE = "rule"
    HOST_FAILURES = "hostFailures"


@dataclass(frozen=True, slots=True, order=True)
class Member:
    """A guest or a rule of a conflict; without it the rest of the conflict would be feasible.

    A guest left out takes no room; where a rule counts on it, it counts as being wherever the rule wants it.
    """

    kind: Kind
    guest: str = ""
    """UID, of a guest and of a fact."""
    number: int = -1
    """Position of the fact, the rule or the room; -1: all rooms. Of headroom: the percentage."""
    resource: int = -1
    """Position of the resource, of capacity."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """Why some guests cannot all be placed: infeasible by itself, and feasible without any one of its members."""

    guests: tuple[str, ...]
    """UIDs, sorted."""
    members: tuple[Member, ...]
    """Guests and rules, sorted."""
    words: str
    """For whoever may read the names of all its guests."""
    retell: Telling | None = field(default=None, compare=False, repr=False)

    def told(self, readable: Set[str]) -> str:
        """The words for whoever may read the names of these guests only, by UID."""
        return (
            self.words if self.retell is None or all(uid in readable for uid in self.guests) else self.retell(readable)
        )


@dataclass(slots=True)
class Meter:
    """Steps that may still be spent. Steps, never seconds: the same input always ends with the same result."""

    left: int
    spent: int = field(default=0)

    def spend(self, steps: int) -> bool:
        """Take steps; false when there are none left."""
        self.left -= steps
        self.spent += steps
        return self.left >= 0
