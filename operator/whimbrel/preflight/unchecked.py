"""Unchecked: what KubeVirt moves without a look, and what that may do to the guest (KubeVirt contract §2.2).

None of it keeps a guest from moving; each is a consequence to be known beforehand. Two rows need no word: a random number
generator (rng) has no state that matters, and a watchdog comes along with its timer, which stands still while the guest does.
Called through `preflight.FAMILIES`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from whimbrel.preflight import where
from whimbrel.preflight.cpu import FEATURE, HOST_PASSTHROUGH, NEEDED_POLICIES, model_of
from whimbrel.preflight.family import Candidate, PreflightReason, PreflightWarning

OF_THE_PLAN = False
NESTING = ("vmx", "svm")
"""Features of Intel's and AMD's processors by which a guest runs guests of its own."""
_ON = NEEDED_POLICIES | {"force"}
_OFF = frozenset({"disable", "forbid"})


@dataclass(frozen=True, slots=True)
class Demand:
    """What is to be known; all empty for most guests."""

    nesting: tuple[tuple[str, str], ...] = ()
    """Features with which it can run guests of its own, each with the field that gives it."""
    shareable_disks: tuple[str, ...] = ()
    file_systems: tuple[str, ...] = ()


NOTHING = Demand()


class NestedVirtualization(PreflightWarning):
    """The guest can run guests of its own, and those may not survive: KVM promises that on Intel alone, from Linux 5.3."""

    evidence = where.INSTANCE
    remedy = (
        "Shut down or move away what runs inside it first. If nothing does, take {found} from it (policy: disable) and "
        "restart it."
    )


class ShareableDisk(PreflightWarning):
    """Other guests may write to this disk while the guest stands still at the end of the move, and may take it for dead."""

    evidence = where.INSTANCE
    remedy = (
        "See that the leases of its cluster file system or quorum outlast the pause that is quoted, or move it while the "
        "cluster is at rest."
    )


class VirtiofsAttached(PreflightWarning):
    """A file system of the guest is served by a virtiofsd beside it, which has to find every open file again at the target."""

    evidence = where.INSTANCE
    remedy = "See that {found} is on a claim that both hosts mount; if its users can wait, unmount it in the guest meanwhile."


REASONS = (NestedVirtualization, ShareableDisk, VirtiofsAttached)


def demand(candidate: Candidate) -> Demand:
    """What of the guest KubeVirt does not look at."""
    hardware, nesting = candidate.instance.hardware, _nesting(candidate)
    if not (nesting or hardware.shareable_disks or hardware.file_systems):
        return NOTHING
    return Demand(nesting, hardware.shareable_disks, hardware.file_systems)


def _nesting(candidate: Candidate) -> tuple[tuple[str, str], ...]:
    """By the guest's own wish, or because it sees the host's processor. A host-model may have the feature too, unasked for:
    that is no sign of guests inside.
    """
    cpu, source = candidate.instance.cpu, candidate.source
    passed_through = (
        model_of(candidate.instance, candidate.snapshot, candidate.instance.architecture) == HOST_PASSTHROUGH
    )
    if not cpu.features and not passed_through:
        return ()
    policies, found = dict(cpu.features), []
    labels = source.node.labels if passed_through and source is not None else {}
    seen = [feature for feature in NESTING if labels.get(f"{FEATURE}/{feature}") == "true"]
    for feature in NESTING:
        policy = policies.get(feature)
        if policy in _ON:
            found.append((feature, f"spec.domain.cpu.features[{feature}]"))
        elif policy not in _OFF and feature in seen:
            found.append((feature, "spec.domain.cpu.model"))
    return tuple(found)


def judge(demand: Demand) -> Iterator[PreflightReason]:
    """Every consequence."""
    for feature, field in demand.nesting:
        yield NestedVirtualization(field=field, found=feature, needed="nothing that runs inside")
    for name in demand.shareable_disks:
        yield ShareableDisk(field=f"spec.domain.devices.disks[{name}].shareable", found="true", needed="false")
    for name in demand.file_systems:
        yield VirtiofsAttached(field="spec.domain.devices.filesystems", found=name or "unnamed", needed="none")
