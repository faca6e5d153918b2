"""All plans in one quote: who holds room against whom, what an approval is worth, and whose names a reader sees."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from support.builders import GIB, a_cluster, a_launcher, a_node, a_plan, an_instance
from whimbrel.api.migration_plan import MigrationPlanSpec
from whimbrel.domain.records import Condition, Instance
from whimbrel.inventory.hosts import effective_hosts
from whimbrel.inventory.ledger import Ledger
from whimbrel.schedule.outlook import quote_hash
from whimbrel.schedule.together import Asked, Quoted, quotes
from whimbrel.schedule.verdicts import verdicts_of

BROKEN = Condition("False", "DisksNotLiveMigratable", "not shared")


def big(name: str, node: str = "node-1", namespace: str = "default", gib: int = 6, **more: Any) -> Instance:
    return an_instance(name, namespace, node=node, memory_bytes=gib * GIB, **more)


def asks(name: str, *instances: Instance, to: tuple[str, ...], leave: bool = False, **more: Any) -> Asked:
    """A plan of that name, in that namespace or in `default`, that brings these to one of some nodes."""
    keep = more.pop("keep", {})
    machines = {
        "names": [instance.key.name for instance in instances],
        "nonMigratable": "Leave" if leave else "Block",
    }
    return Asked(
        plan_uid=name,
        spec=spec(machines, to),
        instances=instances,
        keep={instance.uid: keep[instance.key.name] for instance in instances if instance.key.name in keep},
        **{"namespace": "default", "generation": 1, **more},
    )


def spec(machines: Mapping[str, Any], to: tuple[str, ...]) -> MigrationPlanSpec:
    plan = a_plan(virtual_machines=machines, target={"nodeNames": list(to)}).plan
    assert plan is not None
    return plan.spec


def quoted(*asked: Asked, gib: Mapping[str, int] | None = None, hosts: int = 4) -> Mapping[str, Quoted]:
    """Quotes on hosts node-1 to node-n, each with 8 GiB or so many; launchers request just the guests' memory."""
    sizes = {f"node-{number}": 8 for number in range(1, hosts + 1)} | dict(gib or {})
    guests = {instance.uid: instance for each in asked for instance in each.instances}
    launchers = [a_launcher(instance, memory_bytes=instance.memory_bytes) for instance in guests.values()]
    nodes = [a_node(name, memory_bytes=size * GIB) for name, size in sizes.items()]
    snapshot = a_cluster(*nodes, *guests.values(), *launchers)
    claims = {instance.uid: each.plan_uid for each in reversed(asked) for instance in each.instances}
    return quotes(asked, effective_hosts(snapshot), Ledger.of(snapshot), snapshot, claims)


def targets(found: Quoted) -> dict[str, str]:
    return {line.instance.key.name: line.target.name if line.target else "" for line in found.lines}


def codes(found: Quoted) -> dict[str, list[str]]:
    return {line.instance.key.name: [reason.code for reason in line.reasons] for line in found.lines}


# Gates


def test_a_plan_whose_gate_is_shut_does_not_hold_the_room_that_it_was_quoted() -> None:
    held = asks("held", big("a"), to=("node-3",), keep={"a": "node-3"}, shut=True)
    other = asks("other", big("b", "node-2"), to=("node-3",))

    found = quoted(held, other)

    assert (targets(found["held"]), targets(found["other"])) == ({"a": ""}, {"b": "node-3"})
    assert found["held"].stuck
    assert not found["other"].stuck


def test_what_the_others_leave_is_quoted_to_it_with_the_room_that_their_departures_free() -> None:
    held = asks("held", big("a"), to=("node-2",), shut=True)
    other = asks("other", big("b", "node-2"), to=("node-3",))

    assert targets(quoted(held, other)["held"]) == {"a": "node-2"}


def test_shut_plans_do_not_compete_with_one_another() -> None:
    held = [asks(name, big(name, f"node-{n}"), to=("node-3",), shut=True) for n, name in ((1, "a"), (2, "b"))]

    found = quoted(*held)

    assert [targets(found[name])[name] for name in ("a", "b")] == ["node-3", "node-3"]


