"""What virt-api changes in requests and refuses, in the order in which it looks.

Identity counts: only KubeVirt's own accounts may set a priority, write an instance's status or change its spec. A foreign
status write is answered 200 and thrown away.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from whimbrel.simulation.kubevirt import policies, quantities, stall_options
from whimbrel.simulation.kubevirt.values import (
    CREATED_BY_LABEL,
    INSTANCE_FINALIZER,
    INSTANCE_NAME_LABEL,
    JOB_UID_LABEL,
    MIGRATION_FINALIZER,
    NODE_LABEL,
    SCHEDULABLE_LABEL,
    TARGET_NODE_LABEL,
    Object,
    clone,
    condition,
    final,
    labels,
    migration_state,
    namespace,
    spec,
    status,
    uid,
)

INSTALL_NAMESPACE = "kubevirt"
RESERVED_LABELS = (
    CREATED_BY_LABEL, JOB_UID_LABEL, NODE_LABEL, TARGET_NODE_LABEL, SCHEDULABLE_LABEL,
    "kubevirt.io/install-strategy",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a request is denied; `field` names where, empty when it is about no field or about several: see its `causes`."""

    message: str
    code: int = 422
    reason: str = "Invalid"
    field: str = ""
    causes: tuple["Refused", ...] = ()


def account(component: str, install_namespace: str = INSTALL_NAMESPACE) -> str:
    """User name of a KubeVirt component: `apiserver`, `controller`, `handler`."""
    return f"system:serviceaccount:{install_namespace}:kubevirt-{component}"


def is_kubevirt(user: str, install_namespace: str = INSTALL_NAMESPACE) -> bool:
    """Whether a user is one of KubeVirt's own components."""
    return user in {account(each, install_namespace) for each in ("apiserver", "controller", "handler")}


def migration_made(migration: Object) -> Object:
    """The migration as the mutating webhook leaves it: with the finalizer that makes a delete an abort, and its label."""
    made: Object = clone(migration)
    members = made.setdefault("metadata", {})
    held = members.setdefault("finalizers", [])
    if MIGRATION_FINALIZER not in held:
        held.append(MIGRATION_FINALIZER)
    if target := spec(made).get("vmiName"):
        members.setdefault("labels", {})[INSTANCE_NAME_LABEL] = target
    return made


def review_migration_create(
    migration: Mapping[str, Any],
    user: str,
    instance: Mapping[str, Any] | None,
    migrations: Iterable[Mapping[str, Any]],
    kubevirt: Mapping[str, Any] | None = None,
) -> Refused | None:
    """Whether a migration may be created. `migrations` are those of its namespace (others of the instance are looked for)."""
    wanted = spec(migration)
    target = str(wanted.get("vmiName") or "")
    if not target:
        return Refused("vmiName is missing", field="spec.vmiName")
    if wanted.get("priority") and user != account("controller"):
        return Refused("only virt-controller is allowed to set priority", field="spec.priority")
    if wanted.get("priority") and not policies.gate_enabled(kubevirt, "MigrationPriorityQueue"):
        return Refused("MigrationPriorityQueue feature gate is not enabled in kubevirt resource", field="spec.priority")
    if instance is None:
        return Refused(f'the VMI "{namespace(migration)}/{target}" does not exist', 404, "NotFound")
    if final(instance):
        return Refused("Cannot migrate VMI in finalized state.", field="spec.vmiName")
    movable = condition(instance, "LiveMigratable")
    if movable is not None and movable.get("status") == "False":
        text = f"Cannot migrate VMI, Reason: {movable.get('reason', '')}, Message: {movable.get('message', '')}"
        return Refused(text, field="spec.vmiName")
    for other in migrations:
        same = spec(other).get("vmiName") == target and uid(other) != uid(migration)
        if same and not final(other):
            text = (
                f"in-flight migration detected. Active migration job ({uid(other)}) is currently already in progress "
                f"for VMI {target}."
            )
            return Refused(text, 409, "Conflict")
    if wanted.get("sendTo") or wanted.get("receive"):
        if not policies.gate_enabled(kubevirt, "DecentralizedLiveMigration"):
            return Refused("DecentralizedLiveMigration feature gate is not enabled in kubevirt resource", field="spec")
        ids = {half["migrationID"] for half in (wanted.get("sendTo"), wanted.get("receive")) if half}
        if len(ids) > 1:
            return Refused("sendTo and receive must have the same migrationID", field="spec")
    return None


def review_migration_update(migration: Mapping[str, Any], old: Mapping[str, Any]) -> Refused | None:
    """A migration's spec never changes; its selector label not while it is in flight."""
    if spec(migration) != spec(old):
        return Refused("update of Migration object's spec is restricted", 403, "Forbidden", "spec")
    if not final(old) and labels(old).get(INSTANCE_NAME_LABEL) != labels(migration).get(INSTANCE_NAME_LABEL):
        if INSTANCE_NAME_LABEL not in labels(old):
            return None
        text = "selector label can't be modified on an in-flight migration"
        return Refused(text, 403, "Forbidden", f"metadata.labels[{INSTANCE_NAME_LABEL}]")
    return None


