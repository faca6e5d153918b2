"""NetworkAttachmentDefinitions: which layer-2 segment a network is on, as its CNI plugin names it."""

import json
from typing import Any

import pytest

from whimbrel.domain import resources
from whimbrel.domain.networks import NetworkAttachment
from whimbrel.inventory.projections import PROJECTIONS

RESOURCE = "openshift.io/uplink"


def a_projected(config: str, resource_name: str = "") -> NetworkAttachment:
    annotations = {"k8s.v1.cni.cncf.io/resourceName": resource_name} if resource_name else {}
    metadata = {"name": "lan", "namespace": "prod", "uid": "uid-lan", "annotations": annotations}
    network = PROJECTIONS[resources.NETWORK_ATTACHMENTS]({"metadata": metadata, "spec": {"config": config}})
    assert isinstance(network, NetworkAttachment)
    return network


@pytest.mark.parametrize(
    ("configuration", "segment"),
    [
        ({"type": "bridge", "bridge": "br0"}, "br0"),
        ({"type": "bridge", "bridge": "br0", "vlan": 120}, "br0/120"),
        ({"type": "bridge"}, "cni0"),
        (
            {"type": "cnv-bridge", "bridge": "br0", "vlanTrunk": [{"minID": 30, "maxID": 39}, {"id": 5}]},
            "br0/trunk-5,30-39",
        ),
        ({"type": "bridge", "bridge": "br0", "vlan": 7, "vlanTrunk": [{"id": 5}]}, "br0/7/trunk-5"),
        ({"type": "ovs", "bridge": "ovs0", "trunk": [{"id": 5}, {"id": 5}]}, "ovs0/trunk-5"),
        ({"type": "macvlan", "master": "eth1", "mode": "bridge"}, "eth1"),
        ({"type": "ipvlan", "master": "eth1.120"}, "eth1.120"),
        ({"type": "vlan", "master": "eth1", "vlanId": 120}, "eth1/120"),
        ({"type": "macvlan"}, ""),
        ({"type": "ovn-k8s-cni-overlay", "topology": "localnet", "physicalNetworkName": "rack", "vlanID": 9}, "rack/9"),
        ({"type": "ovn-k8s-cni-overlay", "topology": "localnet", "name": "phys"}, "phys"),
        ({"plugins": [{"type": "bridge", "bridge": "br0"}, {"type": "tuning"}]}, "br0"),
        ({"name": "phys", "plugins": [{"type": "ovn-k8s-cni-overlay", "topology": "localnet"}]}, "phys"),
        ({"type": "bridge", "bridge": "br0", "vlan": "120"}, ""),
        ({"type": "ours"}, ""),
        ({}, ""),
    ],
)
def test_a_segment_is_what_the_plugin_names_with_its_vlans(configuration: dict[str, Any], segment: str) -> None:
    network = a_projected(json.dumps(configuration))

    assert (network.segment, network.spans) == (segment, False)


def test_a_pool_of_devices_is_a_segment_where_no_bridge_is_named() -> None:
    assert a_projected('{"type": "sriov"}', RESOURCE).segment == RESOURCE
    assert a_projected('{"type": "sriov", "vlan": 120}', RESOURCE).segment == f"{RESOURCE}/120"
    assert a_projected('{"type": "bridge", "bridge": "br0"}', "bridge.network.kubevirt.io/br0").segment == "br0"
    assert a_projected("{}", RESOURCE).segment == RESOURCE
