"""Attach limits: does the node take as many more volumes as the guest brings along?

A CSI driver may say how many of its volumes a node takes (CSINode), and the scheduler counts. A volume that pods use there
already counts once, whoever uses it. Called through `preflight.FAMILIES`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from whimbrel.inventory.attached import DriverVolumes
from whimbrel.inventory.hosts import Host
from whimbrel.preflight import where
from whimbrel.preflight.family import Candidate, PreflightReason
from whimbrel.preflight.lineup import Lineup, Terms

OF_THE_PLAN = False
OF_THE_MOMENT = True
NEEDS = "free places for volumes"

_UNLIMITED = 1 << 31


@dataclass(frozen=True, slots=True, eq=False)
class Supply:
    """What each limited driver has on the node. Every node is a class of its own; `mask` goes by free places instead."""

    drivers: tuple[tuple[str, int, int, frozenset[str]], ...]
    """Driver, limit, how many of its volumes are there, and which of them pods use."""


@dataclass(frozen=True, slots=True)
class _Places:
    """Measures the free places of one driver; equal for equal drivers, so that a lineup measures each once."""

    driver: str

    def __call__(self, host: Host, terms: Terms) -> int:
        """How many more of its volumes the host takes."""
        attached = terms.ledger.attached
        limit = attached.limits.get((host.name, self.driver))
        return _UNLIMITED if limit is None else limit - attached.count(host.name, self.driver)


class AttachLimitReached(PreflightReason):
    """The node takes no more volumes of a CSI driver that the guest's disks need."""

    evidence = where.CSI_NODE
    remedy = "Move guests with volumes of that driver away from {node}, or choose other targets ({field}: {found})."


REASONS = (AttachLimitReached,)


def demand(candidate: Candidate, home: Supply | None) -> DriverVolumes:
    """The guest's volumes of drivers that have limits anywhere."""
    return candidate.ledger.attached.of_guest(candidate.instance, candidate.template)


def supply(host: Host, terms: Terms) -> Supply:
    """What is on the node, where it has limits."""
    attached = terms.ledger.attached
    found = []
    for driver in sorted(attached.limited):
        limit = attached.limits.get((host.name, driver))
        if limit is not None:
            found.append((driver, limit, attached.count(host.name, driver), attached.used(host.name, driver)))
    return Supply(tuple(found))


def mask(demand: DriverVolumes, lineup: Lineup) -> int:
    """The hosts with enough free places; those that have some of the volumes already are looked at one by one."""
    attached = lineup.terms.ledger.attached
    admitted = lineup.everybody
    for driver, volumes in demand:
        enough = lineup.at_least(_Places(driver), len(volumes))
        for node in attached.nodes_using(driver, volumes):
            limit = attached.limits.get((node, driver))
            new = len(volumes - attached.used(node, driver))
            if limit is not None and (not new or attached.count(node, driver) + new <= limit):
                enough |= lineup.bit(node)
        admitted &= enough
    return admitted


def judge(demand: DriverVolumes, supply: Supply) -> Iterator[PreflightReason]:
    """A reason for each driver with too few places."""
    wanted = dict(demand)
    for driver, limit, count, used in supply.drivers:
        new = len(wanted.get(driver, frozenset()) - used)
        if new and count + new > limit:
            yield AttachLimitReached(
                field=f"CSINode: spec.drivers[{driver}].allocatable.count",
                found=f"{count} of {limit} attached",
                needed=f"{new} more",
            )
