"""VolumeAttachment: which volume is attached to which node."""

from whimbrel.domain.storage import Attachment
from whimbrel.inventory.projections import reading
from whimbrel.inventory.projections.reading import Json


def project(raw: Json) -> Attachment | None:
    """The record of a VolumeAttachment; None for an object without a name."""
    key = reading.key_of(raw)
    if key is None:
        return None
    return Attachment(
        key=key,
        uid=reading.text(raw, "metadata", "uid"),
        driver=reading.word(raw, "spec", "attacher"),
        node=reading.word(raw, "spec", "nodeName"),
        volume_name=reading.text(raw, "spec", "source", "persistentVolumeName"),
    )
