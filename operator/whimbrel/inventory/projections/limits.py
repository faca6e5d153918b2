"""LimitRange: bounds of what one container or pod of a namespace may ask for."""

from whimbrel.domain.quotas import Limits
from whimbrel.domain.scheduling import Amounts
from whimbrel.inventory.projections import reading
from whimbrel.inventory.projections.amounts import amounts
from whimbrel.inventory.projections.reading import Json


def project(raw: Json) -> Limits | None:
    """The record of a LimitRange; None for an object without a name."""
    key = reading.key_of(raw)
    if key is None:
        return None
    return Limits(
        key=key,
        uid=reading.text(raw, "metadata", "uid"),
        container_minimum=_bounds(raw, "Container", "min"),
        container_maximum=_bounds(raw, "Container", "max"),
        pod_minimum=_bounds(raw, "Pod", "min"),
        pod_maximum=_bounds(raw, "Pod", "max"),
        container_default_requests=_bounds(raw, "Container", "defaultRequest"),
        container_default_limits=_bounds(raw, "Container", "default"),
        container_ratio=_ratios(raw, "Container"),
        pod_ratio=_ratios(raw, "Pod"),
    )


def _ratios(raw: Json, kind: str) -> Amounts:
    return tuple(
        (str(name), ratio)
        for item in reading.items(raw, "spec", "limits")
        if item.get("type") == kind
        for name in sorted(reading.member(item, "maxLimitRequestRatio"))
        if (ratio := reading.optional_millicores(item, "maxLimitRequestRatio", name)) is not None
    )


def _bounds(raw: Json, kind: str, bound: str) -> Amounts:
    return tuple(
        pair
        for item in reading.items(raw, "spec", "limits")
        if item.get("type") == kind
        for pair in amounts(item, bound)
    )
