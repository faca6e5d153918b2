"""MigrationPolicy, anybody's: whom it matches and what it states (KubeVirt contract §4.1, §4.2)."""

from whimbrel.domain.naming import LABEL_MANAGED, POLICY_PREFIX
from whimbrel.domain.records import Policy
from whimbrel.inventory.projections import configuration, reading
from whimbrel.inventory.projections.reading import Json


def project(raw: Json) -> Policy | None:
    """The record of a MigrationPolicy; None for an object without a name."""
    key = reading.key_of(raw)
    if key is None:
        return None
    selectors = reading.find(raw, "spec", "selectors")
    matches = isinstance(selectors, dict)
    return Policy(
        key=key,
        uid=reading.text(raw, "metadata", "uid"),
        ours=key.name.startswith(POLICY_PREFIX) and LABEL_MANAGED in reading.member(raw, "metadata", "labels"),
        instance_pairs=_pairs(raw, "virtualMachineInstanceSelector") if matches else None,
        namespace_pairs=_pairs(raw, "namespaceSelector") if matches else None,
        configuration=configuration.project(reading.member(raw, "spec")),
        created_at=reading.created_at(raw),
    )


def _pairs(raw: Json, selector: str) -> dict[str, str]:
    return reading.string_map(raw, "spec", "selectors", selector)
