"""What would make a refused move possible: a bandwidth, a pause, or a permission.

Inverse questions to `predict`, answered by bisection: more bandwidth never makes a pre-copy that may not throttle longer
(held by a property test), so the smallest that will do is found, and it is one that does. To be called by the quote.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil

from whimbrel.domain.quantities import MIB
from whimbrel.forecast.attempt import NO_DISKS, AtDeadline, Disks, Ending, Terms
from whimbrel.forecast.path import Path
from whimbrel.forecast.prediction import CERTAIN, POD_START_UP, Convergence, Prediction, predict
from whimbrel.forecast.readings import Guest
from whimbrel.forecast.spread import Spread

MOST_MIB_PER_SECOND = 1 << 17
"""128 GiB/s: no migration link is faster."""
SHORTEST_PAUSE_MS = 2000
"""No stun with less leave is accepted."""
_PAUSE_STEP_MS = 100


@dataclass(frozen=True, slots=True)
class Price:
    """Each member alone would make the move possible; None and empty where it would not."""

    bandwidth_bytes_per_second: int | None
    """Whole MiB/s: pre-copy would end by itself within the time."""
    downtime_ms: int | None
    """With leave to suspend the guest for so long, in steps of 100 ms, a stun would end within the time."""
    permissions: tuple[str, ...]
    """Of `throttle` and `postCopy`, as `disruption` of a plan spells them."""


def fits(prediction: Prediction, within_s: float | None, most_downtime_ms: int | None = None) -> bool:
    """Whether an attempt will very likely move its guest, within a time and, where it may suspend, a pause."""
    if prediction.share(Ending.IN_TIME, Ending.STUNNED, Ending.POST_COPIED) < CERTAIN - 1e-9:
        return False
    takes_s = prediction.longest_s if prediction.duration_p90_s is None else prediction.duration_p90_s
    if takes_s is None or (within_s is not None and takes_s > within_s):
        return False
    return not prediction.share(Ending.STUNNED) or (
        most_downtime_ms is not None and prediction.downtime_bound_ms <= most_downtime_ms
    )


def price(
    guest: Guest,
    path: Path,
    terms: Terms,
    disks: Disks = NO_DISKS,
    start_up: Spread = POD_START_UP,
    *,
    within_s: float | None = None,
    stun_terms: Terms | None = None,
) -> Price:
    """The prices of a move that pre-copy under these terms cannot do within so many seconds.

    `stun_terms` are those of the stun that the ladder would try (its deadline is the ladder's to choose); None: none would be.
    """
    permissions = []
    for name, permitted in (
        ("throttle", replace(terms, may_throttle=True)),
        ("postCopy", replace(terms, at_deadline=AtDeadline.POST_COPY)),
    ):
        if fits(predict(guest, path, permitted, disks, start_up), within_s):
            permissions.append(name)
    return Price(
        bandwidth_that_does(guest, path, terms, disks, start_up, within_s=within_s),
        None if stun_terms is None else pause_that_does(guest, path, stun_terms, disks, start_up, within_s=within_s),
        tuple(permissions),
    )


def bandwidth_that_does(
    guest: Guest,
    path: Path,
    terms: Terms,
    disks: Disks = NO_DISKS,
    start_up: Spread = POD_START_UP,
    *,
    within_s: float | None = None,
) -> int | None:
    """The least bandwidth, in whole MiB/s as bytes per second, at which pre-copy converges and ends within deadline and time;
    None where no bandwidth does. Without throttling, because with it more bandwidth may mean that it sets in later.
    """
    terms = replace(terms, may_throttle=False)

    def does(mib_per_second: int) -> bool:
        rate = float(mib_per_second * MIB)
        wider = replace(path, cap_bytes_per_second=rate, link_bytes_per_second=max(rate, path.link_bytes_per_second))
        found = predict(guest, wider, terms, disks, start_up)
        return (
            found.convergence is Convergence.CONVERGES
            and found.share(Ending.IN_TIME) >= CERTAIN - 1e-9
            and fits(found, within_s, found.downtime_bound_ms)
        )

    least = _least(does, MOST_MIB_PER_SECOND)
    return None if least is None else least * MIB


def pause_that_does(
    guest: Guest,
    path: Path,
    stun_terms: Terms,
    disks: Disks = NO_DISKS,
    start_up: Spread = POD_START_UP,
    *,
    within_s: float | None = None,
) -> int | None:
    """The least leave to suspend, in milliseconds, under which this stun may begin and ends within the time; None where it
    does not end.
    """
    found = predict(guest, path, stun_terms, disks, start_up)
    if not fits(found, within_s, found.downtime_bound_ms):
        return None
    return max(SHORTEST_PAUSE_MS, ceil(found.downtime_bound_ms / _PAUSE_STEP_MS) * _PAUSE_STEP_MS)


def _least(does: Callable[[int], bool], most: int) -> int | None:
    """The least number from 1 on for which a monotone question is answered with yes; None where not even the most is."""
    if not does(most):
        return None
    no, yes = 0, most
    while yes - no > 1:
        middle = (no + yes) // 2
        no, yes = (no, middle) if does(middle) else (middle, yes)
    return yes
