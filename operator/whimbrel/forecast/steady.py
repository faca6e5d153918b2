"""The size of the rounds of a copy that does not get on, from samples that are many rounds apart.

Where every round is as large as the one before, bytes sent plus bytes left of the round are bytes sent at the round's end:
from sample to sample they differ by whole rounds. A size that explains all differences is the rounds' size if more
than half of it was once seen left, and so what the guest rewrites meanwhile. A failed attempt thereby tells what a stun would
have to send. Used by `samples`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

FEWEST_DIFFERENCES = 4
"""With fewer, a size that fits is too likely to be a coincidence."""
MOST_ROUNDS_BETWEEN = 20
"""Between two samples; with more, every size fits."""
FEW_ROUNDS_BETWEEN = 2
FEWEST_ROUNDS_LEFT = 6
"""With so many, four of five rounds are within a third of the size that is told by what was left of them."""
SAME_STEP = 0.1
"""Of the most that was left: how far apart steps from sample to sample may be and be called the same;"""
SMALL_STEP = 0.25
"""and how large they may be for samples to creep through their rounds. Larger ones soon have been everywhere."""
SAME_ROUND = 0.05
"""Of what is left: so little more was not dirtied, but is pages of zeros and headers."""
TOLERANCE = 0.12
"""How far from whole the number of rounds between two samples may be: rounds of a real guest differ a little."""


def one_of_each_round(sent_and_left: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The first of the samples of each round: within one, what was sent and what is left add up to the same."""
    kept = list[tuple[float, float]]()
    for sent, left in sent_and_left:
        if not kept or sent + left > sum(kept[-1]) + SAME_ROUND * max(left, kept[-1][1]):
            kept.append((sent, left))
    return kept


@dataclass(frozen=True, slots=True)
class Rounds:
    """Rounds that are alike: bytes sent in each, and bytes that each begins with."""

    sent_bytes: float
    begins_with_bytes: float


def steady_rounds(sent_and_left: Sequence[tuple[float, float]], unsent_bytes: float = 0.0) -> Rounds | None:
    """From (bytes sent, bytes left of the round) in the order of time, all after the first round; None where rounds are not
    alike, or too few samples tell. `unsent_bytes` of a round may be left for the next: told apart where more was seen left than
    is sent in a round, and nearly each round was seen.
    """
    size = _size(sent_and_left, 0.0, MOST_ROUNDS_BETWEEN)
    if size is not None and max(left for _sent, left in sent_and_left) <= (1 + SAME_ROUND) * size:
        return Rounds(size, size)
    size = _size(sent_and_left, unsent_bytes, FEW_ROUNDS_BETWEEN) if unsent_bytes else None
    return None if size is None else Rounds(size, size + unsent_bytes)


def round_at_most(sent_and_left: Sequence[tuple[float, float]], unsent_bytes: float = 0.0) -> float | None:
    """Bytes that no round begins with more of, from two samples on, all after the first round; None where rounds are not alike.
    Of all sizes that explain what was sent between samples it is the largest: the true one is among them.
    """
    size = _largest(sent_and_left, unsent_bytes, MOST_ROUNDS_BETWEEN)
    return None if size is None else (1 + SAME_ROUND) * size + unsent_bytes


def independent(left_bytes: Sequence[float]) -> tuple[float, ...]:
    """What was left of rounds, a sample of each, where samples fall anywhere into their rounds. Where each falls only a little
    further into its round than the one before, as nearly a whole number of rounds lies between, they tell no more than one.
    """
    if len(left_bytes) < 2:
        return tuple(left_bytes)
    steps = sorted(later - earlier for earlier, later in pairwise(left_bytes))
    usual = steps[len(steps) // 2]
    alike = sum(abs(step - usual) <= SAME_STEP * max(left_bytes) for step in steps)
    creeps = 2 * alike > len(steps) and abs(usual) <= SMALL_STEP * max(left_bytes)
    return (max(left_bytes),) if creeps else tuple(left_bytes)


def round_by_what_was_left(left_bytes: Sequence[float]) -> float | None:
    """The size of rounds that are alike, in bytes, by what a sample of each of them showed left (`independent`); None for too
    few. For copies whose samples are too many rounds apart for `steady_rounds`.

    A sample falls anywhere into a round of v bytes, so the most of n of what is left is below x·v with the chance xⁿ: this is
    the median of the rounds that would show it. Of a guest whose work changes, its busiest.
    """
    if len(left_bytes) < FEWEST_ROUNDS_LEFT:
        return None
    return max(left_bytes) * float(2 ** (1 / len(left_bytes)))


def _size(sent_and_left: Sequence[tuple[float, float]], unsent_bytes: float, most_rounds: int) -> float | None:
    size = _largest(sent_and_left, unsent_bytes, most_rounds)
    at_least = _most_left(sent_and_left, unsent_bytes)
    if size is None or len(_differences(sent_and_left)) < FEWEST_DIFFERENCES or at_least <= 0:
        return None
    return size if size < 2 * at_least else None  # of a size twice what was ever left, a half would explain the same


def _largest(sent_and_left: Sequence[tuple[float, float]], unsent_bytes: float, most_rounds: int) -> float | None:
    """The largest size that explains all differences; None where none does that is not smaller than what was once left."""
    differences, at_least = _differences(sent_and_left), _most_left(sent_and_left, unsent_bytes)
    if not differences:
        return None
    for rounds in range(1, most_rounds + 1):
        size = min(differences) / rounds
        if size < at_least * (1 - TOLERANCE):
            return None
        counts = [round(difference / size) for difference in differences]
        if all(abs(difference / size - n) <= TOLERANCE for difference, n in zip(differences, counts, strict=True)):
            return sum(differences) / sum(counts)
    return None


def _differences(sent_and_left: Sequence[tuple[float, float]]) -> list[float]:
    ends = [sent + left for sent, left in sent_and_left]
    return [later - earlier for earlier, later in pairwise(ends) if later > earlier]


def _most_left(sent_and_left: Sequence[tuple[float, float]], unsent_bytes: float) -> float:
    return max((left for _sent, left in sent_and_left), default=0.0) - unsent_bytes
