"""ResourceQuota: how much of what a namespace may ask for, and how much it does."""

from whimbrel.domain.quotas import Quota
from whimbrel.domain.selectors import Requirement
from whimbrel.inventory.projections import reading
from whimbrel.inventory.projections.amounts import amounts
from whimbrel.inventory.projections.reading import Json


def project(raw: Json) -> Quota | None:
    """The record of a ResourceQuota; None for an object without a name."""
    key = reading.key_of(raw)
    if key is None:
        return None
    hard = "status" if reading.member(raw, "status", "hard") else "spec"
    named = tuple(Requirement(scope, "Exists") for scope in reading.strings(raw, "spec", "scopes"))
    selected = tuple(
        Requirement(reading.word(each, "scopeName"), reading.word(each, "operator"), reading.strings(each, "values"))
        for each in reading.items(raw, "spec", "scopeSelector", "matchExpressions")
    )
    return Quota(
        key=key,
        uid=reading.text(raw, "metadata", "uid"),
        hard=amounts(raw, hard, "hard"),
        used=amounts(raw, "status", "used"),
        scopes=(*named, *selected),
    )
