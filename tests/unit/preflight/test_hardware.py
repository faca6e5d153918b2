"""Families that look at a guest's hardware: CPU compatibility."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from support.builders import a_cluster, a_kubevirt, a_node, a_plan, a_profile, a_virtual_machine, an_instance
from whimbrel.api.virtual_machine_move import Judgement
from whimbrel.domain.guests import GuestHardware
from whimbrel.domain.records import Instance, Node, Profile
from whimbrel.inventory.hosts import effective_hosts
from whimbrel.inventory.ledger import Ledger
from whimbrel.preflight import PreflightReason, cpu_compatibility
from whimbrel.preflight.assessment import candidate, host_demand
from whimbrel.preflight.lineup import Lineup, Terms

COUNTERS = {"whimbrel.dev/performance-counters": "Required"}
PASSTHROUGH = an_instance(cpu_model="host-passthrough")
COUNTING = an_instance(annotations=COUNTERS)


def codes(reasons: Iterable[PreflightReason]) -> list[str]:
    return [reason.code for reason in reasons]


def with_hardware(**members: Any) -> Instance:
    return replace(an_instance(), hardware=GuestHardware(**members))


def judged(
    family: Any,
    instance: Instance,
    *others: Any,
    here: Node | None = None,
    there: Node | None = None,
    default_cpu_model: str = "",
) -> list[PreflightReason]:
    """What a family says of a guest on node-1 that would go to node-2; its mask says the same."""
    nodes = (here or a_node("node-1"), there or a_node("node-2"))
    snapshot = a_cluster(instance, *nodes, a_kubevirt(cpu_model=default_cpu_model), *others)
    hosts, ledger = effective_hosts(snapshot), Ledger.of(snapshot)
    plan = a_plan().plan
    assert plan is not None
    lineup = Lineup(hosts, Terms(plan.spec.target, ledger, snapshot))
    demand = host_demand(family, candidate(instance, hosts, ledger, snapshot, None), lineup)
    reasons = list(family.judge(demand, lineup.supply(family.supply, hosts["node-2"])))
    assert bool(family.mask(demand, lineup) & lineup.bit("node-2")) is not bool(reasons)
    return reasons


def profiles(here: dict[str, Any], there: dict[str, Any]) -> tuple[Profile, Profile]:
    """What the nodes of source and target declare of their processors."""
    return (
        a_profile("here", node_selector={"kubernetes.io/hostname": "node-1"}, **here),
        a_profile("there", node_selector={"kubernetes.io/hostname": "node-2"}, **there),
    )


def test_a_guest_with_its_hosts_own_processor_goes_only_to_an_identical_one() -> None:
    alike = profiles({"baseline": "gold"}, {"baseline": "gold"})
    other = profiles({"baseline": "gold"}, {"baseline": "silver"})

    (reason,) = judged(cpu_compatibility, PASSTHROUGH, *other)

    assert (reason.code, reason.found, reason.needed) == ("CpuBaselineMismatch", "silver", "gold")
    assert judged(cpu_compatibility, PASSTHROUGH, *alike) == []


@pytest.mark.parametrize(("here", "there"), [({}, {}), ({"baseline": "gold"}, {}), ({}, {"baseline": "gold"})])
def test_where_nobody_declared_identical_processors_a_guest_with_its_hosts_own_stays(
    here: dict[str, Any], there: dict[str, Any]
) -> None:
    (reason,) = judged(cpu_compatibility, PASSTHROUGH, *profiles(here, there))

    assert (reason.code, reason.judgement, reason.blocks) == ("CpuBaselineUnknown", Judgement.UNKNOWN, True)


def test_the_clusters_default_model_can_be_the_hosts_own_processor() -> None:
    guest = an_instance(cpu_model="")

    assert codes(judged(cpu_compatibility, guest, default_cpu_model="host-passthrough")) == ["CpuBaselineUnknown"]
    assert judged(cpu_compatibility, guest, default_cpu_model="Haswell") == []


def test_a_guest_with_a_named_model_asks_for_no_declaration() -> None:
    other = profiles({"baseline": "gold"}, {"baseline": "silver"})

    assert judged(cpu_compatibility, an_instance(cpu_model="Haswell"), *other) == []


def test_a_guest_that_needs_performance_counters_goes_only_where_they_are_declared_compatible() -> None:
    counters = {"performance_counters": "lake"}

    assert judged(cpu_compatibility, COUNTING, *profiles(counters, counters)) == []
    for here, there in ((counters, {"performance_counters": "well"}), (counters, {}), ({}, counters), ({}, {})):
        assert codes(judged(cpu_compatibility, COUNTING, *profiles(here, there))) == ["PerformanceCountersMismatch"]


def test_identical_processors_have_compatible_performance_counters() -> None:
    assert judged(cpu_compatibility, COUNTING, *profiles({"baseline": "gold"}, {"baseline": "gold"})) == []


def test_the_virtual_machine_can_say_that_its_guest_needs_performance_counters() -> None:
    owner = a_virtual_machine("db1", annotations=COUNTERS)

    assert codes(judged(cpu_compatibility, an_instance(), owner)) == ["PerformanceCountersMismatch"]
    assert judged(cpu_compatibility, an_instance()) == []
