"""Records of secondary networks (Multus)."""

from dataclasses import dataclass

from whimbrel.domain.records import Key


@dataclass(frozen=True, slots=True)
class NetworkAttachment:
    """A NetworkAttachmentDefinition."""

    key: Key
    uid: str
    kind: str
    """`type` of its CNI configuration (bridge, sriov, ovn-k8s-cni-overlay, …), or empty where that cannot be read."""
    segment: str
    """The layer-2 segment that it is on at each node: bridge, parent interface, physical network or device pool, with its
    VLANs (`br0`, `br0/120`, `eth1/trunk-10-19,30`); empty: its configuration names none, or it spans all nodes."""
    spans: bool
    """Whether it spans all nodes by itself, as overlays do."""
    resource_name: str
    """Device plugin's resource (annotation k8s.v1.cni.cncf.io/resourceName), or empty."""
