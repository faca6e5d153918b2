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
    bridge: str
    """Name of the bridge on each node, or empty."""
    vlan: int
    """VLAN id; 0: none."""
    resource_name: str
    """Device plugin's resource (annotation k8s.v1.cni.cncf.io/resourceName), or empty."""
