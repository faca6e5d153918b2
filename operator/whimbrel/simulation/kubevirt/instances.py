"""An instance and its launcher pods: virt-controller's lifecycle from Pending to Running, readiness, and the end.

Called with one instance and all pods that it controls. It writes each object at most once per pass.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from whimbrel.simulation.kubevirt.effects import (
    Create,
    Effect,
    Effects,
    Replace,
    ReplaceStatus,
    normal,
    remove,
)
from whimbrel.simulation.kubevirt.launchers import containers_ready, launcher, source_pod_of
from whimbrel.simulation.kubevirt.values import (
    INSTANCE_FINALIZER,
    JOB_UID_LABEL,
    NODE_LABEL,
    OBSERVED_VERSIONS,
    TARGET_READY_ANNOTATION,
    UNPAUSED_GATE,
    Object,
    annotations,
    clone,
    condition,
    condition_true,
    deleting,
    final,
    finalizers,
    labels,
    metadata,
    migration_state,
    name,
    phase,
    phase_entered,
    set_label,
    spec,
    status,
    uid,
    with_condition,
)


def step(
    instance: Object,
    pods: Sequence[Object],
    now: datetime,
    kubevirt: Mapping[str, Any] | None = None,
) -> Effects:
    """What virt-controller writes for one instance; `pods` are those that it controls."""
    effects: list[Effect] = []
    wanted: Object = clone(instance)
    if deleting(instance):
        effects += [remove(pod) for pod in pods if not deleting(pod)]
        if final(instance) and not pods:
            kept = [each for each in finalizers(instance) if each != INSTANCE_FINALIZER]
            wanted["metadata"]["finalizers"] = kept
    elif phase(instance) in ("", "Pending") and not pods:
        effects += [
            Create(launcher(instance, kubevirt)),
            normal(instance, "SuccessfulCreate", "Created virtual machine pod"),
        ]
    for key, value in OBSERVED_VERSIONS.items():
        wanted["metadata"].setdefault("annotations", {}).setdefault(key, value)
    _advance(wanted, pods, now)
    if not final(wanted) and (current := source_pod_of(wanted, pods)) is not None:
        effects += _current_pod(wanted, current)
        if phase(wanted) == "Running":
            _readiness(wanted, current, now)
    if not any(isinstance(each, Replace | ReplaceStatus) for each in effects):
        effects += _target_pod(wanted, pods)
    if wanted != instance:
        effects.append(Replace(wanted))
    return tuple(effects)


def _advance(instance: Object, pods: Sequence[Object], now: datetime) -> None:
    """Phase, active pods and node, in place."""
    members = instance.setdefault("status", {})
    active = {uid(pod): str(spec(pod).get("nodeName") or "") for pod in pods}
    if active:
        members["activePods"] = active
    else:
        members.pop("activePods", None)
    live = [pod for pod in pods if not final(pod)]
    now_in = phase(instance)
    if now_in in ("", "Pending"):
        if live:
            phase_entered(instance, "Scheduling", now)
        elif deleting(instance):
            phase_entered(instance, "Succeeded", now)
    elif now_in == "Scheduling":
        pod = live[-1] if live else None
        if pod is None:
            phase_entered(instance, "Succeeded" if deleting(instance) else "Failed", now)
        elif spec(pod).get("nodeName") and containers_ready(pod):
            phase_entered(instance, "Scheduled", now)
            node = str(spec(pod)["nodeName"])
            members["nodeName"] = node
            members["migrationTransport"] = "Unix"
            set_label(instance, NODE_LABEL, node)
    elif now_in in ("Scheduled", "Running") and not live:
        phase_entered(instance, "Succeeded" if deleting(instance) else "Failed", now)


def _current_pod(instance: Object, pod: Object) -> list[Effect]:
    """The readiness gate of the pod in which the guest runs, and its node label after a move."""
    if not containers_ready(pod) or deleting(pod):
        return []
    if phase(instance) in ("Scheduled", "Running") and not condition_true(pod, UNPAUSED_GATE):
        opened: Object = clone(pod)
        gate = {"type": UNPAUSED_GATE, "status": "True", "lastProbeTime": None, "lastTransitionTime": None}
        opened["status"].setdefault("conditions", []).append(gate)
        return [ReplaceStatus(opened)]
    if labels(pod).get(NODE_LABEL, status(instance)["nodeName"]) != status(instance)["nodeName"]:
        moved: Object = clone(pod)
        set_label(moved, NODE_LABEL, status(instance)["nodeName"])
        return [Replace(moved)]
    return []


def _readiness(instance: Object, pod: Mapping[str, Any], now: datetime) -> None:
    ready = condition(pod, "Ready") or {}
    value = "True" if ready.get("status") == "True" else "False"
    known = condition(instance, "Ready")
    if known is not None and known.get("status") == value:
        return
    reason = "" if value == "True" else str(ready.get("reason") or "PodNotReady")
    members = instance["status"]
    members["conditions"] = with_condition(members.get("conditions"), "Ready", value, now, reason)


def _target_pod(instance: Mapping[str, Any], pods: Sequence[Object]) -> list[Effect]:
    """The target pod learns when the guest was ready on it."""
    state = migration_state(instance)
    since = state.get("targetNodeDomainReadyTimestamp")
    for pod in pods if since else ():
        same = labels(pod).get(JOB_UID_LABEL) == state.get("migrationUid") and name(pod) == state.get("targetPod")
        if same and not final(pod) and not deleting(pod) and TARGET_READY_ANNOTATION not in annotations(pod):
            noted: Object = clone(pod)
            noted["metadata"].setdefault("annotations", {})[TARGET_READY_ANNOTATION] = since
            if node := labels(instance).get(NODE_LABEL):
                set_label(noted, NODE_LABEL, node)
            return [Replace(noted)] if noted["metadata"] != metadata(pod) else []
    return []
