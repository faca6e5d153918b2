"""The terms of an attempt as its forecast understands them, from the configuration that it runs under.

For attempts that were specified before; a rung that is offered states its own (`ladder.rung.Offer.terms`).
"""

from whimbrel.api.virtual_machine_move import AttemptSpec
from whimbrel.forecast import AtDeadline, Terms


def terms_of(attempt: AttemptSpec, *, passes_devices_through: bool) -> Terms:
    """What KubeVirt may do in this attempt, and when (KubeVirt contract §5.3)."""
    configuration = attempt.configuration
    at_deadline = AtDeadline.ABORT
    if configuration.allow_post_copy and not passes_devices_through:
        at_deadline = AtDeadline.POST_COPY
    elif configuration.allow_workload_disruption:
        at_deadline = AtDeadline.RAISE_DOWNTIME if passes_devices_through else AtDeadline.SUSPEND
    return Terms(attempt.deadline_seconds, at_deadline, may_throttle=configuration.allow_auto_converge)
