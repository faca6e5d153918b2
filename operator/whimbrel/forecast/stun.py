"""How long a guest stands still that is suspended for the rest of its copy.

QEMU's `remaining` counts the current round only, what was dirtied since the round began comes on top, and the cap stays in
force (performance reference B1.2, 2; measured: remaining ÷ rate alone said 0.5 to 1.4 s where 1.8 to 2.6 s came). To be
called by the ladder before a stun, and by the guard while one lasts.
"""

from dataclasses import dataclass
from math import ceil, inf

from whimbrel.forecast.attempt import DEVICE_STATE_S
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


def pause_s(
    remaining_bytes: float,
    dirtied_bytes: float,
    capped_bytes_per_second: float,
    device_state_s: float = DEVICE_STATE_S,
) -> float:
    """(remaining + dirtied since the round began) ÷ the capped rate, in seconds; infinite at a rate of 0."""
    if capped_bytes_per_second <= 0:
        return inf
    return (remaining_bytes + dirtied_bytes) / capped_bytes_per_second + device_state_s


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


def pause_in_all_s(
    suspended_s: float, remaining_bytes: float, uncounted_bytes: float, bytes_per_second: float
) -> float:
    """The live estimate of a whole pause in seconds: what it has lasted when `remaining` was sampled, and what is left of it.

    `uncounted_bytes` is what was dirtied between the last round's begin and the suspension, 0 as soon as `remaining` has risen
    since: then it is in there. The rate is the one seen now. Never less than what has passed.
    """
    return max(0.0, suspended_s) + pause_s(max(0.0, remaining_bytes), max(0.0, uncounted_bytes), bytes_per_second)


def _ms(seconds: float) -> int:
    return ceil(1000 * seconds)
