"""Namespace: its labels, and whether it is going away."""

from whimbrel.domain.records import Namespace
from whimbrel.inventory.projections import reading
from whimbrel.inventory.projections.reading import Json


def project(raw: Json) -> Namespace | None:
    """The record of a Namespace; None for an object without a name."""
    key = reading.key_of(raw)
    if key is None:
        return None
    return Namespace(
        key=key,
        uid=reading.text(raw, "metadata", "uid"),
        labels=reading.labels_of(raw),
        deleting=reading.deleting(raw) or reading.word(raw, "status", "phase") == "Terminating",
    )
