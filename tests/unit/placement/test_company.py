"""Required affinity between guests that are placed together, judged on where everybody will be and on the way there."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from support.builders import GIB, a_cluster, a_launcher, a_node, a_plan, a_pod, an_instance
from whimbrel.domain.records import Instance, Node, Pod
from whimbrel.domain.scheduling import PodTerm, Scheduling
from whimbrel.domain.selectors import LabelSelector, Requirement
from whimbrel.inventory.hosts import effective_hosts
from whimbrel.inventory.ledger import Ledger
from whimbrel.placement import Placement, Request, place
from whimbrel.preflight import assess
from whimbrel.schedule.evacuation import Evacuation, appraise, evacuations
from whimbrel.schedule.together import quote

HOSTNAME = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"


def asks_for(app: str, key: str = HOSTNAME) -> PodTerm:
    return PodTerm(key, LabelSelector((Requirement("app", "In", (app,)),)), ("default",), None)


def runs(instance: Instance, app: str, *near: PodTerm, apart: Sequence[PodTerm] = (), memory_bytes: int = GIB) -> Pod:
    launcher = a_launcher(instance, memory_bytes=memory_bytes)
    scheduling = Scheduling(affinity=near, anti_affinity=tuple(apart))
    return replace(launcher, labels={**launcher.labels, "app": app}, scheduling=scheduling)


def stays(app: str, node: str) -> Pod:
    return replace(a_pod(f"{app}-{node}", node=node), labels={"app": app})


def nodes(*zones: str, **more: object) -> list[Node]:
    return [
        a_node(f"node-{number}", labels={ZONE: zone} if zone else {}, **more)  # type: ignore[arg-type]
        for number, zone in enumerate(zones, 1)
    ]


def placed(
    around: Sequence[Node], guests: Sequence[Instance], *pods: Pod, keep: Mapping[str, str] | None = None
) -> Placement:
    snapshot = a_cluster(*around, *guests, *pods)
    plan = a_plan(virtual_machines={"names": ["any"]}).plan
    assert plan is not None
    hosts, ledger = effective_hosts(snapshot), Ledger.of(snapshot)
    assessment = assess(guests, plan.spec, hosts, ledger, snapshot)
    return place([Request(guest, assessment, (keep or {}).get(guest.uid, "")) for guest in guests], hosts, ledger)


def targets(found: Placement, guests: Sequence[Instance]) -> dict[str, str]:
    return {guest.key.name: found.targets[guest.uid] for guest in guests if guest.uid in found.targets}


def test_a_guest_follows_the_partner_that_leaves_with_it() -> None:
    guests = [an_instance("app"), an_instance("db")]

    found = placed(nodes("", "", ""), guests, runs(guests[0], "app", asks_for("db")), runs(guests[1], "db"))

    assert found.targets[guests[0].uid] == found.targets[guests[1].uid] != "node-1"


def test_a_guest_is_not_sent_to_where_its_partner_is_about_to_leave() -> None:
    guests = [an_instance("app"), an_instance("db", node="node-2")]
    around = nodes("", "", "")
    launchers = runs(guests[0], "app", asks_for("db")), runs(guests[1], "db")
    taken = [replace(a_pod("old", node="node-1"), memory_bytes=63 * GIB)]

    found = placed(around, guests, *launchers, *taken)

    assert targets(found, guests) == {"app": "node-3", "db": "node-3"}


def test_a_chain_of_guests_ends_together() -> None:
    guests = [an_instance(name) for name in ("web", "app", "db")]
    launchers = [
        runs(guests[0], "web", asks_for("app")),
        runs(guests[1], "app", asks_for("db")),
        runs(guests[2], "db", memory_bytes=2 * GIB),
    ]

    found = placed(nodes("", "", ""), guests, *launchers)

    assert set(found.targets) == {guest.uid for guest in guests}
    assert len(set(found.targets.values())) == 1


def test_the_host_has_to_have_room_for_both() -> None:
    around = [a_node("node-1"), *(a_node(f"node-{n}", memory_bytes=n * GIB) for n in (2, 3, 4))]
    guests = [an_instance("app"), an_instance("db")]
    launchers = [
        runs(guests[0], "app", asks_for("db"), memory_bytes=2 * GIB),
        runs(guests[1], "db", memory_bytes=2 * GIB),
    ]

    both = placed(around, guests, *launchers)
    not_both = placed(around[:3], guests, *launchers)

    assert set(both.targets.values()) == {"node-4"}
    (conflict,) = not_both.conflicts
    assert conflict.words == (
        "default/app and default/db cannot all be placed: affinity asks for a pod with app=db in the same "
        "kubernetes.io/hostname, and node-1 may not take it, and node-2 has 2.0 GiB of memory free, and node-3 has "
        "3.0 GiB of memory free."
    )


def test_two_that_each_need_the_other_cannot_leave_together_because_one_would_have_to_arrive_first() -> None:
    guests = [an_instance("a"), an_instance("b")]
    launchers = [runs(guest, "pair", asks_for("pair")) for guest in guests]

    alone = placed(nodes("", "", ""), guests, *launchers)
    expected = placed(nodes("", "", ""), guests, *launchers, stays("pair", "node-3"))

    assert alone.targets == {}
    assert alone.stuck[guests[0].uid].words == (
        "default/a cannot go to node-2 in any order: affinity asks for a pod with app=pair in the same "
        "kubernetes.io/hostname"
    )
    assert targets(expected, guests) == {"a": "node-3", "b": "node-3"}


def test_guests_that_need_each_other_move_within_their_zone() -> None:
    guests = [an_instance("a"), an_instance("b")]
    launchers = [runs(guest, "pair", asks_for("pair", ZONE)) for guest in guests]

    within = placed(nodes("east", "east", "west"), guests, *launchers)
    beyond = placed(nodes("east", "west", "west"), guests, *launchers)

    assert targets(within, guests) == {"a": "node-2", "b": "node-2"}
    assert beyond.targets == {}


def test_a_guest_without_company_moves_within_the_domain_of_its_own_launcher() -> None:
    guest = an_instance("a")

    found = placed(nodes("east", "east", "west"), [guest], runs(guest, "pair", asks_for("pair", ZONE)))

    assert found.targets == {guest.uid: "node-2"}


def test_near_one_and_away_from_another() -> None:
    guests = [an_instance(name) for name in ("app", "db", "batch")]
    launchers = [
        runs(guests[0], "app", asks_for("db"), apart=[asks_for("batch")]),
        runs(guests[1], "db"),
        runs(guests[2], "batch"),
    ]

    found = placed(nodes("", "", ""), guests, *launchers)

    assert found.targets[guests[0].uid] == found.targets[guests[1].uid]
    assert {found.targets[guest.uid] for guest in guests} == {"node-2", "node-3"}


def test_a_partner_that_cannot_move_keeps_its_guest_where_it_is() -> None:
    guests = [an_instance("app"), an_instance("db", node="node-2")]
    launchers = runs(guests[0], "app", asks_for("db")), runs(guests[1], "db")

    found = placed(nodes("", "", ""), guests[:1], *launchers)

    assert targets(found, guests) == {"app": "node-2"}


def test_all_terms_must_be_met_by_pods_that_match_them_all() -> None:
    guests = [an_instance("app"), an_instance("db")]
    both = (asks_for("db"), asks_for("db", ZONE))

    found = placed(nodes("east", "west", ""), guests, runs(guests[0], "app", *both), runs(guests[1], "db"))

    assert targets(found, guests) == {"app": "node-2", "db": "node-2"}


def test_the_first_of_a_group_that_is_seen_nowhere_may_go_to_any_host_with_the_label() -> None:
    guests = [an_instance("a"), an_instance("b")]
    launchers = [runs(guest, "pair", asks_for("pair", ZONE)) for guest in guests]

    found = placed(nodes("", "east", ""), guests, *launchers)

    assert set(found.targets.values()) == {"node-2"}


def test_what_was_chosen_for_both_stays_chosen() -> None:
    guests = [an_instance("app"), an_instance("db")]
    launchers = runs(guests[0], "app", asks_for("db")), runs(guests[1], "db")
    keep = {guest.uid: "node-3" for guest in guests}

    assert placed(nodes("", "", ""), guests, *launchers, keep=keep).targets == keep


def test_many_guests_follow_what_they_need() -> None:
    around = [a_node(f"node-{number:03d}") for number in range(100)]
    guests = [an_instance(f"app-{n}", node=f"node-{n % 10:03d}") for n in range(300)]
    anchors = [an_instance(f"db-{n}", node=f"node-{n:03d}") for n in range(10)]
    launchers = [runs(guest, "app", asks_for("db")) for guest in guests] + [runs(each, "db") for each in anchors]

    found = placed(around, [*guests, *anchors], *launchers)

    homes = {found.targets[each.uid] for each in anchors}
    assert {found.targets[guest.uid] for guest in guests} <= homes


def quoted(around: Sequence[Node], guests: Sequence[Instance], *pods: Pod) -> dict[str, tuple[str, list[str]]]:
    """By name the target in the quote of one plan, and the codes of its reasons that block."""
    snapshot = a_cluster(*around, *guests, *pods)
    plan = a_plan(virtual_machines={"names": ["any"]}).plan
    assert plan is not None
    lines = quote(guests, plan.spec, effective_hosts(snapshot), Ledger.of(snapshot), snapshot, {})
    return {
        line.instance.key.name: (
            line.target.name if line.target else "",
            sorted({reason.code for reason in line.reasons if reason.blocks}),
        )
        for line in lines
    }


def test_the_quote_shows_a_target_for_one_that_follows_and_for_a_pair_the_rule_that_keeps_it() -> None:
    guests = [an_instance("app"), an_instance("db")]

    follows = quoted(nodes("", ""), guests, runs(guests[0], "app", asks_for("db")), runs(guests[1], "db"))
    pair = quoted(nodes("", ""), guests, *(runs(guest, "pair", asks_for("pair")) for guest in guests))

    assert follows == {"app": ("node-2", []), "db": ("node-2", [])}
    assert pair == dict.fromkeys(("app", "db"), ("", ["NoWayThere", "PodAffinity"]))


def emptied(around: Sequence[Node], guests: Sequence[Instance], *pods: Pod) -> Evacuation:
    snapshot = a_cluster(*around, *guests, *pods)
    hosts, ledger = effective_hosts(snapshot), Ledger.of(snapshot)
    found = evacuations(snapshot, hosts, ledger, appraise(snapshot, hosts, ledger))
    return next(each for each in found if each.host == "node-1")


def test_a_host_whose_guests_follow_one_another_can_be_emptied() -> None:
    guests = [an_instance("app"), an_instance("db")]

    found = emptied(nodes("", "", ""), guests, runs(guests[0], "app", asks_for("db")), runs(guests[1], "db"))

    assert found.possible
    assert found.seconds > 0


def test_whoever_needs_somebody_that_cannot_leave_blocks_its_host() -> None:
    guests = [an_instance("app"), an_instance("db", memory_bytes=4 * GIB)]
    pods = [runs(guests[0], "app", asks_for("db")), runs(guests[1], "db", memory_bytes=40 * GIB)]
    room = nodes("", "", memory_bytes=64 * GIB)
    taken = replace(a_pod("taken", node="node-2"), memory_bytes=50 * GIB)

    found = emptied(room, guests, *pods, taken)

    assert [(blocker.guest.name, blocker.codes[0]) for blocker in found.blockers] == [
        ("app", "PodAffinity"),
        ("db", "InsufficientMemory"),
    ]


def test_guests_that_must_keep_apart_and_have_but_one_host_to_go_to_block_theirs() -> None:
    guests = [an_instance("a"), an_instance("b")]
    pods = [runs(guest, "web", apart=[asks_for("web")]) for guest in guests]

    found = emptied(nodes("", ""), guests, *pods)

    assert [blocker.codes for blocker in found.blockers] == [("NoRoomTogether",)]
    assert "must stay apart" in found.blockers[0].message
