"""Target choice: where KubeVirt cannot be told a target, may the guest land wherever the scheduler could put it?

Before KubeVirt 1.6 a migration has no `addedNodeSelector` (contract §1.1): the field would be dropped without a word, and the
guest go anywhere. Called through `preflight.FAMILIES`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from whimbrel.api.virtual_machine_move import MAX_ALLOWED_NODES
from whimbrel.preflight import where
from whimbrel.preflight.family import Candidate, PreflightReason

OF_THE_PLAN = True

_FIELD = "VirtualMachineInstanceMigration.spec.addedNodeSelector"


@dataclass(frozen=True, slots=True)
class Demand:
    """What is in the way; the same for all guests where a target can be named."""

    stray: str
    """Nodes that the scheduler could pick and the plan does not allow, listed."""
    too_many: int
    """How many nodes are allowed where that is more than a move remembers, else 0."""


class TargetSelectionUnsupported(PreflightReason):
    """This KubeVirt cannot be told where to migrate to, and the scheduler could pick a node that the plan does not allow."""

    evidence = where.MIGRATION_SCHEMA
    remedy = (
        "Allow every node that the scheduler could pick (spec.target, and a HostProfile that enables it), cordon those that "
        "must not be picked, narrow the virtual machine's own nodeSelector, or update KubeVirt to 1.6: {found}."
    )


REASONS = (TargetSelectionUnsupported,)


def demand(candidate: Candidate) -> Demand:
    """What is in the way of this guest."""
    reach = candidate.reach
    if reach is None:
        return Demand("", 0)
    return Demand(reach.stray, len(reach.allowed) if len(reach.allowed) > MAX_ALLOWED_NODES else 0)


def judge(demand: Demand) -> Iterator[PreflightReason]:
    """Every reason against leaving the choice to the scheduler."""
    if demand.stray:
        yield TargetSelectionUnsupported(
            field=_FIELD, found=f"the scheduler could pick {demand.stray}", needed="only nodes that the plan allows"
        )
    if demand.too_many:
        yield TargetSelectionUnsupported(
            field=_FIELD,
            found=f"the scheduler could pick any of {demand.too_many} nodes",
            needed=f"at most {MAX_ALLOWED_NODES} nodes",
        )
