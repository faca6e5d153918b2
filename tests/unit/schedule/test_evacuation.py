"""Every host emptied on paper: who can leave, who blocks and why, how long it takes at the least."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from support.builders import (
    GIB,
    a_cluster,
    a_launcher,
    a_migration,
    a_node,
    a_profile,
    an_instance,
)
from whimbrel.domain.records import Condition, Instance, Node
from whimbrel.inventory.hosts import effective_hosts
from whimbrel.inventory.ledger import Ledger
from whimbrel.inventory.snapshot import Snapshot
from whimbrel.schedule import evacuation
from whimbrel.schedule.evacuation import Evacuation, appraise, evacuations

STUCK = Condition("False", "HostDeviceNotLiveMigratable", "a device")


def emptied(snapshot: Snapshot) -> dict[str, Evacuation]:
    hosts, ledger = effective_hosts(snapshot), Ledger.of(snapshot)
    found = evacuations(snapshot, hosts, ledger, appraise(snapshot, hosts, ledger))
    assert [each.host for each in found] == sorted(hosts)
    return {each.host: each for each in found}


def a_full_cluster(nodes: Sequence[Node], guests: Sequence[Instance], *more: Any) -> Snapshot:
    """Launchers request exactly the guests' memory."""
    launchers = [a_launcher(guest, memory_bytes=guest.memory_bytes, cpu_millicores=100) for guest in guests]
    return a_cluster(*nodes, *guests, *launchers, *more)


def nodes(**gib: int) -> list[Node]:
    return [a_node(name.replace("_", "-"), memory_bytes=size * GIB) for name, size in gib.items()]


def blocked(found: Evacuation) -> dict[str, tuple[str, ...]]:
    return {blocker.guest.name: blocker.codes for blocker in found.blockers}


def test_a_host_whose_guests_all_find_room_elsewhere_can_be_emptied() -> None:
    found = emptied(a_cluster(an_instance("a"), an_instance("b")))["node-1"]

    assert found.possible
    assert found.guests == 2


def test_an_empty_host_can_be_emptied_in_no_time() -> None:
    assert emptied(a_cluster(an_instance("a")))["node-3"] == Evacuation("node-3", 0, 0, ())


def test_a_guest_that_must_not_move_blocks_its_host_with_every_code_and_the_first_in_words() -> None:
    guest = an_instance("a", live_migratable=STUCK, paused=Condition("True", "PausedByUser"))

    found = emptied(a_cluster(guest))["node-1"]

    assert not found.possible
    assert blocked(found) == {"a": ("GuestPaused", "NotLiveMigratable")}
    assert found.blockers[0].message.startswith("GuestPaused: status.conditions[Paused]: found PausedByUser")
    assert "unpause" in found.blockers[0].message


def test_a_guest_that_suits_no_other_host_blocks_with_what_most_hosts_lack() -> None:
    guest = an_instance("a", node_selector={"kubernetes.io/hostname": "node-1"})
    cluster = a_cluster(*[a_node(f"node-{n}", unschedulable=n == 3) for n in range(1, 5)], guest)

    found = emptied(cluster)["node-1"]

    assert blocked(found) == {"a": ("NodeSelectorMismatch", "HostCordoned")}
    assert found.blockers[0].message.startswith("On 3 hosts: NodeSelectorMismatch")


def test_the_only_host_of_a_cluster_cannot_be_emptied() -> None:
    found = emptied(a_cluster(a_node("node-1"), an_instance("a")))["node-1"]

    assert blocked(found) == {"a": ("NoOtherHost",)}


def test_guests_that_fit_one_by_one_and_not_together_are_told_apart_by_the_conflict() -> None:
    guests = [an_instance(name, memory_bytes=6 * GIB) for name in ("a", "b")]

    found = emptied(a_full_cluster(nodes(node_1=16, node_2=8, node_3=4), guests))["node-1"]

    assert blocked(found) == {"b": ("NoRoomTogether",)}
    assert "default/a and default/b cannot all be placed" in found.blockers[0].message
    assert "node-2 has 8.0 GiB of memory free" in found.blockers[0].message


