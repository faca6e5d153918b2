"""The ledger as it will be when all have arrived, and what it lacks for those who found no room."""

from collections.abc import Iterable, Mapping

from whimbrel.domain.records import Instance
from whimbrel.inventory.ledger import Ledger
from whimbrel.preflight import Assessment, PreflightReason, attach_limits, capacity

COUNTED = frozenset(reason.__name__ for reason in (*capacity.REASONS, *attach_limits.REASONS))
"""Codes of what is counted when all have arrived, instead of now."""


def planned(instances: Iterable[Instance], targets: Mapping[str, str], ledger: Ledger) -> Ledger:
    """The ledger as it will be when all of these have arrived at their targets and left their sources."""
    after = ledger.copy()
    moving = [instance for instance in instances if instance.uid in targets]
    for instance in moving:
        after.reserve_arrival(instance, targets[instance.uid])
    after.release_departures(moving)
    return after


def capacity_reasons(instance: Instance, assessment: Assessment, after: Ledger) -> tuple[PreflightReason, ...]:
    """What all hosts but its own lack for a guest when all others have arrived, put together."""
    elsewhere = ~assessment.bit(instance.node)
    volumes = after.attached.of_guest(instance, after.source_launcher(instance))
    lacking = assessment.refusals_on(after, capacity, after.demand(instance), elsewhere)
    return lacking + (assessment.refusals_on(after, attach_limits, volumes, elsewhere) if volumes else ())
