"""Link load: do migrations beyond a link's slots leave too little of it just now?

Ours keep to the slots of a HostProfile; others' do not. What a link leaves to one migration more is what is usable of it,
divided by the migrations that there would be then. Within the slots that is at least the share that `migration_network` judges,
so nothing is asked. Called through `preflight.FAMILIES`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from whimbrel.domain.quantities import MBPS, bytes_per_second_of_mbps
from whimbrel.inventory.hosts import Host
from whimbrel.inventory.rates import usable
from whimbrel.preflight import where
from whimbrel.preflight.family import Candidate, PreflightReason
from whimbrel.preflight.lineup import Lineup, Terms

OF_THE_PLAN = True
OF_THE_MOMENT = True
NEEDS = "free migration bandwidth"


@dataclass(frozen=True, slots=True)
class Crowd:
    """A direction of a link on which one migration more would be one beyond its slots."""

    migrations: int
    """That one included."""
    bytes_per_second: int
    """What is left to each of them."""


@dataclass(frozen=True, slots=True)
class Supply:
    """Both directions of a host's link; equal for all hosts that keep within their slots."""

    least_mbps: int
    outbound: Crowd | None = None
    inbound: Crowd | None = None


class LinkCrowded(PreflightReason):
    """More migrations than slots, begun by others, share a link and leave one more less than the plan's least rate."""

    evidence = where.MIGRATIONS
    remedy = (
        "Wait until some of them have ended, or accept less in spec.migration.bandwidth.minMbps of the plan ({found}, needed "
        "{needed})."
    )


REASONS = (LinkCrowded,)


def demand(candidate: Candidate, home: Supply | None) -> Crowd | None:
    """Who else leaves its host, where that is more than its slots."""
    return home.outbound if home is not None else None


def supply(host: Host, terms: Terms) -> Supply:
    """Who else is on the host's link, and what the plan asks for."""
    return replace(itself(host, terms), least_mbps=terms.bandwidth.min_mbps)


def itself(host: Host, terms: Terms) -> Supply:
    """Who else is on the host's link, whatever a plan asks for."""
    declared = host.migration
    if declared is None:
        return Supply(0)
    rate, limits = usable(declared), declared.limits
    leaving, arriving = terms.ledger.outbound(host.name) + 1, terms.ledger.inbound(host.name) + 1
    return Supply(
        0,
        outbound=Crowd(leaving, rate // leaving) if leaving > limits.parallel_outbound else None,
        inbound=Crowd(arriving, rate // arriving) if arriving > limits.parallel_inbound else None,
    )


def mask(demand: Crowd | None, lineup: Lineup) -> int:
    """The hosts to which enough is left."""
    least = lineup.terms.bandwidth.min_mbps
    return lineup.common.by_class(demand, itself, lambda who, offered: judge(who, replace(offered, least_mbps=least)))


def judge(demand: Crowd | None, supply: Supply) -> Iterator[PreflightReason]:
    """One reason for each end that leaves too little."""
    for end, crowd in (("source", demand), ("target", supply.inbound)):
        if crowd is not None and crowd.bytes_per_second < bytes_per_second_of_mbps(supply.least_mbps):
            yield LinkCrowded(
                field=f"migrations on the link of the {end}",
                found=f"{crowd.migrations} at once leave each {crowd.bytes_per_second // MBPS} Mbit/s",
                needed=f"{supply.least_mbps} Mbit/s",
            )
