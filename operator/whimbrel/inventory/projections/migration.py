"""VirtualMachineInstanceMigration, anybody's (KubeVirt contract §1)."""

from datetime import datetime

from whimbrel.domain.records import Migration
from whimbrel.inventory.projections import reading
from whimbrel.inventory.projections.reading import Json

_AFTER_HAND_OFF = frozenset({"PreparingTarget", "TargetReady", "Running", "Succeeded"})


def project(raw: Json) -> Migration | None:
    """The record of a VirtualMachineInstanceMigration; None for an object without a name."""
    key = reading.key_of(raw)
    if key is None:
        return None
    return Migration(
        key=key,
        uid=reading.text(raw, "metadata", "uid"),
        created_at=reading.created_at(raw),
        deleting=reading.deleting(raw),
        labels=reading.reserved(raw, "metadata", "labels"),
        annotations=reading.reserved(raw, "metadata", "annotations"),
        instance_name=reading.text(raw, "spec", "vmiName"),
        added_node_selector=reading.shared(reading.string_map(raw, "spec", "addedNodeSelector")),
        phase=reading.word(raw, "status", "phase"),
        final_at=_final_at(raw),
        handed_off=_handed_off(raw),
        resource_version=reading.text(raw, "metadata", "resourceVersion"),
        deletion_requested_at=reading.moment(raw, "metadata", "deletionTimestamp"),
    )


def _final_at(raw: Json) -> datetime | None:
    for transition in reading.items(raw, "status", "phaseTransitionTimestamps"):
        if reading.word(transition, "phase") in ("Succeeded", "Failed"):
            return reading.moment(transition, "phaseTransitionTimestamp")
    return None


def _handed_off(raw: Json) -> bool:
    phases = {reading.word(item, "phase") for item in reading.items(raw, "status", "phaseTransitionTimestamps")}
    return not phases.isdisjoint(_AFTER_HAND_OFF) or reading.word(raw, "status", "phase") in _AFTER_HAND_OFF
