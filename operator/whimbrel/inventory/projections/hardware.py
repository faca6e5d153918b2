"""Virtual hardware of a guest beside model and features of its processor (KubeVirt contract §2)."""

from collections.abc import Mapping
from functools import lru_cache

from whimbrel.domain.guests import GuestHardware
from whimbrel.inventory.projections import reading
from whimbrel.inventory.projections.reading import Json

ENLIGHTENMENTS = (
    "frequencies",
    "ipi",
    "reenlightenment",
    "reset",
    "runtime",
    "synic",
    "synictimer",
    "tlbflush",
    "vpindex",
)
"""Hyper-V features that KubeVirt labels nodes with (KubeVirt contract §10)."""


@lru_cache(maxsize=2048)
def _shared(hardware: GuestHardware) -> GuestHardware:
    return hardware


def hardware(raw: Json) -> GuestHardware:
    """What the instance's domain asks of a host."""
    domain = reading.member(raw, "spec", "domain")
    hyperv = _hyperv(domain)
    return _shared(
        GuestHardware(
            machine_type=reading.word(raw, "status", "machine", "type"),
            huge_page_size=reading.word(domain, "memory", "hugepages", "pageSize"),
            dedicated_cpus=reading.flag(domain, "cpu", "dedicatedCpuPlacement"),
            realtime=reading.find(domain, "cpu", "realtime") is not None,
            tsc_frequency_hz=_tsc_frequency(raw, domain, hyperv),
            hyperv=hyperv,
        )
    )


def _hyperv(domain: Json) -> tuple[str, ...]:
    features = reading.member(domain, "features", "hyperv")
    return tuple(name for name in ENLIGHTENMENTS if _on(features, name))


def _on(features: Json, name: str) -> bool:
    """A feature that is mentioned is on unless it says otherwise."""
    return isinstance(features.get(name), Mapping) and reading.find(features, name, "enabled") is not False


def _tsc_frequency(raw: Json, domain: Json, hyperv: tuple[str, ...]) -> int:
    """Of guests with re-enlightenment or an invariant TSC; KubeVirt hints it to others too, who can do without."""
    invariant = any(
        feature.get("name") == "invtsc" and reading.word(feature, "policy") in ("", "require")
        for feature in reading.items(domain, "cpu", "features")
    )
    if not invariant and "reenlightenment" not in hyperv:
        return 0
    return reading.whole(raw, "status", "topologyHints", "tscFrequency")
