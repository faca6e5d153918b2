"""In flight: does somebody else move this virtual machine, or has an earlier move not been cleared away?

KubeVirt refuses a second migration of a guest (§1.5) and lets one wait while the guest has two launchers (§6.1). All of
it passes: these reasons make a virtual machine wait. Migrations of Whimbrel's own are a matter of claims, not of
preflight. Called through `preflight.FAMILIES`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from whimbrel.domain.naming import LABEL_PLAN_UID
from whimbrel.preflight import where
from whimbrel.preflight.family import Candidate, PreflightReason
from whimbrel.preflight.guest import RECEIVING

LEFT_TO_OTHERS = "External"


@dataclass(frozen=True, slots=True)
class Demand:
    """What moves the guest besides us; all empty for nearly all guests."""

    migration: str
    """Key of somebody else's unfinished migration, or empty."""
    evacuation_node: str
    """Node that KubeVirt evacuates it from, or empty."""
    receiving: bool
    """Whether it is only arriving, from another cluster or namespace."""
    launchers: tuple[str, ...]
    """Names of its launchers where there is more than one."""


class ForeignMigration(PreflightReason):
    """Somebody else moves this virtual machine: another migration, or the evacuation of its node."""

    transient = True
    evidence = where.MIGRATIONS
    remedy = "Wait until it has ended; or end it: delete {found}, or take the eviction back."


class SeveralLaunchers(PreflightReason):
    """A launcher of an earlier move has not ended yet, and KubeVirt starts no migration before it has."""

    transient = True
    evidence = where.LAUNCHERS
    remedy = "Wait until it has ended. If it does not, see what keeps these pods: {found}."


class ArrivingFromElsewhere(PreflightReason):
    """The guest is only just coming from another cluster or namespace, and runs there until it is here."""

    transient = True
    evidence = where.MIGRATIONS
    remedy = (
        "Wait until it has arrived. If it does not, see the migration at its source, and the one that receives it here."
    )


REASONS = (ForeignMigration, SeveralLaunchers, ArrivingFromElsewhere)


def demand(candidate: Candidate) -> Demand:
    """Whoever else is at work on the guest. The launchers of a migration that is in flight are its own."""
    instance, migration = candidate.instance, candidate.migration
    ours = migration is not None and LABEL_PLAN_UID in migration.labels
    moving = migration.uid if migration is not None else None
    launchers = tuple(pod.key.name for pod in candidate.launchers if pod.migration_uid != moving or not moving)
    return Demand(
        migration=str(migration.key) if migration is not None and not ours else "",
        evacuation_node="" if ours or _left_to_others(candidate) else instance.evacuation_node,
        receiving=instance.phase == RECEIVING,
        launchers=launchers if len(launchers) > 1 else (),
    )


def _left_to_others(candidate: Candidate) -> bool:
    """Whether KubeVirt only notes an eviction and leaves the move to somebody like us (contract §6.5)."""
    kubevirt = candidate.snapshot.kubevirt
    default = kubevirt.eviction_strategy if kubevirt is not None else ""
    return (candidate.instance.eviction_strategy or default) == LEFT_TO_OTHERS


def judge(demand: Demand) -> Iterator[PreflightReason]:
    """Every reason to wait."""
    if demand.migration:
        yield ForeignMigration(
            field="VirtualMachineInstanceMigration",
            found=f"VirtualMachineInstanceMigration {demand.migration}",
            needed="no unfinished migration",
        )
    elif demand.evacuation_node:
        yield ForeignMigration(
            field="status.evacuationNodeName",
            found=f"evacuation of {demand.evacuation_node}",
            needed="no evacuation",
        )
    if demand.receiving:
        yield ArrivingFromElsewhere(field="status.phase", found=RECEIVING, needed="Running")
    if demand.launchers:
        yield SeveralLaunchers(field="Pod", found=", ".join(demand.launchers), needed="one launcher")
