"""NetworkAttachmentDefinition: which bridge, VLAN or device pool a secondary network is on each node."""

import json
from typing import Any

from whimbrel.domain.networks import NetworkAttachment
from whimbrel.inventory.projections import reading
from whimbrel.inventory.projections.reading import Json

RESOURCE_ANNOTATION = "k8s.v1.cni.cncf.io/resourceName"
_LONGEST_CONFIGURATION = 65_536


def project(raw: Json) -> NetworkAttachment | None:
    """The record of a NetworkAttachmentDefinition; None for an object without a name."""
    key = reading.key_of(raw)
    if key is None:
        return None
    configuration = _configuration(reading.text(raw, "spec", "config"))
    return NetworkAttachment(
        key=key,
        uid=reading.text(raw, "metadata", "uid"),
        kind=reading.word(configuration, "type"),
        bridge=reading.word(configuration, "bridge"),
        vlan=reading.whole(configuration, "vlan"),
        resource_name=reading.word(raw, "metadata", "annotations", RESOURCE_ANNOTATION),
    )


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
    return next(reading.items(found, "plugins"), found)
