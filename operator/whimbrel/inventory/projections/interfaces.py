"""Network interfaces of a guest, each with the network that it is on (KubeVirt contract §2.1, §2.2)."""

from functools import lru_cache

from whimbrel.domain.guests import GuestInterface
from whimbrel.inventory.projections import reading
from whimbrel.inventory.projections.reading import Json

_BINDINGS = ("masquerade", "bridge", "sriov", "passt", "passtBinding", "macvtap", "slirp")


@lru_cache(maxsize=4096)
def _shared(interfaces: tuple[GuestInterface, ...]) -> tuple[GuestInterface, ...]:
    return interfaces


def interfaces(raw: Json) -> tuple[GuestInterface, ...]:
    """The interfaces, sorted by name."""
    networks = {
        reading.word(network, "name"): _qualified(raw, reading.word(network, "multus", "networkName"))
        for network in reading.items(raw, "spec", "networks")
    }
    found = (
        GuestInterface(reading.word(item, "name"), _binding(item), networks.get(reading.word(item, "name"), ""))
        for item in reading.items(raw, "spec", "domain", "devices", "interfaces")
    )
    return _shared(tuple(sorted(found, key=lambda each: each.name)))


def _binding(interface: Json) -> str:
    plugin = reading.word(interface, "binding", "name")
    return plugin or next((name for name in _BINDINGS if name in interface), "")


def _qualified(raw: Json, network: str) -> str:
    """`namespace/name`; a network without a namespace is in the guest's."""
    return network if not network or "/" in network else f"{reading.word(raw, 'metadata', 'namespace')}/{network}"
