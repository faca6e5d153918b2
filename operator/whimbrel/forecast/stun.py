"""How long a guest would stand still that is suspended now for the rest of its copy, of all guests that this one may be.

The arithmetic of one pause is `domain.suspension`, which the stun guard shares. To be called by the ladder before a stun.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod

from whimbrel.domain.suspension import DEVICE_STATE_S, pause_s
from whimbrel.forecast.belief import Candidate, weighed
from whimbrel.forecast.path import Pace, Path
from whimbrel.forecast.readings import Guest
from whimbrel.forecast.spread import quantile

MOST_ROUNDS_TO_SETTLE = 64
SETTLED = 0.98
"""A round that is at least this share of the one before it is like it."""
PARTS_LEFT = (0.2, 0.4, 0.6, 0.8, 1.0)
"""How much of a round of which nothing is sampled may be left, each standing for what is less: equally likely."""
LARGER = 1.15
"""What is left of a round may exceed what is computed of it by so much."""
UNLIKELY = 1e-15


@dataclass(frozen=True, slots=True)
class Pause:
    """A suspension in milliseconds, rounded up. A stun may begin only if the bound is within its budget."""

    p50_ms: int
    p90_ms: int
    bound_ms: int


def pause_if_suspended_now(
    guest: Guest,
    path: Path,
    remaining_bytes: float,
    elapsed_s: float,
    round_age_s: float | None,
    device_state_s: float = DEVICE_STATE_S,
    *,
    later_left: Sequence[float] = (),
    round_at_most: float | None = None,
    certainty: float = 1.0,
    round_may_begin: bool = False,
) -> Pause:
    """The pause if the guest is suspended with so much left of the round, `elapsed_s` after its copy began and `round_age_s`
    after the round began; None: unknown, then all that was rewritten since the copy began may be dirty.

    Bound: (remaining + working set, as far as rewritten since then) ÷ the capped rate; with this certainty of the guests that
    this one may be. `later_left`: what was seen left of rounds after the first; a guest whose rounds are large would have shown
    it, so these weigh the guests anew. So does `round_at_most`, what a round begins with at most; and no more is dirtied within
    one, so that twice of it bounds any pause. `round_may_begin`: a new round may have begun since `remaining` was sampled; how
    much of it is left is as uncertain as the guest, up to all of it.
    """
    pauses, bounds = list[tuple[float, float]](), list[tuple[float, float]]()
    for one, pace, weight in _weighed(guest, path, later_left, round_at_most):
        most = one.curve.distinct_bytes(max(0.0, elapsed_s))
        dirtied = most if round_age_s is None else min(most, one.curve.distinct_bytes(max(0.0, round_age_s)))
        pauses.append((pause_s(remaining_bytes, dirtied, pace.bytes_per_second, device_state_s), weight))
        round_bytes, parts = (max(remaining_bytes, most), PARTS_LEFT) if round_may_begin else (remaining_bytes, (1.0,))
        for part in parts:
            longest_s = pause_s(part * round_bytes, most, pace.bytes_per_second, device_state_s)
            bounds.append((longest_s, weight / len(parts)))
    bound_s = quantile(bounds, certainty)
    if round_at_most is not None:
        bound_s = min(bound_s, pause_s(round_at_most, round_at_most, _slowest(path), device_state_s))
    return Pause(_ms(quantile(pauses, 0.5)), _ms(quantile(pauses, 0.9)), _ms(bound_s))


def longest_pause_ms(
    guest: Guest,
    path: Path,
    device_state_s: float = DEVICE_STATE_S,
    *,
    later_left: Sequence[float] = (),
    round_at_most: float | None = None,
    certainty: float = 1.0,
) -> int:
    """The pause of a guest of whose writing nothing is told, in milliseconds, rounded up: remaining + working set, each as much
    as is in use; or with this certainty as much as a round has, by what was seen left of rounds after the first (`later_left`).

    What is left of a round of v bytes is equally likely from 0 to v, so the most of n of it is below a share x of v with the
    chance xⁿ. Where rounds do not shrink any more no more than a round is dirtied within one.
    """
    round_bytes = guest.memory_bytes if guest.in_use_bytes is None else guest.in_use_bytes
    if later_left and certainty < 1:
        round_bytes = min(round_bytes, max(later_left) / (1 - certainty) ** (1 / len(later_left)))
    if round_at_most is not None:
        round_bytes = min(round_bytes, round_at_most)
    return _ms(pause_s(round_bytes, round_bytes, _slowest(path), device_state_s))


def _slowest(path: Path) -> float:
    return min(pace.bytes_per_second for pace, _weight in path.paces())


def _weighed(
    guest: Guest, path: Path, later_left: Sequence[float], round_at_most: float | None
) -> list[tuple[Candidate, Pace, float]]:
    """The guests that this one may be at the rates that the path may have, each with its weight after what was seen.

    A sample falls anywhere into a round of v bytes, so what is left is equally likely from 0 to v: the likelihood is 1/v, and
    next to nothing where more is left than a round has; or where a round has more than any has had.
    """
    believed = [each for each in weighed(guest, path.paces()) if each[2] > 0]
    if not later_left:
        return believed
    seen = [
        (one, pace, weight * _likelihood(_settled_round(one, pace), later_left, round_at_most))
        for one, pace, weight in believed
    ]
    total = sum(weight for *_, weight in seen)
    return [(one, pace, weight / total) for one, pace, weight in seen] if total > 0 else believed


def _settled_round(one: Candidate, pace: Pace) -> float:
    """Bytes of a round once rounds do not shrink any more; of a copy that ends, of its last ones."""
    size = one.in_use_bytes
    for _ in range(MOST_ROUNDS_TO_SETTLE):
        following = one.curve.distinct_bytes(size / pace.bytes_per_second)
        if following >= SETTLED * size:
            break
        size = following
    return max(1.0, size)


def _likelihood(round_bytes: float, later_left: Sequence[float], round_at_most: float | None) -> float:
    if round_at_most is not None and round_bytes > LARGER * round_at_most:
        return UNLIKELY ** len(later_left)
    return prod(UNLIKELY if left > LARGER * round_bytes else 1.0 / round_bytes for left in later_left)


def _ms(seconds: float) -> int:
    return ceil(1000 * seconds)
