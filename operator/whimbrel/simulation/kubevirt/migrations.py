"""A migration, as virt-controller drives it: what it does to pods and to the instance in one pass.

Phases and failures are in `phases`; this module acts: target pod, its time limits, hand-off, abort. Each object is written
at most once per pass, but for an ended migration, whose status is followed by its metadata; the next pass sees the result.
"""

from collections.abc import Mapping

from whimbrel.simulation.kubevirt import phases, policies, quantities, queueing
from whimbrel.simulation.kubevirt.collection import collect
from whimbrel.simulation.kubevirt.effects import (
    Again,
    Create,
    Effect,
    Effects,
    Replace,
    ReplaceStatus,
    normal,
    remove,
    warning,
)
from whimbrel.simulation.kubevirt.launchers import (
    HOST_MODEL_NEEDS,
    OVERHEAD_GATE,
    containers_ready,
    source_pod_of,
    suits_host_model,
    target_launcher,
)
from whimbrel.simulation.kubevirt.phases import QUOTA_CONDITION, View
from whimbrel.simulation.kubevirt.values import (
    HANDED_OFF_PHASES,
    INSTANCE_NAME_LABEL,
    LAUNCHER_USER,
    MIGRATION_FINALIZER,
    NONROOT_ANNOTATION,
    OBSERVED_VERSIONS,
    OVERHEAD_ANNOTATION,
    TARGET_NODE_LABEL,
    TARGET_READY_ANNOTATION,
    Object,
    age_s,
    annotations,
    clone,
    condition,
    deleting,
    final,
    finalizers,
    go_time,
    labels,
    metadata,
    migration_state,
    name,
    phase,
    set_label,
    spec,
    status,
    timestamp,
    uid,
)

UNSCHEDULABLE_TIMEOUT_ANNOTATION = "kubevirt.io/migrationUnschedulablePodTimeoutSeconds"
PENDING_TIMEOUT_ANNOTATION = "kubevirt.io/migrationPendingPodTimeoutSeconds"
UNSCHEDULABLE_TIMEOUT_S = 300
PENDING_TIMEOUT_S = 900


def step(view: View) -> Effects:
    """What virt-controller writes for one migration."""
    migration = view.migration
    if marked := _marked(migration):
        return (Replace(marked),)
    if view.instance is None:
        return () if deleting(migration) else (remove(migration),)
    if final(migration):
        return _after_the_end(view)
    effects = list(_act(view))
    return (*effects, *phases.follow(view))


def creation_refused(view: View, message: str) -> Effects:
    """What follows when the API server refused the target pod: an event, and a condition when a quota was the reason."""
    assert view.instance is not None
    effects: list[Effect] = [warning(view.instance, "FailedCreate", f"Error creating pod: {message}")]
    if "exceeded quota" in message and condition(view.migration, QUOTA_CONDITION) is None:
        rejected: Object = clone(view.migration)
        members = rejected["status"]
        told = {"lastProbeTime": timestamp(view.now), "lastTransitionTime": None, "status": "True"}
        members["conditions"] = [*(members.get("conditions") or ()), {**told, "type": QUOTA_CONDITION}]
        effects.append(ReplaceStatus(rejected))
    return (*effects, Again(queueing.limit_delay_s(view.migration)))


def _marked(migration: Object) -> Object | None:
    """The controller's first write: which API versions it saw, and the selector label where no webhook set it."""
    known = annotations(migration)
    if all(key in known for key in OBSERVED_VERSIONS) and INSTANCE_NAME_LABEL in labels(migration):
        return None
    marked: Object = clone(migration)
    marked["metadata"].setdefault("annotations", {}).update(OBSERVED_VERSIONS)
    marked["metadata"].setdefault("labels", {}).setdefault(INSTANCE_NAME_LABEL, spec(migration)["vmiName"])
    return marked


def _after_the_end(view: View) -> Effects:
    """The migration keeps the instance's state if that is its own, then its finalizer goes, then old ones are collected."""
    assert view.instance is not None
    effects: list[Effect] = []
    if phase(view.migration) == "Failed" and not deleting(view.instance):
        effects += _target_lost(view)
    over: Object = clone(view.migration)
    if view.state.get("migrationUid") == uid(view.migration):
        over["status"]["migrationState"] = clone(dict(view.state))
    if over["status"] != view.migration["status"]:
        effects.append(ReplaceStatus(clone(over)))
    held = finalizers(view.migration)
    if MIGRATION_FINALIZER in held:
        over["metadata"]["finalizers"] = [each for each in held if each != MIGRATION_FINALIZER]
        effects.append(Replace(over))
    return tuple(effects) or collect(view)


