"""Graphics: does the guest's owner want its 3D graphics rendered by a GPU of the host, and has the target one?

KubeVirt has no field for it; an annotation of the VirtualMachine or the instance says it. A guest with a GPU of its own
renders on that, and one without a display on none. Which hosts render, HostProfiles declare. Called through
`preflight.FAMILIES`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from whimbrel.domain.naming import ANNOTATION_GRAPHICS
from whimbrel.domain.records import Key
from whimbrel.inventory.hosts import Host
from whimbrel.preflight import where
from whimbrel.preflight.family import Candidate, PreflightReason, PreflightWarning
from whimbrel.preflight.lineup import Lineup, Terms

OF_THE_PLAN = False
OF_THE_MOMENT = False
NEEDS = "render GPU"

FIELD = "HostProfile spec.graphics.renderGpu"


class Graphics(StrEnum):
    """Values of the annotation."""

    AUTOMATIC = "Automatic"
    HARDWARE = "Hardware"
    SOFTWARE = "Software"


@dataclass(frozen=True, slots=True)
class Demand:
    """What the guest renders with; equal for all guests of one class."""

    hardware: bool
    """Whether it is to be rendered by a GPU of the host."""
    rendered_here: bool
    """Whether it adapts to its host, and its source has such a GPU."""


NOTHING = Demand(False, False)


class RenderGpuMissing(PreflightReason):
    """The guest's 3D graphics must be rendered by a GPU of its host, and the target is not declared to have one."""

    evidence = where.PROFILES
    remedy = (
        "Move to hosts whose HostProfile declares spec.graphics.renderGpu: true, or change the annotation "
        "whimbrel.dev/graphics-3d of the virtual machine to Automatic."
    )


class GraphicsAdapt(PreflightWarning):
    """The source renders 3D graphics with a GPU and the target does not: the guest's graphics go on in software."""

    evidence = where.PROFILES
    remedy = (
        "If that is too slow for its users, annotate the virtual machine with whimbrel.dev/graphics-3d: Hardware; with "
        "Software nothing is said any more."
    )


REASONS = (RenderGpuMissing, GraphicsAdapt)


def demand(candidate: Candidate, home: bool | None) -> Demand:
    """What the owner wants; Hardware counts most, an unknown word as none."""
    instance = candidate.instance
    hardware = instance.hardware
    if hardware.headless or hardware.gpus:
        return NOTHING
    owner = candidate.snapshot.virtual_machines.get(Key(instance.key.namespace, instance.owner_vm))
    said = {instance.annotations.get(ANNOTATION_GRAPHICS)}
    if owner is not None:
        said.add(owner.annotations.get(ANNOTATION_GRAPHICS))
    if Graphics.HARDWARE in said:
        return Demand(True, False)
    return NOTHING if Graphics.SOFTWARE in said or not home else Demand(False, True)


def supply(host: Host, terms: Terms) -> bool:
    """Whether the host's profile declares a GPU that renders for guests."""
    return host.profile is not None and host.profile.graphics.render_gpu


def mask(demand: Demand, lineup: Lineup) -> int:
    """The hosts that render as the guest needs it."""
    return lineup.by_class(demand, supply, judge) if demand.hardware else lineup.everybody


def judge(demand: Demand, supply: bool) -> Iterator[PreflightReason]:
    """Every reason against its graphics there."""
    if supply:
        return
    if demand.hardware:
        yield RenderGpuMissing(field=FIELD, found="not declared", needed="true")
    elif demand.rendered_here:
        yield GraphicsAdapt(field=FIELD, found="not declared", needed="true")