def test_who_owns_one_of_them_is_not_told_the_names_of_other_namespaces() -> None:
    guests = [an_instance("a", namespace, memory_bytes=6 * GIB) for namespace in ("bank", "shop")]

    (blocker,) = emptied(a_full_cluster(nodes(node_1=16, node_2=8, node_3=4), guests))["node-1"].blockers

    assert blocker.guest.namespace == "shop"
    assert "bank/a and shop/a cannot all be placed" in blocker.message
    assert "shop/a and a virtual machine of another namespace cannot all be placed" in blocker.to_owner


def test_devices_are_counted_together_too() -> None:
    device = "example.com/accelerator"
    hosts = [replace(a_node(f"node-{n}"), allocatable=((device, 1),)) for n in (1, 2)]
    guests = [an_instance("a"), an_instance("b")]
    launchers = [replace(a_launcher(guest), requests=((device, 1),)) for guest in guests]

    both = emptied(a_cluster(*hosts, *guests, *launchers))["node-1"]
    one = emptied(a_cluster(*hosts, guests[0], launchers[0]))["node-1"]

    assert blocked(both) == {"b": ("NoRoomTogether",)}
    assert "cannot all be placed" in both.blockers[0].message
    assert one.possible


def test_either_of_them_alone_leaves() -> None:
    found = emptied(a_full_cluster(nodes(node_1=16, node_2=8, node_3=4), [an_instance("a", memory_bytes=6 * GIB)]))

    assert found["node-1"].possible


def test_where_the_roomiest_host_is_the_wrong_one_for_the_biggest_the_exact_answer_counts() -> None:
    """Greed puts 5 GiB onto the bigger host, where 4 and 4 would have to go."""
    guests = [an_instance(name, memory_bytes=size * GIB) for name, size in (("a", 5), ("b", 4), ("c", 4))]

    found = emptied(a_full_cluster(nodes(node_1=16, node_2=8, node_3=5), guests))["node-1"]

    assert found.possible
    assert found.seconds > 0


def test_a_guest_with_one_possible_host_is_not_crowded_out_by_one_that_could_go_elsewhere() -> None:
    """Greed puts the bigger one onto the only host that the other could go to."""
    hosts = [
        a_node("node-1", memory_bytes=16 * GIB),
        a_node("node-2", memory_bytes=8 * GIB, labels={"zone": "a"}),
        a_node("node-3", memory_bytes=7 * GIB),
    ]
    guests = [
        an_instance("big", memory_bytes=7 * GIB),
        an_instance("small", memory_bytes=2 * GIB, node_selector={"zone": "a"}),
    ]

    assert emptied(a_full_cluster(hosts, guests))["node-1"].possible


def test_what_waits_for_something_to_pass_blocks_nobody() -> None:
    moving = an_instance("a")
    unjudged = an_instance("b", live_migratable=None)

    found = emptied(a_cluster(moving, unjudged, a_migration(moving, phase="Pending")))["node-1"]

    assert found.possible
    assert found.guests == 2


def test_a_guest_that_only_starts_or_is_being_deleted_is_not_asked() -> None:
    starting = an_instance("a", phase="Scheduled", live_migratable=None)
    going = replace(an_instance("b", live_migratable=STUCK), deleting=True)

    found = emptied(a_cluster(starting, going))["node-1"]

    assert (found.possible, found.guests) == (True, 0)


def test_the_time_is_one_pass_over_memory_shared_by_the_slots() -> None:
    """1 Gbit/s by two slots is 59 MiB/s for each; eight guests of 1 GiB leave in four rounds of 18 s."""
    guests = [an_instance(f"vm-{n}", memory_bytes=GIB) for n in range(8)]

    found = emptied(a_cluster(*guests))["node-1"]

    assert found.seconds == 4 * 18


def test_a_wider_link_is_faster() -> None:
    guests = [an_instance(f"vm-{n}", memory_bytes=GIB) for n in range(8)]

    assert emptied(a_cluster(*guests, a_profile(link_speed_mbps=10_000)))["node-1"].seconds == 4 * 2


