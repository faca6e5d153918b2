"""What virt-handlers' metrics would have told an operator that reads them: samples of migrations, readings of guests.

Filled by `simulation.node_agents`, handed to the driver's snapshots. KubeVirt samples a migration every 5 s (KubeVirt
contract §9.1); nodes where nothing migrates are read every 30 s.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from whimbrel.domain.quantities import MIB
from whimbrel.domain.records import Key
from whimbrel.domain.samples import GuestReadings, MigrationSample, Reading, thinned
from whimbrel.simulation.fluid import Memory

SAMPLE_S = 5.0
READ_S = 30.0
COURSE_LIFETIME = timedelta(seconds=60)
DIRTY_RATE_SINCE = (1, 6)
"""The release of KubeVirt from which dirty rates are told."""


@dataclass(frozen=True, slots=True)
class Measurements:
    """The members of a snapshot that come from metrics."""

    samples: Mapping[Key, MigrationSample] = field(default_factory=dict)
    courses: Mapping[Key, tuple[MigrationSample, ...]] = field(default_factory=dict)
    readings: Mapping[Key, GuestReadings] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunningGuest:
    """A guest that runs, where, and whether it is being migrated."""

    key: Key
    node: str
    memory: Memory
    migrates: bool


class Courses:
    """The samples of each guest's last migration, until a minute after the last one."""

    def __init__(self) -> None:
        self._held: dict[Key, tuple[str, tuple[MigrationSample, ...]]] = {}

    def add(self, instance: Key, migration_uid: str, sample: MigrationSample) -> None:
        """The next sample of a migration."""
        uid, before = self._held.get(instance, ("", ()))
        self._held[instance] = migration_uid, thinned((*(before if uid == migration_uid else ()), sample))

    def forget(self, instance: Key) -> None:
        """The guest is gone, or another migration of it begins."""
        self._held.pop(instance, None)

    def at(self, now: datetime) -> Mapping[Key, tuple[MigrationSample, ...]]:
        """Those that stand now."""
        self._held = {key: held for key, held in self._held.items() if held[1][-1].sampled_at > now - COURSE_LIFETIME}
        return {key: samples for key, (_, samples) in self._held.items()}


def readings(
    guests: Iterable[RunningGuest], before: Mapping[Key, GuestReadings], now: datetime, *, dirty_rates: bool
) -> Mapping[Key, GuestReadings]:
    """What is told of the guests, after what was told before. A guest that migrates keeps its dirty rate of before."""
    told = dict[Key, GuestReadings]()
    for guest in guests:
        held, dirty = before.get(guest.key), None
        if dirty_rates and not guest.migrates:
            within_a_second = min(guest.memory.working_set_bytes, guest.memory.dirty_bytes_per_second)
            dirty = Reading(float(int(within_a_second) // MIB * MIB), now)
        elif held is not None and held.node == guest.node:
            dirty = held.dirty_bytes_per_second
        told[guest.key] = GuestReadings(guest.node, dirty, Reading(guest.memory.touched_bytes, now))
    return told
