"""Preemption: a risk that is said where the scheduler makes room for somebody else, and room that is nobody's to count on."""

from dataclasses import replace
from typing import Any

import pytest

from support.builders import GIB, a_cluster, a_launcher, a_node, a_plan, a_pod, an_instance
from whimbrel.domain import resources
from whimbrel.domain.records import Key, Pod
from whimbrel.domain.scheduling import Nomination, Scheduling
from whimbrel.inventory.hosts import effective_hosts
from whimbrel.inventory.ledger import Ledger
from whimbrel.inventory.projections import PROJECTIONS
from whimbrel.preflight import PreflightReason, capacity, preemption
from whimbrel.preflight.assessment import candidate, host_demand
from whimbrel.preflight.lineup import Lineup, Terms


def nominated(name: str, priority: int, *, node: str = "node-2", memory_bytes: int = 0) -> Pod:
    return replace(
        a_pod(name, node="", phase="Pending", memory_bytes=memory_bytes, cpu_millicores=0),
        nomination=Nomination(node, priority),
    )


def judged(family: Any, priority: int, *others: Any, memory_bytes: int = 64 * GIB) -> list[PreflightReason]:
    """What a family says of a guest whose launcher has this priority, on node-2; its mask says the same."""
    instance = an_instance(memory_bytes=4 * GIB)
    launcher = replace(a_launcher(instance, memory_bytes=5 * GIB), scheduling=Scheduling(priority=priority))
    nodes = (a_node("node-1"), a_node("node-2", memory_bytes=memory_bytes))
    snapshot = a_cluster(instance, launcher, *nodes, *others)
    hosts, ledger = effective_hosts(snapshot), Ledger.of(snapshot)
    plan = a_plan().plan
    assert plan is not None
    lineup = Lineup(hosts, Terms(plan.spec.target, ledger, snapshot))
    demand: Any = host_demand(family, candidate(instance, hosts, ledger, snapshot, None), lineup)
    reasons = list(family.judge(demand, lineup.supply(family.supply, hosts["node-2"])))
    blocked = any(reason.blocks for reason in reasons)
    assert bool(family.mask(demand, lineup) & lineup.bit("node-2")) is not blocked
    return reasons


def test_where_room_is_made_for_a_pod_of_higher_priority_the_launcher_may_be_evicted_next() -> None:
    (reason,) = judged(preemption, 10, nominated("big", 1000), nominated("bigger", 2000), nominated("small", -5))

    assert (reason.code, reason.blocks) == ("PreemptionRisk", False)
    assert reason.found == "Pod default/bigger of priority 2000"
    assert reason.needed == "at least 2000 (it is 10)"


def test_a_pod_of_another_namespace_that_room_is_made_for_is_not_named() -> None:
    salaries = replace(nominated("salary-db", 2000), key=Key("hr-secret", "salary-db"))

    (reason,) = judged(preemption, 10, salaries)

    assert reason.found == "a pod of another namespace of priority 2000"
    assert "hr-secret" not in reason.cure()


@pytest.mark.parametrize(
    "pod",
    [
        nominated("equal", 10),
        nominated("elsewhere", 1000, node="node-3"),
        replace(nominated("ended", 1000), phase="Failed"),
        a_pod("waits for a node that there is not", node="", phase="Pending"),
    ],
)
def test_no_risk_is_seen_where_nobody_of_higher_priority_is_made_room_for(pod: Pod) -> None:
    assert judged(preemption, 10, pod) == []


def test_a_launcher_that_would_fit_only_by_evicting_others_is_refused_whatever_its_priority() -> None:
    (reason,) = judged(capacity, 1_000_000, a_pod("low", node="node-2", memory_bytes=60 * GIB))

    assert reason.code == "InsufficientMemory"


def test_room_that_the_scheduler_makes_for_somebody_is_not_free_for_a_launcher() -> None:
    assert judged(capacity, 0, memory_bytes=10 * GIB) == []
    (reason,) = judged(capacity, 0, nominated("big", 1000, memory_bytes=6 * GIB), memory_bytes=10 * GIB)

    assert (reason.code, reason.found) == ("InsufficientMemory", "4.0 GiB free")


def test_a_pod_says_where_room_is_made_for_it_until_it_is_bound() -> None:
    def read(**spec: Any) -> Any:
        raw = {"metadata": {"name": "p"}, "spec": spec, "status": {"nominatedNodeName": "node-2"}}
        pod = PROJECTIONS[resources.PODS](raw)
        assert isinstance(pod, Pod)
        return pod.nomination

    assert read(priority=-7) == Nomination("node-2", -7)
    assert read(priority=True) == Nomination("node-2", 0)
    assert read(priority=5, nodeName="node-2") is None
