"""What an attempt will take: duration, bytes, downtime and how it ends, each with its uncertainty.

Every guest that this one may be (`belief`) is moved at every rate that the path may have (`path`), and what comes out is
weighed. Pure, and the same input gives the same answer; memoise by value. A forecast assumes the rate that admission
guarantees and never reads the schedule. To be called by the ladder and the outlook.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import ceil, inf

from whimbrel.api.forecast import Convergence
from whimbrel.forecast.attempt import (
    EARLIEST_ACT_S,
    LATEST_ACT_S,
    LONGEST_RAISED_DOWNTIME_S,
    NO_DISKS,
    PLAIN,
    AtDeadline,
    Disks,
    Ending,
    Run,
    Terms,
    attempt,
)
from whimbrel.forecast.belief import Candidate, weighed
from whimbrel.forecast.path import Pace, Path
from whimbrel.forecast.pre_copy import critical, first_round_bytes, pressure
from whimbrel.forecast.readings import Guest
from whimbrel.forecast.spread import Spread, finite, quantile
from whimbrel.lifecycle.guard import RESUME_S

POD_START_UP = Spread(10.0, 22.0)
"""Seconds from a migration's create to the begin of its copy, for a class never seen: KubeVirt's perf lab shows P95 27 to 30 s
from creation to running (performance reference B3); the median of 10 s is assumed.
"""
CERTAIN = 0.9
"""Share of the weight that must agree before a verdict is given."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What one attempt will take. Numbers are None where nobody can tell: uncertain convergence is an answer.

    Durations are in seconds from the migration's create to its end, start-up included; bytes on the wire.
    """

    convergence: Convergence
    duration_p50_s: float | None
    duration_p90_s: float | None
    bytes_p50: float | None
    bytes_p90: float | None
    downtime_bound_ms: int
    """The longest that the guest stands still, whatever of what is believed is true, while somebody attends."""
    unattended_downtime_ms: int
    """The same if no operator is alive, by KubeVirt's own rules."""
    throttle_p90_s: float
    """Cost to the guest: throttle times seconds. Infinite where a throttled copy never ends."""
    longest_s: float | None
    """No attempt that may be takes longer, start-up at its 90th percentile; None where nothing ends it."""
    endings: tuple[tuple[Ending, float], ...]
    """How it may end, with the share of the weight of each, most likely first."""
    sources: tuple[str, ...]
    missing: tuple[str, ...]


def predict(
    guest: Guest, path: Path, terms: Terms = PLAIN, disks: Disks = NO_DISKS, start_up: Spread = POD_START_UP
) -> Prediction:
    """What one attempt will take. Valid for a guest whose work does not change and a rate that holds on average."""
    runs = outcomes(guest, path, terms, disks)
    convergence = _convergence(guest, path, terms, disks)
    start_ups = start_up.values(5)
    durations = [(run.seconds + wait_s, weight / len(start_ups)) for (run, weight), wait_s in product(runs, start_ups)]
    sent = [(run.wire_bytes, weight) for run, weight in runs]
    known = convergence is not Convergence.UNCERTAIN
    longest_s = max(run.seconds for run, _weight in runs) + start_up.p90
    bound_s = max(run.downtime_bound_s for run, _weight in runs)
    if not known:
        bound_s = max(bound_s, _last_step_s(path, terms))
    bound_ms = ceil(1000 * bound_s)
    return Prediction(
        convergence=convergence,
        duration_p50_s=finite(quantile(durations, 0.5)) if known else None,
        duration_p90_s=finite(quantile(durations, 0.9)) if known else None,
        bytes_p50=finite(quantile(sent, 0.5)) if known else None,
        bytes_p90=finite(quantile(sent, 0.9)) if known else None,
        downtime_bound_ms=bound_ms,
        unattended_downtime_ms=max(bound_ms, unattended_downtime_ms(terms)),
        throttle_p90_s=quantile([(run.throttle_s, weight) for run, weight in runs], 0.9),
        longest_s=finite(longest_s),
        endings=_endings(runs),
        sources=guest.sources,
        missing=guest.missing,
    )


@lru_cache(maxsize=1024)
def outcomes(guest: Guest, path: Path, terms: Terms, disks: Disks = NO_DISKS) -> tuple[tuple[Run, float], ...]:
    """What the attempt comes to, start-up apart, for each guest and rate that may be; weights add up to 1."""
    return tuple(
        (whole_attempt(guest, one, pace, terms, disks), weight) for one, pace, weight in weighed(guest, path.paces())
    )


def whole_attempt(guest: Guest, one: Candidate, pace: Pace, terms: Terms, disks: Disks = NO_DISKS) -> Run:
    """What the attempt comes to for one of the guests that this one may be, at one pace."""
    first, free = first_round_bytes(guest.memory_bytes, one.in_use_bytes), guest.memory_bytes - one.in_use_bytes
    return attempt(first, one.curve, pace, terms, disks, free_bytes=free)


def unattended_downtime_ms(terms: Terms) -> int:
    """What KubeVirt may do to the guest by itself, in milliseconds, whatever its memory: after a suspension it waits for one
    more deadline, and the guest is back when its abort is through (KubeVirt contract §5.3).
    """
    pause_s = terms.last_step_s + terms.device_state_s
    if terms.deadline_s and terms.at_deadline is AtDeadline.SUSPEND:
        pause_s = max(pause_s, terms.deadline_s + LATEST_ACT_S - EARLIEST_ACT_S + RESUME_S)
    elif terms.deadline_s and terms.at_deadline is AtDeadline.RAISE_DOWNTIME:
        pause_s = max(pause_s, min(2 * terms.deadline_s, LONGEST_RAISED_DOWNTIME_S) + terms.device_state_s)
    return ceil(1000 * pause_s)


def _last_step_s(path: Path, terms: Terms) -> float:
    """The longest last step of a copy of which nobody knows whether it ends: by the hypervisor's limit, uncapped."""
    share = max(pace.bytes_per_second / pace.uncapped_bytes_per_second for pace, _weight in path.paces())
    return share * terms.last_step_s + terms.device_state_s


def _convergence(guest: Guest, path: Path, terms: Terms, disks: Disks) -> Convergence:
    """Converges or not where CERTAIN of the weight says so and is not critical."""
    if disks.seconds == inf:
        return Convergence.DOES_NOT
    yes = no = 0.0
    for one, pace, weight in weighed(guest, path.paces()):
        ratio = pressure(one.curve, pace, terms.last_step_s, may_throttle=terms.may_throttle)
        if not critical(ratio):
            yes, no = yes + weight * (ratio < 1), no + weight * (ratio > 1)
    if yes >= CERTAIN - 1e-9:
        return Convergence.CONVERGES
    return Convergence.DOES_NOT if no >= CERTAIN - 1e-9 else Convergence.UNCERTAIN


def _endings(runs: tuple[tuple[Run, float], ...]) -> tuple[tuple[Ending, float], ...]:
    shares: dict[Ending, float] = {}
    for run, weight in runs:
        shares[run.ending] = shares.get(run.ending, 0.0) + weight
    return tuple(sorted(shares.items(), key=lambda item: (-item[1], item[0])))
