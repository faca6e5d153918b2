"""What the scheduler asks of a target launcher: room of every kind, taints, node affinity."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from support.builders import GIB, a_cluster, a_launcher, a_node, a_plan, a_pod, an_instance
from whimbrel.domain.records import Instance, Node, Pod, Taint
from whimbrel.domain.scheduling import Scheduling, Toleration
from whimbrel.domain.selectors import NodeSelectorTerm, Requirement
from whimbrel.inventory.hosts import effective_hosts
from whimbrel.inventory.ledger import Ledger
from whimbrel.preflight import PreflightReason, capacity, node_affinity, target
from whimbrel.preflight.assessment import candidate, host_demand
from whimbrel.preflight.lineup import Lineup, Terms

HUGE = "hugepages-2Mi"
GPU = "vendor.example/gpu"
DEDICATED = Taint("dedicated", "vms", "NoSchedule")
OBSOLETE = Requirement("node-labeller.kubevirt.io/obsolete-host-model", "DoesNotExist")
SSD = Requirement("disk", "In", ("ssd",))


def codes(reasons: Iterable[PreflightReason]) -> list[str]:
    return [reason.code for reason in reasons]


def a_template(instance: Instance, *, requests: Iterable[tuple[str, int]] = (), **scheduling: Any) -> Pod:
    """The guest's launcher, with what it asks of the scheduler."""
    return replace(a_launcher(instance), requests=tuple(sorted(requests)), scheduling=Scheduling(**scheduling))


def offering(node: Node, **amounts: int) -> Node:
    """The node with more to offer; dots and slashes do not fit keywords, so names are given by alias."""
    names = {"huge": HUGE, "gpu": GPU}
    return replace(node, allocatable=tuple(sorted((names[alias], amount) for alias, amount in amounts.items())))


def judged(family: Any, there: Node, launcher: Pod, *others: Any, here: Node | None = None) -> list[PreflightReason]:
    """What a family says of a guest with this launcher that would go to `there`; the mask says the same."""
    instance = an_instance()
    snapshot = a_cluster(instance, here or a_node("node-1"), there, launcher, *others)
    hosts, ledger = effective_hosts(snapshot), Ledger.of(snapshot)
    plan = a_plan().plan
    assert plan is not None
    lineup = Lineup(hosts, Terms(plan.spec.target, ledger, snapshot))
    demand: Any = host_demand(family, candidate(instance, hosts, ledger, snapshot, None), lineup)
    reasons = list(family.judge(demand, lineup.supply(family.supply, hosts[there.name])))
    blocked = any(reason.blocks for reason in reasons)
    assert bool(family.mask(demand, lineup) & lineup.bit(there.name)) is not blocked
    return reasons


def test_a_launcher_needs_the_huge_pages_and_devices_that_it_asks_for() -> None:
    launcher = a_template(an_instance(), requests=[(HUGE, 2 * GIB), (GPU, 1)])
    taken = replace(a_pod("other", node="node-2"), requests=((HUGE, 3 * GIB),))

    fit = offering(a_node("node-2"), huge=5 * GIB, gpu=1)
    short = offering(a_node("node-2"), huge=4 * GIB)

    assert judged(capacity, fit, launcher, taken) == []
    reasons = judged(capacity, short, launcher, taken)
    assert [(reason.field, reason.found, reason.needed) for reason in reasons] == [
        (f"status.allocatable[{HUGE}]", "1.0 GiB free", "2.0 GiB"),
        (f"status.allocatable[{GPU}]", "absent", "1"),
    ]


