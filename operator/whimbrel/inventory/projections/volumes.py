"""Volumes of a guest (KubeVirt contract §2.3, §8)."""

from collections.abc import Set

from whimbrel.domain.guests import GuestVolume
from whimbrel.inventory.projections import reading
from whimbrel.inventory.projections.reading import Json


def volumes(raw: Json) -> tuple[GuestVolume, ...]:
    """The volumes, sorted by name."""
    migrated = {reading.text(item, "volumeName") for item in reading.items(raw, "status", "migratedVolumes")}
    found = (_volume(item, migrated) for item in reading.items(raw, "spec", "volumes"))
    return tuple(sorted(found, key=lambda each: each.name))


def _volume(item: Json, migrated: Set[str]) -> GuestVolume:
    kind = min((str(member) for member in item if member != "name"), default="")
    source = reading.member(item, kind)
    claim = {"persistentVolumeClaim": "claimName", "dataVolume": "name"}.get(kind, "")
    name = reading.word(item, "name")
    return GuestVolume(
        name=name,
        kind=kind,
        claim=reading.text(source, claim) if claim else "",
        hotplugged=bool(claim) and reading.flag(source, "hotpluggable"),
        migrated=name in migrated,
        shared=kind == "hostDisk" and reading.flag(source, "shared"),
    )
