"""PersistentVolume: what it is, and from which nodes it can be reached."""

from functools import lru_cache
from sys import intern

from whimbrel.domain.selectors import NodeSelectorTerm
from whimbrel.domain.storage import Volume
from whimbrel.inventory.projections import reading, selectors
from whimbrel.inventory.projections.reading import Json

_NOT_A_SOURCE = frozenset(
    {
        "accessModes",
        "capacity",
        "claimRef",
        "mountOptions",
        "nodeAffinity",
        "persistentVolumeReclaimPolicy",
        "storageClassName",
        "volumeAttributesClassName",
        "volumeMode",
    }
)


@lru_cache(maxsize=1024)
def _shared(terms: tuple[NodeSelectorTerm, ...]) -> tuple[NodeSelectorTerm, ...]:
    return terms


def project(raw: Json) -> Volume | None:
    """The record of a PersistentVolume; None for an object without a name."""
    key = reading.key_of(raw)
    if key is None:
        return None
    return Volume(
        key=key,
        uid=reading.text(raw, "metadata", "uid"),
        access_modes=reading.strings(raw, "spec", "accessModes"),
        driver=reading.word(raw, "spec", "csi", "driver"),
        source=intern(
            min((str(name) for name in reading.member(raw, "spec") if name not in _NOT_A_SOURCE), default="")
        ),
        node_affinity=_shared(selectors.node_terms(raw, "spec", "nodeAffinity", "required") or ()),
        volume_mode=reading.word(raw, "spec", "volumeMode") or "Filesystem",
    )
