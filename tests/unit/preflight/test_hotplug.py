"""Hotplugged volumes: the pod that holds them beside the launcher takes room and quota at the target, too."""

from dataclasses import replace
from typing import Any

import pytest

from support.builders import GIB, a_cluster, a_launcher, a_migration, a_node, a_plan, a_pod, an_instance
from whimbrel.domain import resources
from whimbrel.domain.changes import Change
from whimbrel.domain.quotas import Quota
from whimbrel.domain.records import Instance, Key, Pod
from whimbrel.domain.scheduling import Admission, Container, Scheduling
from whimbrel.inventory.hosts import effective_hosts
from whimbrel.inventory.hotplug import UNSEEN
from whimbrel.inventory.ledger import Ledger, PodDemand
from whimbrel.inventory.projections import PROJECTIONS
from whimbrel.preflight import PreflightReason, capacity, namespace_limits
from whimbrel.preflight.assessment import candidate, host_demand
from whimbrel.preflight.lineup import Lineup, Terms

COMPUTE = Container(requests=(("cpu", 100), ("memory", GIB)), limits=())


def a_guest(name: str = "db1", **members: Any) -> Instance:
    return replace(an_instance(name, **members), hotplugged=True)


def its_launcher(guest: Instance, **members: Any) -> Pod:
    launcher = a_launcher(guest, memory_bytes=GIB, **members)
    return replace(launcher, admission=Admission((COMPUTE,)), scheduling=Scheduling())


def a_holder(launcher: Pod, *, node: str | None = None, phase: str = "Running", **members: Any) -> Pod:
    node = launcher.node if node is None else node
    held = a_pod(f"hp-volume-{launcher.uid}", node=node, phase=phase, memory_bytes=5, cpu_millicores=7)
    return replace(held, launcher_uid=launcher.uid, **members)


def on_node_2(*others: Any, guest: Instance | None = None, **room: int) -> list[PreflightReason]:
    """What is said of the room on node-2; the mask says the same."""
    guest = guest or a_guest()
    snapshot = a_cluster(guest, its_launcher(guest), a_node("node-1"), a_node("node-2", **room), *others)
    hosts, ledger = effective_hosts(snapshot), Ledger.of(snapshot)
    plan = a_plan().plan
    assert plan is not None
    lineup = Lineup(hosts, Terms(plan.spec.target, ledger, snapshot))
    demand: Any = host_demand(capacity, candidate(guest, hosts, ledger, snapshot, None), lineup)
    reasons = list(capacity.judge(demand, lineup.supply(capacity.supply, hosts["node-2"])))
    assert bool(capacity.mask(demand, lineup) & lineup.bit("node-2")) is not bool(reasons)
    return reasons


def of_the_namespace(*others: Any, guest: Instance | None = None) -> list[PreflightReason]:
    """What quotas say of the guest."""
    guest = guest or a_guest()
    snapshot = a_cluster(guest, its_launcher(guest), *others)
    asked = candidate(guest, effective_hosts(snapshot), Ledger.of(snapshot), snapshot, None)
    return list(namespace_limits.judge(namespace_limits.demand(asked)))


def a_quota(resource: str, free: int) -> Quota:
    return Quota(Key("default", "q"), "uid-q", ((resource, 10 + free),), ((resource, 10),), ())


def test_a_guest_with_hotplugged_volumes_needs_two_pod_slots() -> None:
    (reason,) = on_node_2(pods=1)

    assert (reason.code, reason.found, reason.needed) == ("NoPodSlot", "1 free", "2")
    assert on_node_2(pods=2) == []
    assert on_node_2(pods=1, guest=an_instance()) == []


@pytest.mark.parametrize(("short", "code"), [(1, "Insufficient"), (0, "")])
def test_the_pod_beside_the_launcher_is_like_the_one_at_the_source(short: int, code: str) -> None:
    holder = a_holder(its_launcher(a_guest()))
    reasons = on_node_2(holder, memory_bytes=GIB + 5 - short, cpu_millicores=100 + 7 - short)

    assert [reason.code for reason in reasons] == ([f"{code}Memory", f"{code}Cpu"] if code else [])


def test_where_that_is_not_seen_what_kubevirt_states_by_default_stands_in() -> None:
    assert on_node_2(memory_bytes=GIB + 2_000_000, cpu_millicores=110) == []
    assert [reason.code for reason in on_node_2(memory_bytes=GIB + 1_999_999)] == ["InsufficientMemory"]


def test_of_two_such_pods_the_one_that_stays_counts_and_none_that_has_ended() -> None:
    guest = a_guest()
    launcher = its_launcher(guest)
    going, ended = (
        a_holder(launcher, deleting=True, memory_bytes=9),
        a_holder(launcher, phase="Failed", memory_bytes=11),
    )
    others = (replace(going, uid="z", key=Key("default", "z")), replace(ended, uid="y", key=Key("default", "y")))

    demand = Ledger.of(a_cluster(guest, launcher, a_holder(launcher), *others)).demand(guest)

    assert demand == PodDemand(GIB + 5, 107, (), 2)
    assert Ledger.of(a_cluster(guest, launcher, others[1])).demand(guest).memory_bytes == GIB + UNSEEN.memory_bytes


@pytest.mark.parametrize("resource", ["pods", "count/pods"])
def test_a_quota_must_hold_both_pods(resource: str) -> None:
    (reason,) = of_the_namespace(a_quota(resource, 1))

    assert (reason.code, reason.needed) == ("QuotaExceeded", "2 more")
    assert of_the_namespace(a_quota(resource, 2)) == []
    assert of_the_namespace(a_quota(resource, 1), guest=an_instance()) == []


