"""How far the first useful time of arrival is from the fact, asked as the status report asks. For both benches of forecasts."""

from collections.abc import Sequence
from datetime import datetime

from whimbrel.domain.samples import MigrationSample
from whimbrel.forecast import Guest, Path, Terms, eta, progress, sighting

TOLD_AT = 0.25
"""Of the progress."""


def arrival_error(
    guest: Guest, path: Path, terms: Terms, samples: Sequence[MigrationSample], began: datetime, took_s: float
) -> float | None:
    """Of the arrival told at the first sample at which a quarter is done, as a share of the whole copy; None where none was."""
    for number in range(1, len(samples) + 1):
        seen = sighting(samples[:number], began, guest, terms.allowed_downtime_s)
        if seen is None:
            continue
        left = eta(guest, path, terms, seen)
        if left.p50_s is not None and progress(seen.sent_bytes, left.will_send_bytes) >= TOLD_AT:
            return abs(seen.elapsed_s + left.p50_s - took_s) / took_s
    return None
