"""Attach limits, counted for all that arrive and leave together."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from support.builders import GIB, a_cluster, a_launcher, a_node, a_plan, a_pod, an_instance
from whimbrel.domain.guests import GuestVolume
from whimbrel.domain.records import Instance, Key, Pod
from whimbrel.domain.storage import Attachment, Claim, CsiNode, Volume
from whimbrel.inventory.hosts import effective_hosts
from whimbrel.inventory.ledger import Ledger
from whimbrel.placement import Placement, Request, capacity_reasons, place, planned
from whimbrel.placement.posing import pose
from whimbrel.preflight import Assessment, assess
from whimbrel.schedule.evacuation import appraise, evacuations


def a_guest(name: str, *claims: str, node: str = "node-1") -> Instance:
    volumes = tuple(GuestVolume(claim, "persistentVolumeClaim", claim=claim) for claim in claims)
    return replace(an_instance(name, node=node, memory_bytes=GIB), volumes=volumes)


def with_two_volumes(count: int, node: str = "node-1") -> list[Instance]:
    return [a_guest(f"vm-{n}", f"vm-{n}-root", f"vm-{n}-data", node=node) for n in range(count)]


class Scene:
    """A cluster with attach limits by node; every guest's launcher uses its claims, and these are attached."""

    def __init__(self, limits: Mapping[str, int | None], guests: Sequence[Instance], *more: Any) -> None:
        self.guests = guests
        nodes = [a_node(name) for name in sorted({"node-1", *limits})]
        records: list[Any] = [*guests, *more]
        claims = {volume.claim for guest in guests for volume in guest.volumes}
        for claim in sorted(claims | {"other"}):
            modes = ("ReadWriteMany",)
            records.append(Claim(Key("default", claim), f"uid-{claim}", modes, "Block", f"pv-{claim}", "fast", 1))
            records.append(Volume(Key("", f"pv-{claim}"), f"uid-pv-{claim}", modes, "san", "csi", (), "Block"))
        for guest in guests:
            records.append(replace(a_launcher(guest), claims=tuple(volume.claim for volume in guest.volumes)))
            records += [attached(volume.claim, guest.node) for volume in guest.volumes]
        csi_nodes = [CsiNode(Key("", node.name), f"uid-{node.name}", {"san": limits.get(node.name)}) for node in nodes]
        self.snapshot = a_cluster(*nodes, *csi_nodes, *records)
        self.hosts, self.ledger = effective_hosts(self.snapshot), Ledger.of(self.snapshot)

    def assessed(self) -> Assessment:
        plan = a_plan(virtual_machines={"names": ["any"]}).plan
        assert plan is not None
        return assess(self.guests, plan.spec, self.hosts, self.ledger, self.snapshot)

    def requests(self, *leaving: str) -> list[Request]:
        assessment = self.assessed()
        return [Request(guest, assessment) for guest in self.guests if not leaving or guest.key.name in leaving]

    def placed(self, *leaving: str) -> Placement:
        return place(self.requests(*leaving), self.hosts, self.ledger)


def reader(node: str) -> Pod:
    """A pod with a volume of its own."""
    return replace(a_pod(f"reader-{node}", node=node), claims=("other",))


def attached(claim: str, node: str) -> Attachment:
    return Attachment(Key("", f"va-{claim}-{node}"), f"uid-va-{claim}-{node}", "san", node, f"pv-{claim}")


def test_five_guests_with_two_volumes_each_do_not_all_go_to_a_host_that_takes_eight() -> None:
    scene = Scene({"node-2": 8}, with_two_volumes(5))

    found = scene.placed()

    (conflict,) = found.conflicts
    assert len(found.targets) == 4
    assert "node-2 has 8 of attachable-volumes-csi-san free" in conflict.words
    after = planned(scene.guests, found.targets, scene.ledger)
    (left,) = (guest for guest in scene.guests if guest.uid not in found.targets)
    (reason,) = capacity_reasons(left, scene.assessed(), after)
    assert (reason.code, reason.found, reason.needed) == ("AttachLimitReached", "8 of 8 attached", "2 more")


def test_whom_one_host_does_not_take_any_more_another_one_does() -> None:
    found = Scene({"node-2": 8, "node-3": 2}, with_two_volumes(5)).placed()

    assert sorted(found.targets.values()) == [*["node-2"] * 4, "node-3"]


