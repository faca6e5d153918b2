"""Volumes of a guest (KubeVirt contract §2.3, §8)."""

from collections.abc import Iterator, Mapping, Set

from whimbrel.domain.guests import PERSISTENT_STATE, GuestVolume
from whimbrel.inventory.projections import reading
from whimbrel.inventory.projections.reading import Json

_STATE_PREFIX = "persistent-state-for-"


_HOTPLUGGABLE = frozenset({"persistentVolumeClaim", "dataVolume", "memoryDump"})
"""Kinds of volumes that KubeVirt plugs into a running guest."""


def volumes(raw: Json) -> tuple[GuestVolume, ...]:
    """The volumes, sorted by name."""
    migrated = {reading.text(item, "volumeName") for item in reading.items(raw, "status", "migratedVolumes")}
    modes = dict(_modes(raw))
    found = (_volume(item, migrated, modes) for item in reading.items(raw, "spec", "volumes"))
    return tuple(sorted((*found, *_state(raw)), key=lambda each: each.name))


def _state(raw: Json) -> Iterator[GuestVolume]:
    """The claim that KubeVirt keeps the state of vTPM and EFI on; its status alone names it."""
    for status in reading.items(raw, "status", "volumeStatus"):
        claim = reading.text(status, "persistentVolumeClaimInfo", "claimName")
        if claim.startswith(_STATE_PREFIX):
            mode = reading.word(status, "persistentVolumeClaimInfo", "volumeMode")
            yield GuestVolume(name=reading.word(status, "name"), kind=PERSISTENT_STATE, claim=claim, used_as=mode)


def _modes(raw: Json) -> Iterator[tuple[str, str]]:
    """By volume, what KubeVirt saw when it made the launcher; a SCSI device and a shared directory say it by themselves."""
    for status in reading.items(raw, "status", "volumeStatus"):
        if mode := reading.word(status, "persistentVolumeClaimInfo", "volumeMode"):
            yield reading.word(status, "name"), mode
    for disk in reading.items(raw, "spec", "domain", "devices", "disks"):
        if "lun" in disk:
            yield reading.word(disk, "name"), "Block"
    for directory in reading.items(raw, "spec", "domain", "devices", "filesystems"):
        yield reading.word(directory, "name"), "Filesystem"


def _volume(item: Json, migrated: Set[str], modes: Mapping[str, str]) -> GuestVolume:
    kind = min((str(member) for member in item if member != "name"), default="")
    source = reading.member(item, kind)
    claim = {"persistentVolumeClaim": "claimName", "dataVolume": "name"}.get(kind, "")
    name = reading.word(item, "name")
    return GuestVolume(
        name=name,
        kind=kind,
        claim=reading.text(source, claim) if claim else "",
        hotplugged=kind in _HOTPLUGGABLE and reading.flag(source, "hotpluggable"),
        migrated=name in migrated,
        shared=kind == "hostDisk" and reading.flag(source, "shared"),
        used_as=modes.get(name, "") if claim else "",
    )