def instance_made(instance: Object, architecture: str = "amd64") -> Object:
    """The instance with virt-api's defaults: phase, memory, topology, architecture, machine, finalizer."""
    made: Object = clone(instance)
    members = made.setdefault("metadata", {})
    held = members.setdefault("finalizers", [])
    if INSTANCE_FINALIZER not in held:
        held.append(INSTANCE_FINALIZER)
    domain = made.setdefault("spec", {}).setdefault("domain", {})
    domain.setdefault("devices", {})
    made["spec"].setdefault("architecture", architecture)
    machine = domain.setdefault("machine", {})
    machine.setdefault("type", "q35")
    cpu = domain.setdefault("cpu", {})
    topology = {key: int(cpu.setdefault(key, 1)) for key in ("cores", "sockets", "threads")}
    cpu.setdefault("model", "host-model")
    requests = domain.setdefault("resources", {}).setdefault("requests", {})
    memory = domain.setdefault("memory", {})
    if "guest" not in memory and "memory" in requests:
        memory["guest"] = requests["memory"]
    made["status"] = {
        **(made.get("status") or {}),
        "phase": "Pending",
        "currentCPUTopology": topology,
        "guestOSInfo": {},
        "runtimeUser": 107,
    }
    if "guest" in memory:
        guest = quantities.canonical(memory["guest"])
        requests.setdefault("memory", guest)
        made["status"]["memory"] = {"guestAtBoot": guest, "guestCurrent": guest, "guestRequested": guest}
    return made


def instance_changed(instance: Object, old: Mapping[str, Any], user: str) -> Object:
    """The update as the mutating webhook leaves it: a foreigner's status is the old status."""
    if is_kubevirt(user) or status(instance) == status(old):
        return instance
    kept: Object = {key: each for key, each in instance.items() if key != "status"}
    if "status" in old:
        kept["status"] = clone(old["status"])
    return kept


def review_instance_update(instance: Mapping[str, Any], old: Mapping[str, Any], user: str) -> Refused | None:
    """Foreigners change neither an instance's spec nor the labels that KubeVirt keeps its books with."""
    if is_kubevirt(user):
        return None
    if spec(instance) != spec(old):
        return Refused("update of VMI object is restricted", 403, "Forbidden", "spec")
    for key in RESERVED_LABELS:
        if labels(instance).get(key) != labels(old).get(key):
            text = f"modification of the following reserved kubevirt.io/ labels on a VMI object is prohibited: {key}"
            return Refused(text, 403, "Forbidden", f"metadata.labels[{key}]")
    return None


def review_machine_update(
    machine: Mapping[str, Any], old: Mapping[str, Any], instance: Mapping[str, Any] | None
) -> Refused | None:
    """While an instance migrates, its VirtualMachine's placement, processor and memory stay as they are."""
    state = migration_state(instance or {})
    if not state.get("startTimestamp") or state.get("endTimestamp"):
        return None
    new_spec, old_spec = (((spec(each).get("template") or {}).get("spec")) or {} for each in (machine, old))
    for key in ("nodeSelector", "affinity", "tolerations"):
        if new_spec.get(key) != old_spec.get(key):
            return Refused(f"cannot update {key} while VMI migration is in progress", field=f"spec.template.spec.{key}")
    for key in ("cpu", "memory"):
        if (new_spec.get("domain") or {}).get(key) != (old_spec.get("domain") or {}).get(key):
            field = f"spec.template.spec.domain.{key}"
            return Refused(f"cannot update {key} while VMI migration is in progress", field=field)
    return None


def review_policy(
    policy: Mapping[str, Any], old: Mapping[str, Any] | None, kubevirt: Mapping[str, Any] | None = None
) -> Refused | None:
    """Negative values, what was changed without its alpha gate, and factors out of bounds: all that is wrong at once."""
    wanted, was = spec(policy), spec(old or {})
    return _together(_wrong_in_policy(wanted, was, gated=policies.gate_enabled(kubevirt, policies.STALL_DETECTION)))


def _wrong_in_policy(wanted: Mapping[str, Any], was: Mapping[str, Any], *, gated: bool) -> Iterator[Refused]:
    timeout, downtime = wanted.get("completionTimeoutPerGiB"), wanted.get("maxDowntimeMs")
    if timeout is not None and timeout < 0:
        yield Refused("must not be negative", field="spec.completionTimeoutPerGiB")
    if downtime is not None and downtime != was.get("maxDowntimeMs") and not gated:
        yield Refused(_ungated("maxDowntimeMs"), field="spec.maxDowntimeMs")
    detector, old_detector = ((each.get("experimental") or {}).get("stallDetector") for each in (wanted, was))
    if detector is not None and detector != old_detector and not gated:
        yield Refused(_ungated("experimental.stallDetector"), field="spec.experimental.stallDetector")
    for member in stall_options.FACTORS:
        stated = (detector or {}).get(member)
        if stated is not None and (wrong := stall_options.objection(member, str(stated))):
            yield Refused(wrong, field=f"spec.experimental.stallDetector.{member}")
    bandwidth = wanted.get("bandwidthPerMigration")
    if bandwidth is not None and quantities.exact(str(bandwidth)) < 0:
        yield Refused("must not be negative", field="spec.bandwidthPerMigration")


def review_kubevirt(kubevirt: Mapping[str, Any], old: Mapping[str, Any] | None) -> Refused | None:
    """The same maxDowntimeMs rule as for policies, by the gates of the new object; a new installation may say what it wants."""
    if old is None:
        return None
    stated, was = (
        ((spec(each).get("configuration") or {}).get("migrations") or {}).get("maxDowntimeMs")
        for each in (kubevirt, old)
    )
    if stated is not None and stated != was and not policies.gate_enabled(kubevirt, policies.STALL_DETECTION):
        return Refused(_ungated("maxDowntimeMs"), field="spec.configuration.migrationConfiguration.maxDowntimeMs")
    return None


def _ungated(member: str) -> str:
    return f"{member} cannot be modified without enabling the {policies.STALL_DETECTION} feature gate"


def _together(causes: Iterable[Refused]) -> Refused | None:
    """One refusal of all causes, in the words of all of them; None where there is none."""
    found = tuple(causes)
    if len(found) < 2:
        return found[0] if found else None
    return Refused(", ".join(each.message for each in found), causes=found)