def test_a_plan_that_a_lasting_reason_blocks_holds_no_room() -> None:
    stuck = asks("stuck", big("a"), big("fixed", gib=1, live_migratable=BROKEN), to=("node-3",), keep={"a": "node-3"})
    other = asks("other", big("b", "node-2"), to=("node-3",))

    assert targets(quoted(stuck, other)["other"]) == {"b": "node-3"}


def test_a_plan_that_lacks_room_for_one_of_its_own_holds_none_for_the_others() -> None:
    guests = (big("a", gib=5), big("c", gib=5))
    lacking = asks("lacking", *guests, to=("node-3",), keep={"a": "node-3"}, stood_blocked=True)
    other = asks("other", big("b", "node-2"), to=("node-3",))

    found = quoted(lacking, other, gib={"node-1": 16})

    assert targets(found["other"]) == {"b": "node-3"}
    assert found["other"].lines[0].in_turn  # it was placed as if the blocked plan were not there
    assert found["lacking"].stuck


def test_of_new_plans_that_block_one_another_the_first_that_can_go_goes() -> None:
    guests = (big("a", gib=7), big("c", gib=7))
    lacking = asks("lacking", *guests, to=("node-3",))
    second, third = (asks(name, big(name, "node-2"), to=("node-3",)) for name in ("second", "third"))

    found = quoted(lacking, second, third, gib={"node-1": 16, "node-2": 16})

    assert [found[name].stuck for name in ("lacking", "second", "third")] == [True, False, True]
    assert not found["second"].lines[0].in_turn  # the next outlook places it with the others and finds the order


def test_a_plan_that_leaves_what_cannot_move_keeps_the_room_of_the_rest() -> None:
    leaving = asks("leaving", big("a"), big("fixed", gib=1, live_migratable=BROKEN), to=("node-3",), leave=True)
    other = asks("other", big("b", "node-2"), to=("node-3",), keep={})

    found = quoted(leaving, other)

    assert (targets(found["leaving"])["a"], targets(found["other"])) == ("node-3", {"b": ""})


def test_two_plans_that_can_only_go_together_go_though_both_were_blocked_before() -> None:
    first = asks("first", big("a"), to=("node-2", "node-3"), stood_blocked=True)
    second = asks("second", big("b", "node-2"), to=("node-1", "node-3"), stood_blocked=True)
    third = asks("third", big("c", "node-4", gib=3), to=("node-3",))

    found = quoted(first, second, third)

    assert [line.final for line in found["first"].lines] == ["node-2"]
    assert targets(found["second"]) == {"b": "node-1"}


# Approval


def test_an_approval_does_not_change_the_quote_that_it_is_given_for() -> None:
    other = asks("other", big("x", "node-4"), to=("node-2", "node-3"), keep={"x": "node-2"})
    asked = asks("asked", big("a"), to=("node-2",), leave=True, shut=True)

    before = quote_hash(1, quoted(asked, other)["asked"].lines)
    approved = replace(asked, shut=False, promised=before)

    assert targets(quoted(asked, other)["asked"]) == {"a": ""}
    assert quote_hash(1, quoted(approved, other)["asked"].lines) == before
    unpromised = quoted(replace(approved, promised=""), other)
    assert targets(unpromised["asked"]) == {"a": "node-2"}  # together, another one would make room for it


def test_nobody_gets_the_room_of_an_approved_plan_because_it_is_not_placed_with_the_others() -> None:
    other = asks("other", big("x", "node-4"), to=("node-2", "node-5"), keep={"x": "node-2"})
    asked = asks("asked", big("a"), big("c"), to=("node-2", "node-3"), keep={"a": "node-3"}, leave=True, shut=True)
    late = asks("late", big("q", "node-6"), to=("node-3", "node-7"), leave=True)
    before = quote_hash(1, quoted(asked, other, hosts=7, gib={"node-1": 16})["asked"].lines)

    found = quoted(replace(asked, shut=False, promised=before), other, late, hosts=7, gib={"node-1": 16})

    assert targets(found["asked"]) == {"a": "node-3", "c": ""}
    assert quote_hash(1, found["asked"].lines) == before
    assert targets(found["late"]) == {"q": "node-7"}


