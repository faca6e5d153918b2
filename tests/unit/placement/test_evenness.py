"""Topology spread among guests that are placed together, judged arrival by arrival as the scheduler does."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from support.builders import CAPABILITIES, GIB, KUBEVIRT_1_5, a_cluster, a_launcher, a_node, a_plan, a_pod, an_instance
from whimbrel.domain.records import Capabilities, Instance, Node, Pod
from whimbrel.domain.scheduling import Scheduling, SpreadConstraint
from whimbrel.domain.selectors import LabelSelector, Requirement
from whimbrel.inventory.hosts import effective_hosts
from whimbrel.inventory.ledger import Ledger
from whimbrel.placement import EvenSpread, Placement, Problem, Request, place
from whimbrel.placement.posing import pose
from whimbrel.preflight import assess

HOSTNAME = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"


def evenly(key: str = ZONE, *, honours_node_affinity: bool = False, min_domains: int = 1) -> SpreadConstraint:
    selector = LabelSelector((Requirement("app", "In", ("web",)),))
    return SpreadConstraint(key, 1, min_domains, selector, honours_node_affinity, honours_taints=False)


def runs(
    instance: Instance, *spread: SpreadConstraint, app: str = "web", node_selector: Sequence[tuple[str, str]] = ()
) -> Pod:
    launcher = a_launcher(instance, memory_bytes=GIB)
    scheduling = Scheduling(spread=spread, node_selector=tuple(node_selector))
    return replace(launcher, labels={**launcher.labels, "app": app}, scheduling=scheduling)


def stays(node: str, name: str = "web") -> Pod:
    return replace(a_pod(f"{name}-{node}", node=node), labels={"app": "web"})


def nodes(zones: Mapping[str, str], roomy: str = "") -> list[Node]:
    return [
        a_node(name, labels={ZONE: zone}, memory_bytes=(640 if name == roomy else 64) * GIB)
        for name, zone in zones.items()
    ]


class Scene:
    def __init__(
        self, around: Sequence[Node], guests: Sequence[Instance], *pods: Pod, capabilities: Capabilities = CAPABILITIES
    ) -> None:
        snapshot = replace(a_cluster(*around, *guests, *pods), capabilities=capabilities)
        plan = a_plan(virtual_machines={"names": ["any"]}).plan
        assert plan is not None
        self.hosts, self.ledger = effective_hosts(snapshot), Ledger.of(snapshot)
        assessment = assess(guests, plan.spec, self.hosts, self.ledger, snapshot)
        self.requests = [Request(guest, assessment) for guest in guests]

    def placed(self) -> Placement:
        return place(self.requests, self.hosts, self.ledger)

    def problem(self) -> Problem:
        return pose(self.requests, self.hosts, self.ledger)


THREE_ZONES = {"node-1": "a", "node-2": "a", "node-3": "b", "node-4": "c"}


def test_two_that_leave_together_do_not_both_go_where_there_is_most_room() -> None:
    guests = [an_instance("x"), an_instance("y")]
    around = nodes(THREE_ZONES, roomy="node-3")
    others = [stays("node-3"), stays("node-4")]

    found = Scene(around, guests, *(runs(guest, evenly()) for guest in guests), *others).placed()

    assert len(found.targets) == 2
    assert list(found.targets.values()).count("node-3") == 1


def test_the_only_host_of_a_zone_can_be_left_though_the_zones_are_uneven_then() -> None:
    """The launcher that is left still counts when its successor is bound."""
    guests = [an_instance("x"), an_instance("y", node="node-3")]
    around = nodes({"node-1": "a", "node-3": "b", "node-4": "c", "node-5": "c"})

    found = Scene(around, guests, *(runs(guest, evenly()) for guest in guests), stays("node-4")).placed()

    assert set(found.targets) == {guest.uid for guest in guests}


def test_one_too_many_for_the_zones_that_are_left_is_stuck_and_says_by_which_rule() -> None:
    guests = [an_instance("x"), an_instance("y")]
    around = nodes({"node-1": "a", "node-3": "b", "node-4": "c"})
    others = [stays("node-3"), stays("node-3", "more"), stays("node-4"), stays("node-4", "more")]

    found = Scene(around, guests, *(runs(guest, evenly()) for guest in guests), *others).placed()

    assert len(found.targets) == 1
    (stuck,) = found.stuck.values()
    assert stuck.words.endswith(f"pods with app=web must be spread evenly over each {ZONE}, with a skew of 1")


def test_where_the_target_is_named_a_constraint_that_honours_node_affinity_is_no_rule() -> None:
    guests = [an_instance("x"), an_instance("y")]
    launchers = [runs(guest, evenly(honours_node_affinity=True)) for guest in guests]

    scene = Scene(nodes(THREE_ZONES, roomy="node-3"), guests, *launchers)

    assert scene.problem().rules == ()
    assert set(scene.placed().targets.values()) == {"node-3"}


def test_where_the_scheduler_chooses_it_is_one() -> None:
    guests = [an_instance("x"), an_instance("y")]
    launchers = [runs(guest, evenly(honours_node_affinity=True)) for guest in guests]

    scene = Scene(nodes(THREE_ZONES, roomy="node-3"), guests, *launchers, capabilities=KUBEVIRT_1_5)

    (rule,) = scene.problem().rules
    assert isinstance(rule, EvenSpread)
    assert rule.domains == (0b0011, 0b0100, 0b1000)
    assert sorted(scene.placed().targets.values()) != ["node-3", "node-3"]


def test_with_a_named_target_and_a_least_number_of_domains_each_host_takes_as_many_as_the_skew() -> None:
    guests = [an_instance(name) for name in ("x", "y", "z")]
    spread = evenly(HOSTNAME, honours_node_affinity=True, min_domains=3)
    around = nodes({"node-1": "a", "node-2": "a", "node-3": "b"})

    found = Scene(around, guests, *(runs(guest, spread) for guest in guests)).placed()

    assert sorted(found.targets.values()) == ["node-2", "node-3"]
    assert "must be spread evenly over each node" in next(iter(found.stuck.values())).words


def test_what_counts_others_that_move_without_holding_it_is_judged_by_where_they_are_now() -> None:
    guests = [an_instance("x"), an_instance("y"), an_instance("z")]
    launchers = [runs(guests[0], evenly()), runs(guests[1], evenly()), runs(guests[2])]

    assert Scene(nodes(THREE_ZONES), guests, *launchers).problem().rules == ()


def test_hosts_without_the_label_take_none_of_them() -> None:
    guests = [an_instance("x"), an_instance("y")]
    around = [*nodes({"node-1": "a", "node-2": "b"}), a_node("node-3", memory_bytes=640 * GIB)]

    found = Scene(around, guests, *(runs(guest, evenly()) for guest in guests)).placed()

    assert "node-3" not in found.targets.values()


def test_many_replicas_leave_a_zone_one_after_the_other() -> None:
    around = nodes({f"node-{n:02d}": "abc"[n % 3] for n in range(30)})
    guests = [an_instance(f"vm-{n:02d}", node=f"node-{n % 3:02d}") for n in range(30)]

    found = Scene(around, guests, *(runs(guest, evenly()) for guest in guests)).placed()

    assert set(found.targets) == {guest.uid for guest in guests}
