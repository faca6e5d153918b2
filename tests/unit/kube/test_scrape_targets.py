"""Which virt-handlers are read: those of our migrations, then all others in turn, within a budget."""

from collections import Counter
from dataclasses import replace

from support.builders import NOW, a_handler, a_migration, a_migration_state, a_move, a_plan, an_instance
from whimbrel.domain.naming import LABEL_MANAGED
from whimbrel.domain.records import Instance, Key, Migration
from whimbrel.kube.scrape_targets import (
    EACH_NODE_EVERY_S,
    NODES_AT_A_TIME,
    Address,
    Flight,
    addresses,
    awaited_nodes,
    in_flight,
    next_nodes,
    running_guests,
)


def flying() -> tuple[Migration, Instance]:
    instance = an_instance("db1")
    migration = a_migration(instance, labels={LABEL_MANAGED: "true"})
    return migration, replace(instance, migration=a_migration_state(migration.uid))


def nodes_of(migration: Migration, instance: Instance) -> list[str]:
    return list(in_flight({migration.key: migration}, {instance.key: instance}))


def test_only_our_unfinished_migrations_that_the_instance_shows_are_in_flight() -> None:
    migration, instance = flying()

    assert in_flight({migration.key: migration}, {instance.key: instance}) == {
        "node-1": {instance.key: Flight(migration.uid, NOW)}
    }
    assert nodes_of(replace(migration, phase="Succeeded"), instance) == []
    assert nodes_of(replace(migration, labels={}), instance) == []
    assert nodes_of(replace(migration, uid="next"), instance) == [], "what the instance shows is of the one before"
    assert nodes_of(migration, replace(instance, migration=None)) == []


def test_a_pod_outside_kubevirts_namespace_is_no_virt_handler() -> None:
    handler = a_handler("node-1")
    posing = replace(a_handler("node-2"), key=Key("evil", "virt-handler"))

    assert addresses([handler, posing], "kubevirt") == {"node-1": Address("127.0.1.1", 8443)}
    assert addresses([replace(handler, ip=""), replace(handler, deleting=True)], "kubevirt") == {}


def test_only_guests_that_run_are_asked_about() -> None:
    guests = [an_instance("db1"), an_instance("db2", phase="Scheduled"), an_instance("db3", node="node-2")]

    assert running_guests({guest.key: guest for guest in guests}) == {
        "node-1": {guests[0].key},
        "node-2": {guests[2].key},
    }


def test_nodes_of_guests_with_unfinished_moves_are_awaited() -> None:
    guests = [an_instance("db1"), an_instance("db2", node="node-2"), an_instance("db3", node="node-3")]
    plan = a_plan()
    moves = [a_move(plan, guests[0]), a_move(plan, guests[1], phase="Succeeded"), a_move(plan, an_instance("gone"))]

    assert awaited_nodes(moves, {guest.key: guest for guest in guests}) == {"node-1"}


def test_awaited_nodes_come_first_then_who_was_read_longest_ago() -> None:
    read_at_s = {"a": 10.0, "b": 0.0, "c": 20.0, "d": 5.0}

    assert next_nodes("abcde", {"c"}, read_at_s, 60.0, 4) == ["c", "e", "b", "d"]


def test_no_node_is_read_more_often_than_its_interval_and_none_beyond_the_budget() -> None:
    read_at_s = {"a": 31.0, "b": 30.0}

    assert next_nodes("ab", {"a"}, read_at_s, 60.0, 9) == ["b"]
    assert next_nodes("ab", (), {}, 60.0, 0) == []
    assert next_nodes("ab", (), {}, 60.0, -3) == []


def test_a_thousand_nodes_are_all_read_in_turn() -> None:
    nodes = [f"node-{number}" for number in range(1000)]
    read_at_s: dict[str, float] = {}
    count: Counter[str] = Counter()

    for turn in range(126):
        chosen = next_nodes(nodes, (), read_at_s, turn * 5.0, NODES_AT_A_TIME)
        read_at_s |= dict.fromkeys(chosen, turn * 5.0)
        count.update(chosen)

    assert set(count) == set(nodes)
    assert max(count.values()) - min(count.values()) <= 1


def test_more_awaited_nodes_than_the_budget_are_read_in_turn_too() -> None:
    nodes = [f"node-{number}" for number in range(40)]
    read_at_s: dict[str, float] = {}

    for turn in range(3):
        read_at_s |= dict.fromkeys(next_nodes(nodes, nodes, read_at_s, turn * 5.0, NODES_AT_A_TIME), turn * 5.0)

    assert len(read_at_s) == 40
    assert next_nodes(nodes, nodes, read_at_s, EACH_NODE_EVERY_S - 1, NODES_AT_A_TIME) == []