def _act(view: View) -> Effects:
    migration, pod = view.migration, view.target_pod
    at = phase(migration)
    handed_off = view.state.get("migrationUid") == uid(migration)
    if view.instance is None or deleting(view.instance) or (handed_off and view.state.get("completed")):
        return _note_arrival(view)
    if deleting(migration) and at not in HANDED_OFF_PHASES and not handed_off:
        if at != "" and pod is not None and not deleting(pod):
            text = f"migration canceled and pod {namespaced(pod)} is deleted"
            return remove(pod), normal(migration, "SuccessfulDelete", text)
        return ()
    if at == "Pending" and pod is None:
        return _create_target(view)
    if at in ("Pending", "Scheduling") and pod is not None and not containers_ready(pod):
        return _time_limits(view, pod)
    if at == "Scheduled" and pod is not None and not handed_off:
        return _hand_off(view, pod)
    if at in ("PreparingTarget", "TargetReady") and (pod is None or final(pod)):
        return () if view.state.get("startTimestamp") else _target_lost(view)
    if at == "Running" and deleting(migration) and handed_off:
        return *_abort(view), *_note_arrival(view)
    return _note_arrival(view)


def _note_arrival(view: View) -> Effects:
    """The target pod learns when the guest was ready on it."""
    pod, since = view.target_pod, view.state.get("targetNodeDomainReadyTimestamp")
    if phase(view.migration) != "Running" or pod is None or not since or TARGET_READY_ANNOTATION in annotations(pod):
        return ()
    noted: Object = clone(pod)
    noted["metadata"].setdefault("annotations", {})[TARGET_READY_ANNOTATION] = go_time(str(since))
    return (Replace(noted),)


def _create_target(view: View) -> Effects:
    migration, instance = view.migration, view.instance
    assert instance is not None
    if wait_s := queueing.backoff_left_s(migration, view.siblings, view.now):
        text = f"backoff migrating vmi {namespaced(instance)}"
        return warning(instance, "MigrationBackoff", text), Again(wait_s)
    source_pod = source_pod_of(instance, view.launchers)
    if source_pod is None:
        return ()
    if prepared := _runtime_user(instance):
        return (Replace(prepared),)
    if sum(1 for each in view.launchers if not final(each)) > 1:
        return (Again(queueing.UNOBSERVED_DELAY_S),)
    if not queueing.slot_free(view.configuration, view.running, view.outbound):
        return (Again(queueing.limit_delay_s(migration)),)
    if phase(instance) != "Running":
        return ()
    if view.source_node is None:
        return (Again(queueing.limit_delay_s(migration)),)
    made = target_launcher(instance, migration, view.source_node, source_pod, view.kubevirt)
    return Create(made), normal(migration, "SuccessfulCreate", "Created migration target pod")


def _runtime_user(instance: Object) -> Object | None:
    """The instance with what its next launcher runs as; None where it says so already."""
    said = status(instance).get("runtimeUser") == LAUNCHER_USER and NONROOT_ANNOTATION in annotations(instance)
    if said:
        return None
    prepared: Object = clone(instance)
    prepared["status"]["runtimeUser"] = LAUNCHER_USER
    prepared["metadata"].setdefault("annotations", {})[NONROOT_ANNOTATION] = "true"
    return prepared


def _host_model_alarm(view: View, pod: Object) -> Effects:
    """The instance is told when no other node has the model and the features that its target pod asks for."""
    assert view.instance is not None
    cpu = (spec(view.instance).get("domain") or {}).get("cpu") or {}
    needed = {
        key: each for key, each in (spec(pod).get("nodeSelector") or {}).items() if key.startswith(HOST_MODEL_NEEDS)
    }
    if cpu.get("model") != "host-model" or not view.nodes:
        return ()
    if any(
        suits_host_model(node, needed) for node in view.nodes if name(node) != status(view.instance).get("nodeName")
    ):
        return ()
    text = f"Migration cannot proceed: no node is suitable for the CPU model and the features {sorted(needed)}"
    return (warning(view.instance, "NoSuitableNodesForHostModelMigration", text),)


