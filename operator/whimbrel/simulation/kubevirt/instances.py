"""An instance and its launcher pods: virt-controller's lifecycle from Pending to Running, readiness, and the end.

Called with one instance and all pods that it controls. It writes each object at most once per pass, the instance before its
pod: what the instance shows of a launcher is how that was before the gate opened.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from whimbrel.simulation.kubevirt import quantities
from whimbrel.simulation.kubevirt.effects import (
    Create,
    Effect,
    Effects,
    Replace,
    ReplaceStatus,
    normal,
    remove,
)
from whimbrel.simulation.kubevirt.launchers import OVERHEAD_GATE, containers_ready, launcher, source_pod_of
from whimbrel.simulation.kubevirt.policies import gate_enabled
from whimbrel.simulation.kubevirt.values import (
    INSTANCE_FINALIZER,
    NODE_LABEL,
    OBSERVED_VERSIONS,
    OVERHEAD_ANNOTATION,
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
    phase,
    phase_entered,
    set_label,
    spec,
    status,
    uid,
    with_condition,
    without_condition,
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
    of_pod: list[Effect] = []
    if not final(wanted):
        current = source_pod_of(wanted, pods)
        if current is not None:
            of_pod = _current_pod(wanted, current)
            _launcher_of(wanted, current, kubevirt)
        _readiness(wanted, current, now)
    _eviction(wanted, now)
    if wanted != instance:
        effects.append(Replace(wanted))
    return (*effects, *of_pod)


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
    if not containers_ready(pod):
        return []
    if phase(instance) in ("Scheduled", "Running") and not condition_true(pod, UNPAUSED_GATE):
        opened: Object = clone(pod)
        gate = {"type": UNPAUSED_GATE, "status": "True", "lastProbeTime": None, "lastTransitionTime": None}
        opened["status"].setdefault("conditions", []).append(
            {**gate, "reason": "NotPaused", "message": "the virtual machine is not paused"}
        )
        return [ReplaceStatus(opened)]
    if labels(pod).get(NODE_LABEL) != status(instance).get("nodeName"):
        moved: Object = clone(pod)
        set_label(moved, NODE_LABEL, status(instance)["nodeName"])
        return [Replace(moved)]
    return []


def _launcher_of(instance: Object, pod: Mapping[str, Any], kubevirt: Mapping[str, Any] | None) -> None:
    """What the instance shows of its launcher: the image, and before it runs what the launcher takes beside the guest."""
    members = instance["status"]
    image = next((each.get("image") for each in spec(pod).get("containers") or () if each["name"] == "compute"), None)
    if image:
        members["launcherContainerImageVersion"] = image
    overhead = annotations(pod).get(OVERHEAD_ANNOTATION)
    if overhead and phase(instance) in ("Scheduling", "Scheduled") and gate_enabled(kubevirt, OVERHEAD_GATE):
        members.setdefault("memory", {})["memoryOverhead"] = quantities.binary(int(overhead))


def _readiness(instance: Object, pod: Mapping[str, Any] | None, now: datetime) -> None:
    """Ready mirrors the launcher's own Ready once the guest runs; a change of reason alone is written too."""
    seen = condition(pod, "Ready") if pod is not None else None
    if pod is None:
        value, reason, message = "False", "PodNotExists", "there is no virt-launcher pod yet"
    elif deleting(pod):
        value, reason, message = "False", "PodTerminating", "the virt-launcher pod is terminating"
    elif phase(instance) != "Running":
        value, reason, message = "False", "GuestNotRunning", "the guest is not reported as running"
    elif seen is None:
        value, reason, message = "False", "PodConditionMissing", "the virt-launcher pod has no condition Ready"
    else:
        value, reason, message = (str(seen.get(each) or "") for each in ("status", "reason", "message"))
    known = condition(instance, "Ready")
    if known is not None and (known.get("status"), known.get("reason", "")) == (value, reason):
        return
    members = instance["status"]
    members["conditions"] = with_condition(members.get("conditions"), "Ready", value, now, reason, message)


def _eviction(instance: Object, now: datetime) -> None:
    """An instance that is to leave its node says so."""
    members = instance["status"]
    known = condition(instance, "EvictionRequested")
    if members.get("evacuationNodeName"):
        if known is None:
            members["conditions"] = with_condition(
                members.get("conditions"), "EvictionRequested", "True", now, "EvictionRequested",
                "the instance is to leave its node",
            )  # fmt: skip
    elif known is not None:
        members["conditions"] = without_condition(members.get("conditions"), "EvictionRequested")
