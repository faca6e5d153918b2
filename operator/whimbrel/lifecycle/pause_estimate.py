"""The live estimate of a suspension: how long it will last in all, by the samples of the copy that were taken while it lasts.

Called by the stun guard. Samples come every five seconds (KubeVirt contract §9.1), and nobody promises that they make sense.
"""

from collections.abc import Sequence
from datetime import datetime

from whimbrel.domain.samples import MigrationSample
from whimbrel.domain.suspension import pause_in_all_s

LEAST_INTERVAL_S = 1.0
"""Samples closer together than this tell no rate."""
MOST_BYTES = 1 << 56
"""More than any guest: a value beyond says nothing."""


def estimated_pause_s(
    began: datetime, began_by: datetime, samples: Sequence[MigrationSample], now: datetime
) -> float | None:
    """The whole pause in seconds from `began`; infinite where nothing is sent any more; None where the samples do not tell.

    `samples`: of this guest's copies, oldest first. Those from before `began_by`, when the suspension began at the latest,
    count only the round that was under way, and those from the future are of a clock that is wrong: both say nothing. What
    was dirtied before the suspension is not counted until its own round begins, so until then this is a lower bound.
    """
    usable = [sample for sample in samples if began_by <= sample.sampled_at <= now and _sane(sample.remaining_bytes)]
    if not usable:
        return None
    newest = usable[-1]
    rates = [rate for rate in (_told(newest), _seen(usable[0], newest)) if rate is not None]
    if newest.remaining_bytes is None or not rates:
        return None
    suspended_s = (newest.sampled_at - began).total_seconds()
    return pause_in_all_s(suspended_s, newest.remaining_bytes, 0.0, max(rates))


def _told(sample: MigrationSample) -> float | None:
    """The rate that the hypervisor tells: that of an instant, so a 0 says nothing."""
    rate = sample.transfer_bytes_per_second
    return float(rate) if _sane(rate) and rate else None


def _seen(first: MigrationSample, last: MigrationSample) -> float | None:
    """The rate between two samples; 0: nothing was sent."""
    seconds = (last.sampled_at - first.sampled_at).total_seconds()
    if seconds < LEAST_INTERVAL_S or not _sane(first.processed_bytes) or not _sane(last.processed_bytes):
        return None
    sent = (last.processed_bytes or 0) - (first.processed_bytes or 0)
    return sent / seconds if sent >= 0 else None


def _sane(count: int | None) -> bool:
    return count is not None and 0 <= count <= MOST_BYTES
