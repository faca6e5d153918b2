"""Owner: does whoever owns this virtual machine forbid moving it?

An annotation on the VirtualMachine or on the instance. It can only forbid: nothing that it says allows what a plan or a
HostProfile does not. Called through `preflight.FAMILIES`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from whimbrel.domain.naming import ANNOTATION_MIGRATION
from whimbrel.domain.records import Key
from whimbrel.preflight import where
from whimbrel.preflight.family import Candidate, PreflightReason, PreflightWarning

NEVER = "Never"
LONGEST_QUOTE = 63
"""Characters of an unknown value that are passed on; an annotation may be long."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What the owner wrote; None where nothing is written."""

    machine: str | None
    instance: str | None


class ForbiddenByOwner(PreflightReason):
    """The owner of the virtual machine forbids moving it."""

    evidence = where.OWNER
    remedy = "Ask its owner; to allow it again, remove the annotation {field}."


class AnnotationUnknown(PreflightWarning):
    """The annotation for the owner's wish has a value that means nothing, so it forbids nothing."""

    evidence = where.OWNER
    remedy = "Set {field} to {needed} if the virtual machine must stay, or remove it (it is {found})."


REASONS = (ForbiddenByOwner, AnnotationUnknown)


def demand(candidate: Candidate) -> Demand:
    """The owner's words, on the VirtualMachine and on its instance."""
    instance = candidate.instance
    owner = Key(instance.key.namespace, instance.owner_vm)
    machine = candidate.snapshot.virtual_machines.get(owner) if instance.owner_vm else None
    return Demand(
        machine=machine.annotations.get(ANNOTATION_MIGRATION) if machine is not None else None,
        instance=instance.annotations.get(ANNOTATION_MIGRATION),
    )


def judge(demand: Demand) -> Iterator[PreflightReason]:
    """Every word of the owner against moving it, and every word that is not understood."""
    for kind, said in (("VirtualMachine", demand.machine), ("VirtualMachineInstance", demand.instance)):
        field = f"{kind}.metadata.annotations[{ANNOTATION_MIGRATION}]"
        if said == NEVER:
            yield ForbiddenByOwner(field=field, found=NEVER, needed="absent")
        elif said is not None:
            yield AnnotationUnknown(field=field, found=said[:LONGEST_QUOTE] or "empty", needed=NEVER)
