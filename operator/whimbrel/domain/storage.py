"""Records of what storage the cluster has, and which nodes reach it."""

from collections.abc import Mapping
from dataclasses import dataclass

from whimbrel.domain.records import Key
from whimbrel.domain.selectors import NodeSelectorTerm


@dataclass(frozen=True, slots=True)
class Claim:
    """A PersistentVolumeClaim."""

    key: Key
    uid: str
    access_modes: tuple[str, ...]
    volume_mode: str
    """Filesystem or Block."""
    volume_name: str
    """Of the PersistentVolume that it is bound to; empty while it is not."""
    storage_class: str
    capacity_bytes: int
    phase: str = "Bound"
    """Pending, Bound or Lost; empty where the cluster has not said."""
    deleting: bool = False


@dataclass(frozen=True, slots=True)
class Volume:
    """A PersistentVolume."""

    key: Key
    uid: str
    access_modes: tuple[str, ...]
    driver: str
    """Of the CSI driver; empty for what is no CSI volume."""
    source: str
    """The member of `spec` that says what it is: csi, local, hostPath, nfs, …; empty where unknown."""
    node_affinity: tuple[NodeSelectorTerm, ...]
    """Terms of `nodeAffinity.required`, any of which suffices; empty: every node."""
    volume_mode: str = "Filesystem"
    """Filesystem or Block."""


@dataclass(frozen=True, slots=True)
class CsiNode:
    """A CSINode: which drivers run on a node, and how many volumes of each it takes."""

    key: Key
    uid: str
    attach_limits: Mapping[str, int | None]
    """By driver; None: no limit is stated."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A VolumeAttachment: a volume that is attached to a node, or on its way."""

    key: Key
    uid: str
    driver: str
    node: str
    volume_name: str
