"""What keeps a guest from other hosts, put together: complete by code, whatever the number of hosts."""

from collections import defaultdict
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from support.builders import GIB, a_cluster, a_node, a_plan, a_profile, an_instance
from whimbrel.api.migration_plan import MigrationPlanSpec
from whimbrel.domain.records import Condition, Node, Taint
from whimbrel.inventory.hosts import effective_hosts
from whimbrel.inventory.ledger import Ledger
from whimbrel.inventory.snapshot import Snapshot
from whimbrel.preflight import Assessment, PreflightReason, assess, capacity

TAINT = Taint("hardware", "odd", "NoSchedule")


def spec(**target: Any) -> MigrationPlanSpec:
    plan = a_plan(virtual_machines={"names": ["db1"]}, target=target).plan
    assert plan is not None
    return plan.spec


def assessed(snapshot: Snapshot, **target: Any) -> Assessment:
    instances = list(snapshot.instances.values())
    return assess(instances, spec(**target), effective_hosts(snapshot), Ledger.of(snapshot), snapshot)


def short(reasons: tuple[PreflightReason, ...]) -> list[tuple[str, str, tuple[str, ...], int]]:
    return [(each.code, each.node, each.further_nodes, each.node_count) for each in reasons]


def test_the_one_host_that_refuses_for_another_reason_than_a_hundred_others_is_not_lost_among_them() -> None:
    instance = an_instance()
    cordoned = [a_node(f"node-{number:03}", unschedulable=True) for number in range(2, 101)]
    snapshot = a_cluster(instance, a_node("node-1"), *cordoned, a_node("node-200", taints=[TAINT]))

    found = assessed(snapshot).refusals(instance.uid, "node-1")

    assert short(found) == [
        ("HostCordoned", "node-002", ("node-003", "node-004", "node-005", "node-006"), 99),
        ("HostTainted", "node-200", (), 1),
    ]


def test_what_refuses_a_guest_that_can_move_is_known_as_well() -> None:
    instance = an_instance()
    snapshot = a_cluster(instance, a_node("node-1"), a_node("node-2"), a_node("node-3", unschedulable=True))

    found = assessed(snapshot)

    assert found.movable(instance.uid)
    assert short(found.refusals(instance.uid, "node-1")) == [("HostCordoned", "node-3", (), 1)]


def test_what_refuses_a_guest_that_may_not_move_at_all_is_known_as_well() -> None:
    instance = an_instance(live_migratable=Condition("False", "DisksNotLiveMigratable"))
    snapshot = a_cluster(instance, a_node("node-1"), a_node("node-2"), a_node("node-3", unschedulable=True))

    assert short(assessed(snapshot).refusals(instance.uid, "node-1")) == [("HostCordoned", "node-3", (), 1)]


def test_the_host_that_a_guest_is_on_is_no_host_that_refuses_it() -> None:
    instance = an_instance(node="node-1")
    snapshot = a_cluster(instance, *(a_node(f"node-{number}", unschedulable=True) for number in (1, 2)))

    (found,) = assessed(snapshot).refusals(instance.uid, "node-1")

    assert (found.node, found.node_count) == ("node-2", 1)
    assert "node-2" in found.cure()


def test_each_host_with_an_amount_of_its_own_is_looked_at_where_guests_are_few() -> None:
    instance = an_instance(memory_bytes=4 * GIB)
    small = [a_node(f"node-{number:03}", memory_bytes=number << 20) for number in range(2, 200)]
    snapshot = a_cluster(instance, a_node("node-001"), *small, a_node("node-999", pods=0))

    found = assessed(snapshot).refusals(instance.uid, "node-1")

    assert {each.code: each.node_count for each in found} == {"InsufficientMemory": 198, "NoPodSlot": 1}


def test_on_another_ledger_a_host_lacks_what_others_will_have_taken() -> None:
    instance, other = an_instance(memory_bytes=4 * GIB), an_instance("other", memory_bytes=4 * GIB, node="node-1")
    snapshot = a_cluster(instance, other, a_node("node-1"), a_node("node-2", memory_bytes=6 * GIB))
    found, after = assessed(snapshot), Ledger.of(snapshot).copy()
    after.reserve_arrival(other, "node-2")
    demand = after.demand(instance)

    assert found.refusals(instance.uid, "node-1") == ()
    (lacking,) = found.refusals_on(after, capacity, demand, found.bit("node-2"))

    assert (lacking.code, lacking.node, lacking.node_count) == ("InsufficientMemory", "node-2", 1)
    assert found.refusals_on(after, capacity, demand, found.bit("node-1")) == ()


@st.composite
def _nodes(draw: st.DrawFn) -> list[Node]:
    return [
        a_node(
            f"node-{number}",
            ready=draw(st.integers(0, 3)) > 0,
            unschedulable=draw(st.integers(0, 3)) == 0,
            taints=draw(st.sampled_from([[], [TAINT]])),
            labels={"zone": draw(st.sampled_from("ab"))},
            memory_bytes=draw(st.integers(0, 6)) * GIB,
            pods=draw(st.integers(0, 3)),
        )
        for number in range(1, draw(st.integers(1, 9)) + 1)
    ]


@settings(max_examples=100, deadline=None)
@given(_nodes(), st.lists(st.integers(1, 5), min_size=1, max_size=4), st.sampled_from([{}, {"zone": "a"}]))
def test_put_together_is_said_what_is_said_of_every_pair_and_of_as_many_hosts(
    nodes: list[Node], homes: list[int], selector: dict[str, str]
) -> None:
    instances = [
        an_instance(f"vm{n}", node=f"node-{home}", node_selector=selector, memory_bytes=2 * GIB)
        for n, home in enumerate(homes)
    ]
    snapshot = a_cluster(*nodes, *instances, a_profile(node_selector={"zone": "a"}))

    found = assessed(snapshot)

    for instance in instances:
        pairs: dict[tuple[str, str, str], list[PreflightReason]] = defaultdict(list)
        for node in sorted(found.everybody()):
            for reason in found.reasons_on(instance.uid, node) if node != instance.node else ():
                if reason.blocks:
                    held = pairs[reason.code, reason.field, reason.needed]
                    held += [reason] if not held or held[-1].node != node else []
        told = {(each.code, each.field, each.needed): each for each in found.refusals(instance.uid, instance.node)}
        assert told.keys() == pairs.keys()
        for key, each in told.items():
            names = [reason.node for reason in pairs[key]]
            assert (each.node, *each.further_nodes) == tuple(names[:5])
            assert each.node_count == len(names)
            assert each.found == pairs[key][0].found