def test_the_ledger_agrees_about_what_fits() -> None:
    instance = an_instance()
    launcher = a_template(instance, requests=[(GPU, 1)])
    snapshot = a_cluster(instance, offering(a_node("node-1"), gpu=1), offering(a_node("node-2"), gpu=1), launcher)
    ledger = Ledger.of(snapshot)
    planned = ledger.copy()

    planned.reserve_arrival(instance, "node-2")

    demand = ledger.demand(instance)
    assert (ledger.free("node-1", GPU), ledger.free("node-2", GPU), planned.free("node-2", GPU)) == (0, 1, 0)
    assert (ledger.fits(demand, "node-1"), ledger.fits(demand, "node-2"), planned.fits(demand, "node-2")) == (
        False,
        True,
        False,
    )


def test_what_a_launcher_does_not_ask_for_may_be_overdrawn() -> None:
    launcher = replace(a_template(an_instance()), cpu_millicores=0)
    greedy = a_pod("greedy", node="node-2", cpu_millicores=40_000)

    assert judged(capacity, a_node("node-2"), launcher, greedy) == []


@pytest.mark.parametrize(
    ("toleration", "tolerated"),
    [
        (Toleration("dedicated", "Equal", "vms", "NoSchedule"), True),
        (Toleration("dedicated", "Equal", "vms", ""), True),
        (Toleration("dedicated", "Exists", "", "NoSchedule"), True),
        (Toleration("", "Exists", "", ""), True),
        (Toleration("dedicated", "Equal", "pods", "NoSchedule"), False),
        (Toleration("dedicated", "Exists", "", "NoExecute"), False),
        (Toleration("other", "Exists", "", ""), False),
    ],
)
def test_a_taint_is_tolerated_as_the_launcher_says(toleration: Toleration, tolerated: bool) -> None:
    launcher = a_template(an_instance(), tolerations=(toleration,))

    reasons = judged(target, a_node("node-2", taints=[DEDICATED]), launcher)

    assert codes(reasons) == ([] if tolerated else ["HostTainted"])


def test_a_taint_of_the_source_is_not_tolerated_elsewhere_where_the_launcher_does_not_say_so() -> None:
    here, there = (a_node(name, taints=[DEDICATED]) for name in ("node-1", "node-2"))

    assert codes(judged(target, there, a_template(an_instance()), here=here)) == ["HostTainted"]


def test_nobody_tolerates_the_taint_of_a_drain_whatever_the_launcher_says() -> None:
    launcher = a_template(an_instance(), tolerations=(Toleration("", "Exists", "", ""),))
    there = a_node("node-2", taints=[Taint("kubevirt.io/drain", "", "NoSchedule")])

    assert codes(judged(target, there, launcher)) == ["HostTainted"]


def test_a_launcher_goes_where_its_node_affinity_admits_it() -> None:
    launcher = a_template(an_instance(), node_affinity=(NodeSelectorTerm((SSD,)),))

    (reason,) = judged(node_affinity, a_node("node-2", labels={"disk": "hdd"}), launcher)

    assert (reason.code, reason.found, reason.needed) == ("NodeAffinityMismatch", "disk=hdd", "disk=ssd")
    assert judged(node_affinity, a_node("node-2", labels={"disk": "ssd"}), launcher) == []


def test_an_affinity_without_terms_admits_no_node() -> None:
    assert codes(judged(node_affinity, a_node("node-2"), a_template(an_instance(), node_affinity=()))) == [
        "NodeAffinityMismatch"
    ]


def test_what_kubevirt_adds_for_host_models_is_said_elsewhere() -> None:
    there = a_node("node-2", labels={OBSOLETE.key: "true", "disk": "ssd"})
    alone, beside = NodeSelectorTerm((OBSOLETE,)), NodeSelectorTerm((SSD, OBSOLETE))

    assert judged(node_affinity, there, a_template(an_instance(), node_affinity=(alone,))) == []
    assert judged(node_affinity, there, a_template(an_instance(), node_affinity=(beside,))) == []


def test_the_launchers_own_node_selector_is_not_asked() -> None:
    launcher = a_template(an_instance(), node_selector=(("kubernetes.io/hostname", "node-1"),))

    for family in (target, node_affinity, capacity):
        assert judged(family, a_node("node-2"), launcher) == []
