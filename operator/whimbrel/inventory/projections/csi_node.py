"""CSINode: the drivers on a node and their attach limits."""

from whimbrel.domain.storage import CsiNode
from whimbrel.inventory.projections import reading
from whimbrel.inventory.projections.reading import Json


def project(raw: Json) -> CsiNode | None:
    """The record of a CSINode; None for an object without a name."""
    key = reading.key_of(raw)
    if key is None:
        return None
    return CsiNode(
        key=key,
        uid=reading.text(raw, "metadata", "uid"),
        attach_limits={
            reading.word(driver, "name"): reading.optional_whole(driver, "allocatable", "count")
            for driver in reading.items(raw, "spec", "drivers")
        },
    )
