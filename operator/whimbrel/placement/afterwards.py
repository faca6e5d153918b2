"""The ledger as it will be when all have arrived, and what it lacks for those who found no room."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice

from whimbrel.domain.records import Instance
from whimbrel.inventory.ledger import Ledger
from whimbrel.preflight import Assessment, PreflightReason, attach_limits, capacity


def planned(instances: Iterable[Instance], targets: Mapping[str, str], ledger: Ledger) -> Ledger:
    """The ledger as it will be when all of these have arrived at their targets and left their sources."""
    after = ledger.copy()
    moving = [instance for instance in instances if instance.uid in targets]
    for instance in moving:
        after.reserve_arrival(instance, targets[instance.uid])
    after.release_departures(moving)
    return after


def capacity_reasons(
    instance: Instance, assessment: Assessment, after: Ledger, limit: int | None = None
) -> tuple[PreflightReason, ...]:
    """Why a guest that could go somewhere got no target: what each suitable host lacks on the planned ledger.

    `limit` bounds how many are made.
    """
    return tuple(islice(_lacking(instance, assessment, after), limit))


def _lacking(instance: Instance, assessment: Assessment, after: Ledger) -> Iterator[PreflightReason]:
    terms = replace(assessment.terms, ledger=after)
    demand, volumes = after.demand(instance), after.attached.of_guest(instance, after.source_launcher(instance))
    for host in assessment.hosts(assessment.suitable(instance.uid)):
        if host.name != instance.node:
            found = list(capacity.judge(demand, capacity.supply(host, terms)))
            found += attach_limits.judge(volumes, attach_limits.supply(host, terms)) if volumes else ()
            for reason in found:
                yield replace(reason, node=host.name)
