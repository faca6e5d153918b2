"""The assessment: by classes and masks, and yet the same as asking about every pair."""

import inspect
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.builders import (
    GIB,
    a_cluster,
    a_migration,
    a_node,
    a_plan,
    a_profile,
    an_instance,
)
from whimbrel.api.migration_plan import MigrationPlanSpec
from whimbrel.domain.records import Condition, Instance, Node, Taint
from whimbrel.inventory.hosts import effective_hosts
from whimbrel.inventory.ledger import Ledger
from whimbrel.inventory.snapshot import Snapshot
from whimbrel.preflight import ALL_REASONS, FAMILIES, Assessment, assess, recheck
from whimbrel.preflight.family import PreflightReason


def spec(**target: Any) -> MigrationPlanSpec:
    plan = a_plan(virtual_machines={"names": ["db1"]}, target=target).plan
    assert plan is not None
    return plan.spec


def assessed(snapshot: Snapshot, plan_spec: MigrationPlanSpec | None = None) -> Assessment:
    instances = list(snapshot.instances.values())
    return assess(instances, plan_spec or spec(), effective_hosts(snapshot), Ledger.of(snapshot), snapshot)


def test_a_guest_that_is_well_may_go_to_every_other_host() -> None:
    instance = an_instance()

    found = assessed(a_cluster(instance))

    assert found.movable(instance.uid)
    assert found.nodes(instance.uid) == ("node-2", "node-3")
    assert found.names(found.mask(instance.uid)) == ("node-2", "node-3")
    assert found.reasons(instance.uid) == ()


def test_a_guest_with_a_lasting_reason_goes_nowhere() -> None:
    instance = an_instance(live_migratable=Condition("False", "DisksNotLiveMigratable"))

    found = assessed(a_cluster(instance))

    assert not found.movable(instance.uid)
    assert not found.transient(instance.uid)
    assert found.nodes(instance.uid) == ()
    assert [reason.code for reason in found.reasons(instance.uid)] == ["NotLiveMigratable"]


def test_a_guest_that_somebody_else_moves_waits_and_keeps_its_possible_targets() -> None:
    instance = an_instance()

    found = assessed(a_cluster(instance, a_migration(instance)))

    assert not found.movable(instance.uid)
    assert found.transient(instance.uid)
    assert found.nodes(instance.uid) == ("node-2", "node-3")
    assert [reason.code for reason in found.reasons(instance.uid)] == ["ForeignMigration"]


def test_a_passing_reason_beside_a_lasting_one_is_no_reason_to_wait() -> None:
    instance = an_instance(phase="Failed", live_migratable=None)

    assert not assessed(a_cluster(instance)).transient(instance.uid)


def test_where_no_host_is_possible_every_host_says_all_its_reasons_in_order() -> None:
    instance = an_instance(node_selector={"zone": "a"})
    snapshot = a_cluster(instance, a_node("node-3", unschedulable=True), a_node("node-1", labels={"zone": "a"}),
                         a_node("node-2", ready=False))  # fmt: skip

    found = assessed(snapshot)

    assert [(reason.node, reason.code) for reason in found.reasons(instance.uid)] == [
        ("node-1", "SourceNode"),
        ("node-2", "HostNotReady"),
        ("node-2", "NodeSelectorMismatch"),
        ("node-3", "HostCordoned"),
        ("node-3", "NodeSelectorMismatch"),
    ]
    assert not found.transient(instance.uid)


def test_a_stranger_cannot_move_and_has_no_reason() -> None:
    found = assessed(a_cluster(an_instance()))

    assert (found.movable("?"), found.transient("?"), found.mask("?"), found.reasons("?")) == (False, False, 0, ())
    assert found.reasons_on("?", "node-2") == ()


@pytest.mark.parametrize(
    ("selection", "cordoned", "expected"),
    [
        ({"onNodes": {"names": ["node-1"]}}, False, ["SourceNotCordoned"]),
        ({"onNodes": {"nodeSelector": {"zone": "a"}}}, False, ["SourceNotCordoned"]),
        ({"onNodes": {"names": ["node-1"]}}, True, []),
        ({"onNodes": {"nodeSelector": {"zone": "b"}}}, False, []),
        ({"names": ["db1"]}, False, []),
    ],
)
def test_a_host_that_a_plan_empties_and_that_takes_new_pods_is_warned_of(
    selection: dict[str, Any], cordoned: bool, expected: list[str]
) -> None:
    instance = an_instance()
    snapshot = a_cluster(instance, a_node("node-1", labels={"zone": "a"}, unschedulable=cordoned), a_node("node-2"))
    plan = a_plan(virtual_machines=selection).plan
    assert plan is not None

    found = assessed(snapshot, plan.spec)

    codes = [reason.code for reason in found.notes(instance.uid, "node-2")]
    assert [code for code in codes if code == "SourceNotCordoned"] == expected
    assert found.movable(instance.uid)


def test_just_before_a_start_one_pair_is_looked_at_again() -> None:
    instance = an_instance()
    snapshot = a_cluster(instance, a_node("node-1"), a_node("node-2"), a_node("node-3", unschedulable=True))
    hosts, ledger = effective_hosts(snapshot), Ledger.of(snapshot)

    def codes(node: str) -> list[tuple[str, str]]:
        found = recheck(instance, node, spec(), hosts, ledger, snapshot)
        return [(reason.node, reason.code) for reason in found]

    assert codes("node-2") == []
    assert codes("node-3") == [("node-3", "HostCordoned")]
    assert codes("node-1") == [("node-1", "SourceNode")]
    assert codes("gone") == [("gone", "HostMissing")]


