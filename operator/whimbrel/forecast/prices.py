"""What would make a refused move possible: a bandwidth, a pause, or a permission.

Inverse questions to `odds`, answered by bisection: more bandwidth never makes a pre-copy that may not throttle longer
(held by a property test), so the smallest that will do is found, and it is one that does. To be called by the quote.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil

from whimbrel.domain.quantities import MIB
from whimbrel.forecast.attempt import NO_DISKS, AtDeadline, Disks, Terms
from whimbrel.forecast.belief import busier
from whimbrel.forecast.odds import TOLERANCE, chance, fits
from whimbrel.forecast.path import Path
from whimbrel.forecast.prediction import CERTAIN, POD_START_UP, outcomes
from whimbrel.forecast.readings import Guest
from whimbrel.forecast.spread import Spread

MOST_MIB_PER_SECOND = 1 << 17
"""128 GiB/s: no migration link is faster."""
EVEN = 0.5
MARGIN = 1.03
"""On top of the least bandwidth found, for what the model leaves out."""
SHORTEST_PAUSE_MS = 2000
"""No stun with less leave is accepted."""
_PAUSE_STEP_MS = 100


@dataclass(frozen=True, slots=True)
class Price:
    """What would make the move possible, each by itself; None and empty where it would not."""

    bandwidth_p50_bytes_per_second: int | None
    """Whole MiB/s: pre-copy would as likely as not end by itself within the time;"""
    bandwidth_p90_bytes_per_second: int | None
    """and very likely. One sample of one second may leave them more than a factor of three apart."""
    downtime_ms: int | None
    """With leave to suspend the guest for so long, in steps of 100 ms, a stun would end within the time."""
    permissions: tuple[str, ...]
    """Of `throttle` and `postCopy`, as `disruption` of a plan spells them."""


def price(
    guest: Guest,
    path: Path,
    terms: Terms,
    disks: Disks = NO_DISKS,
    start_up: Spread = POD_START_UP,
    *,
    within_s: float | None = None,
    stun_terms: Terms | None = None,
    failed_at_bytes_per_second: float | None = None,
) -> Price:
    """The prices of a move that pre-copy under these terms cannot do within so many seconds; where it was tried, the bandwidth
    at which it did not end within them.

    `stun_terms` are those of the stun that the ladder would try (its deadline is the ladder's to choose); None: none would be.
    """
    permissions = []
    for name, permitted in (
        ("throttle", replace(terms, may_throttle=True)),
        ("postCopy", replace(terms, at_deadline=AtDeadline.POST_COPY)),
    ):
        if fits(guest, path, permitted, disks, start_up, within_s=within_s):
            permissions.append(name)

    def bandwidth(of: Guest, certainty: float) -> int | None:
        return bandwidth_that_does(
            of,
            path,
            terms,
            disks,
            start_up,
            within_s=within_s,
            certainty=certainty,
            failed_at_bytes_per_second=failed_at_bytes_per_second,
        )

    return Price(
        bandwidth(guest, EVEN),
        bandwidth(busier(guest), CERTAIN),
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
    certainty: float = CERTAIN,
    failed_at_bytes_per_second: float | None = None,
) -> int | None:
    """The least bandwidth, in whole MiB/s as bytes per second, at which pre-copy ends by itself within deadline and time with
    that certainty; None where none does. Without throttling: with it, more bandwidth may mean that it sets in later.

    Where an attempt has failed for want of bandwidth, the guests are out of question that would have been moved at it: since
    more bandwidth moves them all the more, so much of the certainty counts for nothing.
    """
    plain = replace(terms, may_throttle=False, at_deadline=AtDeadline.ABORT)

    def likely(rate: float) -> float:
        wider = replace(path, cap_bytes_per_second=rate, link_bytes_per_second=max(rate, path.link_bytes_per_second))
        return chance(guest, wider, plain, disks, start_up, within_s=within_s)

    refuted = 0.0 if failed_at_bytes_per_second is None else likely(failed_at_bytes_per_second)
    wanted = refuted + certainty * (1 - refuted)
    failed_mib = 0 if failed_at_bytes_per_second is None else int(failed_at_bytes_per_second // MIB)
    least = _least(lambda mib: mib > failed_mib and likely(float(mib * MIB)) >= wanted - TOLERANCE, MOST_MIB_PER_SECOND)
    return None if least is None else ceil(MARGIN * least) * MIB


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
    does not end. A pause that nothing can end needs leave for twice as long.
    """
    bound_ms = ceil(1000 * max(run.downtime_bound_s for run, _weight in outcomes(guest, path, stun_terms, disks)))
    if not fits(guest, path, stun_terms, disks, start_up, within_s=within_s, most_downtime_ms=bound_ms):
        return None
    leave_ms = bound_ms * (2 if stun_terms.at_deadline is AtDeadline.RAISE_DOWNTIME else 1)
    return max(SHORTEST_PAUSE_MS, ceil(leave_ms / _PAUSE_STEP_MS) * _PAUSE_STEP_MS)


def _least(does: Callable[[int], bool], most: int) -> int | None:
    """The least number from 1 on for which a monotone question is answered with yes; None where not even the most is."""
    if not does(most):
        return None
    no, yes = 0, most
    while yes - no > 1:
        middle = (no + yes) // 2
        no, yes = (no, middle) if does(middle) else (middle, yes)
    return yes
