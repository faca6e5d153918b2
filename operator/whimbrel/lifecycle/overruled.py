"""Overruled: what KubeVirt could do to a guest by the configuration that it took at the hand-off, beyond what was permitted.

It takes one MigrationPolicy's, perhaps somebody else's, and never looks again (KubeVirt contract §4.3). It acts no earlier than
a second after the deadline in effect: until then an end leaves the guest as it was. Asked by `schedule.following` while an
attempt runs, by `outcome` when it has ended, and by the stun guard, which knows no more than what stands on the migration.
"""

from whimbrel.api.virtual_machine_move import AttemptSpec, KubeVirtConfiguration
from whimbrel.domain import naming
from whimbrel.domain.records import Migration, MigrationConfiguration, MigrationState


def overruled(attempt: AttemptSpec, state: MigrationState) -> tuple[str, str] | None:
    """Why an attempt must not go on, as (reason, message); None: nothing could be done to the guest that was not permitted."""
    if state.configuration is None or not (may := unconsented(attempt.configuration, state.configuration)):
        return None
    foreign = state.policy_name not in ("", attempt.policy_name)
    return (
        "ConsentViolatedByForeignPolicy" if foreign else "ConfigurationMismatch",
        f"Under {ruler_of(state)} KubeVirt could {', '.join(may)}; the plan does not permit it.",
    )


def ruler_of(state: MigrationState) -> str:
    """Whose configuration was taken, in words."""
    return f"MigrationPolicy {state.policy_name}" if state.policy_name else "the cluster's configuration"


def unconsented(wanted: KubeVirtConfiguration, effective: MigrationConfiguration) -> tuple[str, ...]:
    """What the effective configuration could do to the guest that the wanted one does not permit."""
    other_deadline = effective.completion_timeout_per_gib != wanted.completion_timeout_per_gib
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
        )
        if may
    )


def beyond_its_terms(migration: Migration, effective: MigrationConfiguration) -> str:
    """What could be done to the guest of a migration of ours that its own annotations do not permit; empty: nothing, or they do
    not say, since an earlier release made it.
    """
    post_copy = migration.annotations.get(naming.ANNOTATION_POST_COPY)
    if post_copy is None:
        return ""
    if effective.allow_post_copy:
        return "" if post_copy == naming.ALLOWED else "be switched to post-copy"
    permitted = migration.annotations.get(naming.ANNOTATION_STUN) == naming.ALLOWED
    return "be suspended" if effective.allow_workload_disruption and not permitted else ""
