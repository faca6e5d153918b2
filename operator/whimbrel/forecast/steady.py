"""The size of the rounds of a copy that does not get on, from samples that are many rounds apart.

Where every round is as large as the one before, bytes sent plus bytes left of the round are bytes sent at the round's end:
from sample to sample they differ by whole rounds. A size that explains all differences is the rounds' size if more
than half of it was once seen left, and so what the guest rewrites meanwhile. A failed attempt thereby tells what a stun would
have to send. Used by `samples`.
"""

from collections.abc import Sequence
from itertools import pairwise

FEWEST_DIFFERENCES = 4
"""With fewer, a size that fits is too likely to be a coincidence."""
MOST_ROUNDS_BETWEEN = 20
"""Between two samples; with more, every size fits."""
TOLERANCE = 0.12
"""How far from whole the number of rounds between two samples may be: rounds of a real guest differ a little."""


def steady_round_bytes(sent_and_left: Sequence[tuple[float, float]]) -> float | None:
    """Bytes of each round, from (bytes sent, bytes left of the round) in the order of time, all after the first round; None
    where rounds are not alike, or too few samples tell.
    """
    ends = [sent + left for sent, left in sent_and_left]
    at_least = max((left for _sent, left in sent_and_left), default=0.0)
    differences = [later - earlier for earlier, later in pairwise(ends) if later > earlier]
    if len(differences) < FEWEST_DIFFERENCES or at_least <= 0:
        return None
    for rounds in range(1, MOST_ROUNDS_BETWEEN + 1):
        size = min(differences) / rounds
        if size < at_least * (1 - TOLERANCE):
            return None
        counts = [round(difference / size) for difference in differences]
        if all(abs(difference / size - n) <= TOLERANCE for difference, n in zip(differences, counts, strict=True)):
            # Of a size twice what was ever left, a half would explain the same.
            return max(at_least, sum(differences) / sum(counts)) if size < 2 * at_least else None
    return None
