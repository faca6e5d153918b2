"""KubeVirt's time budget of a migration, in whole decimal gigabytes rounded up, whatever "PerGiB" suggests.

Used by the launcher's monitor; an operator that wants T seconds writes floor(T / gigabytes) into its policy.
"""

from collections.abc import Mapping
from typing import Any

from whimbrel.simulation.kubevirt import quantities
from whimbrel.simulation.kubevirt.values import spec, status

GIGABYTE = 10**9


def data_bytes(instance: Mapping[str, Any], local_disk_bytes: int = 0) -> int:
    """What counts: guest memory, local disks of a block migration, and migrated volumes."""
    domain = spec(instance).get("domain") or {}
    guest = (domain.get("memory") or {}).get("guest")
    requested = ((domain.get("resources") or {}).get("requests") or {}).get("memory")
    total = quantities.value(guest if guest is not None else requested)
    if status(instance).get("migrationMethod") == "BlockMigration":
        total += local_disk_bytes
    for volume in status(instance).get("migratedVolumes") or ():
        total += quantities.value(((volume.get("sourcePVCInfo") or {}).get("capacity") or {}).get("storage"))
    return total


def gigabytes(instance: Mapping[str, Any], local_disk_bytes: int = 0) -> int:
    """The G of the budget."""
    return -(-data_bytes(instance, local_disk_bytes) // GIGABYTE)


def deadline_s(configuration: Mapping[str, Any], instance: Mapping[str, Any], local_disk_bytes: int = 0) -> int:
    """Seconds since the monitor's start until it acts; 0 means never."""
    return int(configuration.get("completionTimeoutPerGiB") or 0) * gigabytes(instance, local_disk_bytes)
