"""Owner: does whoever owns this virtual machine forbid moving it, and is everything that its annotations say understood?

Annotations of the VirtualMachine or the instance. They can only forbid and ask for more: nothing that they say allows what a
plan or a HostProfile does not. A veto fails closed: `never` in any case is understood, and whatever else stands in that
annotation keeps the guest where it is until somebody says what was meant. Called through `preflight.FAMILIES`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from whimbrel.domain.naming import ANNOTATION_GRAPHICS, ANNOTATION_MIGRATION, ANNOTATION_PERFORMANCE_COUNTERS
from whimbrel.domain.records import Instance, Key, VirtualMachine
from whimbrel.preflight import where
from whimbrel.preflight.cpu_compatibility import REQUIRED
from whimbrel.preflight.family import Candidate, PreflightReason, PreflightWarning
from whimbrel.preflight.graphics import Graphics

OF_THE_PLAN = False

NEVER = "Never"
LONGEST_QUOTE = 63
"""Characters of an unknown value that are passed on; an annotation may be long."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What the owner wrote: empty for nearly all guests."""

    said: tuple[tuple[str, str, str], ...]
    """(kind, annotation, value) of those annotations that are looked at."""


class ForbiddenByOwner(PreflightReason):
    """The owner of the virtual machine forbids moving it."""

    evidence = where.OWNER
    remedy = "Ask its owner; to allow it again, remove the annotation {field}."


class MigrationAnnotationUnknown(PreflightReason):
    """The annotation by which owners forbid moves has a value that means nothing: it is taken for a veto until it is clear."""

    evidence = where.OWNER
    remedy = "Ask its owner: set {field} to {needed} to forbid moving it, or remove the annotation to allow it (it is {found})."


class AnnotationUnknown(PreflightWarning):
    """An annotation for the owner's wishes has a value that means nothing, so nothing follows from it."""

    evidence = where.OWNER
    remedy = "Set {field} to {needed}, or remove it (it is {found})."


REASONS = (ForbiddenByOwner, MigrationAnnotationUnknown, AnnotationUnknown)


_KNOWN: dict[str, tuple[str, ...]] = {
    ANNOTATION_GRAPHICS: tuple(Graphics),
    ANNOTATION_MIGRATION: (NEVER,),
    ANNOTATION_PERFORMANCE_COUNTERS: (REQUIRED,),
}
"""By annotation the values that mean something; other families act on the others than Never."""


def vetoed(instance: Instance, machines: Mapping[Key, VirtualMachine]) -> bool:
    """Whether the owner's veto stands on a guest, whatever it says: also of one that moves already."""
    machine = instance.machine(machines)
    return any(ANNOTATION_MIGRATION in each.annotations for each in (instance, machine) if each is not None)


def demand(candidate: Candidate) -> Demand:
    """The owner's words, on the VirtualMachine and on its instance."""
    instance = candidate.instance
    machine = instance.machine(candidate.snapshot.virtual_machines)
    said = _said("VirtualMachine", machine.annotations) if machine is not None else ()
    return Demand((*said, *_said("VirtualMachineInstance", instance.annotations)))


def _said(kind: str, annotations: Mapping[str, str]) -> tuple[tuple[str, str, str], ...]:
    if not annotations:
        return ()
    return tuple((kind, name, annotations[name]) for name in _KNOWN if name in annotations)


def judge(demand: Demand) -> Iterator[PreflightReason]:
    """Every word of the owner against moving it, and every word that is not understood."""
    for kind, annotation, value in demand.said:
        field = f"{kind}.metadata.annotations[{annotation}]"
        found = value[:LONGEST_QUOTE] or "empty"
        if annotation == ANNOTATION_MIGRATION:
            forbidden = value.strip().casefold() == NEVER.casefold()
            reason = ForbiddenByOwner if forbidden else MigrationAnnotationUnknown
            yield reason(field=field, found=found, needed="absent" if forbidden else NEVER)
        elif value not in _KNOWN[annotation]:
            yield AnnotationUnknown(field=field, found=found, needed=" or ".join(_KNOWN[annotation]))
