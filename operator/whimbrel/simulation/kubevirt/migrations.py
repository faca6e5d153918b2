"""A migration, as virt-controller drives it: what it does to pods and to the instance in one pass.

Phases and failures are in `phases`; this module acts: target pod, its time limits, hand-off, abort. Each object is written
at most once per pass; the next pass sees the result.
"""

from collections.abc import Mapping

from whimbrel.simulation.kubevirt import phases, policies, queueing
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
    containers_ready,
    host_model_selectors,
    source_pod_of,
    suits_host_model,
    target_launcher,
)
from whimbrel.simulation.kubevirt.phases import View
from whimbrel.simulation.kubevirt.values import (
    HANDED_OFF_PHASES,
    INSTANCE_NAME_LABEL,
    MIGRATION_FINALIZER,
    OBSERVED_VERSIONS,
    OVERHEAD_ANNOTATION,
    TARGET_NODE_LABEL,
    Object,
    age_s,
    annotations,
    clone,
    condition,
    deleting,
    final,
    finalizers,
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
    with_condition,
)

UNSCHEDULABLE_TIMEOUT_ANNOTATION = "kubevirt.io/migrationUnschedulablePodTimeoutSeconds"
PENDING_TIMEOUT_ANNOTATION = "kubevirt.io/migrationPendingPodTimeoutSeconds"
UNSCHEDULABLE_TIMEOUT_S = 300
PENDING_TIMEOUT_S = 900
QUOTA_CONDITION = "migrationRejectedByResourceQuota"


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
    effects: list[Effect] = [warning(view.migration, "FailedCreate", f"Error creating pod: {message}")]
    if "exceeded quota" in message and condition(view.migration, QUOTA_CONDITION) is None:
        rejected: Object = clone(view.migration)
        members = rejected["status"]
        members["conditions"] = with_condition(
            members.get("conditions"), QUOTA_CONDITION, "True", view.now, "", message
        )
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
    """The finalizer goes first; then old migrations of the instance are collected."""
    held = finalizers(view.migration)
    if MIGRATION_FINALIZER in held:
        released: Object = clone(view.migration)
        released["metadata"]["finalizers"] = [each for each in held if each != MIGRATION_FINALIZER]
        return (Replace(released),)
    return collect(view)


def _act(view: View) -> Effects:
    migration, pod = view.migration, view.target_pod
    at = phase(migration)
    handed_off = view.state.get("migrationUid") == uid(migration)
    if deleting(migration) and at not in HANDED_OFF_PHASES and not handed_off:
        if pod is not None and not deleting(pod):
            return remove(pod), normal(migration, "SuccessfulDelete", f"Deleted target pod {name(pod)}")
        return ()
    if at == "Pending" and pod is None and not deleting(migration):
        return _create_target(view)
    if at in ("Pending", "Scheduling") and pod is not None:
        return _time_limits(view, pod)
    if at == "Scheduled" and pod is not None and not handed_off:
        return _hand_off(view, pod)
    if at in HANDED_OFF_PHASES and handed_off and (pod is None or final(pod)) and not view.state.get("startTimestamp"):
        return _target_lost(view)
    if at == "Running" and deleting(migration) and handed_off:
        return _abort(view)
    return ()


def _create_target(view: View) -> Effects:
    migration, instance = view.migration, view.instance
    assert instance is not None
    if sum(1 for each in view.launchers if not final(each)) > 1:
        return (Again(queueing.UNOBSERVED_DELAY_S),)
    if wait_s := queueing.backoff_left_s(migration, view.siblings, view.now):
        text = "backoff migrating vmi " + name(instance)
        return warning(instance, "MigrationBackoff", text), Again(wait_s)
    if not queueing.slot_free(view.configuration, view.running, view.outbound):
        return (Again(queueing.limit_delay_s(migration)),)
    if phase(instance) != "Running":
        return (Again(queueing.limit_delay_s(migration)),)
    if view.source_node is None:
        return (Again(queueing.limit_delay_s(migration)),)
    source_pod = source_pod_of(instance, view.launchers)
    made = target_launcher(instance, migration, view.source_node, source_pod, view.kubevirt)
    effects: list[Effect] = []
    if _no_host_model(view, source_pod):
        text = "Migration target node with a suitable host-model CPU not found"
        effects.append(warning(instance, "NoSuitableNodesForHostModelMigration", text))
    return *effects, Create(made), normal(migration, "SuccessfulCreate", "Created migration target pod")


def _no_host_model(view: View, source_pod: Object | None) -> bool:
    assert view.instance is not None
    assert view.source_node is not None
    cpu = (spec(view.instance).get("domain") or {}).get("cpu") or {}
    if cpu.get("model") != "host-model" or not view.nodes:
        return False
    needed = host_model_selectors(view.source_node, source_pod)
    return not any(
        suits_host_model(node, needed) for node in view.nodes if name(node) != status(view.instance).get("nodeName")
    )


def _time_limits(view: View, pod: Object) -> Effects:
    if phase(pod) not in ("", "Pending") or deleting(pod):
        return ()
    migration = view.migration
    scheduled = condition(pod, "PodScheduled") or {}
    unschedulable = scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable"
    known = annotations(migration)
    limit_s = float(known.get(PENDING_TIMEOUT_ANNOTATION, PENDING_TIMEOUT_S))
    effects: list[Effect] = []
    if unschedulable:
        limit_s = min(limit_s, float(known.get(UNSCHEDULABLE_TIMEOUT_ANNOTATION, UNSCHEDULABLE_TIMEOUT_S)))
        text = f"Migration target pod for VMI [{namespaced(pod)}] is currently unschedulable."
        effects.append(warning(migration, "migrationTargetPodUnschedulable", text))
    waited_s = age_s(metadata(pod).get("creationTimestamp"), view.now)
    if waited_s < limit_s:
        return *effects, Again(limit_s - waited_s)
    text = f"Deleted pending migration pod {name(pod)} after {limit_s:.0f} seconds"
    return remove(pod), normal(migration, "SuccessfulDelete", text)


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
    if overhead := annotations(pod).get(OVERHEAD_ANNOTATION):
        state["targetMemoryOverhead"] = overhead
    if policy:
        state["migrationPolicyName"] = policy
    handed["status"]["migrationState"] = state
    text = "Migration target pod is ready for preparation by virt-handler."
    return Replace(handed), normal(migration, "SuccessfulHandOver", text)


def _target_lost(view: View) -> Effects:
    assert view.instance is not None
    if view.state.get("completed"):
        return ()
    marked: Object = clone(view.instance)
    ended = timestamp(view.now)
    marked["status"]["migrationState"].update(
        completed=True,
        failed=True,
        startTimestamp=ended,
        endTimestamp=ended,
        failureReason="Target pod is down",
    )
    return (Replace(marked),)


def _abort(view: View) -> Effects:
    assert view.instance is not None
    if view.state.get("abortRequested") or view.state.get("completed") or view.state.get("endTimestamp"):
        return ()
    asked: Object = clone(view.instance)
    asked["status"]["migrationState"]["abortRequested"] = True
    text = f"Successfully aborted migration {name(view.migration)}"
    return Replace(asked), normal(view.migration, "SuccessfulAbortMigration", text)
