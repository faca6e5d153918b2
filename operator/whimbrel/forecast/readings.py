"""What the cluster told of a guest, checked: a value that cannot be is dropped, with the reason in words.

Metrics come from endpoints that others can disturb. Nothing here raises on a bad value: a forecast without it is wider,
and says so. Called by whoever collects facts for `predict`.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from math import isfinite, sqrt

from whimbrel.domain.quantities import MIB
from whimbrel.domain.samples import Reading
from whimbrel.forecast.curve import CurvePoint

MOST_DIRTY_BYTES_PER_SECOND = float(1 << 44)
"""16 TiB/s; no machine writes memory that fast."""
OLDEST_DIRTY_SAMPLE = timedelta(minutes=10)
"""What a guest did longer ago says little about what it does now."""
OLDEST_MEMORY_IN_USE = timedelta(hours=1)
"""Memory that was ever used stays in use, so this ages slowly."""
CLOCK_AHEAD = timedelta(seconds=60)
"""How far a node's clock may be ahead of ours."""
DIRTY_SAMPLE_S = 1.0
"""KubeVirt has the hypervisor count dirtied pages for one second (KubeVirt contract §9.1)."""
SAMPLED_PAGES_PER_GIB = 512
"""Of so many pages QEMU compares checksums before and after, unless told otherwise; KubeVirt tells nothing."""
MOST_SAMPLING_FACTOR = 1.5
Z_P90 = 1.2815515655446004
LONGEST_WINDOW_S = 30 * 86_400.0


@dataclass(frozen=True, slots=True)
class Guest:
    """What is known of a guest's memory, in bytes. `in_use_bytes` is None where nobody told how much is not zero."""

    memory_bytes: float
    in_use_bytes: float | None = None
    points: tuple[CurvePoint, ...] = ()
    sources: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def tells_how_it_writes(self) -> bool:
        """Whether any point of its dirty curve is known."""
        return any(not point.at_most for point in self.points)


def guest(
    memory_bytes: float,
    now: datetime,
    *,
    in_use: Reading | None = None,
    dirty_sample: Reading | None = None,
    points: tuple[CurvePoint, ...] = (),
    sampled_pages: float | None = None,
) -> Guest:
    """A guest from what the cluster told: its memory, memory in use, KubeVirt's dirty-rate sample (bytes per second over one
    second), and points seen while it migrated or borrowed from its class. The hypervisor looks at `sampled_pages` of its pages
    for that sample; None: at as many as KubeVirt has it look at.

    `memory_bytes` is from the instance itself and at least 1; raises ValueError otherwise.
    """
    if not (isfinite(memory_bytes) and memory_bytes >= 1):
        raise ValueError(f"a guest has at least one byte of memory, not {memory_bytes}")
    sources, missing = ["memory of the instance"], list[str]()
    used: float | None = None
    if in_use is None:
        missing.append("memory in use is not told: all of the guest's memory may have to be sent")
    elif fault := _fault(in_use, now, memory_bytes * 1.5, OLDEST_MEMORY_IN_USE):
        missing.append(f"memory in use is not believed: {fault}")
    else:
        used = min(in_use.value, memory_bytes)
        sources.append("memory in use")
    believed = list[CurvePoint]()
    if dirty_sample is None:
        missing.append("no dirty-rate sample (KubeVirt has one from 1.6, of guests that run)")
    elif fault := _fault(dirty_sample, now, MOST_DIRTY_BYTES_PER_SECOND, OLDEST_DIRTY_SAMPLE):
        missing.append(f"the dirty-rate sample is not believed: {fault}")
    else:
        # The metric counts whole MiB and drops the rest: half of one is the expectation of what was dropped.
        seen = dirty_sample.value + MIB / 2
        factor = _sampling_factor(
            seen / memory_bytes, sampled_pages or memory_bytes / (1 << 30) * SAMPLED_PAGES_PER_GIB
        )
        believed.append(CurvePoint(DIRTY_SAMPLE_S, seen, "dirty-rate sample of one second", factor))
    for point in points:
        if fault := _point_fault(point, memory_bytes):
            missing.append(f"{point.source} is not believed: {fault}")
        else:
            believed.append(point)
    sources += [point.source for point in believed]
    return Guest(memory_bytes, used, tuple(believed), tuple(dict.fromkeys(sources)), tuple(dict.fromkeys(missing)))


def _sampling_factor(share: float, pages: float) -> float:
    """How far, as a factor, four of five samples at most are from the truth that look at so many pages and find this share of
    them dirty: the binomial's deviation.
    """
    return min(MOST_SAMPLING_FACTOR, 1 + Z_P90 * sqrt(max(0.0, 1 - share) / (max(share, 1 / pages) * pages)))


def _fault(reading: Reading, now: datetime, most: float, oldest: timedelta) -> str:
    """Why a reading cannot be, or the empty string."""
    if not isfinite(reading.value):
        return f"{reading.value} is no number"
    if reading.value < 0:
        return f"{reading.value:.0f} is negative"
    if reading.value > most:
        return f"{reading.value:.0f} is more than can be ({most:.0f})"
    if now - reading.at > oldest:
        return f"it is {(now - reading.at).total_seconds():.0f} s old, more than {oldest.total_seconds():.0f} s"
    if reading.at - now > CLOCK_AHEAD:
        return f"it is from {(reading.at - now).total_seconds():.0f} s in the future"
    return ""


def _point_fault(point: CurvePoint, memory_bytes: float) -> str:
    if not all(isfinite(member) for member in (point.window_s, point.distinct_bytes, point.within_factor)):
        return "it is no number"
    if not 0 < point.window_s <= LONGEST_WINDOW_S:
        return f"a window of {point.window_s} s cannot be"
    if not 0 <= point.distinct_bytes <= memory_bytes * 1.5:
        return f"{point.distinct_bytes:.0f} bytes dirtied cannot be with {memory_bytes:.0f} bytes of memory"
    if point.within_factor < 1:
        return f"an uncertainty factor of {point.within_factor} cannot be"
    return ""
