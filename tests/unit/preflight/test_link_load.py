"""Link load: migrations that others begin beyond the slots leave one more enough, or it does not start."""

from typing import Any

import pytest

from support.builders import a_cluster, a_migration, a_node, a_plan, a_profile, an_instance
from whimbrel.inventory.hosts import effective_hosts
from whimbrel.inventory.ledger import Ledger
from whimbrel.preflight import PreflightReason, link_load
from whimbrel.preflight.assessment import candidate, host_demand
from whimbrel.preflight.lineup import Lineup, Terms


def judged(*others: Any) -> list[PreflightReason]:
    """What is said of a guest on node-1 that would go to node-2; the mask says the same."""
    instance = an_instance()
    snapshot = a_cluster(instance, a_node("node-1"), a_node("node-2"), *others)
    hosts, ledger = effective_hosts(snapshot), Ledger.of(snapshot)
    plan = a_plan().plan
    assert plan is not None
    lineup = Lineup(hosts, Terms(plan.spec.target, ledger, snapshot))
    demand: Any = host_demand(link_load, candidate(instance, hosts, ledger, snapshot, None), lineup)
    reasons = list(link_load.judge(demand, lineup.supply(link_load.supply, hosts["node-2"])))
    assert bool(link_load.mask(demand, lineup) & lineup.bit("node-2")) is not bool(reasons)
    return reasons


@pytest.mark.parametrize(
    ("foreign", "profile", "expected"),
    [
        (1, {"inbound": 1, "link_speed_mbps": 500}, []),
        (2, {"inbound": 1, "link_speed_mbps": 500}, [166]),
        (1, {"inbound": 1, "link_speed_mbps": 499}, [249]),
        (1, {"inbound": 2, "link_speed_mbps": 500}, []),
        (0, {"inbound": 1, "link_speed_mbps": 250}, []),
    ],
)
def test_migrations_beyond_the_slots_must_leave_one_more_the_least_rate(
    foreign: int, profile: dict[str, Any], expected: list[int]
) -> None:
    others = [an_instance(f"other-{number}", node="node-3") for number in range(foreign)]
    moving = [a_migration(each, target="node-2") for each in others]

    reasons = judged(a_profile(**profile), a_node("node-3"), *others, *moving)

    assert {reason.code for reason in reasons} <= {"LinkCrowded"}
    assert [reason.found for reason in reasons] == [
        f"{foreign + 1} at once leave each {left} Mbit/s" for left in expected
    ]


def test_migrations_that_leave_the_source_count_as_well() -> None:
    others = [an_instance(f"other-{number}") for number in range(2)]
    moving = [a_migration(each, target="node-3") for each in others]

    (reason,) = judged(a_profile(link_speed_mbps=600, outbound=2), a_node("node-3"), *others, *moving)

    assert (reason.field, reason.found) == ("migrations on the link of the source", "3 at once leave each 200 Mbit/s")
    assert judged(a_profile(link_speed_mbps=600, outbound=2), a_node("node-3"), *others, *moving[:1]) == []