def _time_limits(view: View, pod: Object) -> Effects:
    if phase(pod) not in ("", "Pending") or deleting(pod):
        return ()
    migration = view.migration
    scheduled = condition(pod, "PodScheduled") or {}
    unschedulable = scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable"
    limit_s = _limit_s(migration, PENDING_TIMEOUT_ANNOTATION, PENDING_TIMEOUT_S)
    why = "pending"
    effects: list[Effect] = []
    if unschedulable:
        shorter_s = _limit_s(migration, UNSCHEDULABLE_TIMEOUT_ANNOTATION, UNSCHEDULABLE_TIMEOUT_S)
        limit_s, why = (shorter_s, "unschedulable") if shorter_s <= limit_s else (limit_s, why)
        text = f"Migration target pod for VMI [{migration['metadata']['namespace']}/{spec(migration)['vmiName']}] "
        effects += _host_model_alarm(view, pod)
        effects.append(warning(migration, "migrationTargetPodUnschedulable", f"{text}is currently unschedulable."))
    waited_s = age_s(metadata(pod).get("creationTimestamp"), view.now)
    if waited_s < limit_s:
        return *effects, Again(limit_s - waited_s)
    return remove(pod), normal(migration, "SuccessfulDelete", f"{why} pod {namespaced(pod)} timeout period exceeded")


def _limit_s(migration: Object, annotation: str, default_s: int) -> int:
    """What an annotation says in whole seconds; the default where it says no number."""
    try:
        return int(annotations(migration).get(annotation, default_s))
    except ValueError:
        return default_s


def namespaced(document: Mapping[str, object]) -> str:
    """namespace/name of an object, for messages."""
    return f"{metadata(document).get('namespace', '')}/{name(document)}"


def _hand_off(view: View, pod: Object) -> Effects:
    """The instance learns source, target and the configuration of this attempt; nothing changes it afterwards."""
    migration, instance = view.migration, view.instance
    assert instance is not None
    if not containers_ready(pod) or final(pod) or deleting(pod):
        return ()
    handed: Object = clone(instance)
    target = str(spec(pod)["nodeName"])
    set_label(handed, TARGET_NODE_LABEL, target)
    policy, configuration = policies.resolve(view.configuration, view.policies, labels(handed), view.namespace_labels)
    state: Object = {
        "migrationUid": uid(migration),
        "sourceNode": status(instance).get("nodeName"),
        "targetNode": target,
        "targetPod": name(pod),
        "migrationConfiguration": configuration,
    }
    if source_pod := migration_state(migration).get("sourcePod"):
        state["sourcePod"] = source_pod
    overhead = annotations(pod).get(OVERHEAD_ANNOTATION)
    if overhead and policies.gate_enabled(view.kubevirt, OVERHEAD_GATE):
        state["targetMemoryOverhead"] = quantities.binary(int(overhead))
    if policy:
        state["migrationPolicyName"] = policy
    handed["status"]["migrationState"] = state
    text = "Migration target pod is ready for preparation by virt-handler."
    return Replace(handed), normal(migration, "SuccessfulHandOver", text)


def _target_lost(view: View) -> Effects:
    """The instance is told that the attempt is over; what its handler already said of it stays."""
    assert view.instance is not None
    if view.state.get("failed") or view.state.get("completed") or view.state.get("migrationUid") != uid(view.migration):
        return ()
    listened = view.state.get("targetDirectMigrationNodePorts") or view.state.get("startTimestamp")
    if listened and not view.release.marks_lost_targets:
        return ()
    marked: Object = clone(view.instance)
    state, now = marked["status"]["migrationState"], timestamp(view.now)
    state.update(completed=True, failed=True)
    for member, said in (("startTimestamp", now), ("endTimestamp", now), ("failureReason", "Target pod is down")):
        state.setdefault(member, said)
    text = f"VirtualMachineInstance migration uid {uid(view.migration)} failed. reason: Target pod is down"
    return Replace(marked), warning(view.instance, "FailedMigration", text)


def _abort(view: View) -> Effects:
    assert view.instance is not None
    if view.state.get("abortRequested"):
        return ()
    asked: Object = clone(view.instance)
    asked["status"]["migrationState"]["abortRequested"] = True
    text = "Migration is ready to be canceled by virt-handler."
    return Replace(asked), normal(view.migration, "SuccessfulAbortMigration", text)
