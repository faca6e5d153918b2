"""VirtualMachine → VirtualMachineInstance: what virt-controller keeps in step between the two.

As much as a fleet in a lab needs: run strategies Always, RerunOnFailure, Manual and Halted, ownership, printable status.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from whimbrel.simulation.kubevirt.effects import Create, Effect, Effects, Replace, ReplaceStatus, remove
from whimbrel.simulation.kubevirt.values import (
    MACHINE_FINALIZER,
    Object,
    clone,
    condition_true,
    controller_uid,
    deleting,
    final,
    finalizers,
    metadata,
    migration_state,
    name,
    namespace,
    owner_reference,
    phase,
    spec,
    status,
    uid,
    with_condition,
)

GENERATION_ANNOTATION = "kubevirt.io/vm-generation"
"""On an instance: the generation of its machine from which it was started."""


def run_strategy(machine: Mapping[str, Any]) -> str:
    """`spec.runStrategy`, or what the older `spec.running` means."""
    stated = spec(machine).get("runStrategy")
    return str(stated) if stated else ("Always" if spec(machine).get("running") else "Halted")


def step(machine: Object, instance: Object | None, now: datetime) -> Effects:
    """What virt-controller writes for one machine; `instance` is the one of its name."""
    own = instance if instance is not None and controller_uid(instance) == uid(machine) else None
    if deleting(machine):
        return _ending(machine, own)
    if MACHINE_FINALIZER not in finalizers(machine):
        held: Object = clone(machine)
        held["metadata"].setdefault("finalizers", []).append(MACHINE_FINALIZER)
        return (Replace(held),)
    effects: list[Effect] = []
    strategy = run_strategy(machine)
    if instance is None and strategy in ("Always", "RerunOnFailure", "Once"):
        if strategy != "Once" or not status(machine).get("created"):
            effects.append(Create(instance_of(machine)))
    elif own is not None and not deleting(own) and _should_go(strategy, own):
        effects.append(remove(own))
    wanted: Object = clone(machine)
    _report(wanted, own, strategy, now)
    if status(wanted) != status(machine):
        effects.append(ReplaceStatus(wanted))
    return tuple(effects)


def instance_of(machine: Mapping[str, Any]) -> Object:
    """The instance that a machine's template describes."""
    template = spec(machine).get("template") or {}
    described = template.get("metadata") or {}
    generation = metadata(machine).get("generation", 1)
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {
            "name": name(machine),
            "namespace": namespace(machine),
            "labels": {**(described.get("labels") or {}), "vm.kubevirt.io/name": name(machine)},
            "annotations": {**(described.get("annotations") or {}), GENERATION_ANNOTATION: str(generation)},
            "ownerReferences": [owner_reference(machine)],
        },
        "spec": clone(template.get("spec") or {}),
        "status": {"virtualMachineRevisionName": revision_name(machine)},
    }


def revision_name(machine: Mapping[str, Any]) -> str:
    """The name of the ControllerRevision that holds what a machine's instance was started from."""
    return f"revision-start-vm-{uid(machine)}-{metadata(machine).get('generation', 1)}"


def _ending(machine: Object, own: Object | None) -> Effects:
    if own is not None:
        return () if deleting(own) else (remove(own),)
    if MACHINE_FINALIZER not in finalizers(machine):
        return ()
    released: Object = clone(machine)
    released["metadata"]["finalizers"] = [each for each in finalizers(machine) if each != MACHINE_FINALIZER]
    return (Replace(released),)


def _should_go(strategy: str, instance: Mapping[str, Any]) -> bool:
    """Ended instances make room for the next one; a halted machine has none."""
    if strategy == "Halted":
        return True
    return final(instance) and (strategy == "Always" or (strategy == "RerunOnFailure" and phase(instance) == "Failed"))


def _report(machine: Object, instance: Mapping[str, Any] | None, strategy: str, now: datetime) -> None:
    members = machine.setdefault("status", {})
    ready = instance is not None and condition_true(instance, "Ready")
    for key, true in (("created", instance is not None), ("ready", ready)):
        if true:
            members[key] = True
        else:
            members.pop(key, None)
    members["printableStatus"] = printable_status(machine, instance, strategy)
    members["runStrategy"] = strategy
    members["observedGeneration"] = members["desiredGeneration"] = metadata(machine).get("generation", 1)
    conditions = members.get("conditions")
    value = "True" if ready else "False"
    if not any(each["type"] == "Ready" and each["status"] == value for each in conditions or ()):
        reason = "" if ready else "VMINotExists" if instance is None else "GuestNotRunning"
        members["conditions"] = with_condition(conditions, "Ready", value, now, reason)


def printable_status(machine: Mapping[str, Any], instance: Mapping[str, Any] | None, strategy: str) -> str:
    """What `kubectl get vm` shows."""
    if deleting(machine):
        return "Terminating"
    if instance is None:
        return "Stopped" if strategy in ("Halted", "Manual") else "Starting"
    if deleting(instance) or final(instance):
        return "Stopping"
    state = migration_state(instance)
    if state.get("startTimestamp") and not state.get("endTimestamp"):
        return "Migrating"
    if condition_true(instance, "Paused"):
        return "Paused"
    return "Running" if phase(instance) == "Running" else "Starting"
