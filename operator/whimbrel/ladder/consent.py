"""Does an attempt stay within what its plan permits now? Asked before it begins, and again while it runs.

A specification was consented to when it was made; the plan may have been edited since, and a stored specification may
have been tampered with. Consent is the plan's alone.
"""

from whimbrel.api.migration_plan import Migration, Permission
from whimbrel.api.virtual_machine_move import AttemptSpec
from whimbrel.domain.quantities import bytes_per_second_of_mbps
from whimbrel.ladder.stun import UNATTENDED_EXTRA_MS


def disturbs_beyond(attempt: AttemptSpec, permitted: Migration) -> tuple[str, ...]:
    """What the attempt could do to the guest that the plan does not permit."""
    configuration, disruption = attempt.configuration, permitted.disruption
    beyond = []
    if configuration.allow_auto_converge:
        beyond.append("throttle the guest")
    if configuration.allow_post_copy:
        beyond.append("switch to post-copy")
    if configuration.allow_workload_disruption:
        unattended_ms = attempt.deadline_seconds * 1000 + UNATTENDED_EXTRA_MS
        if disruption.stun != Permission.ALLOWED:
            beyond.append("suspend the guest")
        elif (attempt.forecast.budget_ms or 0) > (
            disruption.max_downtime_ms or 0
        ) or attempt.forecast.budget_ms is None:
            beyond.append(f"suspend the guest for longer than {disruption.max_downtime_ms} ms")
        elif unattended_ms > (disruption.unattended_downtime_ms or 0):
            beyond.append(f"suspend the guest, unattended, for longer than {disruption.unattended_downtime_ms} ms")
    return tuple(beyond)


def exceeds(attempt: AttemptSpec, permitted: Migration) -> tuple[str, ...]:
    """The same, and whether it would run faster than the plan permits."""
    limit = permitted.bandwidth.max_mbps
    too_fast = limit is not None and attempt.configuration.bandwidth_bytes_per_second > max(
        bytes_per_second_of_mbps(limit), 1
    )
    return (*disturbs_beyond(attempt, permitted), *((f"run faster than {limit} Mbit/s",) if too_fast else ()))
