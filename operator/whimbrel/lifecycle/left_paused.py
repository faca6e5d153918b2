"""Guests that stand still although their stun was ended: after an abort a guest must be seen running.

Sources: KubeVirt contract, traps 44 and 45; virt-handler's conditions. Up to KubeVirt 1.5 a guest that the monitor suspended
bears the condition Paused until it is seen running. From 1.6 on it bears none while its migration lasts, and libvirt's word for
a resume that failed (paused by an API error) makes none afterwards: there only an abort that does not end is told by the API.
Called by the stun guard, which raises the alarm, and by the schedule, which suspends nobody meanwhile.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from whimbrel.domain.records import Instance, Key, Migration, MigrationState

ABORT_LIMIT = timedelta(seconds=30)
"""How long an abort may take to end; virt-handler waits no longer for libvirt either (KubeVirt contract §5.5)."""
REFRESH = timedelta(seconds=5)
"""How long virt-handler may take to drop the condition after the end, which it writes in whole seconds."""
OTHER_PAUSES = frozenset({"PausedByUser", "PausedIOError"})
"""Reasons of the condition Paused that are not the migration's; KubeVirt itself ends these (KubeVirt contract §2.3)."""


@dataclass(frozen=True, slots=True)
class LeftPaused:
    """A guest that was not seen running again, whoever moved it."""

    instance: Key
    migration_uid: str
    node: str
    found: str
    """What shows it, as the end of a sentence that begins with the guest."""

    @property
    def recovery(self) -> str:
        """What to do, in words and to the letter."""
        namespace, name = self.instance
        return (
            "See whether it runs: virsh domstate in its launcher pod. Where that says paused and no migration of it runs any "
            "more, let it run on: virsh resume in the launcher pod of "
            f"{self.instance} on {self.node}: kubectl exec -n {namespace} $(kubectl get pods -n {namespace} "
            f"-l vm.kubevirt.io/name={name} --field-selector spec.nodeName={self.node},status.phase=Running -o name) "
            f"-c compute -- virsh resume {namespace}_{name}"
        )


def left_paused(
    instances: Mapping[Key, Instance], migrations: Mapping[Key, Migration], now: datetime
) -> tuple[LeftPaused, ...]:
    """All guests whose stun was ended and that were not seen running again, sorted. O(instances)."""
    stunned = [
        (instance, instance.migration)
        for instance in instances.values()
        if instance.migration is not None and instance.migration.mode == "Paused" and instance.phase == "Running"
    ]
    if not stunned:
        return ()
    requested = {migration.uid: migration.deletion_requested_at for migration in migrations.values()}
    found = []
    for instance, state in stunned:
        if state.completed and not state.failed:
            continue
        ended = state.failed or state.ended_at is not None or state.abort_status == "Succeeded"
        why = _still_paused(instance, state, now) if ended else _unended(requested.get(state.migration_uid), now)
        if why:
            found.append(LeftPaused(instance.key, state.migration_uid, instance.node, why))
    return tuple(sorted(found, key=lambda one: one.instance))


def _still_paused(instance: Instance, state: MigrationState, now: datetime) -> str:
    paused = instance.paused
    if paused is None or paused.status != "True" or paused.reason in OTHER_PAUSES:
        return ""
    if state.ended_at is not None and now - state.ended_at < REFRESH:
        return ""
    return f"is still paused ({paused.reason or 'Paused'}) after its migration was ended"


def _unended(requested_at: datetime | None, now: datetime) -> str:
    if requested_at is None or now - requested_at < ABORT_LIMIT:
        return ""
    # The time, not how long ago: it stands in statuses, which must not change by themselves.
    return f"is suspended by its migration, whose end was asked for at {requested_at:%H:%M:%S} UTC and has not come"