def test_an_approved_plan_holds_its_room_from_then_on() -> None:
    asked = asks("asked", big("a"), to=("node-3",), keep={"a": "node-3"}, shut=True)
    other = asks("other", big("b", "node-2"), to=("node-3", "node-4"))
    approved = replace(asked, shut=False, promised=quote_hash(1, quoted(asked)["asked"].lines))

    found = quoted(approved, other)

    assert (targets(found["asked"]), targets(found["other"])) == ({"a": "node-3"}, {"b": "node-4"})


def test_an_approval_does_not_keep_what_has_become_impossible() -> None:
    asked = asks("asked", big("a"), to=("node-3", "node-4"), keep={"a": "node-3"}, shut=True)
    before = quote_hash(1, quoted(asked)["asked"].lines)

    found = quoted(replace(asked, shut=False, promised=before), gib={"node-3": 4})["asked"]

    assert targets(found) == {"a": "node-4"}
    assert quote_hash(1, found.lines) != before


def test_an_older_plan_that_is_placed_afterwards_too_does_not_get_the_approved_room() -> None:
    other = asks("other", big("x", "node-4"), to=("node-2", "node-5"), keep={"x": "node-2"})
    asked = asks("asked", big("a"), big("c"), to=("node-2", "node-3"), keep={"a": "node-3"}, leave=True, shut=True)
    older = asks("older", big("q", "node-6"), to=("node-3",))
    before = quote_hash(1, quoted(asked, other, hosts=6, gib={"node-1": 16})["asked"].lines)

    found = quoted(older, replace(asked, shut=False, promised=before), other, hosts=6, gib={"node-1": 16})

    assert quote_hash(1, found["asked"].lines) == before
    assert targets(found["older"]) == {"q": ""}


def test_of_two_plans_that_were_approved_for_one_room_the_older_has_it() -> None:
    asked = [
        asks(name, big(name, f"node-{n}", gib=5 + n), to=("node-3",), shut=True) for n, name in ((1, "a"), (2, "b"))
    ]
    hashes = [quote_hash(1, quoted(each)[each.plan_uid].lines) for each in asked]
    approved = [
        replace(each, shut=False, promised=promised, keep={each.instances[0].uid: "node-3"})
        for each, promised in zip(asked, hashes, strict=True)
    ]

    found = quoted(*approved)

    assert (targets(found["a"]), targets(found["b"])) == ({"a": "node-3"}, {"b": ""})
    assert quote_hash(1, found["a"].lines) == hashes[0]


def test_a_plan_that_counts_again_brings_only_what_it_has_a_claim_to() -> None:
    older = asks("older", big("a"), to=("node-3",), leave=True)
    lacking = asks("lacking", big("c", "node-2", gib=7), big("d", "node-2", gib=7), to=("node-4",))
    second = asks("second", *older.instances, big("e", "node-2", gib=5), to=("node-4",))
    third = asks("third", big("f", "node-2", gib=6), to=("node-4",), shut=True)

    found = quoted(older, lacking, second, third, gib={"node-2": 32, "node-4": 12})

    assert targets(found["older"]) == {"a": "node-3"}
    assert targets(found["second"]) == {"a": "node-4", "e": "node-4"}
    assert targets(found["third"]) == {"f": "node-4"}  # beside e, because a goes where the older plan brings it


# A stop on the way


def test_who_cannot_go_on_from_a_stop_on_its_way_ends_there_where_the_plan_admits_that_host() -> None:
    guest, uid = big("a", "node-3"), "uid-default-a"
    on_its_way = {"on_their_way": frozenset({uid}), "far_travelled": frozenset({uid})}

    admitted = quoted(asks("plan", guest, to=("node-2", "node-3"), **on_its_way), gib={"node-2": 4})["plan"]
    refused = quoted(asks("plan", guest, to=("node-2",), **on_its_way), gib={"node-2": 4})["plan"]
    goes_on = quoted(asks("plan", guest, to=("node-2", "node-3"), **on_its_way))["plan"]

    assert [(line.ends_here, line.settled) for line in admitted.lines] == [(True, True)]
    assert not admitted.stuck
    assert [(line.ends_here, line.settled) for line in refused.lines] == [(False, False)]
    assert refused.stuck
    assert targets(goes_on) == {"a": "node-2"}


