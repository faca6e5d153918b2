"""Rules between guests that are placed together, and resources that few hosts have much of."""

from collections.abc import Sequence
from dataclasses import replace

from support.builders import a_cluster, a_launcher, a_node, a_plan, a_pod, an_instance
from whimbrel.domain.records import Instance, Node, Pod
from whimbrel.domain.scheduling import PodTerm, Scheduling
from whimbrel.domain.selectors import LabelSelector, Requirement
from whimbrel.inventory.hosts import effective_hosts
from whimbrel.inventory.ledger import Ledger
from whimbrel.placement import Placement, Request, place
from whimbrel.preflight import assess

HOSTNAME = "kubernetes.io/hostname"
HUGE = "hugepages-1Gi"


def away_from(app: str, key: str = HOSTNAME) -> PodTerm:
    return PodTerm(key, LabelSelector((Requirement("app", "In", (app,)),)), ("default",), None)


def a_ruled(instance: Instance, app: str, *terms: PodTerm, requests: Sequence[tuple[str, int]] = ()) -> Pod:
    launcher = a_launcher(instance)
    return replace(
        launcher,
        labels={**launcher.labels, "app": app},
        requests=tuple(requests),
        scheduling=Scheduling(anti_affinity=terms),
    )


def placed(nodes: Sequence[Node], guests: Sequence[Instance], *pods: Pod) -> Placement:
    snapshot = a_cluster(*nodes, *guests, *pods)
    plan = a_plan(virtual_machines={"names": ["any"]}).plan
    assert plan is not None
    hosts, ledger = effective_hosts(snapshot), Ledger.of(snapshot)
    assessment = assess(guests, plan.spec, hosts, ledger, snapshot)
    return place([Request(guest, assessment) for guest in guests], hosts, ledger)


def offering(name: str, huge_pages: int) -> Node:
    return replace(a_node(name), allocatable=((HUGE, huge_pages),))


def test_guests_that_must_keep_apart_go_to_different_hosts() -> None:
    nodes = [a_node(f"node-{number}") for number in (1, 2, 3)]
    guests = [an_instance("a"), an_instance("b")]

    found = placed(nodes, guests, *(a_ruled(guest, "db", away_from("db")) for guest in guests))

    assert set(found.targets.values()) == {"node-2", "node-3"}


def test_one_that_must_keep_away_from_another_does_so_where_both_arrive() -> None:
    nodes = [a_node(f"node-{number}") for number in (1, 2, 3)]
    guests = [an_instance("a"), an_instance("b")]

    found = placed(nodes, guests, a_ruled(guests[0], "db", away_from("web")), a_ruled(guests[1], "web"))

    assert set(found.targets.values()) == {"node-2", "node-3"}


def test_a_conflict_names_the_rule_and_what_leaves_no_other_way() -> None:
    nodes = [offering("node-1", 64), a_node("node-2"), offering("node-3", 64)]
    guests = [an_instance("a"), an_instance("b")]
    launchers = [a_ruled(guest, "db", away_from("db"), requests=[(HUGE, 4)]) for guest in guests]

    found = placed(nodes, guests, *launchers)

    (conflict,) = found.conflicts
    assert conflict.words == (
        "default/a and default/b cannot all be placed: default/a and default/b must stay apart, and node-1 may not take "
        "them, and node-2 has 0 of hugepages-1Gi free."
    )


def test_a_pod_that_stays_keeps_a_guest_away_and_one_that_leaves_only_until_it_has_left() -> None:
    nodes = [a_node("node-1"), a_node("node-2")]
    guests = [an_instance("a"), an_instance("b", node="node-2")]
    stays = replace(a_pod("batch", node="node-2"), labels={"app": "batch"})

    kept_away = placed(nodes, guests[:1], a_ruled(guests[0], "db", away_from("batch")), stays)
    swapped = placed(nodes, guests, *(a_ruled(guest, "db", away_from("db")) for guest in guests))

    assert kept_away.targets == {}
    assert not swapped.conflicts
    assert set(swapped.stuck) == {guest.uid for guest in guests}


def test_a_resource_that_runs_out_is_counted_for_all_together() -> None:
    nodes = [a_node("node-1"), a_node("node-2"), a_node("node-3")]
    nodes = [replace(node, allocatable=(("example.com/card", 1),)) for node in nodes]
    guests = [an_instance(name) for name in ("a", "b", "c")]
    launchers = [replace(a_launcher(guest), requests=(("example.com/card", 1),)) for guest in guests[:2]]

    both = placed(nodes, guests[:2], *launchers)
    third = placed(nodes, guests, *launchers, replace(a_launcher(guests[2]), requests=(("example.com/card", 1),)))

    assert set(both.targets.values()) == {"node-2", "node-3"}
    assert len(third.targets) == 2
    assert "example.com/card" in third.conflicts[0].words


def test_the_launcher_that_a_guest_leaves_keeps_its_successor_out_of_its_zone() -> None:
    zone = "topology.kubernetes.io/zone"
    nodes = [a_node(f"node-{n}", labels={zone: where}) for n, where in ((1, "a"), (2, "a"), (3, "b"))]
    guest = an_instance("a")

    found = placed(nodes, [guest], a_ruled(guest, "db", away_from("db", zone)))

    assert found.targets == {guest.uid: "node-3"}
