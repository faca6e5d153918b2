"""The bandwidth that a refused pre-copy lacks.

The inverse question to `odds`, answered by bisection: more bandwidth never makes a pre-copy that may not throttle longer
(held by a property test), so the smallest that will do is found, and it is one that does. Called by `ladder.price`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil

from whimbrel.domain.quantities import MIB
from whimbrel.forecast.attempt import NO_DISKS, AtDeadline, Disks, Terms
from whimbrel.forecast.belief import busier
from whimbrel.forecast.odds import TOLERANCE, chance
from whimbrel.forecast.path import Path
from whimbrel.forecast.prediction import CERTAIN, POD_START_UP
from whimbrel.forecast.readings import Guest
from whimbrel.forecast.spread import Spread

MOST_MIB_PER_SECOND = 1 << 17
"""128 GiB/s: no migration link is faster."""
EVEN = 0.5
MARGIN = 1.03
"""On top of the least bandwidth found, for what the model leaves out."""


@dataclass(frozen=True, slots=True)
class BandwidthPrice:
    """The bandwidth that pre-copy lacks, in whole MiB/s as bytes per second; None where none does."""

    p50_bytes_per_second: int | None
    """It would as likely as not end by itself within the time;"""
    p90_bytes_per_second: int | None
    """and very likely. One sample of one second may leave them more than a factor of three apart."""


def bandwidth_price(
    guest: Guest,
    path: Path,
    terms: Terms,
    disks: Disks = NO_DISKS,
    start_up: Spread = POD_START_UP,
    *,
    within_s: float | None = None,
    failed_at_bytes_per_second: float | None = None,
) -> BandwidthPrice:
    """The price of a move that pre-copy under these terms cannot do within so many seconds; where it was tried, the bandwidth
    at which it did not end within them.
    """

    def for_(known: Guest, certainty: float) -> int | None:
        return bandwidth_that_does(
            known,
            path,
            terms,
            disks,
            start_up,
            within_s=within_s,
            certainty=certainty,
            failed_at_bytes_per_second=failed_at_bytes_per_second,
        )

    return BandwidthPrice(for_(guest, EVEN), for_(busier(guest), CERTAIN))


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
    mib = least(lambda mib: likely(float(mib * MIB)) >= wanted - TOLERANCE, failed_mib + 1, MOST_MIB_PER_SECOND)
    return None if mib is None else ceil(MARGIN * mib) * MIB


def least(does: Callable[[int], bool], fewest: int, most: int) -> int | None:
    """The least number of these for which a monotone question is answered with yes; None where not even the most is."""
    if fewest > most or not does(most):
        return None
    no, yes = fewest - 1, most
    while yes - no > 1:
        middle = (no + yes) // 2
        no, yes = (no, middle) if does(middle) else (middle, yes)
    return yes
