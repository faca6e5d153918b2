"""Placement: within capacity, the same whatever the order, and steady once chosen."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from support.builders import (
    GIB,
    a_cluster,
    a_launcher,
    a_migration,
    a_node,
    a_plan,
    an_instance,
)
from whimbrel.domain.records import Condition, Instance, Node
from whimbrel.inventory.hosts import effective_hosts
from whimbrel.inventory.ledger import Ledger
from whimbrel.inventory.snapshot import Snapshot
from whimbrel.placement import capacity_reasons, place, planned
from whimbrel.preflight import Assessment, assess


def assessed(snapshot: Snapshot, instances: Sequence[Instance], **target: Any) -> tuple[Assessment, Ledger]:
    plan = a_plan(target=target).plan
    assert plan is not None
    ledger = Ledger.of(snapshot)
    return assess(instances, plan.spec, effective_hosts(snapshot), ledger, snapshot), ledger


def placed(
    nodes: Sequence[Node], instances: Sequence[Instance], keep: Mapping[str, str] | None = None, **target: Any
) -> dict[str, str | None]:
    """Targets by the guests' names; launchers request exactly the guests' memory."""
    launchers = [a_launcher(instance, memory_bytes=instance.memory_bytes) for instance in instances]
    snapshot = a_cluster(*nodes, *instances, *launchers)
    assessment, ledger = assessed(snapshot, instances, **target)
    kept = {instance.uid: keep[instance.key.name] for instance in instances if keep and instance.key.name in keep}
    targets = place(instances, assessment, ledger, kept)
    return {instance.key.name: targets[instance.uid] for instance in instances}


def test_guests_are_spread_over_the_hosts_with_most_room() -> None:
    nodes = [a_node("node-1"), a_node("node-2", memory_bytes=16 * GIB), a_node("node-3", memory_bytes=12 * GIB)]
    guests = [an_instance("a", memory_bytes=6 * GIB), an_instance("b", memory_bytes=5 * GIB), an_instance("c")]

    assert placed(nodes, guests) == {"a": "node-2", "b": "node-3", "c": "node-2"}


def test_equal_hosts_are_taken_by_name() -> None:
    nodes = [a_node("node-1"), a_node("node-3"), a_node("node-2")]

    assert placed(nodes, [an_instance("a"), an_instance("b")]) == {"a": "node-2", "b": "node-3"}


def test_a_guest_that_no_host_has_room_for_gets_none_and_the_reason() -> None:
    nodes = [a_node("node-1"), a_node("node-2", memory_bytes=8 * GIB)]
    guests = [an_instance("a", memory_bytes=5 * GIB), an_instance("b", memory_bytes=4 * GIB)]
    launchers = [a_launcher(guest, memory_bytes=guest.memory_bytes) for guest in guests]
    assessment, ledger = assessed(a_cluster(*nodes, *guests, *launchers), guests)

    targets = place(guests, assessment, ledger, {})
    after = planned(guests, targets, ledger)
    (reason,) = capacity_reasons(guests[1], assessment, after)

    assert targets == {guests[0].uid: "node-2", guests[1].uid: None}
    assert assessment.movable(guests[1].uid)
    assert (reason.code, reason.node, reason.found, reason.needed) == (
        "InsufficientMemory",
        "node-2",
        "3.0 GiB free",
        "4.0 GiB",
    )


def test_what_was_chosen_before_stays_though_another_host_has_more_room() -> None:
    nodes = [a_node("node-1"), a_node("node-2", memory_bytes=16 * GIB), a_node("node-3", memory_bytes=64 * GIB)]

    assert placed(nodes, [an_instance("a")], keep={"a": "node-2"}) == {"a": "node-2"}


def test_what_was_chosen_before_and_is_no_longer_possible_is_chosen_anew() -> None:
    nodes = [
        a_node("node-1"),
        a_node("node-2", unschedulable=True),
        a_node("node-3"),
        a_node("node-4", memory_bytes=GIB),
    ]
    guests = [an_instance(name, memory_bytes=2 * GIB) for name in ("cordoned", "full", "gone", "source")]
    keep = {"cordoned": "node-2", "full": "node-4", "gone": "node-9", "source": "node-1"}

    assert set(placed(nodes, guests, keep).values()) == {"node-3"}


def test_a_guest_that_cannot_move_has_no_target_and_one_that_waits_has() -> None:
    fixed = an_instance("fixed", live_migratable=Condition("False", "DisksNotLiveMigratable"))
    waiting = an_instance("waiting")
    snapshot = a_cluster(fixed, waiting, a_migration(waiting, phase="Pending"))
    assessment, ledger = assessed(snapshot, [fixed, waiting])

    assert place([fixed, waiting], assessment, ledger, {}) == {fixed.uid: None, waiting.uid: "node-2"}


def test_a_host_that_is_no_target_for_its_own_guest_is_one_for_its_like() -> None:
    nodes = [a_node("node-1", memory_bytes=4 * GIB), a_node("node-2", memory_bytes=16 * GIB)]
    guests = [
        an_instance("a", memory_bytes=4 * GIB, node="node-2"),
        an_instance("b", memory_bytes=4 * GIB, node="node-1"),
    ]

    assert placed(nodes, guests) == {"a": None, "b": "node-2"}


def test_room_is_counted_before_any_guest_has_left() -> None:
    """Two full hosts cannot swap their guests: neither departure has happened when the other arrives."""
    nodes = [a_node("node-1", memory_bytes=4 * GIB), a_node("node-2", memory_bytes=4 * GIB)]
    guests = [an_instance("a", memory_bytes=3 * GIB), an_instance("b", memory_bytes=3 * GIB, node="node-2")]

    assert placed(nodes, guests) == {"a": None, "b": None}


@st.composite
def _problems(draw: st.DrawFn) -> tuple[list[Node], list[Instance], int]:
    nodes = [
        a_node(
            f"node-{number}",
            labels={"zone": draw(st.sampled_from("ab"))},
            memory_bytes=draw(st.integers(1, 24)) * GIB,
            cpu_millicores=draw(st.sampled_from([150, 350, 32_000])),
            pods=draw(st.sampled_from([2, 4, 110])),
        )
        for number in range(1, draw(st.integers(2, 5)) + 1)
    ]
    instances = [
        an_instance(
            f"vm{number}",
            node=f"node-{draw(st.integers(1, len(nodes)))}",
            memory_bytes=draw(st.integers(1, 6)) * GIB,
            node_selector=draw(st.sampled_from([{}, {}, {"zone": "a"}])),
        )
        for number in range(draw(st.integers(1, 8)))
    ]
    return nodes, instances, draw(st.sampled_from([0, 25]))


@settings(max_examples=150, deadline=None)
@given(_problems(), st.randoms(use_true_random=False), st.data())
def test_placement_is_within_capacity_the_same_in_any_order_and_steady(
    problem: tuple[list[Node], list[Instance], int], shuffler: Any, data: st.DataObject
) -> None:
    nodes, instances, headroom = problem
    snapshot = a_cluster(*nodes, *instances)
    assessment, ledger = assessed(snapshot, instances, headroom={"memoryPercent": headroom})
    names = [node.name for node in nodes]
    keep = {instance.uid: data.draw(st.sampled_from(names)) for instance in instances if data.draw(st.booleans())}

    targets = place(instances, assessment, ledger, keep)

    after = planned(instances, targets, ledger)
    for instance in instances:
        target = targets[instance.uid]
        if target is not None:
            assert target != instance.node
            assert target in assessment.nodes(instance.uid)
            assert after.free_memory_bytes(target, headroom) >= 0
            assert after.free_cpu_millicores(target) >= 0
            assert after.free_pods(target) >= 0
        elif assessment.movable(instance.uid):
            assert capacity_reasons(instance, assessment, after)

    turned = list(instances)
    shuffler.shuffle(turned)
    assert place(turned, assessment, ledger, dict(reversed(list(keep.items())))) == targets

    chosen = {uid: target for uid, target in targets.items() if target is not None}
    assert place(instances, assessment, ledger, chosen) == targets


def test_ten_thousand_guests_are_placed_on_a_thousand_hosts() -> None:
    nodes = [a_node(f"node-{number:04d}", memory_bytes=512 * GIB, cpu_millicores=128_000) for number in range(1000)]
    guests = [
        an_instance(f"vm-{number:05d}", node=f"node-{number % 500:04d}", memory_bytes=(1 + number % 24) * GIB)
        for number in range(10_000)
    ]
    snapshot = a_cluster(*nodes, *guests)
    began = time.perf_counter()
    assessment, ledger = assessed(snapshot, guests)
    judged = time.perf_counter()

    targets = place(guests, assessment, ledger, {})

    done = time.perf_counter()
    print(f"10 000 guests, 1 000 hosts: assessed in {judged - began:.2f} s, placed in {done - judged:.2f} s")
    assert all(targets.values())
