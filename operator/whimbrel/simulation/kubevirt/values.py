"""Plain JSON objects of Kubernetes: reading them safely, copying them, times and conditions as Go would write them.

Used by every step beside it. Times are whole seconds with a `Z`; conditions always carry both time members.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

Object = dict[str, Any]

NODE_LABEL = "kubevirt.io/nodeName"
TARGET_NODE_LABEL = "kubevirt.io/migrationTargetNodeName"
CREATED_BY_LABEL = "kubevirt.io/created-by"
JOB_UID_LABEL = "kubevirt.io/migrationJobUID"
DOMAIN_ANNOTATION = "kubevirt.io/domain"
"""On a launcher pod: the instance's name."""
JOB_NAME_ANNOTATION = "kubevirt.io/migrationJobName"
INSTANCE_NAME_LABEL = "kubevirt.io/vmi-name"
EVACUATION_ANNOTATION = "kubevirt.io/evacuationMigration"
WORKLOAD_UPDATE_ANNOTATION = "kubevirt.io/workloadUpdateMigration"
EVICTION_SOURCE_ANNOTATION = "kubevirt.io/eviction-source"
OVERHEAD_ANNOTATION = "kubevirt.io/memory-overhead-bytes"
TARGET_READY_ANNOTATION = "kubevirt.io/migration-target-ready-timestamp"
SCHEDULABLE_LABEL = "kubevirt.io/schedulable"
MIGRATION_FINALIZER = "kubevirt.io/migrationJobFinalize"
INSTANCE_FINALIZER = "kubevirt.io/foregroundDeleteVirtualMachine"
MACHINE_FINALIZER = "kubevirt.io/virtualMachineControllerFinalize"
UNPAUSED_GATE = "kubevirt.io/virtual-machine-unpaused"
OBSERVED_VERSIONS = {
    "kubevirt.io/latest-observed-api-version": "v1",
    "kubevirt.io/storage-observed-api-version": "v1",
}
NONROOT_ANNOTATION = "kubevirt.io/nonroot"
LAUNCHER_USER = 107
"""As whom launchers run; an instance that says otherwise is changed before its next one is made."""
FINAL_PHASES = frozenset({"Succeeded", "Failed"})
HANDED_OFF_PHASES = frozenset({"PreparingTarget", "TargetReady", "Running"})
"""Phases of a migration after the hand-off."""
TARGET_CREATED_PHASES = frozenset({"Scheduling", "Scheduled"}) | HANDED_OFF_PHASES
"""Phases of a migration in which its target pod exists."""


def clone(value: Any) -> Any:
    """A deep copy of a JSON value; several times faster than copy.deepcopy."""
    if isinstance(value, dict):
        return {key: clone(member) for key, member in value.items()}
    if isinstance(value, list):
        return [clone(member) for member in value]
    return value


