"""Consent: what the plan and the owner of a virtual machine permit, and whether an attempt stays within it.

Asked before a rung is chosen, before an attempt begins, and again while it runs: a specification was consented to when it was
made; the plan may have been edited since, and a stored specification may have been tampered with.
"""

from collections.abc import Mapping

from whimbrel.api.ladder import MIN_DOWNTIME_MS, Disruption, Migration, Permission
from whimbrel.api.virtual_machine_move import AttemptSpec
from whimbrel.domain import naming
from whimbrel.domain.quantities import bytes_per_second_of_mbps
from whimbrel.domain.records import Instance, Key, VirtualMachine
from whimbrel.domain.suspension import HYPERVISORS_DOWNTIME_MS
from whimbrel.forecast import unattended_downtime_ms
from whimbrel.ladder.downtime_ramp import most_last_step_ms
from whimbrel.ladder.stun import STANDS_STILL
from whimbrel.ladder.terms import terms_of


def owner_limit_ms(instance: Instance, machines: Mapping[Key, VirtualMachine]) -> int | None:
    """Longest suspension that the owner permits, by the annotation of the VirtualMachine or the instance, whichever is less;
    None: no word of it. What is no number of milliseconds permits none: a limit fails closed.
    """
    machine = instance.machine(machines)
    said = [
        annotations[naming.ANNOTATION_BUDGET_MS]
        for annotations in (instance.annotations, machine.annotations if machine is not None else {})
        if naming.ANNOTATION_BUDGET_MS in annotations
    ]
    return min((naming.number(text) or 0 for text in said), default=None)


def permitted_by_owner(migration: Migration, limit_ms: int | None) -> Migration:
    """The plan's terms for a guest whose owner permits no longer suspension than this; never more than the plan permits."""
    disruption = migration.disruption
    most_ms = disruption.max_downtime_ms
    if limit_ms is None or most_ms is None or limit_ms >= most_ms:
        return migration
    if limit_ms < MIN_DOWNTIME_MS:
        less = Disruption(throttle=disruption.throttle, post_copy=disruption.post_copy)
    else:
        less = disruption.model_copy(update={"max_downtime_ms": limit_ms})
    return migration.model_copy(update={"disruption": less})


def disturbs_beyond(
    attempt: AttemptSpec, permitted: Migration, *, passes_devices_through: bool = False
) -> tuple[str, ...]:
    """What the attempt could do to the guest that the plan does not permit; `passes_devices_through`: as in `Load`."""
    configuration, disruption = attempt.configuration, permitted.disruption
    beyond = []
    if configuration.allow_auto_converge and disruption.throttle != Permission.ALLOWED:
        beyond.append("throttle the guest")
    if configuration.allow_post_copy and disruption.post_copy != Permission.ALLOWED:
        beyond.append("switch to post-copy")
    terms = terms_of(attempt, passes_devices_through=passes_devices_through)
    if terms.at_deadline in STANDS_STILL:
        beyond += _suspends_beyond(attempt, disruption, unattended_downtime_ms(terms))
    if (configuration.max_downtime_ms or 0) > HYPERVISORS_DOWNTIME_MS:
        beyond += _stops_beyond(configuration.max_downtime_ms or 0, disruption)
    return tuple(beyond)


def _stops_beyond(last_step_ms: int, disruption: Disruption) -> list[str]:
    most_ms = most_last_step_ms(disruption.max_downtime_ms or 0) if disruption.stun == Permission.ALLOWED else 0
    return [] if last_step_ms <= most_ms else [f"let the guest stand still for {last_step_ms} ms"]


def _suspends_beyond(attempt: AttemptSpec, disruption: Disruption, unattended_ms: int) -> list[str]:
    budget_ms = attempt.forecast.budget_ms
    if disruption.stun != Permission.ALLOWED:
        return ["suspend the guest"]
    if budget_ms is None or budget_ms > (disruption.max_downtime_ms or 0):
        return [f"suspend the guest for longer than {disruption.max_downtime_ms} ms"]
    if unattended_ms > (disruption.unattended_downtime_ms or 0):
        return [f"suspend the guest, unattended, for longer than {disruption.unattended_downtime_ms} ms"]
    return []


def exceeds(attempt: AttemptSpec, permitted: Migration, *, passes_devices_through: bool = False) -> tuple[str, ...]:
    """The same, and whether it would run faster than the plan permits."""
    limit = permitted.bandwidth.max_mbps
    too_fast = limit is not None and attempt.configuration.bandwidth_bytes_per_second > max(
        bytes_per_second_of_mbps(limit), 1
    )
    beyond = disturbs_beyond(attempt, permitted, passes_devices_through=passes_devices_through)
    return (*beyond, *((f"run faster than {limit} Mbit/s",) if too_fast else ()))