def test_it_does_not_end_there_while_somebody_is_about_to_make_room_elsewhere() -> None:
    asked = asks("plan", big("a", "node-3"), to=("node-2", "node-3"), on_their_way=frozenset({"uid-default-a"}))

    waiting = quoted(replace(asked, leaving=frozenset({"node-2"})), gib={"node-2": 4})["plan"]
    elsewhere = quoted(replace(asked, leaving=frozenset({"node-4"})), gib={"node-2": 4})["plan"]

    assert [line.ends_here for line in waiting.lines] == [False]
    assert [line.ends_here for line in elsewhere.lines] == [True]


def test_while_its_plan_may_start_nothing_it_does_not_end_there() -> None:
    asked = asks("plan", big("a", "node-3"), to=("node-2", "node-3"), on_their_way=frozenset({"uid-default-a"}))

    assert not quoted(replace(asked, shut=True), gib={"node-2": 4})["plan"].lines[0].ends_here


# Names


def conflict_of(namespace: str) -> Quoted:
    """The quote of a plan in `shop`, beside one in another namespace that takes the only room."""
    first = asks("first", big("annex", namespace=namespace), to=("node-3",), namespace=namespace)
    second = asks("second", big("site", "node-2", "shop"), to=("node-3",), namespace="shop")
    return quoted(first, second)["second"]


def test_a_conflict_names_whom_its_reader_may_know_and_counts_the_others() -> None:
    within, across = conflict_of("shop"), conflict_of("bank")

    assert [(c.virtual_machines, c.unnamed) for c in within.conflicts] == [(("shop/annex", "shop/site"), 0)]
    assert within.conflicts[0].words.startswith("shop/annex and shop/site cannot all be placed: ")
    assert [(c.virtual_machines, c.unnamed) for c in across.conflicts] == [(("shop/site",), 1)]
    assert across.conflicts[0].words == (
        "shop/site and a virtual machine of another namespace cannot all be placed: only node-3 may take them, and node-3 has "
        "8.0 GiB of memory free."
    )
    assert "bank" not in str(verdicts_of(across.lines[0].reasons))


def test_a_plan_that_selects_other_namespaces_names_their_virtual_machines_too() -> None:
    guests = big("annex", namespace="bank"), big("site", namespace="shop")
    found = quoted(asks("plan", *guests, to=("node-3",), namespace="ops"), gib={"node-1": 16})["plan"]

    assert [c.virtual_machines for c in found.conflicts] == [("bank/annex", "shop/site")]


def test_who_stands_in_the_way_is_named_only_within_the_namespace() -> None:
    first = asks("first", big("annex", namespace="bank"), to=("node-2",), namespace="bank", leave=True)
    second = asks("second", big("site", "node-2", "shop"), to=("node-1",), namespace="shop", leave=True)

    (line,) = quoted(first, second, hosts=2)["second"].lines

    assert [reason.found for reason in line.reasons if reason.code == "NoWayThere"] == [
        "shop/site can go to node-1 only after a virtual machine of another namespace, and no host that the plan "
        "admits can take one of them in between"
    ]


def test_those_that_no_order_of_moves_leads_to_their_place_stand_among_the_conflicts() -> None:
    first = asks("first", big("annex", namespace="bank"), to=("node-2",), namespace="bank", leave=True)
    second = asks("second", big("site", "node-2", "shop"), to=("node-1",), namespace="shop", leave=True)

    found = quoted(first, second, hosts=2)["second"]

    assert [(c.virtual_machines, c.unnamed, c.words) for c in found.conflicts] == [
        (
            ("shop/site",),
            0,
            "shop/site can go to node-1 only after a virtual machine of another namespace, and no host that the plan admits "
            "can take one of them in between.",
        )
    ]
