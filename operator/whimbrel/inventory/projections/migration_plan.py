"""MigrationPlan: the user's intent, validated again with the schema's own words (not every server evaluates CEL)."""

from whimbrel.api import MigrationPlan
from whimbrel.api.migration_plan import APPROVE_ANNOTATION, MigrationPlanStatus
from whimbrel.domain.records import Plan
from whimbrel.inventory.projections import reading
from whimbrel.inventory.projections.reading import Json
from whimbrel.inventory.projections.validation import readable, reported_error, validated


def project(raw: Json) -> Plan | None:
    """The record of a MigrationPlan; None for an object without a name."""
    key = reading.key_of(raw)
    if key is None:
        return None
    plan, error = validated(MigrationPlan, raw)
    remembered = None if plan is not None else readable(MigrationPlanStatus, raw.get("status"))
    return Plan(
        key=key,
        uid=reading.text(raw, "metadata", "uid"),
        generation=reading.whole(raw, "metadata", "generation"),
        resource_version=reading.text(raw, "metadata", "resourceVersion"),
        created_at=reading.created_at(raw),
        deleting=reading.deleting(raw),
        finalizers=reading.strings(raw, "metadata", "finalizers"),
        approved_hash=reading.text(raw, "metadata", "annotations", APPROVE_ANNOTATION),
        plan=plan,
        error=error,
        reported_error=reported_error(raw),
        remembered=remembered,
    )
