"""Preemption: is the scheduler just making room on that host for somebody who matters more than the guest?

Whimbrel never counts on preemption. A launcher that would fit only if others were evicted is refused for capacity, whatever
its priority; and what the scheduler has freed for a nominated pod, the ledger counts as taken, whatever that pod's. What is
left to say is a risk: until the nominated pod is bound, whatever has a lower priority on that host may be evicted for it, a
launcher in the middle of a migration too. Called through `preflight.FAMILIES`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from whimbrel.domain.records import Key
from whimbrel.inventory.hosts import Host
from whimbrel.preflight import where
from whimbrel.preflight.family import ANOTHER_POD, Candidate, PreflightReason, PreflightWarning
from whimbrel.preflight.lineup import Lineup, Terms

OF_THE_PLAN = False
OF_THE_MOMENT = True
NEEDS = ""


@dataclass(frozen=True, slots=True)
class Supply:
    """The highest of the pods that the scheduler makes room for on a host; one value for nearly all hosts."""

    pod: Key | None = None
    """None: there is none."""
    priority: int = 0


NOBODY = Supply()


@dataclass(frozen=True, slots=True)
class Demand:
    """A launcher that may be evicted."""

    priority: int
    namespace: str
    """Pods of others are not named to its owner. Empty where the scheduler makes room for nobody."""


class PreemptionRisk(PreflightWarning):
    """The scheduler is evicting pods from that host for one of higher priority than the guest's launcher, which may be next."""

    evidence = where.NOMINATED
    remedy = (
        "Wait until {found} is bound, choose other targets than {node}, or give the virtual machine a priorityClassName of at "
        "least its priority and restart it."
    )


REASONS = (PreemptionRisk,)


def demand(candidate: Candidate, home: Supply | None) -> Demand:
    """The guest's launcher."""
    launcher = candidate.template
    priority = launcher.scheduling.priority if launcher is not None and launcher.scheduling is not None else 0
    return Demand(priority, candidate.instance.key.namespace if candidate.ledger.nominated else "")


def supply(host: Host, terms: Terms) -> Supply:
    """For whom the scheduler makes room there."""
    nominated = terms.ledger.nominated.get(host.name)
    if not nominated:
        return NOBODY
    ranked = [(pod.nomination.priority, pod.key) for pod in nominated if pod.nomination is not None]
    highest = max(priority for priority, _ in ranked)
    return Supply(min(key for priority, key in ranked if priority == highest), highest)


def mask(demand: Demand, lineup: Lineup) -> int:
    """All hosts: a risk keeps nobody from moving."""
    return lineup.everybody


def judge(demand: Demand, supply: Supply) -> Iterator[PreflightReason]:
    """The risk, where there is one."""
    if supply.pod is not None and supply.priority > demand.priority:
        pod = f"Pod {supply.pod}" if supply.pod.namespace == demand.namespace else ANOTHER_POD
        yield PreemptionRisk(
            field="spec.priority of the launcher",
            found=f"{pod} of priority {supply.priority}",
            needed=f"at least {supply.priority} (it is {demand.priority})",
        )
