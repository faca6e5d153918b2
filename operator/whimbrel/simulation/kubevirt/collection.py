"""Collection of ended migrations: the five newest per instance are kept, as far as KubeVirt gets to it.

It looks only while it processes an ended migration without an error. In 1.9 one kind always errs: a failed migration on an
instance that shows another one which has not failed – as after a failure before the hand-off on a guest that moved earlier.
"""

from whimbrel.simulation.kubevirt.effects import Again, Effect, Effects, remove
from whimbrel.simulation.kubevirt.phases import View
from whimbrel.simulation.kubevirt.values import (
    Object,
    deleting,
    final,
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
        if view.release.collects_launchers:
            effects += _left_launcher(view, migration)
        effects.append(remove(migration))
    return tuple(effects)


def errs(view: View) -> bool:
    """Whether the controller stumbles over this migration each time: its patch tests another migration's UID."""
    return (
        view.release.marks_lost_targets
        and phase(view.migration) == "Failed"
        and bool(view.state)
        and not view.state.get("failed")
        and view.state.get("migrationUid") != uid(view.migration)
    )


def _left_launcher(view: View, migration: Object) -> list[Effect]:
    """The target pod of a failed migration, the source pod of a completed one, by what the migration kept of them."""
    kept = (migration.get("status") or {}).get("migrationState") or {}
    left = kept.get("targetPod") if kept.get("failed") else kept.get("sourcePod") if kept.get("completed") else None
    return [remove(pod) for pod in view.launchers if name(pod) == left and not deleting(pod)]