def test_a_quota_counts_what_both_pods_state() -> None:
    assert of_the_namespace(a_quota("requests.memory", GIB + 2_000_000)) == []
    assert [each.code for each in of_the_namespace(a_quota("requests.memory", GIB))] == ["QuotaExceeded"]


def test_a_reserved_arrival_takes_both_pods_and_a_departure_gives_them_back() -> None:
    guest = a_guest()
    ledger = Ledger.of(a_cluster(guest, its_launcher(guest), a_node("node-1"), a_node("node-2")))
    before = (ledger.free_pods("node-2"), ledger.free_memory_bytes("node-2"))

    planned = ledger.copy()
    planned.reserve_arrival(guest, "node-2")

    after = (planned.free_pods("node-2"), planned.free_memory_bytes("node-2"))
    assert tuple(free - left for free, left in zip(before, after, strict=True)) == (2, GIB + 2_000_000)
    assert len(planned.launchers_to_come("default")) == 2
    assert ledger.launchers_to_come("default") == ()


def test_a_departure_gives_back_what_was_seen_and_no_more() -> None:
    guest = a_guest()
    launcher = its_launcher(guest)
    nodes = (a_node("node-1"), a_node("node-2"))
    seen = Ledger.of(a_cluster(guest, launcher, a_holder(launcher), *nodes))
    unseen = Ledger.of(a_cluster(guest, launcher, *nodes))

    for ledger in (seen, unseen):
        ledger.release_departures([guest])

    assert seen.free_pods("node-1") == unseen.free_pods("node-1") == 110
    assert seen.free_memory_bytes("node-1") == unseen.free_memory_bytes("node-1")


@pytest.mark.parametrize(("holder", "taken", "to_come"), [(None, 2, 1), ("unbound", 2, 0), ("bound", 2, 0)])
def test_beside_a_target_launcher_that_runs_the_pod_to_come_is_reserved_until_it_is_bound(
    holder: str | None, taken: int, to_come: int
) -> None:
    guest = a_guest()
    migration = a_migration(guest, phase="Scheduling", target="node-2")
    arrival = its_launcher(guest, node="node-2", migration_uid=migration.uid)
    made = [] if holder is None else [a_holder(arrival, node="node-2" if holder == "bound" else "")]
    nodes = (a_node("node-1"), a_node("node-2"))

    ledger = Ledger.of(a_cluster(guest, its_launcher(guest), migration, arrival, *nodes, *made))

    assert ledger.free_pods("node-2") == 110 - taken
    assert len(ledger.launchers_to_come("default")) == to_come


def test_a_guest_that_moves_frees_the_quota_of_both_its_pods_by_and_by() -> None:
    other = a_guest("db2", node="node-2")
    moving = a_migration(other, target="node-3", phase="Pending")

    (reason,) = of_the_namespace(other, its_launcher(other), moving, a_quota("pods", 2), guest=an_instance())

    assert (reason.code, reason.found) == ("QuotaTakenByMoves", "12 of 12 used")


RAW = {"metadata": {"name": "x", "namespace": "shop", "uid": "u"}}


def test_a_pod_that_holds_hotplugged_volumes_is_known_by_its_label_and_the_launcher_that_owns_it() -> None:
    owned = {
        "labels": {"kubevirt.io": "hotplug-disk"},
        "ownerReferences": [{"kind": "Pod", "uid": "launcher", "controller": True}],
    }
    raw = {"metadata": {**RAW["metadata"], **owned}, "spec": {"containers": [{"name": "hotplug-disk"}]}}

    pod = PROJECTIONS[resources.PODS](raw)

    assert isinstance(pod, Pod)
    assert (pod.launcher_uid, pod.admission, pod.instance_uid) == ("launcher", Admission((Container((), ()),)), "")


@pytest.mark.parametrize("source", ["persistentVolumeClaim", "dataVolume", "memoryDump"])
def test_an_instance_tells_whether_volumes_of_it_are_hotplugged(source: str) -> None:
    def is_hotplugged(flag: bool) -> bool:
        raw = {**RAW, "spec": {"volumes": [{"name": "hot", source: {"hotpluggable": flag}}]}}
        instance = PROJECTIONS[resources.INSTANCES](raw)
        assert isinstance(instance, Instance)
        return instance.hotplugged

    assert is_hotplugged(True)
    assert not is_hotplugged(False)


@pytest.mark.parametrize(
    ("volume", "waits"),
    [
        ({"phase": "Bound", "hotplugVolume": {}}, True),
        ({"phase": "AttachedToNode", "hotplugVolume": {"attachPodName": "hp"}}, True),
        ({"phase": "Detaching", "hotplugVolume": {"attachPodName": "hp"}}, True),
        ({"phase": "Ready", "hotplugVolume": {"attachPodName": "hp"}}, False),
        ({"phase": "MemoryDumpCompleted", "hotplugVolume": {}}, False),
        ({"phase": "", "persistentVolumeClaimInfo": {}}, False),
    ],
)
def test_a_volume_on_its_way_in_or_out_is_waited_for(volume: dict[str, Any], waits: bool) -> None:
    instance = PROJECTIONS[resources.INSTANCES]({**RAW, "status": {"volumeStatus": [{"name": "v", **volume}]}})

    assert isinstance(instance, Instance)
    assert (Change.HOTPLUG in instance.changes) is waits
