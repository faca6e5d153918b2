"""How long a suspended guest stands still while the rest of its memory is copied. Pure arithmetic, in bytes and seconds.

QEMU's `remaining` counts the current round only, what was dirtied since the round began comes on top, and the cap stays in
force (performance reference B1.2, 2; measured: remaining ÷ rate alone said 0.5 to 1.4 s where 1.8 to 2.6 s came). Called by
the forecast before a stun, and by the stun guard while one lasts.
"""

from math import inf

HYPERVISORS_DOWNTIME_MS = 300
"""QEMU's own limit of its last step, which KubeVirt's default monitor never changes (KubeVirt contract §5.3): no consent is
needed."""
DEVICE_STATE_S = 0.025
"""Sending the devices' state and resuming at the target; guests on QEMU 7.2 showed 1 to 25 ms."""


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


def pause_in_all_s(
    suspended_s: float, remaining_bytes: float, uncounted_bytes: float, bytes_per_second: float
) -> float:
    """The live estimate of a whole pause in seconds: what it has lasted when `remaining` was sampled, and what is left of it.

    `uncounted_bytes` is what was dirtied between the last round's begin and the suspension, 0 as soon as `remaining` has risen
    since: then it is in there. The rate is the one seen now. Never less than what has passed.
    """
    return max(0.0, suspended_s) + pause_s(max(0.0, remaining_bytes), max(0.0, uncounted_bytes), bytes_per_second)
