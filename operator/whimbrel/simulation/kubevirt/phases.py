"""A migration's phases and the ways in which it fails, as virt-controller derives them from what it sees.

One phase per pass. `View` is everything that the controller looks at for one migration.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from whimbrel.simulation.kubevirt import policies
from whimbrel.simulation.kubevirt.effects import Effect, Effects, ReplaceStatus, normal, warning
from whimbrel.simulation.kubevirt.launchers import containers_ready, source_pod_of
from whimbrel.simulation.kubevirt.releases import Release
from whimbrel.simulation.kubevirt.values import (
    HANDED_OFF_PHASES,
    JOB_UID_LABEL,
    TARGET_CREATED_PHASES,
    Object,
    clone,
    condition,
    condition_true,
    deleting,
    final,
    labels,
    metadata,
    migration_state,
    name,
    phase,
    phase_entered,
    spec,
    uid,
    with_condition,
    without_condition,
)

ABORT_CONDITION = "migrationAbortRequested"


@dataclass(frozen=True, slots=True)
class View:
    """One migration and what concerns it. `running` and `outbound` count the migrations that take a slot, this one apart."""

    migration: Object
    instance: Object | None
    launchers: Sequence[Object]
    """All launcher pods of the instance."""
    now: datetime
    siblings: Sequence[Object] = ()
    """The other migrations of the instance."""
    source_node: Object | None = None
    nodes: Sequence[Object] = ()
    policies: Sequence[Object] = ()
    namespace_labels: Mapping[str, str] = field(default_factory=dict)
    kubevirt: Object | None = None
    running: int = 0
    outbound: int = 0

    @property
    def target_pod(self) -> Object | None:
        """The newest target pod of this migration."""
        own = [pod for pod in self.launchers if labels(pod).get(JOB_UID_LABEL) == uid(self.migration)]
        own.sort(key=lambda pod: (str(metadata(pod).get("creationTimestamp") or ""), name(pod)))
        return own[-1] if own else None

    @property
    def state(self) -> Mapping[str, Any]:
        """The instance's migration state, whichever migration it belongs to."""
        return migration_state(self.instance or {})

    @property
    def configuration(self) -> Object:
        """The cluster's migration configuration with defaults."""
        return policies.cluster_configuration(self.kubevirt)

    @property
    def release(self) -> Release:
        """The release that runs."""
        return policies.observed_release(self.kubevirt)


def follow(view: View) -> Effects:
    """The migration's status as it should be now, when that differs, and the events that go with it."""
    followed: Object = clone(view.migration)
    members = followed.setdefault("status", {})
    effects: list[Effect] = []
    if text := failure(view):
        phase_entered(followed, "Failed", view.now)
        _snapshot(view, followed)
        effects.append(warning(view.migration, "FailedMigration", text))
    else:
        if deleting(view.migration) and condition(view.migration, ABORT_CONDITION) is None:
            members["conditions"] = with_condition(members.get("conditions"), ABORT_CONDITION, "True", view.now)
        _remember_source(view, members)
        if onward := next_phase(view):
            phase_entered(followed, onward, view.now)
            if onward == "Scheduling" and (kept := members.get("conditions")) is not None:
                members["conditions"] = without_condition(kept, "migrationRejectedByResourceQuota")
            if onward == "Succeeded":
                _snapshot(view, followed)
                text = "Source node reported migration succeeded"
                effects.append(normal(view.migration, "SuccessfulMigration", text))
    if followed == view.migration:
        return ()
    return (ReplaceStatus(followed), *effects)


def failure(view: View) -> str:
    """Why the migration has failed, in its event's words; empty while it has not."""
    migration, instance, pod = view.migration, view.instance, view.target_pod
    at, own = phase(migration), uid(migration)
    if instance is None:
        return "Migration failed because vmi does not exist."
    if final(instance):
        return "Migration failed vmi shutdown during migration."
    if at == "" and _lost_race(view):
        return "Migration failed because another migration job is already in progress for the vmi."
    handed_off = at in HANDED_OFF_PHASES
    if deleting(migration) and not handed_off and view.state.get("migrationUid") != own:
        return "Migration failed due to being canceled"
    if handed_off and not view.state:
        return "Migration failed because migration state was cleared on the vmi."
    if handed_off and view.state.get("migrationUid") != own:
        return "Migration failed because another migration job got created for the vmi."
    if view.state.get("migrationUid") == own:
        if view.state.get("failed"):
            return "source node reported migration failed"
        if view.state.get("completed"):
            return ""
    if pod is not None and final(pod):
        return "Migration failed because target pod shutdown during migration"
    if at in TARGET_CREATED_PHASES and pod is None:
        return "Migration target pod was removed during active migration."
    return ""


def next_phase(view: View) -> str:
    """The phase that follows now, or empty."""
    instance, pod, state = view.instance, view.target_pod, view.state
    at = phase(view.migration)
    own = state.get("migrationUid") == uid(view.migration)
    if at == "":
        return "Pending"
    if at == "Pending":
        return "Scheduling" if pod is not None else ""
    if at == "Scheduling":
        return "Scheduled" if pod is not None and spec(pod).get("nodeName") and containers_ready(pod) else ""
    if at == "Scheduled":
        return "PreparingTarget" if own and state.get("targetNode") else ""
    if at == "PreparingTarget":
        return "TargetReady" if own and state.get("targetNode") and state.get("targetNodeAddress") else ""
    if at == "TargetReady":
        return "Running" if own and state.get("startTimestamp") else ""
    if at == "Running" and own and state.get("completed") and instance is not None:
        waits = condition(instance, "HotVCPUChange") is not None or any(
            condition_true(instance, kind) for kind in ("HotMemoryChange", "MigrationRequired")
        )
        return "" if waits else "Succeeded"
    return ""


def _lost_race(view: View) -> bool:
    """Another unfinished migration owns the instance's migration state."""
    owner = view.state.get("migrationUid")
    return any(uid(each) == owner and not final(each) for each in view.siblings) if owner else False


def _remember_source(view: View, members: Object) -> None:
    """While Pending, the migration notes the launcher that it leaves."""
    if (
        phase(view.migration) != "Pending"
        or view.instance is None
        or (members.get("migrationState") or {}).get("sourcePod")
    ):
        return
    if (source := source_pod_of(view.instance, view.launchers)) is not None:
        members["migrationState"] = {"sourcePod": name(source)}


def _snapshot(view: View, ended: Object) -> None:
    """At the end the migration keeps the instance's migration state, if that is its own."""
    if view.state.get("migrationUid") == uid(view.migration):
        ended["status"]["migrationState"] = clone(dict(view.state))
