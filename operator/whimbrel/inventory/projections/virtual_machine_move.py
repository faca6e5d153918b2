"""VirtualMachineMove: one journey, as the operator wrote it."""

from whimbrel.api import VirtualMachineMove
from whimbrel.domain.records import Move
from whimbrel.inventory.projections import reading
from whimbrel.inventory.projections.reading import Json
from whimbrel.inventory.projections.validation import validated


def project(raw: Json) -> Move | None:
    """The record of a VirtualMachineMove; None for an object without a name, or one that we never wrote like that.

    An unreadable move counts as absent: its deterministic name still keeps a second one from being made.
    """
    key = reading.key_of(raw)
    move, _ = validated(VirtualMachineMove, raw)
    if key is None or move is None:
        return None
    plan_uid, plan_name = _plan(raw)
    return Move(
        key=key,
        uid=reading.text(raw, "metadata", "uid"),
        generation=reading.whole(raw, "metadata", "generation"),
        resource_version=reading.text(raw, "metadata", "resourceVersion"),
        created_at=reading.created_at(raw),
        deleting=reading.deleting(raw),
        plan_uid=plan_uid,
        plan_name=plan_name,
        move=move,
    )


def _plan(raw: Json) -> tuple[str, str]:
    """UID and name of the owning MigrationPlan; empty where the reference is missing."""
    for reference in reading.items(raw, "metadata", "ownerReferences"):
        if reference.get("kind") == "MigrationPlan":
            return reading.text(reference, "uid"), reading.text(reference, "name")
    return "", ""
