"""Virtual hardware of a guest beside model and features of its processor (KubeVirt contract §2)."""

from functools import lru_cache

from whimbrel.domain.guests import GuestHardware
from whimbrel.inventory.projections import reading
from whimbrel.inventory.projections.reading import Json


@lru_cache(maxsize=2048)
def _shared(hardware: GuestHardware) -> GuestHardware:
    return hardware


def hardware(raw: Json) -> GuestHardware:
    """What the instance's domain asks of a host."""
    domain = reading.member(raw, "spec", "domain")
    return _shared(
        GuestHardware(
            machine_type=reading.word(raw, "status", "machine", "type"),
            huge_page_size=reading.word(domain, "memory", "hugepages", "pageSize"),
            dedicated_cpus=reading.flag(domain, "cpu", "dedicatedCpuPlacement"),
        )
    )
