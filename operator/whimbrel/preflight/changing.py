"""Changing: does KubeVirt change the guest just now, in a way that a migration would meet?

CPU and memory hotplug and moves of volumes are carried out by a migration of KubeVirt's own, and a guest has one at a
time (KubeVirt contract §2.3, §6.5); backups and utility volumes keep a migration pending (§6.6). All of it passes: these
reasons make a virtual machine wait. Called through `preflight.FAMILIES`.
"""

from collections.abc import Iterator

from whimbrel.domain.changes import Change
from whimbrel.preflight import where
from whimbrel.preflight.family import Candidate, PreflightReason

OF_THE_PLAN = False


class HotplugInProgress(PreflightReason):
    """CPU or memory is being hotplugged, which KubeVirt carries out by a migration of its own."""

    transient = True
    evidence = where.INSTANCE
    remedy = "Wait until KubeVirt has carried it out. If it does not, see {field}, or take the change back."


class VolumeHotplugInProgress(PreflightReason):
    """A volume is just being hotplugged or unplugged, and a target launcher would be made with the wrong ones beside it."""

    transient = True
    evidence = where.INSTANCE
    remedy = "Wait until its volumes are Ready or gone. If they stay as they are, see their message in {field}."


class VolumeMigrationInProgress(PreflightReason):
    """The guest's volumes are being moved, which KubeVirt carries out by a migration of its own."""

    transient = True
    evidence = where.INSTANCE
    remedy = "Wait until its volumes have been moved. If they are not, see {field}, or take the change of volumes back."


class BackupInProgress(PreflightReason):
    """The guest is being backed up, and KubeVirt starts no migration before that has ended."""

    transient = True
    evidence = where.INSTANCE
    remedy = "Wait until the backup has ended, or end it: see {field}."


class UtilityVolumesAttached(PreflightReason):
    """Utility volumes, such as for a memory dump, are attached, and KubeVirt starts no migration before they are gone."""

    transient = True
    evidence = where.INSTANCE
    remedy = "Wait until they are detached. If they stay, see who attached {field}."


class WorkloadUpdateInProgress(PreflightReason):
    """A change of the virtual machine waits for a migration that KubeVirt begins by itself."""

    transient = True
    evidence = where.INSTANCE
    remedy = "Wait until KubeVirt has moved it. If it does not, see workloadUpdateStrategy of the KubeVirt object."


REASONS = (
    HotplugInProgress,
    VolumeHotplugInProgress,
    VolumeMigrationInProgress,
    BackupInProgress,
    UtilityVolumesAttached,
    WorkloadUpdateInProgress,
)

_SAYS: tuple[tuple[Change, type[PreflightReason], str], ...] = (
    (Change.PROCESSORS, HotplugInProgress, "status.conditions[HotVCPUChange]"),
    (Change.MEMORY, HotplugInProgress, "status.conditions[HotMemoryChange]"),
    (Change.HOTPLUG, VolumeHotplugInProgress, "status.volumeStatus"),
    (Change.VOLUMES, VolumeMigrationInProgress, "status.conditions[VolumesChange]"),
    (Change.MIGRATED_VOLUMES, VolumeMigrationInProgress, "status.migratedVolumes"),
    (Change.BACKUP, BackupInProgress, "status.changedBlockTracking.backupStatus"),
    (Change.UTILITY_VOLUMES, UtilityVolumesAttached, "spec.utilityVolumes"),
    (Change.UPDATE, WorkloadUpdateInProgress, "status.conditions[MigrationRequired]"),
)
"""What each change is said by, and where it stands."""


def demand(candidate: Candidate) -> tuple[Change, ...]:
    """What KubeVirt is changing; empty for nearly all guests."""
    return candidate.instance.changes


def judge(demand: tuple[Change, ...]) -> Iterator[PreflightReason]:
    """Every change to wait for."""
    for change, reason, field in _SAYS:
        if change in demand:
            yield reason(field=field, found="under way", needed="none under way")
