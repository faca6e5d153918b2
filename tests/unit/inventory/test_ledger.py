"""The ledger counts everybody: pods, migrations, arrivals that are not there yet, and what is reserved."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from support.builders import (
    GIB,
    MIB,
    a_launcher,
    a_migration,
    a_migration_state,
    a_move,
    a_node,
    a_plan,
    a_pod,
    a_snapshot,
    an_attempt,
    an_instance,
)
from whimbrel.domain.naming import (
    ANNOTATION_MOVE,
    ANNOTATION_PLAN,
    LABEL_ATTEMPT,
    LABEL_INSTANCE_UID,
    LABEL_MANAGED,
    LABEL_PLAN_UID,
)
from whimbrel.domain.records import Key, Migration
from whimbrel.domain.scheduling import Nomination
from whimbrel.domain.selectors import LabelSelector
from whimbrel.inventory.ledger import Ledger, PodDemand
from whimbrel.inventory.snapshot import Snapshot
from whimbrel.lifecycle.evidence import migration_key

EVERYTHING = LabelSelector(())
NODES = (a_node("node-1"), a_node("node-2"), a_node("node-3"))


def test_pods_that_have_not_ended_take_what_they_request() -> None:
    snapshot = a_snapshot(
        a_node(memory_bytes=8 * GIB, cpu_millicores=4000, pods=10),
        a_pod("runs", memory_bytes=GIB, cpu_millicores=500),
        a_pod("leaves", memory_bytes=GIB, cpu_millicores=500, deleting=True),
        a_pod("ended", memory_bytes=GIB, phase="Succeeded"),
        a_pod("unbound", memory_bytes=GIB, node="", phase="Pending"),
    )

    ledger = Ledger.of(snapshot)

    assert ledger.free_memory_bytes("node-1") == 6 * GIB
    assert ledger.free_cpu_millicores("node-1") == 3000
    assert ledger.free_pods("node-1") == 8


def test_room_that_the_scheduler_makes_for_a_pod_is_taken_and_that_of_a_target_launcher_once() -> None:
    instance = an_instance()
    migration = a_migration(instance, phase="Pending", target="node-2")
    launcher = a_launcher(instance, memory_bytes=2 * GIB)
    coming = a_launcher(instance, node="", migration_uid=migration.uid, phase="Pending", memory_bytes=2 * GIB)
    waiting = a_pod("big", node="", phase="Pending", memory_bytes=5 * GIB)
    snapshot = a_snapshot(
        *NODES,
        instance,
        launcher,
        migration,
        replace(coming, nomination=Nomination("node-2", 10)),
        replace(waiting, nomination=Nomination("node-2", 1000)),
    )

    ledger = Ledger.of(snapshot)

    assert ledger.free_memory_bytes("node-2") == (64 - 2 - 5) * GIB
    assert {pod.key.name for pod in ledger.nominated["node-2"]} == {coming.key.name, "big"}
    assert "node-1" not in ledger.nominated


def test_headroom_is_a_share_of_what_the_node_has() -> None:
    ledger = Ledger.of(a_snapshot(a_node(memory_bytes=10 * GIB), a_pod(memory_bytes=5 * GIB)))

    assert ledger.free_memory_bytes("node-1", 20) == 3 * GIB
    assert ledger.free_memory_bytes("node-1", 90) == -4 * GIB


def test_a_foreign_migration_takes_a_slot_at_both_ends_and_its_room_before_its_pod_is_there() -> None:
    instance = an_instance(memory_bytes=4 * GIB)
    launcher = a_launcher(instance, memory_bytes=5 * GIB, cpu_millicores=700)
    snapshot = a_snapshot(*NODES, instance, launcher, a_migration(instance, phase="Pending", target="node-2"))

    ledger = Ledger.of(snapshot)

    assert (ledger.in_flight, ledger.outbound("node-1"), ledger.inbound("node-2")) == (1, 1, 1)
    assert ledger.free_memory_bytes("node-2") == 59 * GIB
    assert ledger.free_cpu_millicores("node-2") == 32_000 - 700
    assert ledger.free_pods("node-2") == 109


def test_a_target_launcher_that_is_bound_counts_once() -> None:
    instance = an_instance()
    migration = a_migration(instance, phase="Scheduling")
    arrival = a_launcher(instance, node="node-3", migration_uid=migration.uid, phase="Pending", memory_bytes=2 * GIB)
    snapshot = a_snapshot(*NODES, instance, a_launcher(instance), migration, arrival)

    ledger = Ledger.of(snapshot)

    assert ledger.inbound("node-3") == 1
    assert ledger.free_memory_bytes("node-3") == 62 * GIB


def test_a_target_launcher_that_is_not_bound_yet_is_reserved_where_its_migration_asks_for() -> None:
    instance = an_instance()
    migration = a_migration(instance, phase="Scheduling", target="node-2")
    arrival = a_launcher(instance, node="", migration_uid=migration.uid, phase="Pending")
    snapshot = a_snapshot(*NODES, instance, a_launcher(instance, memory_bytes=2 * GIB), migration, arrival)

    assert Ledger.of(snapshot).free_memory_bytes("node-2") == 62 * GIB


def test_the_nodes_of_a_migration_that_was_handed_off_are_those_of_its_state() -> None:
    migration_uid = "uid-migration-migrate-db1"
    instance = an_instance(node="node-2", migration=a_migration_state(migration_uid, "node-1", "node-2"))
    snapshot = a_snapshot(*NODES, instance, a_launcher(instance), a_migration(instance, target="node-3"))

    ledger = Ledger.of(snapshot)

    assert (ledger.outbound("node-1"), ledger.outbound("node-2")) == (1, 0)
    assert (ledger.inbound("node-2"), ledger.inbound("node-3")) == (1, 0)


def test_the_state_of_an_earlier_migration_is_not_believed() -> None:
    instance = an_instance(node="node-2", migration=a_migration_state("another", "node-1", "node-2"))
    snapshot = a_snapshot(*NODES, instance, a_launcher(instance), a_migration(instance, phase="Pending"))

    ledger = Ledger.of(snapshot)

    assert (ledger.outbound("node-2"), ledger.inbound("node-2"), ledger.in_flight) == (1, 0, 1)


def test_a_target_is_asked_for_by_the_value_of_the_hostname_label() -> None:
    instance = an_instance()
    there = a_node("node-9", labels={"kubernetes.io/hostname": "nine"})
    snapshot = a_snapshot(*NODES, there, instance, a_migration(instance, target="nine"))

    assert Ledger.of(snapshot).inbound("node-9") == 1


def test_a_migration_that_has_ended_counts_nowhere() -> None:
    instance = an_instance()
    snapshot = a_snapshot(*NODES, instance, a_migration(instance, phase="Succeeded", target="node-2"))

    ledger = Ledger.of(snapshot)

    assert (ledger.in_flight, ledger.inbound("node-2"), ledger.free_pods("node-2")) == (0, 0, 110)
    assert ledger.unfinished_migration(instance.key) is None


def test_a_migration_of_an_instance_that_is_gone_still_takes_a_slot_of_the_cluster() -> None:
    ledger = Ledger.of(a_snapshot(*NODES, a_migration(an_instance(), target="node-2")))

    assert (ledger.in_flight, ledger.inbound("node-2"), ledger.outbound("node-1")) == (1, 1, 0)


def test_of_several_unfinished_migrations_the_one_handed_off_is_the_instances_own() -> None:
    instance = an_instance(migration=a_migration_state("uid-migration-b"))
    older, handed_off = a_migration(instance, "a"), a_migration(instance, "b")

    ledger = Ledger.of(a_snapshot(*NODES, instance, older, handed_off))

    assert ledger.unfinished_migration(instance.key) == handed_off
    assert ledger.in_flight == 2


def test_the_demand_of_a_guest_is_what_its_launcher_requests() -> None:
    instance = an_instance(node="node-2")
    former = a_launcher(instance, node="node-1", memory_bytes=9 * GIB)
    current = a_launcher(instance, node="node-2", migration_uid="done", memory_bytes=2 * GIB, cpu_millicores=300)

    ledger = Ledger.of(a_snapshot(*NODES, instance, former, current))

    assert ledger.demand(instance) == PodDemand(2 * GIB, 300)
    assert ledger.launchers(instance) == (former, current)


def test_a_guest_without_a_known_launcher_demands_its_memory() -> None:
    instance = an_instance(memory_bytes=3 * GIB)

    assert Ledger.of(a_snapshot(instance)).demand(instance) == PodDemand(3 * GIB, 0)


def test_a_pod_of_another_namespace_is_nobodys_launcher_whatever_it_says_of_itself() -> None:
    guest = an_instance()
    posing = replace(a_launcher(guest, node="node-1", memory_bytes=9 * GIB), key=Key("evil", "posing"), uid="a")
    snapshot = a_snapshot(*NODES, guest, a_launcher(guest, memory_bytes=5 * GIB), posing)

    ledger = Ledger.of(snapshot)

    assert [pod.key.namespace for pod in ledger.launchers(guest)] == [guest.key.namespace]
    assert [pod.key.namespace for pod in ledger.launchers_on("node-1")] == [guest.key.namespace]
    assert ledger.demand(guest).memory_bytes == 5 * GIB
    assert ledger.neighbours.crowds.without(frozenset({guest.uid})).selected("evil", EVERYTHING) == (posing,)


def test_a_pod_of_another_namespace_arrives_for_nobody() -> None:
    guest = an_instance()
    migration = a_migration(guest, target="node-2")
    posing = replace(a_launcher(guest, node="node-3", migration_uid=migration.uid), key=Key("evil", "posing"))
    snapshot = a_snapshot(*NODES, guest, a_launcher(guest), migration, posing)

    ledger = Ledger.of(snapshot)

    assert ledger.arrival(migration) is None
    assert (ledger.inbound("node-2"), ledger.inbound("node-3")) == (1, 0)


def test_what_is_reserved_on_a_copy_does_not_touch_the_original() -> None:
    instance = an_instance(memory_bytes=GIB)
    ledger = Ledger.of(a_snapshot(*NODES, instance, a_launcher(instance, memory_bytes=GIB + 200 * MIB)))

    copy = ledger.copy()
    copy.reserve(instance, "node-1", "node-2", ("node-2",))

    assert (copy.in_flight, copy.outbound("node-1"), copy.inbound("node-2")) == (1, 1, 1)
    assert copy.free_memory_bytes("node-2") == 63 * GIB - 200 * MIB
    assert (ledger.in_flight, ledger.outbound("node-1"), ledger.inbound("node-2")) == (0, 0, 0)
    assert ledger.free_memory_bytes("node-2") == 64 * GIB


def test_an_unknown_node_has_room_for_nothing() -> None:
    ledger = Ledger.of(a_snapshot(a_node()))

    assert (ledger.free_memory_bytes("x"), ledger.free_cpu_millicores("x"), ledger.free_pods("x")) == (0, 0, 0)
    assert not ledger.fits(PodDemand(0, 0), "x")


_NAMES = st.sampled_from(["node-1", "node-2", "node-3", "gone", ""])


@st.composite
def _clusters(draw: st.DrawFn) -> Snapshot:
    instances = [
        an_instance(f"vm{number}", node=draw(_NAMES), memory_bytes=draw(st.integers(0, 80 * GIB)))
        for number in range(draw(st.integers(0, 6)))
    ]
    migrations: list[Migration] = []
    pods = [a_pod(f"p{number}", node=draw(_NAMES)) for number in range(draw(st.integers(0, 5)))]
    for instance in instances:
        if draw(st.booleans()):
            pods.append(a_launcher(instance))
        for number in range(draw(st.integers(0, 2))):
            phase = draw(st.sampled_from(["", "Pending", "Running", "Failed", "Succeeded"]))
            migration = a_migration(instance, f"m{instance.key.name}{number}", phase=phase, target=draw(_NAMES))
            migrations.append(migration)
            if draw(st.booleans()):
                pods.append(a_launcher(instance, node=draw(_NAMES), migration_uid=migration.uid))
    return a_snapshot(*NODES, *instances, *migrations, *pods)


@given(_clusters())
def test_every_unfinished_migration_counts_once_and_at_most_once_at_each_end(snapshot: Snapshot) -> None:
    unfinished = sum(not migration.final for migration in snapshot.migrations.values())

    ledger = Ledger.of(snapshot)

    nodes = ("node-1", "node-2", "node-3", "gone")
    assert ledger.in_flight == unfinished
    assert sum(ledger.outbound(node) for node in nodes) <= unfinished
    assert sum(ledger.inbound(node) for node in nodes) <= unfinished


@given(_clusters(), _NAMES, _NAMES)
def test_a_reservation_takes_exactly_the_demand_of_its_instance(snapshot: Snapshot, source: str, target: str) -> None:
    instance = an_instance("newcomer", memory_bytes=7 * GIB)
    before = Ledger.of(snapshot)

    after = before.copy()
    after.reserve(instance, source, target, (target,))

    for node in ("node-1", "node-2", "node-3"):
        arrived = 7 * GIB if node == target else 0
        assert after.free_memory_bytes(node) == before.free_memory_bytes(node) - arrived
        assert after.free_pods(node) == before.free_pods(node) - (1 if node == target else 0)
        assert after.outbound(node) == before.outbound(node) + (1 if node == source else 0)


@given(_clusters())
def test_the_ledger_does_not_depend_on_the_order_of_the_records(snapshot: Snapshot) -> None:
    turned = Snapshot(
        now=snapshot.now,
        nodes=dict(reversed(list(snapshot.nodes.items()))),
        instances=dict(reversed(list(snapshot.instances.items()))),
        migrations=dict(reversed(list(snapshot.migrations.items()))),
        pods=dict(reversed(list(snapshot.pods.items()))),
    )

    one, other = Ledger.of(snapshot), Ledger.of(turned)

    for node in ("node-1", "node-2", "node-3"):
        assert one.free_memory_bytes(node) == other.free_memory_bytes(node)
        assert (one.inbound(node), one.outbound(node)) == (other.inbound(node), other.outbound(node))
    for key in snapshot.instances:
        assert one.flight(key) == other.flight(key)


def test_a_migration_whose_target_the_scheduler_chooses_holds_a_slot_wherever_it_may_land_until_it_is_bound() -> None:
    plan, instance = a_plan(), an_instance()
    move = a_move(plan, instance, attempt={**an_attempt(), "allowedNodes": ["node-2", "node-3"]})
    key = migration_key(move, 1)
    labels = {
        LABEL_MANAGED: "true",
        LABEL_PLAN_UID: plan.uid,
        LABEL_INSTANCE_UID: instance.uid,
        LABEL_ATTEMPT: "1",
    }
    annotations = {ANNOTATION_PLAN: str(plan.key), ANNOTATION_MOVE: move.key.name}
    ours = a_migration(instance, key.name, uid="ours", phase="Pending", labels=labels, annotations=annotations)
    there = (*NODES, instance, a_launcher(instance), move, ours)

    unbound = Ledger.of(a_snapshot(*there))
    bound = Ledger.of(a_snapshot(*there, a_launcher(instance, node="node-3", migration_uid="ours")))

    assert [unbound.inbound(node) for node in ("node-1", "node-2", "node-3")] == [0, 1, 1]
    assert unbound.free_pods("node-2") == 109
    assert unbound.free_pods("node-3") == 110
    assert [bound.inbound(node) for node in ("node-1", "node-2", "node-3")] == [0, 0, 1]
    assert bound.free_pods("node-2") == 110


def test_the_newest_target_launcher_counts_whatever_the_order() -> None:
    instance = an_instance()
    ended = a_launcher(instance, node="node-2", migration_uid="m", phase="Failed")
    fresh = replace(a_launcher(instance, node="node-3", migration_uid="m"), key=Key("default", "fresh"), uid="a")

    for pods in ((ended, fresh), (fresh, ended)):
        migration = a_migration(instance, uid="m")
        assert Ledger.of(a_snapshot(*NODES, instance, migration, *pods)).arrival(migration) == fresh


def test_a_migration_that_only_a_forgotten_finalizer_keeps_takes_no_slot() -> None:
    gone = an_instance("gone")
    of_nobody = a_migration(gone, deleting=True, phase="Pending")

    assert Ledger.of(a_snapshot(*NODES, of_nobody)).in_flight == 0
    for still_counts in (
        replace(of_nobody, deleting=False),
        replace(of_nobody, phase="Scheduling"),
    ):
        assert Ledger.of(a_snapshot(*NODES, still_counts)).in_flight == 1
    with_instance = a_snapshot(*NODES, of_nobody, gone)
    assert Ledger.of(with_instance).in_flight == 1


def test_kubevirt_counts_a_guest_that_moved_before_at_the_node_that_it_came_from_too() -> None:
    earlier = a_migration_state("earlier", source="node-1", target="node-2", completed=True)
    instance = an_instance(node="node-2", migration=earlier)

    ledger = Ledger.of(a_snapshot(*NODES, instance, a_migration(instance, uid="next", target="node-3")))

    assert [ledger.outbound(node) for node in ("node-1", "node-2", "node-3")] == [0, 1, 0]
    assert [ledger.outbound_of_kubevirt(node) for node in ("node-1", "node-2", "node-3")] == [1, 1, 0]


def test_kubevirt_counts_a_guest_that_has_just_arrived_at_both_ends_until_its_migration_ends() -> None:
    instance = an_instance(node="node-2", migration=a_migration_state("m", source="node-1", target="node-2"))

    ledger = Ledger.of(a_snapshot(*NODES, instance, a_migration(instance, uid="m")))

    assert [ledger.outbound(node) for node in ("node-1", "node-2")] == [1, 0]
    assert [ledger.outbound_of_kubevirt(node) for node in ("node-1", "node-2")] == [1, 1]
