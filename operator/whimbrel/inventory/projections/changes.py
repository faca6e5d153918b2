"""Changes under way on a guest: hotplug, volumes that move, backups, utility volumes (KubeVirt contract §2.3, §6.6)."""

from functools import lru_cache

from whimbrel.domain.changes import Change
from whimbrel.inventory.projections import reading
from whimbrel.inventory.projections.reading import Json

_CONDITIONS = (Change.PROCESSORS, Change.MEMORY, Change.VOLUMES)
_SETTLED = frozenset({"Ready", "MemoryDumpCompleted", "MemoryDumpFailed"})
"""Phases of a hotplugged volume in which nothing is done to it."""
_BY_ITSELF = "AutoMigration"
"""Reasons of MigrationRequired begin so where KubeVirt carries the migration out; any other waits for somebody's."""


@lru_cache(maxsize=64)
def _shared(changes: tuple[Change, ...]) -> tuple[Change, ...]:
    return changes


def changes(raw: Json) -> tuple[Change, ...]:
    """The changes, in the order of `Change`."""
    found = [change for change in _CONDITIONS if _holds(raw, change)]
    if any(reading.items(raw, "status", "migratedVolumes")):
        found.append(Change.MIGRATED_VOLUMES)
    backup = reading.member(raw, "status", "changedBlockTracking", "backupStatus")
    if backup and not reading.flag(backup, "completed"):
        found.append(Change.BACKUP)
    if any(reading.items(raw, "spec", "utilityVolumes")):
        found.append(Change.UTILITY_VOLUMES)
    if any(_moving(each) for each in reading.items(raw, "status", "volumeStatus")):
        found.append(Change.HOTPLUG)
    required = reading.condition(raw, Change.UPDATE.value)
    if required is not None and required.status == "True" and required.reason.startswith(_BY_ITSELF):
        found.append(Change.UPDATE)
    return _shared(tuple(found))


def _moving(volume: Json) -> bool:
    """Whether a hotplugged volume is on its way in or out."""
    return "hotplugVolume" in volume and reading.word(volume, "phase") not in _SETTLED


def _holds(raw: Json, change: Change) -> bool:
    condition = reading.condition(raw, change.value)
    return condition is not None and condition.status == "True"
