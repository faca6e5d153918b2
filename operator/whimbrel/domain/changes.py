"""Changes of a running guest that KubeVirt carries out by a migration of its own, or that keep a migration waiting."""

from enum import StrEnum


class Change(StrEnum):
    """Named as KubeVirt names it on the VirtualMachineInstance (KubeVirt contract §2.3, §6.6)."""

    PROCESSORS = "HotVCPUChange"
    MEMORY = "HotMemoryChange"
    VOLUMES = "VolumesChange"
    MIGRATED_VOLUMES = "migratedVolumes"
    BACKUP = "backupStatus"
    UTILITY_VOLUMES = "utilityVolumes"
    HOTPLUG = "volumeStatus"
    UPDATE = "MigrationRequired"
