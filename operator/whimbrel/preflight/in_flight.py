"""In flight: does somebody else move this virtual machine, or has it other launchers than the one it runs in?

KubeVirt refuses a second migration of a guest (§1.5) and lets one wait while the guest has two launchers (§6.1). Of a guest
without a launcher on its node nothing can be said of the target launcher, which would be made like it: no scheduling rule
would be asked. All of it passes: these reasons make a virtual machine wait. Migrations of Whimbrel's own are a matter of
claims, not of preflight. Called through `preflight.FAMILIES`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType

from whimbrel.api.virtual_machine_move import Judgement
from whimbrel.domain.naming import LABEL_PLAN_UID
from whimbrel.domain.records import Condition
from whimbrel.preflight import where
from whimbrel.preflight.family import Candidate, PreflightReason
from whimbrel.preflight.guest import RECEIVING, RUNNING

OF_THE_PLAN = False

LEFT_TO_OTHERS = "External"
_EVACUATION = "evacuation"


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
    misplaced: str = ""
    """Where its launchers are where none is on its node, in words; empty for a guest that has one there."""
    node: str = ""
    """Its node, where that matters for `misplaced`."""
    decentralized_failure: Condition | None = None


class ForeignMigration(PreflightReason):
    """Somebody else moves this virtual machine: another migration, or the evacuation of its node."""

    transient = True
    evidence = where.MIGRATIONS
    remedy = "Wait until it has ended; or end it: delete {found}."
    remedies = MappingProxyType(
        {
            _EVACUATION: "Wait until KubeVirt has evacuated it; or uncordon its node and take the eviction back, from KubeVirt "
            "1.7 on with virtctl evacuate-cancel. Evicted guests that Whimbrel is to move need evictionStrategy: External."
        }
    )


class SeveralLaunchers(PreflightReason):
    """A launcher of an earlier move has not ended yet, and KubeVirt starts no migration before it has."""

    transient = True
    evidence = where.LAUNCHERS
    remedy = "Wait until it has ended. If it does not, see what keeps these pods: {found}."


class LauncherUnknown(PreflightReason):
    """The guest has no launcher on the node that it is said to run on, so what a target launcher would ask for is unknown."""

    judgement = Judgement.UNKNOWN
    transient = True
    evidence = where.LAUNCHERS
    remedy = (
        "Wait until KubeVirt's word and the pods agree (needed: {needed}; found: {found}). If they do not, its guest has ended "
        "or was lost: see the instance and its pods, and restart the virtual machine."
    )


class DecentralizedMigrationFailing(PreflightReason):
    """A move of the guest between clusters or namespaces does not get on, and it is neither here nor there before that ends."""

    transient = True
    evidence = where.MIGRATIONS
    remedy = (
        "See what keeps the two clusters apart ({found}); or give that move up: delete its migrations at both ends, after "
        "which KubeVirt takes the condition away."
    )


class ArrivingFromElsewhere(PreflightReason):
    """The guest is only just coming from another cluster or namespace, and runs there until it is here."""

    transient = True
    evidence = where.MIGRATIONS
    remedy = (
        "Wait until it has arrived. If it does not, see the migration at its source, and the one that receives it here."
    )


REASONS = (
    ForeignMigration,
    SeveralLaunchers,
    LauncherUnknown,
    DecentralizedMigrationFailing,
    ArrivingFromElsewhere,
)


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
        misplaced=_misplaced(candidate),
        node=instance.node if candidate.template is None else "",
        decentralized_failure=instance.decentralized_failure,
    )


def _misplaced(candidate: Candidate) -> str:
    """What there is instead of a launcher on the guest's node. Where pods may not be read, that is said elsewhere."""
    instance = candidate.instance
    unasked = not instance.node or instance.phase != RUNNING or "pods" in candidate.snapshot.unread
    if candidate.template is not None or unasked:
        return ""
    return ", ".join(f"{pod.key.name} on {pod.node or 'no node'}" for pod in candidate.launchers) or "none that runs"


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
            found=f"{_EVACUATION}: of {demand.evacuation_node}",
            needed="no evacuation",
        )
    if demand.receiving:
        yield ArrivingFromElsewhere(field="status.phase", found=RECEIVING, needed="Running")
    if demand.launchers:
        yield SeveralLaunchers(field="Pod", found=", ".join(demand.launchers), needed="one launcher")
    if demand.misplaced:
        yield LauncherUnknown(field="Pod", found=demand.misplaced, needed=f"a launcher on {demand.node}")
    if demand.decentralized_failure is not None:
        yield DecentralizedMigrationFailing(
            field="status.conditions[DecentralizedLiveMigrationFailure]",
            found=demand.decentralized_failure.message or demand.decentralized_failure.reason or "True",
            needed="absent",
        )
