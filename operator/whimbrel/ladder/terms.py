"""The terms of an attempt as its forecast understands them, from the configuration that it runs under.

For attempts that were specified before; a rung that is offered states its own (`ladder.rung.Offer.terms`).
"""

from whimbrel.api.virtual_machine_move import AttemptSpec
from whimbrel.domain.suspension import HYPERVISORS_DOWNTIME_MS
from whimbrel.forecast import AtDeadline, Ramp, Terms
from whimbrel.inventory.projections.kubevirt import STALL_WINDOW_S


def terms_of(attempt: AttemptSpec, *, passes_devices_through: bool) -> Terms:
    """What KubeVirt may do in this attempt, and when (KubeVirt contract §5.3, §5.4).

    `passes_devices_through`: as in `Load`. An attempt that was told of a longest last step was specified for a KubeVirt whose
    stall detection is on.
    """
    configuration = attempt.configuration
    limit_ms = configuration.max_downtime_ms
    at_deadline = AtDeadline.ABORT
    if configuration.allow_post_copy and not passes_devices_through:
        at_deadline = AtDeadline.POST_COPY
    elif configuration.allow_workload_disruption:
        raises = passes_devices_through or configuration.under_stall_detection
        at_deadline = AtDeadline.RAISE_DOWNTIME if raises else AtDeadline.SUSPEND
    ramp = None
    if limit_ms is not None and limit_ms > HYPERVISORS_DOWNTIME_MS:
        ramp = Ramp(limit_ms / 1000, configuration.stall_window_seconds or STALL_WINDOW_S)
    return Terms(attempt.deadline_seconds, at_deadline, may_throttle=configuration.allow_auto_converge, ramp=ramp)
