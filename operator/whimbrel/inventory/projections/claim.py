"""PersistentVolumeClaim: what it is bound to, and how it may be used."""

from whimbrel.domain.storage import Claim
from whimbrel.inventory.projections import reading
from whimbrel.inventory.projections.reading import Json

BOUND = "pv.kubernetes.io/bind-completed"
"""Annotation by which the scheduler knows a bound claim; the phase follows a moment later."""


def project(raw: Json) -> Claim | None:
    """The record of a PersistentVolumeClaim; None for an object without a name."""
    key = reading.key_of(raw)
    if key is None:
        return None
    return Claim(
        key=key,
        uid=reading.text(raw, "metadata", "uid"),
        access_modes=reading.strings(raw, "status", "accessModes") or reading.strings(raw, "spec", "accessModes"),
        volume_mode=reading.word(raw, "spec", "volumeMode") or "Filesystem",
        volume_name=reading.text(raw, "spec", "volumeName"),
        storage_class=reading.word(raw, "spec", "storageClassName"),
        capacity_bytes=reading.memory_bytes(raw, "status", "capacity", "storage")
        or reading.memory_bytes(raw, "spec", "resources", "requests", "storage"),
        phase=_phase(raw),
        deleting=reading.deleting(raw),
    )


def _phase(raw: Json) -> str:
    phase = reading.word(raw, "status", "phase")
    bound = phase == "Pending" and reading.text(raw, "metadata", "annotations", BOUND)
    return "Bound" if bound and reading.text(raw, "spec", "volumeName") else phase
