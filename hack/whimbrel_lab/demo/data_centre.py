"""The demo's data centre: three hosts, seven virtual machines on one of them, and what each guest does.

Sizes are chosen so that the whole evacuation takes about a minute: a link carries 320 Mbit/s (38 MiB/s), each of
two migrations at once gets half of it (19 MiB/s).
"""

from dataclasses import dataclass

from whimbrel_lab.hypervisor import GuestSpec, HostSpec

MIB = 1024 * 1024
NAMESPACE = "shop"
SOURCE = "node-a"
LINK_BYTES_PER_SECOND = 40_000_000
"""320 Mbit/s, what examples/demo/host-profile.yaml declares."""
GUEST_RESERVED_MIB = 4
"""Memory that a guest does not fill."""

HOSTS = tuple(HostSpec(name, LINK_BYTES_PER_SECOND) for name in (SOURCE, "node-b", "node-c"))

BUSY = "cache"
STUCK = "licences"
STUCK_CPU_MODEL = "Cascadelake-Server"
"""Only node-a offers it."""


@dataclass(frozen=True, slots=True)
class Character:
    """One virtual machine of the story."""

    name: str
    memory_mib: int
    working_set_mib: int
    dirty_mib_per_second: float

    @property
    def guest(self) -> GuestSpec:
        """What its guest does."""
        return GuestSpec(
            name=self.name,
            memory_bytes=self.memory_mib * MIB,
            touched_bytes=(self.memory_mib - GUEST_RESERVED_MIB) * MIB,
            working_set_bytes=self.working_set_mib * MIB,
            dirty_bytes_per_second=round(self.dirty_mib_per_second * MIB),
        )


CHARACTERS = (
    Character("web-1", 95, 16, 3),
    Character("web-2", 95, 16, 3),
    Character("web-3", 95, 16, 3),
    Character("mail", 114, 24, 4),
    Character("database", 133, 32, 6),
    Character(BUSY, 95, 24, 60),
    Character(STUCK, 76, 4, 1),
)
