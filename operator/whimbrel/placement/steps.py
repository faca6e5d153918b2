"""The order of moves as it is told: its steps, and what a guest stands behind that finds no way. Made by `sequence`."""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field

from whimbrel.placement.problem import Guest, Rule, Telling
from whimbrel.placement.wording import as_read, names, rule_in_words


@dataclass(frozen=True, slots=True)
class Step:
    """One migration, possible when all steps before it have ended."""

    guest: str
    """UID."""
    source: int | None
    target: int
    detour: bool
    """Whether the target is not where it is to stay."""


@dataclass(frozen=True, slots=True)
class Stuck:
    """A guest that has a place to go and no way there."""

    guest: str
    """UID."""
    words: str
    """For whoever may read the names of all guests."""
    retell: Telling | None = field(default=None, compare=False, repr=False)

    def told(self, readable: Set[str]) -> str:
        """The words for whoever may read the names of these guests only, by UID."""
        return self.words if self.retell is None else self.retell(readable)


@dataclass(frozen=True, slots=True)
class Sequence:
    """The steps in order, and who cannot be moved by any order that was found."""

    steps: tuple[Step, ...]
    stuck: tuple[Stuck, ...]
    rerouted: Mapping[str, int]
    """Guests that end in another room than assigned, because no order leads there; as good for everything that must be."""


def behind(
    guest: Guest, target: str, leaving: Iterable[Guest], rule: Rule | None, readable: Set[str] | None = None
) -> str:
    """What a guest that is stuck stands behind: a rule, or others. Only names of `readable` guests are spelled; None: all."""
    before = sorted(as_read(other, readable).name for other in leaving)
    name = names([as_read(guest, readable).name])
    if rule is not None:
        return f"{name} cannot go to {target} in any order: {rule_in_words(rule, [name])}"
    if before:
        between = "no host that the plan admits can take one of them in between"
        return f"{name} can go to {target} only after {names(before)}, and {between}"
    return f"{name} cannot go to {target} in any order: a rule stands against every state in between"
