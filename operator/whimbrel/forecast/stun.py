"""How long a guest would stand still that is suspended now for the rest of its copy, of all guests that this one may be.

The arithmetic of one pause is `domain.suspension`, which the stun guard shares. To be called by the ladder before a stun.
"""

from dataclasses import dataclass
from math import ceil

from whimbrel.domain.suspension import DEVICE_STATE_S, pause_s
from whimbrel.forecast.belief import candidates
from whimbrel.forecast.path import Path
from whimbrel.forecast.readings import Guest
from whimbrel.forecast.spread import quantile


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
) -> Pause:
    """The pause if the guest is suspended with so much left of the round, `elapsed_s` after its copy began and `round_age_s`
    after the round began; None: unknown, then all that was rewritten since the copy began may be dirty.

    Bound: (remaining + working set, as far as rewritten since then) ÷ the capped rate.
    """
    pauses, bound_s = list[tuple[float, float]](), 0.0
    for one in candidates(guest):
        most = one.curve.distinct_bytes(max(0.0, elapsed_s))
        dirtied = most if round_age_s is None else min(most, one.curve.distinct_bytes(max(0.0, round_age_s)))
        for pace, share in path.paces():
            usual_s = pause_s(remaining_bytes, dirtied, pace.bytes_per_second, device_state_s)
            pauses.append((usual_s, one.weight * share))
            bound_s = max(bound_s, pause_s(remaining_bytes, most, pace.bytes_per_second, device_state_s))
    return Pause(_ms(quantile(pauses, 0.5)), _ms(quantile(pauses, 0.9)), _ms(bound_s))


def _ms(seconds: float) -> int:
    return ceil(1000 * seconds)
