"""Placement: within capacity, the same whatever the order, and steady once chosen."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import Phase, given, settings
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
from whimbrel.placement import Placement, Request, capacity_reasons, place, planned
from whimbrel.preflight import Assessment, assess


def assessed(snapshot: Snapshot, instances: Sequence[Instance], **target: Any) -> tuple[Assessment, Ledger]:
    plan = a_plan(target=target, virtual_machines={"names": ["any"]}).plan
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
    targets = settled(instances, assessment, ledger, kept)
    return {instance.key.name: targets[instance.uid] for instance in instances}


def settled(
    instances: Sequence[Instance], assessment: Assessment, ledger: Ledger, keep: Mapping[str, str]
) -> dict[str, str | None]:
    """Targets by UID, None for who has none."""
    found = placement(instances, assessment, ledger, keep)
    return {instance.uid: found.targets.get(instance.uid) for instance in instances}


def placement(
    instances: Sequence[Instance], assessment: Assessment, ledger: Ledger, keep: Mapping[str, str]
) -> Placement:
    requests = [Request(instance, assessment, keep.get(instance.uid, "")) for instance in instances]
    return place(requests, assessment.everybody(), ledger)


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

    targets = settled(guests, assessment, ledger, {})
    after = planned(guests, {uid: target for uid, target in targets.items() if target is not None}, ledger)
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

    assert settled([fixed, waiting], assessment, ledger, {}) == {fixed.uid: None, waiting.uid: "node-2"}


def test_the_room_that_a_guest_leaves_is_room_for_another() -> None:
    nodes = [a_node("node-1", memory_bytes=4 * GIB), a_node("node-2", memory_bytes=16 * GIB)]
    guests = [
        an_instance("a", memory_bytes=4 * GIB, node="node-2"),
        an_instance("b", memory_bytes=4 * GIB, node="node-1"),
    ]

    assert placed(nodes, guests) == {"a": "node-1", "b": "node-2"}


def test_two_full_hosts_with_nowhere_to_turn_cannot_swap_and_say_so() -> None:
    nodes = [a_node("node-1", memory_bytes=4 * GIB), a_node("node-2", memory_bytes=4 * GIB)]
    guests = [an_instance("a", memory_bytes=3 * GIB), an_instance("b", memory_bytes=3 * GIB, node="node-2")]
    launchers = [a_launcher(guest, memory_bytes=guest.memory_bytes) for guest in guests]
    assessment, ledger = assessed(a_cluster(*nodes, *guests, *launchers), guests)

    found = place([Request(guest, assessment) for guest in guests], assessment.everybody(), ledger)

    assert found.targets == {}
    assert {stuck.words for stuck in found.stuck.values()} == {
        "default/a can go to node-2 only after default/b, and no host that the plan admits can take one of them in between",
        "default/b can go to node-1 only after default/a, and no host that the plan admits can take one of them in between",
    }


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


@settings(max_examples=100, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(_problems(), st.randoms(use_true_random=False), st.data())
def test_placement_is_within_capacity_the_same_in_any_order_and_steady(
    problem: tuple[list[Node], list[Instance], int], shuffler: Any, data: st.DataObject
) -> None:
    nodes, instances, headroom = problem
    snapshot = a_cluster(*nodes, *instances)
    assessment, ledger = assessed(snapshot, instances, headroom={"memoryPercent": headroom})
    names = [node.name for node in nodes]
    keep = {instance.uid: data.draw(st.sampled_from(names)) for instance in instances if data.draw(st.booleans())}
    turned = list(instances)
    shuffler.shuffle(turned)

    found = placement(instances, assessment, ledger, keep)

    after = planned(instances, found.targets, ledger)
    for instance in instances:
        target = found.targets.get(instance.uid)
        if target is not None:
            assert target != instance.node
            assert target in assessment.names(assessment.suitable(instance.uid))
            assert after.free_memory_bytes(target, headroom) >= 0
            assert after.free_cpu_millicores(target) >= min(0, ledger.free_cpu_millicores(target))
            assert after.free_pods(target) >= min(0, ledger.free_pods(target))
        elif assessment.movable(instance.uid):
            assert instance.uid in {*found.explained, *found.stuck, *found.undecided}
    assert placement(turned, assessment, ledger, dict(reversed(list(keep.items())))).targets == found.targets
    if not found.detours:
        again = placement(instances, assessment, ledger, found.targets)
        assert len(again.targets) >= len(found.targets)
        if len(again.targets) == len(found.targets):
            assert again.targets == found.targets


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

    targets = settled(guests, assessment, ledger, {})

    done = time.perf_counter()
    print(f"10 000 guests, 1 000 hosts: assessed in {judged - began:.2f} s, placed in {done - judged:.2f} s")
    assert all(targets.values())