def test_a_host_without_a_limit_takes_them_all() -> None:
    found = Scene({"node-2": 1, "node-3": None}, with_two_volumes(5)).placed()

    assert set(found.targets.values()) == {"node-3"}


def test_places_that_a_departure_frees_are_taken_after_it() -> None:
    guests = [a_guest("coming", "c-1", "c-2"), a_guest("leaving", "l-1", "l-2", node="node-2")]
    only_there = Scene({"node-1": 2, "node-2": 2, "node-3": 2}, guests)
    with_a_reader = Scene({"node-1": 2, "node-2": 2, "node-3": 2}, guests, reader("node-3"))

    found, swap = only_there.placed(), with_a_reader.placed()

    assert set(found.targets) == {guest.uid for guest in guests}
    assert swap.targets == {}
    assert swap.stuck[guests[0].uid].words == (
        "default/coming can go to node-2 only after default/leaving, "
        "and no host that the plan admits can take one of them in between"
    )


def test_who_comes_into_places_that_are_still_taken_waits_for_its_turn() -> None:
    guests = [a_guest("coming", "c-1", "c-2"), a_guest("leaving", "l-1", "l-2", node="node-2")]
    scene = Scene({"node-1": 1, "node-2": 2, "node-3": 3}, guests, reader("node-3"))

    found = scene.placed()

    assert found.targets == {guests[0].uid: "node-2", guests[1].uid: "node-3"}
    assert found.later == {guests[0].uid}


def test_what_a_guest_shares_with_one_that_stays_is_not_free_when_it_leaves() -> None:
    leaves, stays = a_guest("leaves", "shared", node="node-2"), a_guest("stays", "shared", node="node-2")
    comes, bare = a_guest("comes", "own"), a_guest("bare")
    scene = Scene({"node-2": 1}, [leaves, stays, comes, bare])

    kept_out = scene.placed("leaves", "comes", "bare")

    assert kept_out.targets == {leaves.uid: "node-1", bare.uid: "node-2"}
    assert "node-2 has 0 of attachable-volumes-csi-san free" in kept_out.conflicts[0].words


def test_places_are_no_amount_of_the_problem_where_there_are_plenty() -> None:
    plenty, few = Scene({"node-2": 10}, with_two_volumes(5)), Scene({"node-2": 9}, with_two_volumes(5))

    def amounts(scene: Scene) -> Sequence[str]:
        return pose(scene.requests(), scene.hosts, scene.ledger).resources

    assert [*amounts(plenty), "attachable-volumes-csi-san"] == [*amounts(few)]


def test_hosts_count_the_volumes_of_all_that_leave_together() -> None:
    scene = Scene({"node-2": 3}, with_two_volumes(2))
    found = evacuations(scene.snapshot, scene.hosts, scene.ledger, appraise(scene.snapshot, scene.hosts, scene.ledger))
    (blocker,) = next(each for each in found if each.host == "node-1").blockers

    assert blocker.codes == ("NoRoomTogether",)
    assert "node-2 has 3 of attachable-volumes-csi-san free" in blocker.message


def test_guests_that_share_a_volume_go_together_where_it_takes_one_place() -> None:
    shared = [a_guest("a", "both"), a_guest("b", "both")]
    apart = [a_guest("a", "one"), a_guest("b", "two")]

    together, conflict = Scene({"node-2": 1}, shared).placed(), Scene({"node-2": 1}, apart).placed()

    assert set(together.targets.values()) == {"node-2"}
    assert len(together.targets) == 2
    assert [len(each.guests) for each in conflict.conflicts] == [2]


def test_a_guest_goes_where_its_volume_is_already_though_no_place_is_left_there() -> None:
    scene = Scene({"node-2": 1}, [a_guest("a", "both"), a_guest("c", "both", node="node-2")])

    assert scene.placed("a").targets == {"uid-default-a": "node-2"}


def test_a_want_of_memory_is_proven_whatever_volumes_are_shared() -> None:
    guests = [replace(guest, memory_bytes=40 * GIB) for guest in (a_guest("a", "both"), a_guest("b", "both"))]
    scene = Scene({"node-2": 10}, guests)
    scene.snapshot = replace(
        scene.snapshot,
        pods={key: replace(pod, memory_bytes=40 * GIB) for key, pod in scene.snapshot.pods.items()},
    )
    scene.ledger = Ledger.of(scene.snapshot)

    (conflict,) = scene.placed().conflicts

    assert len(conflict.guests) == 2
    assert "of memory free" in conflict.words