def test_every_reason_has_a_cause_a_remedy_and_a_code_of_its_own() -> None:
    sample = {"field": "f", "found": "x", "needed": "n", "node": "h"}

    assert len({reason.__name__ for reason in ALL_REASONS}) == len(ALL_REASONS)
    for reason in ALL_REASONS:
        assert reason.__doc__ != PreflightReason.__doc__, reason
        assert inspect.getdoc(reason), reason
        assert reason(**sample).cure(), reason


def test_every_family_lists_the_reasons_that_it_defines() -> None:
    for family in FAMILIES:
        defined = {
            value
            for value in vars(family).values()
            if inspect.isclass(value)
            and issubclass(value, PreflightReason)
            and value.__module__ == vars(family)["__name__"]
        }

        assert set(family.REASONS) == defined


_TAINTS = st.lists(
    st.sampled_from([Taint("a", "", "NoSchedule"), Taint("kubevirt.io/drain", "", "NoSchedule")]), max_size=1
)
_LABELS = [
    "kubevirt.io/schedulable",
    "cpu-model.node.kubevirt.io/Haswell",
    "cpu-model-migration.node.kubevirt.io/Cascadelake-Server",
    "cpu-feature.node.kubevirt.io/vmx",
    "cpu-vendor.node.kubevirt.io/Intel",
]


@st.composite
def _nodes(draw: st.DrawFn) -> list[Node]:
    return [
        a_node(
            f"node-{number}",
            ready=draw(st.integers(0, 5)) > 0,
            unschedulable=draw(st.integers(0, 5)) == 0,
            taints=draw(_TAINTS),
            labels={"zone": draw(st.sampled_from("ab"))},
            without=draw(st.lists(st.sampled_from(_LABELS), max_size=1)),
            memory_bytes=draw(st.integers(0, 12)) * GIB,
            pods=draw(st.integers(0, 3)),
        )
        for number in range(1, draw(st.integers(1, 5)) + 1)
    ]


@st.composite
def _instances(draw: st.DrawFn) -> list[Instance]:
    return [
        an_instance(
            f"vm{number}",
            node=f"node-{draw(st.integers(1, 6))}",
            memory_bytes=draw(st.integers(1, 6)) * GIB,
            cpu_model=draw(st.sampled_from(["", "Haswell", "host-model", "host-passthrough"])),
            node_selector=draw(st.sampled_from([{}, {"zone": "a"}])),
            live_migratable=draw(
                st.sampled_from([Condition("True"), Condition("True"), Condition("False", "X"), None])
            ),
        )
        for number in range(draw(st.integers(1, 6)))
    ]


@settings(max_examples=150, deadline=None)
@given(_nodes(), _instances(), st.sampled_from([{}, {"excludeNodes": ["node-2"]}, {"headroom": {"memoryPercent": 30}}]))
def test_masks_say_the_same_as_asking_about_every_pair(
    nodes: list[Node], instances: list[Instance], target: dict[str, Any]
) -> None:
    snapshot = a_cluster(*nodes, *instances, a_profile(node_selector={"zone": "a"}))
    hosts, ledger, wanted = effective_hosts(snapshot), Ledger.of(snapshot), spec(**target)

    found = assessed(snapshot, wanted)

    for instance in instances:
        pairs = {node: recheck(instance, node, wanted, hosts, ledger, snapshot) for node in hosts}
        free = tuple(node for node, reasons in sorted(pairs.items()) if not reasons)
        assert (found.nodes(instance.uid) if found.movable(instance.uid) else ()) == free
        if not found.movable(instance.uid):
            assert found.reasons(instance.uid)
        for node, reasons in pairs.items():
            per_node = [reason for reason in reasons if reason.node]
            blocking = [reason for reason in found.reasons_on(instance.uid, node) if reason.blocks]
            assert sorted(blocking, key=repr) == sorted(per_node, key=repr)
            together = {
                (each.reason.code, each.reason.field, each.reason.needed)
                for each in found.against(instance.uid)
                if each.hosts & found.bit(node)
            }
            others = [each for each in found.elsewhere(instance.uid, instance.node) if each.hosts & found.bit(node)]
            assert len(others) == (0 if node == instance.node else len(together))
            assert all(each.reason in found.reasons_on(instance.uid, each.reason.node) for each in others)
            assert together == {(r.code, r.field, r.needed) for r in found.reasons_on(instance.uid, node)}


def test_of_many_unlike_hosts_some_are_judged_and_the_rest_counted_with_them() -> None:
    instance = an_instance(node="node-000", node_selector={"zone": "a"})
    many = [a_node(f"node-{number:03}") for number in range(200)]

    found = assessed(a_cluster(*many, instance)).against(instance.uid)
    other, source = (each for each in found if each.reason.blocks)

    assert (other.reason.code, other.hosts.bit_count(), other.reason.node) == ("NodeSelectorMismatch", 200, "node-000")
    assert (source.reason.code, source.hosts.bit_count()) == ("SourceNode", 1)


def test_what_only_hosts_beyond_the_judged_ones_have_is_found_too() -> None:
    many = [
        a_node(f"node-{number:03}", memory_bytes=(1 if number > 90 else 64 + number) * GIB) for number in range(120)
    ]
    instance = an_instance(node="node-000", memory_bytes=2 * GIB)

    found = {each.reason.code: each for each in assessed(a_cluster(*many, instance)).against(instance.uid)}

    assert found["InsufficientMemory"].hosts.bit_count() == 29
