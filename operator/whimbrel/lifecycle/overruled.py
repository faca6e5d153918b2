"""Overruled: what KubeVirt could do to a guest by the configuration that it took at the hand-off, beyond what was permitted.

It takes one MigrationPolicy's, perhaps somebody else's, and never looks again (KubeVirt contract §4.3). It acts no earlier than
a second after the deadline in effect: until then an end leaves the guest as it was. Asked by `schedule.following` while an
attempt runs, by `outcome` when it has ended, and by the stun guard, which knows no more than what stands on the migration.
"""

from whimbrel.api.virtual_machine_move import AttemptSpec, KubeVirtConfiguration
from whimbrel.domain import naming
from whimbrel.domain.quantities import time_budget_units
from whimbrel.domain.records import Labels, Migration, MigrationConfiguration, MigrationState
from whimbrel.domain.suspension import HYPERVISORS_DOWNTIME_MS

OVERRULED = "OverruledByForeignPolicy"
CONSENT_VIOLATED = "ConsentViolatedByForeignPolicy"


def overruled(attempt: AttemptSpec, state: MigrationState, *, stall_detection: bool = False) -> tuple[str, str] | None:
    """Why an attempt must not go on, as (reason, message); None: nothing could be done to the guest that was not permitted.

    `stall_detection`: whether KubeVirt's is on now; it may have been off when the attempt was specified.
    """
    if state.configuration is None:
        return None
    stalls = stall_detection or attempt.configuration.under_stall_detection
    may = unconsented(attempt.configuration, state.configuration, stall_detection=stalls)
    if not may:
        return None
    foreign = state.policy_name not in ("", attempt.policy_name)
    return (
        OVERRULED if foreign else "ConfigurationMismatch",
        f"Under {ruler_of(state)} KubeVirt could {', '.join(may)}; the plan does not permit it.",
    )


def violated(attempt: AttemptSpec, state: MigrationState) -> tuple[str, str] | None:
    """What was done to the guest without consent, as (reason, message), where it was not ended in time; None: nothing was."""
    asked = attempt.configuration
    if state.mode == "PostCopy" and not asked.allow_post_copy:
        done = "switched the guest to post-copy"
    elif state.mode == "Paused" and not (asked.allow_workload_disruption or asked.under_stall_detection):
        done = "suspended the guest"
    else:
        return None
    return CONSENT_VIOLATED, f"Under {ruler_of(state)} KubeVirt {done}, which the plan does not permit."


def ruler_of(state: MigrationState) -> str:
    """Whose configuration was taken, in words."""
    return f"MigrationPolicy {state.policy_name}" if state.policy_name else "the cluster's configuration"


def unconsented(
    wanted: KubeVirtConfiguration, effective: MigrationConfiguration, *, stall_detection: bool = False
) -> tuple[str, ...]:
    """What the effective configuration could do to the guest that the wanted one does not permit."""
    other_deadline = effective.completion_timeout_per_gib != wanted.completion_timeout_per_gib
    permitted_ms = wanted.max_downtime_ms or HYPERVISORS_DOWNTIME_MS
    longest_ms = effective.max_downtime_ms or 0
    stops_early = stall_detection and wanted.allow_workload_disruption and not wanted.allow_post_copy
    # With post-copy KubeVirt suspends only a guest that holds devices; without it, disruption is a suspension.
    instead = wanted.allow_post_copy and not effective.allow_post_copy
    return tuple(
        what
        for what, may in (
            ("throttle the guest", effective.allow_auto_converge and not wanted.allow_auto_converge),
            ("switch to post-copy", effective.allow_post_copy and not wanted.allow_post_copy),
            (
                "suspend the guest",
                effective.allow_workload_disruption and (instead or not wanted.allow_workload_disruption),
            ),
            (
                "suspend the guest at another time than was quoted",
                effective.allow_workload_disruption
                and wanted.allow_workload_disruption
                and other_deadline
                and not instead,
            ),
            (
                # Without disruption a stall detector gives the last step so long, whatever was wanted.
                f"let the guest stand still for {longest_ms} ms",
                stall_detection and longest_ms > permitted_ms and not effective.allow_workload_disruption,
            ),
            (
                "stop the guest before the deadline",
                stops_early and (wanted.stall_window_seconds or 0) > (effective.stall_window_s or 0),
            ),
            ("stop the guest without anybody being able to end it", stops_early and wanted.max_downtime_ms is None),
        )
        if may
    )


def beyond_its_terms(migration: Migration, effective: MigrationConfiguration, memory_bytes: int) -> str:
    """What could be done to the guest, with so much memory, of a migration of ours that its own annotations do not permit;
    empty: nothing, or they do not say, since an earlier release made it.
    """
    said = migration.annotations
    post_copy, last_step_ms = (
        said.get(naming.ANNOTATION_POST_COPY),
        naming.number(said.get(naming.ANNOTATION_LAST_STEP_MS)),
    )
    if post_copy is None:
        return ""
    if effective.allow_post_copy and post_copy != naming.ALLOWED:
        return "be switched to post-copy"
    longest_ms, disrupts = effective.max_downtime_ms or 0, effective.allow_workload_disruption
    if last_step_ms is not None and longest_ms > last_step_ms and not disrupts:
        return f"stand still for {longest_ms} ms"
    if effective.allow_post_copy or not disrupts:
        return ""
    if said.get(naming.ANNOTATION_STUN) != naming.ALLOWED:
        return "be suspended"
    return _stopped_at_another_time(said, effective, memory_bytes) if last_step_ms is not None else ""


def _stopped_at_another_time(said: Labels, effective: MigrationConfiguration, memory_bytes: int) -> str:
    """A suspension is cut short in time whenever it begins; a last step is not, so it must begin when it was looked at."""
    deadline_s = naming.number(said.get(naming.ANNOTATION_DEADLINE_S))
    acts_s = (effective.completion_timeout_per_gib or 0) * time_budget_units(memory_bytes)
    early = deadline_s is not None and (effective.stall_window_s or 0) <= deadline_s
    return "be stopped at another time than was quoted" if acts_s != deadline_s or early else ""
