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
    timestamp,
    uid,
    without_condition,
)

ABORT_CONDITION = "migrationAbortRequested"
QUOTA_CONDITION = "migrationRejectedByResourceQuota"
CANCELED = "Migration failed due to being canceled"


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
    unmarked = deleting(view.migration) and condition(view.migration, ABORT_CONDITION) is None
    if text := failure(view):
        if text == CANCELED and unmarked:
            _mark_abort(members, view.now)
        phase_entered(followed, "Failed", view.now)
        effects.append(warning(view.migration, "FailedMigration", text))
    elif unmarked:
        _mark_abort(members, view.now)
    elif onward := next_phase(view):
        phase_entered(followed, onward, view.now)
        if onward == "Succeeded":
            text = "Source node reported migration succeeded"
            effects.append(normal(view.migration, "SuccessfulMigration", text))
    if phase(view.migration) == "Scheduling" and (kept := members.get("conditions")) is not None:
        members["conditions"] = without_condition(kept, QUOTA_CONDITION)
    _remember_source(view, followed)
    if followed == view.migration:
        return ()
    return (ReplaceStatus(followed), *effects)


def failure(view: View) -> str:
    """Why the migration has failed, in its event's words; empty while it has not. KubeVirt asks in this order."""
    migration, instance, pod = view.migration, view.instance, view.target_pod
    at, own = phase(migration), uid(migration)
    handed_off = at in HANDED_OFF_PHASES
    if instance is None:
        return "Migration failed because vmi does not exist."
    if final(instance):
        return "Migration failed vmi shutdown during migration."
    if deleting(migration) and not handed_off and view.state.get("migrationUid") != own:
        return CANCELED
    if pod is not None and final(pod):
        return "Migration failed because target pod shutdown during migration"
    if at in TARGET_CREATED_PHASES and pod is None:
        return "Migration target pod was removed during active migration."
    if handed_off and not view.state:
        return "Migration failed because the migration state was cleared on the vmi."
    if handed_off and view.state.get("migrationUid") != own:
        return "Migration failed because another migration job took over the vmi."
    if view.state.get("migrationUid") == own and view.state.get("failed"):
        return "source node reported migration failed"
    if at == "" and _lost_race(view):
        return "Migration failed because another migration job is in progress for the vmi."
    return ""


def _mark_abort(members: Object, now: datetime) -> None:
    """The wish to abort, dated by a probe: nothing of KubeVirt's sets a transition time on a migration's condition."""
    made = {"lastProbeTime": timestamp(now), "lastTransitionTime": None, "status": "True", "type": ABORT_CONDITION}
    members["conditions"] = [*(members.get("conditions") or ()), made]


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


def _remember_source(view: View, followed: Object) -> None:
    """While Pending, the migration notes the launcher that it leaves."""
    if phase(followed) != "Pending" or view.instance is None:
        return
    if (source := source_pod_of(view.instance, view.launchers)) is not None:
        followed["status"].setdefault("migrationState", {})["sourcePod"] = name(source)
