"""NetworkAttachmentDefinition: which layer-2 segment a secondary network is on each node, as its CNI plugin names it."""

import json
from typing import Any

from whimbrel.domain.networks import NetworkAttachment
from whimbrel.inventory.projections import reading
from whimbrel.inventory.projections.reading import Json

RESOURCE_ANNOTATION = "k8s.v1.cni.cncf.io/resourceName"
_LONGEST_CONFIGURATION = 65_536
_PLACES = {
    "bridge": "bridge",
    "cnv-bridge": "bridge",
    "ovs": "bridge",
    "macvlan": "master",
    "ipvlan": "master",
    "vlan": "master",
}
"""By type of plugin, the member that names what the network is on at each node."""
_DEFAULT_BRIDGE = "cni0"
"""What the plugins bridge and cnv-bridge take where no bridge is named."""
_VLANS = ("vlan", "vlanId", "vlanID")
"""How plugins call the id of a VLAN."""
_TRUNKS = ("vlanTrunk", "trunk")
"""How plugins call a list of several."""
_OVN = "ovn-k8s-cni-overlay"
_SPANNING = frozenset({"antrea", "calico", "cilium-cni", "flannel", "kube-ovn", "weave-net"})
"""Plugins whose networks are the same on every node."""


def project(raw: Json) -> NetworkAttachment | None:
    """The record of a NetworkAttachmentDefinition; None for an object without a name."""
    key = reading.key_of(raw)
    if key is None:
        return None
    configuration = _configuration(reading.text(raw, "spec", "config"))
    kind = reading.word(configuration, "type")
    resource_name = reading.word(raw, "metadata", "annotations", RESOURCE_ANNOTATION)
    place = _place(kind, configuration, resource_name)
    tag = _vlans(configuration)
    return NetworkAttachment(
        key=key,
        uid=reading.text(raw, "metadata", "uid"),
        kind=kind,
        segment=f"{place}/{tag}" if place and tag else place,
        spans=kind in _SPANNING or (kind == _OVN and reading.word(configuration, "topology") in ("layer2", "layer3")),
        resource_name=resource_name,
    )


def _place(kind: str, configuration: Json, resource_name: str) -> str:
    """What the network is on at each node; empty where the configuration does not name it, or not which VLAN of it."""
    if any(name in configuration and reading.optional_whole(configuration, name) is None for name in _VLANS):
        return ""
    if kind == _OVN:
        if reading.word(configuration, "topology") != "localnet":
            return ""
        return reading.word(configuration, "physicalNetworkName") or reading.word(configuration, "name")
    named = reading.word(configuration, _PLACES.get(kind, "bridge"))
    return named or (_DEFAULT_BRIDGE if kind in ("bridge", "cnv-bridge") else resource_name)


def _vlans(configuration: Json) -> str:
    """`120` of a network with one VLAN, `trunk-10-19,30` of one with several, empty without any."""
    single = next((found for name in _VLANS if (found := reading.whole(configuration, name))), 0)
    ranges = set()
    for each in (item for name in _TRUNKS for item in reading.items(configuration, name)):
        lowest, highest, alone = (reading.whole(each, name) for name in ("minID", "maxID", "id"))
        if lowest and highest:
            ranges.add((lowest, highest))
        if alone:
            ranges.add((alone, alone))
    if not ranges:
        return str(single or "")
    listed = ",".join(f"{low}-{high}" if low != high else str(low) for low, high in sorted(ranges))
    return f"{single}/trunk-{listed}" if single else f"trunk-{listed}"


def _configuration(text: str) -> Json:
    """The CNI configuration, of a list its first plugin; empty where it cannot be read."""
    if len(text) > _LONGEST_CONFIGURATION:
        return {}
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    first = next(reading.items(found, "plugins"), found)
    return first if first is found else {"name": found.get("name"), **first}
