"""Where KubeVirt cannot be told a target: a guest goes only if every node that the scheduler could pick is allowed."""

from typing import Any

import pytest

from support.builders import GIB, KUBEVIRT_1_5, a_cluster, a_node, a_plan, a_profile, an_instance
from whimbrel.api.virtual_machine_move import MAX_ALLOWED_NODES
from whimbrel.domain.records import Capabilities, Instance, Node, Profile, Taint
from whimbrel.inventory.hosts import effective_hosts
from whimbrel.inventory.ledger import Ledger
from whimbrel.preflight import Assessment, assess, recheck

DEDICATED = Taint("dedicated", "databases", "NoSchedule")
HASWELL = "cpu-model.node.kubevirt.io/Haswell"
GUEST = an_instance()
SOURCE, TARGET = a_node("node-1"), a_node("node-2")
ONLY_NODE_2 = {"nodeNames": ["node-2"]}


def assessed(
    *others: Node | Profile,
    instance: Instance = GUEST,
    target: dict[str, Any] | None = None,
    capabilities: Capabilities | None = KUBEVIRT_1_5,
) -> Assessment:
    snapshot = a_cluster(instance, SOURCE, TARGET, *others, capabilities=capabilities)
    plan = a_plan(virtual_machines={"names": ["db1"]}, target=target or {}).plan
    assert plan is not None
    return assess([instance], plan.spec, effective_hosts(snapshot), Ledger.of(snapshot), snapshot)


def in_the_way(*others: Node | Profile, instance: Instance = GUEST) -> list[str]:
    """What the refusal of a move to node-2 alone says was found."""
    found = assessed(*others, instance=instance, target=ONLY_NODE_2)
    return [reason.found for reason in found.reasons(instance.uid) if reason.code == "TargetSelectionUnsupported"]


def test_a_guest_may_go_where_every_node_that_could_be_picked_is_allowed() -> None:
    found = assessed(a_node("node-3"))

    assert found.movable(GUEST.uid)
    assert found.landing(GUEST.uid) == ("node-2", "node-3")


def test_a_node_that_could_be_picked_and_is_not_wanted_is_in_the_way() -> None:
    found = assessed(a_node("node-3"), a_node("node-4"), target=ONLY_NODE_2)

    assert not found.movable(GUEST.uid)
    (reason,) = found.reasons(GUEST.uid)
    assert reason.code == "TargetSelectionUnsupported"
    assert reason.found == "the scheduler could pick node-3, node-4"
    assert "cordon" in reason.cure()
    assert "node-3, node-4" in reason.cure()


def test_a_node_without_an_enabling_profile_is_in_the_way() -> None:
    found = assessed(
        a_node("node-3"), a_profile(node_selector={"kubernetes.io/hostname": "node-2"}),
        a_profile("source", node_selector={"kubernetes.io/hostname": "node-1"}),
    )  # fmt: skip

    assert [reason.found for reason in found.reasons(GUEST.uid)] == ["the scheduler could pick node-3"]


@pytest.mark.parametrize(
    "node",
    [
        a_node("node-3", unschedulable=True),
        a_node("node-3", without=["kubevirt.io/schedulable"]),
        a_node("node-3", labels={"kubevirt.io/schedulable": "false"}),
        a_node("node-3", architecture="arm64"),
    ],
)
def test_a_node_that_certainly_takes_nobody_is_in_nobodys_way(node: Node) -> None:
    assert in_the_way(node) == []


@pytest.mark.parametrize(
    "node",
    [
        a_node("node-3", taints=[DEDICATED]),
        a_node("node-3", ready=False),
        a_node("node-3", memory_bytes=0),
        a_node("node-3", without=["cpu-vendor.node.kubevirt.io/Intel"]),
    ],
)
def test_a_node_that_only_probably_takes_nobody_is_in_the_way(node: Node) -> None:
    assert in_the_way(node) == ["the scheduler could pick node-3"]


def test_the_guests_own_node_selector_keeps_it_off_a_node_for_certain() -> None:
    chosen = an_instance(node_selector={"pool": "new"})
    pooled = a_node("node-2", labels={"pool": "new"})

    assert in_the_way(pooled, a_node("node-3"), instance=chosen) == []