def test_a_host_that_no_profile_enables_is_blocked_by_all_of_its_guests() -> None:
    found = emptied(a_cluster(an_instance("a"), a_profile(enabled=False)))["node-1"]

    assert blocked(found) == {"a": ("SourceNotEnabled",)}


def test_beyond_the_bound_of_exact_answers_greed_has_the_last_word(monkeypatch: Any) -> None:
    monkeypatch.setattr(evacuation, "MOST_EXACT", 0)
    guests = [an_instance(name, memory_bytes=size * GIB) for name, size in (("a", 5), ("b", 4), ("c", 4))]

    found = emptied(a_full_cluster(nodes(node_1=16, node_2=8, node_3=5), guests))["node-1"]

    assert list(blocked(found).values()) == [("NoRoomTogether",)]
    assert "No room was found" in found.blockers[0].message


@st.composite
def _clusters(draw: st.DrawFn) -> tuple[list[Node], list[Instance]]:
    hosts = [
        a_node(
            f"node-{number}",
            labels={"zone": draw(st.sampled_from("ab"))},
            memory_bytes=draw(st.integers(1, 14)) * GIB,
            pods=draw(st.sampled_from([2, 4, 110])),
        )
        for number in range(1, draw(st.integers(2, 4)) + 1)
    ]
    guests = [
        an_instance(
            f"vm{number}",
            node="node-1",
            memory_bytes=draw(st.integers(1, 6)) * GIB,
            node_selector=draw(st.sampled_from([{}, {}, {"zone": "a"}])),
        )
        for number in range(draw(st.integers(1, 6)))
    ]
    return hosts, guests


def _fits_all(hosts: Sequence[Node], guests: Sequence[Instance]) -> bool:
    """By trying everything."""
    others = [host for host in hosts if host.name != "node-1"]
    for choice in product(others, repeat=len(guests)):
        load: Mapping[str, list[Instance]] = {host.name: [] for host in others}
        for guest, host in zip(guests, choice, strict=True):
            load[host.name].append(guest)
        if all(
            sum(g.memory_bytes for g in load[host.name]) <= host.allocatable_memory_bytes
            and len(load[host.name]) <= host.allocatable_pods
            and all(g.node_selector.items() <= host.labels.items() for g in load[host.name])
            for host in others
        ):
            return True
    return False


@settings(max_examples=300, deadline=None)
@given(_clusters(), st.randoms(use_true_random=False))
def test_a_host_can_be_emptied_exactly_if_some_assignment_exists_and_the_order_of_the_input_is_nothing(
    cluster: tuple[list[Node], list[Instance]], shuffler: Any
) -> None:
    hosts, guests = cluster
    snapshot = a_full_cluster(hosts, guests)

    found = emptied(snapshot)

    assert found["node-1"].possible == _fits_all(hosts, guests)
    fields = {
        name: list(getattr(snapshot, name).items()) for name in ("nodes", "instances", "pods", "virtual_machines")
    }
    for items in fields.values():
        shuffler.shuffle(items)
    assert emptied(replace(snapshot, **{name: dict(items) for name, items in fields.items()})) == found


def test_who_only_lacks_the_room_that_somebody_is_leaving_blocks_nobody_and_waits() -> None:
    big, leaving = an_instance("big", memory_bytes=6 * GIB), an_instance("z", node="node-2", memory_bytes=6 * GIB)
    around = nodes(node_1=8, node_2=8, node_3=8)

    at_rest = emptied(a_full_cluster(around, [big, replace(leaving, node="node-3")]))["node-1"]
    during = emptied(a_full_cluster(around, [big, leaving], a_migration(leaving, target="node-3")))["node-1"]
    for_good = emptied(a_full_cluster(around, [big, leaving, an_instance("y", node="node-3", memory_bytes=6 * GIB)]))

    assert at_rest.at_once
    assert during.possible
    assert not during.at_once
    assert during.waiting == ("InsufficientMemory",)
    assert blocked(for_good["node-1"]) == {"big": ("InsufficientMemory",)}
