"""HostProfile: what a class of nodes can do, validated again with the schema's own words."""

from whimbrel.api import HostProfile
from whimbrel.api.host_profile import NodeSelection
from whimbrel.domain.records import Profile
from whimbrel.inventory.projections import reading
from whimbrel.inventory.projections.reading import Json
from whimbrel.inventory.projections.validation import readable, reported_error, validated


def project(raw: Json) -> Profile | None:
    """The record of a HostProfile; None for an object without a name."""
    key = reading.key_of(raw)
    if key is None:
        return None
    profile, error = validated(HostProfile, raw)
    return Profile(
        key=key,
        uid=reading.text(raw, "metadata", "uid"),
        generation=reading.whole(raw, "metadata", "generation"),
        resource_version=reading.text(raw, "metadata", "resourceVersion"),
        created_at=reading.created_at(raw),
        profile=profile,
        selection=profile.spec if profile is not None else readable(NodeSelection, raw.get("spec")),
        error=error,
        reported_error=reported_error(raw),
    )
