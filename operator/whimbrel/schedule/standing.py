"""Whether what was expected of an attempt is still about true, so that a quote is not rewritten with every mood of its guest.

Called by `outlook`. Dirty rates are sampled every few seconds and never twice the same; a write for each would cost more than
the forecast is worth.
"""

from datetime import timedelta

from whimbrel.api.forecast import Forecast
from whimbrel.api.virtual_machine_move import AttemptSpec

ABOUT = 1.25
"""Figures that differ by no more than this factor say about the same."""
LEAST_AGE = timedelta(minutes=1)
"""A forecast stands at least so long, whatever its figures, as long as it leads to the same configuration."""
LONGEST_DEADLINES = 2.0
"""Deadlines that differ by no more than this factor are the same to a copy that ends well before."""


def as_it_stood(stood: AttemptSpec, fresh: AttemptSpec) -> AttemptSpec:
    """The attempt as it was specified before, if nothing but its expectation and the reserve of its deadline has changed and
    these are still about true; else as it is specified now.

    A longer deadline is only reserve for an attempt that KubeVirt aborts at it; where it suspends the guest, or switches,
    it is part of what was quoted, and a new one is a new specification.
    """
    same = fresh.model_copy(update={"forecast": stood.forecast})
    if fresh.rung == stood.rung and not fresh.configuration.allow_workload_disruption and _near_enough(stood, fresh):
        same = same.model_copy(
            update={
                "configuration": stood.configuration,
                "deadline_seconds": stood.deadline_seconds,
                "policy_name": stood.policy_name if fresh.policy_name else "",
            }
        )
    if same != stood or not _still_true(stood.forecast, fresh.forecast):
        return fresh
    return stood


def _near_enough(stood: AttemptSpec, fresh: AttemptSpec) -> bool:
    fields = {"completion_timeout_per_gib": fresh.configuration.completion_timeout_per_gib}
    alike = stood.configuration.model_copy(update=fields) == fresh.configuration
    most = max(stood.deadline_seconds, fresh.deadline_seconds)
    return alike and most <= LONGEST_DEADLINES * min(stood.deadline_seconds, fresh.deadline_seconds)


def _still_true(stood: Forecast, fresh: Forecast) -> bool:
    if stood.made_at is None or fresh.made_at is None:
        return stood.made_at == fresh.made_at
    bounds = ("duration_seconds", "bytes", "budget_ms", "attended_downtime_ms", "unattended_downtime_ms")
    if any(getattr(stood, name) != getattr(fresh, name) for name in bounds):
        return False
    if len(fresh.missing) < len(stood.missing):
        return False  # something has been told that was not known
    if abs(fresh.made_at - stood.made_at) < LEAST_AGE:
        return True
    figures = ("duration_p50_seconds", "duration_p90_seconds", "bytes_p50", "bytes_p90", "downtime_bound_ms")
    return stood.convergence == fresh.convergence and all(
        _about(getattr(stood, name), getattr(fresh, name)) for name in figures
    )


def _about(one: int | None, other: int | None) -> bool:
    if one is None or other is None:
        return one is other
    low, high = sorted((one, other))
    return high <= ABOUT * low + 1
