"""VirtualMachineInstanceMigration, anybody's (KubeVirt contract §1)."""

from whimbrel.domain.records import Migration
from whimbrel.inventory.projections import reading
from whimbrel.inventory.projections.reading import Json


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
        resource_version=reading.text(raw, "metadata", "resourceVersion"),
    )
