"""What an instance's guest does, said by annotations of the instance: how much it touches and rewrites, how fast, and how
small zstd makes it.

The lab's topology writes them; a VirtualMachine made by hand without them gets a quiet guest of its size.
"""

from collections.abc import Mapping
from typing import Any

from whimbrel.simulation.fluid import ZSTD_RATIO
from whimbrel.simulation.kubevirt import budget
from whimbrel.simulation.kubevirt.values import annotations, name, namespace, status
from whimbrel_lab.hypervisor import GuestSpec

PREFIX = "lab.whimbrel.dev/"
GUEST = PREFIX + "guest"
TOUCHED = PREFIX + "touched-bytes"
WORKING_SET = PREFIX + "working-set-bytes"
DIRTY_RATE = PREFIX + "dirty-bytes-per-second"
COMPRESSION = PREFIX + "zstd-ratio"
AGENT = PREFIX + "guest-agent"
MEBIBYTE = 1024**2


def guest_of(instance: Mapping[str, Any]) -> GuestSpec:
    """The guest that the hypervisor is to run."""
    known = annotations(instance)
    memory = budget.data_bytes({**instance, "status": {}})
    touched = min(memory, int(known.get(TOUCHED, memory // 2)))
    return GuestSpec(
        name=known.get(GUEST, f"{namespace(instance)}.{name(instance)}"),
        memory_bytes=memory,
        touched_bytes=touched,
        working_set_bytes=min(touched, int(known.get(WORKING_SET, 4 * MEBIBYTE))),
        dirty_bytes_per_second=int(known.get(DIRTY_RATE, MEBIBYTE)),
        zstd_ratio=float(known.get(COMPRESSION, ZSTD_RATIO)),
    )


def guest_annotations(guest: GuestSpec, *, agent: bool = False) -> dict[str, str]:
    """The annotations that describe a guest."""
    told = {
        GUEST: guest.name,
        TOUCHED: str(guest.touched_bytes),
        WORKING_SET: str(guest.working_set_bytes),
        DIRTY_RATE: str(guest.dirty_bytes_per_second),
        COMPRESSION: str(guest.zstd_ratio),
    }
    if agent:
        told[AGENT] = "true"
    return told


def has_agent(instance: Mapping[str, Any]) -> bool:
    """Whether a guest agent answers in the guest."""
    return annotations(instance).get(AGENT) == "true"


def recorded_address(instance: Mapping[str, Any]) -> str:
    """The guest's address as its instance shows it, or empty."""
    interfaces = status(instance).get("interfaces") or ()
    return str(interfaces[0].get("ipAddress") or "") if interfaces else ""
