"""Volumes of a guest (KubeVirt contract §2.3, §8)."""

from whimbrel.domain.guests import GuestVolume
from whimbrel.inventory.projections import reading
from whimbrel.inventory.projections.reading import Json


def volumes(raw: Json) -> tuple[GuestVolume, ...]:
    """The volumes, sorted by name."""
    return tuple(sorted((_volume(item) for item in reading.items(raw, "spec", "volumes")), key=lambda each: each.name))


def _volume(item: Json) -> GuestVolume:
    kind = min((str(member) for member in item if member != "name"), default="")
    source = reading.member(item, kind)
    claim = {"persistentVolumeClaim": "claimName", "dataVolume": "name", "ephemeral": ""}.get(kind, "")
    return GuestVolume(
        name=reading.word(item, "name"),
        kind=kind,
        claim=reading.text(source, claim) if claim else "",
        hotplugged=reading.flag(source, "hotpluggable"),
    )
