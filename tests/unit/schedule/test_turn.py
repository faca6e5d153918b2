"""Which targets have not room for all that are to come, so that an order must be kept."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from support.builders import CAPABILITIES, a_cluster, a_launcher, a_move, a_node, a_plan, a_pod, an_attempt, an_instance
from whimbrel.domain.guests import GuestVolume
from whimbrel.domain.records import Instance, Key
from whimbrel.domain.storage import Claim, CsiNode, Volume
from whimbrel.inventory.ledger import Ledger
from whimbrel.lifecycle.evidence import migration_key
from whimbrel.schedule.candidate import Candidate
from whimbrel.schedule.constraints.turn import crowded

PLAN = a_plan()
CARD = "example.com/card"


def to_node_2(guest: Instance) -> Candidate:
    move = a_move(PLAN, guest, attempt=an_attempt(source="node-1", target="node-2"))
    assert move.move.spec.attempt is not None
    assert PLAN.plan is not None
    spec, key = PLAN.plan.spec, migration_key(move, 1)
    return Candidate.of(PLAN, spec, move, move.move.spec.attempt, guest, key, CAPABILITIES, begun=False)


def crowded_by(guests: Sequence[Instance], *records: Any) -> frozenset[str]:
    ledger = Ledger.of(a_cluster(PLAN, *guests, *records))
    return frozenset(crowded([to_node_2(guest) for guest in guests], ledger))


def volumes(*names: str) -> list[Any]:
    claims = [Claim(Key("default", n), f"uid-{n}", ("ReadWriteMany",), "Block", f"pv-{n}", "fast", 1) for n in names]
    return [*claims, *(Volume(Key("", f"pv-{n}"), f"uid-pv-{n}", ("ReadWriteMany",), "san", "csi", ()) for n in names)]


def with_volume(name: str, claim: str) -> Instance:
    return replace(an_instance(name), volumes=(GuestVolume(claim, "persistentVolumeClaim", claim=claim),))


def test_devices_for_one_are_too_few_for_two() -> None:
    guests = [an_instance("a"), an_instance("b")]
    launchers = [replace(a_launcher(guest), requests=((CARD, 1),)) for guest in guests]
    nodes = [a_node("node-1"), replace(a_node("node-2"), allocatable=((CARD, 1),))]

    assert crowded_by(guests, *nodes, *launchers) == {"node-2"}
    assert crowded_by(guests[:1], *nodes, *launchers) == frozenset()


def test_places_for_volumes_are_counted_once_for_each_volume() -> None:
    limit = CsiNode(Key("", "node-2"), "uid-csi", {"san": 2})
    reader = replace(a_pod("reader", node="node-2"), claims=("read",))
    around = [limit, reader, *volumes("one", "two", "read")]

    assert crowded_by([with_volume("a", "one"), with_volume("b", "two")], *around) == {"node-2"}
    assert crowded_by([with_volume("a", "one"), with_volume("b", "one")], *around) == frozenset()
    assert crowded_by([with_volume("a", "one"), with_volume("b", "read")], *around) == frozenset()