def metadata(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The object's metadata, empty when there is none."""
    return document.get("metadata") or {}


def spec(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The object's spec, empty when there is none."""
    return document.get("spec") or {}


def status(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The object's status, empty when there is none."""
    return document.get("status") or {}


def labels(document: Mapping[str, Any]) -> Mapping[str, str]:
    """The object's labels, empty when there are none."""
    return metadata(document).get("labels") or {}


def annotations(document: Mapping[str, Any]) -> Mapping[str, str]:
    """The object's annotations, empty when there are none."""
    return metadata(document).get("annotations") or {}


def name(document: Mapping[str, Any]) -> str:
    """The object's name."""
    return str(metadata(document).get("name") or "")


def namespace(document: Mapping[str, Any]) -> str:
    """The object's namespace, empty when it has none."""
    return str(metadata(document).get("namespace") or "")


def uid(document: Mapping[str, Any]) -> str:
    """The object's UID."""
    return str(metadata(document).get("uid") or "")


def deleting(document: Mapping[str, Any]) -> bool:
    """Whether the object is being deleted."""
    return bool(metadata(document).get("deletionTimestamp"))


def finalizers(document: Mapping[str, Any]) -> list[str]:
    """The object's finalizers."""
    return list(metadata(document).get("finalizers") or ())


def phase(document: Mapping[str, Any]) -> str:
    """`status.phase`, empty when unset."""
    return str(status(document).get("phase") or "")


def final(document: Mapping[str, Any]) -> bool:
    """Whether an instance, a migration or a pod has ended."""
    return phase(document) in FINAL_PHASES


def migration_state(instance: Mapping[str, Any]) -> Mapping[str, Any]:
    """`status.migrationState` of an instance, empty when unset."""
    return status(instance).get("migrationState") or {}


def set_label(document: Object, key: str, value: str | None) -> None:
    """Set a label in place, or take it away with None."""
    members = document["metadata"].setdefault("labels", {})
    if value is None:
        members.pop(key, None)
    else:
        members[key] = value


def timestamp(now: datetime) -> str:
    """RFC 3339 in UTC with whole seconds, as Go's metav1.Time is written; fractions are cut off."""
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def go_time(text: str) -> str:
    """A timestamp as Go prints a time to a reader: with blanks, offset and zone."""
    return text.replace("T", " ").replace("Z", " +0000 UTC")


def instant(text: str | None) -> datetime | None:
    """The time that a timestamp names, None for an absent one."""
    return datetime.fromisoformat(text) if text else None


def age_s(text: str | None, now: datetime) -> float:
    """Seconds since a timestamp; 0 for an absent one."""
    since = instant(text)
    return (now - since).total_seconds() if since else 0.0


def condition(document: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    """The status condition of a type."""
    for each in status(document).get("conditions") or ():
        if each.get("type") == kind:
            found: Mapping[str, Any] = each
            return found
    return None


def condition_true(document: Mapping[str, Any], kind: str) -> bool:
    """Whether a condition is there and True."""
    found = condition(document, kind)
    return found is not None and found.get("status") == "True"


def with_condition(
    conditions: Iterable[Object] | None,
    kind: str,
    value: str,
    now: datetime,
    reason: str = "",
    message: str = "",
) -> list[Object]:
    """The conditions with one set; its transition time moves only when its status changes."""
    kept = [each for each in conditions or () if each.get("type") != kind]
    old = next((each for each in conditions or () if each.get("type") == kind), None)
    since = old["lastTransitionTime"] if old and old.get("status") == value else timestamp(now)
    made: Object = {"lastProbeTime": None, "lastTransitionTime": since}
    if message:
        made["message"] = message
    if reason:
        made["reason"] = reason
    made["status"] = value
    made["type"] = kind
    if old is None:
        return [*kept, made]
    return [made if each.get("type") == kind else each for each in conditions or ()]


def without_condition(conditions: Iterable[Object] | None, kind: str) -> list[Object]:
    """The conditions without one."""
    return [each for each in conditions or () if each.get("type") != kind]


def phase_entered(document: Object, entered: str, now: datetime) -> None:
    """Set `status.phase` in place and note when it was entered, the first time only."""
    members = document.setdefault("status", {})
    members["phase"] = entered
    times = members.setdefault("phaseTransitionTimestamps", [])
    if not any(each["phase"] == entered for each in times):
        times.append({"phase": entered, "phaseTransitionTimestamp": timestamp(now)})


def owner_reference(owner: Mapping[str, Any], *, controller: bool = True) -> Object:
    """A reference to the object's owner, blocking its foreground deletion."""
    return {
        "apiVersion": owner["apiVersion"],
        "blockOwnerDeletion": True,
        "controller": controller,
        "kind": owner["kind"],
        "name": name(owner),
        "uid": uid(owner),
    }


def controller_uid(document: Mapping[str, Any]) -> str:
    """UID of the owner that controls the object, or empty."""
    for owner in metadata(document).get("ownerReferences") or ():
        if owner.get("controller"):
            return str(owner.get("uid") or "")
    return ""