def test_a_named_cpu_model_keeps_a_guest_off_a_node_and_host_model_does_not() -> None:
    node = a_node("node-3", without=[HASWELL, "cpu-model-migration.node.kubevirt.io/Cascadelake-Server"])

    assert in_the_way(node, instance=an_instance(cpu_model="Haswell")) == []
    assert in_the_way(node, instance=an_instance(cpu_model="host-model")) == ["the scheduler could pick node-3"]
    assert in_the_way(node, instance=an_instance(cpu_model="")) == ["the scheduler could pick node-3"]


def test_required_cpu_features_keep_a_guest_with_a_named_model_off_a_node() -> None:
    node = a_node("node-3", without=["cpu-feature.node.kubevirt.io/aes"])
    needs = an_instance(cpu_model="Haswell", cpu_features=[("aes", "require")])
    wishes = an_instance(cpu_model="Haswell", cpu_features=[("aes", "optional")])

    assert in_the_way(node, instance=needs) == []
    assert in_the_way(node, instance=wishes) == ["the scheduler could pick node-3"]


def test_a_cordoned_node_that_the_plan_allows_may_be_landed_on_when_it_is_uncordoned_again() -> None:
    assert assessed(a_node("node-3", unschedulable=True)).landing(GUEST.uid) == ("node-2", "node-3")


def test_more_nodes_than_a_move_remembers_are_refused() -> None:
    nodes = [a_node(f"more-{number}") for number in range(MAX_ALLOWED_NODES)]

    (reason,) = assessed(*nodes).reasons(GUEST.uid)

    assert reason.found == f"the scheduler could pick any of {MAX_ALLOWED_NODES + 1} nodes"


def test_many_nodes_in_the_way_are_named_up_to_a_bound() -> None:
    (found,) = in_the_way(*(a_node(f"more-{number}") for number in range(8)))

    assert found.endswith("more-5 and 2 more")


def test_nothing_is_in_the_way_where_a_target_can_be_named() -> None:
    capable = Capabilities(True, KUBEVIRT_1_5.policy_fields)

    found = assessed(a_node("node-3"), target=ONLY_NODE_2, capabilities=capable)

    assert found.movable(GUEST.uid)
    assert found.landing(GUEST.uid) == ()


def test_just_before_a_start_nothing_may_be_in_reach_that_was_not_written_down() -> None:
    snapshot = a_cluster(GUEST, SOURCE, TARGET, a_node("node-3"), capabilities=KUBEVIRT_1_5)
    plan = a_plan().plan
    assert plan is not None
    hosts, ledger = effective_hosts(snapshot), Ledger.of(snapshot)

    def codes(*allowed: str) -> list[str]:
        return [reason.code for reason in recheck(GUEST, "node-2", plan.spec, hosts, ledger, snapshot, allowed)]

    assert codes("node-2", "node-3") == []
    assert codes("node-2") == ["TargetSelectionUnsupported"]


def test_a_node_that_the_scheduler_would_fill_beyond_the_headroom_holds_the_move_back() -> None:
    tight = a_node("node-3", memory_bytes=2 * GIB)
    snapshot = a_cluster(GUEST, SOURCE, TARGET, tight, capabilities=KUBEVIRT_1_5)

    def reasons(percent: int) -> list[tuple[str, str]]:
        plan = a_plan(target={"headroom": {"memoryPercent": percent}}).plan
        assert plan is not None
        hosts, ledger = effective_hosts(snapshot), Ledger.of(snapshot)
        found = recheck(GUEST, "node-2", plan.spec, hosts, ledger, snapshot, ("node-2", "node-3"))
        return [(reason.code, reason.node) for reason in found]

    assert reasons(0) == []
    assert reasons(50) == [("InsufficientMemory", "node-3")]


def test_a_node_without_any_room_is_not_picked_and_holds_nobody_back() -> None:
    full = a_node("node-3", memory_bytes=GIB)
    snapshot = a_cluster(GUEST, SOURCE, TARGET, full, capabilities=KUBEVIRT_1_5)
    plan = a_plan(target={"headroom": {"memoryPercent": 50}}).plan
    assert plan is not None

    found = recheck(
        GUEST, "node-2", plan.spec, effective_hosts(snapshot), Ledger.of(snapshot), snapshot, ("node-2", "node-3")
    )

    assert found == ()
