"""Collection of ended migrations: the five newest per instance are kept, as far as KubeVirt gets to it.

It looks only while it processes an ended migration without an error. In 1.9 one kind always errs: a migration that failed
before its hand-off on an instance whose previous migration succeeded.
"""

from whimbrel.simulation.kubevirt.effects import Again, Effect, Effects, remove
from whimbrel.simulation.kubevirt.phases import View
from whimbrel.simulation.kubevirt.values import (
    JOB_UID_LABEL,
    deleting,
    final,
    labels,
    metadata,
    name,
    phase,
    uid,
)

KEPT = 5
RETRY_S = 60.0


def collect(view: View) -> Effects:
    """Deletions that follow from processing one ended migration, its finalizer being gone."""
    if errs(view):
        return (Again(RETRY_S),)
    ended = [each for each in (view.migration, *view.siblings) if final(each) and not deleting(each)]
    ended.sort(key=lambda each: (str(metadata(each).get("creationTimestamp") or ""), name(each)))
    effects: list[Effect] = []
    for migration in ended[:-KEPT]:
        effects.append(remove(migration))
        if view.release.collects_launchers:
            effects += _left_launcher(view, uid(migration), phase(migration))
    return tuple(effects)


def errs(view: View) -> bool:
    """Whether the controller stumbles over this migration each time: its patch tests another migration's UID."""
    of_another = view.state.get("migrationUid") not in (None, "", uid(view.migration))
    succeeded = bool(view.state.get("completed")) and not view.state.get("failed")
    before_hand_off = not (view.migration.get("status") or {}).get("migrationState", {}).get("migrationUid")
    return (
        view.release.collects_launchers
        and phase(view.migration) == "Failed"
        and before_hand_off
        and of_another
        and succeeded
    )


def _left_launcher(view: View, migration_uid: str, ended_as: str) -> list[Effect]:
    """The target pod of a failed migration, the source pod of a completed one, if it still lies there finished."""
    pods = [pod for pod in view.launchers if final(pod) and not deleting(pod)]
    if ended_as == "Failed":
        return [remove(pod) for pod in pods if labels(pod).get(JOB_UID_LABEL) == migration_uid]
    migrations = {uid(each): each for each in (view.migration, *view.siblings)}
    source = (migrations[migration_uid].get("status") or {}).get("migrationState", {}).get("sourcePod")
    return [remove(pod) for pod in pods if name(pod) == source]
