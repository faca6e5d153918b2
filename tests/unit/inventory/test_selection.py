"""Selection: what a plan means, and what in it means nothing."""

from typing import Any

from support.builders import (
    a_cluster,
    a_namespace,
    a_node,
    a_plan,
    a_profile,
    a_snapshot,
    a_virtual_machine,
    an_instance,
)
from whimbrel.domain.records import Key, Plan
from whimbrel.inventory.selection import Roster, Selection, select
from whimbrel.inventory.snapshot import Snapshot

DB = {"tier": "db"}
WEB = {"tier": "web"}


def shop() -> Snapshot:
    """Three guests in shop, one elsewhere, one virtual machine that is switched off."""
    return a_cluster(
        a_node("node-1"),
        a_node("node-2", labels={"zone": "b"}),
        an_instance("db1", "shop", labels=DB),
        an_instance("db2", "shop", labels=DB, node="node-2"),
        an_instance("web1", "shop", labels=WEB),
        an_instance("db1", "lab", labels=DB),
        a_virtual_machine("off", "shop", labels=DB, running=False),
        a_namespace("lab", labels={"stage": "test"}),
    )


def plan(target: dict[str, Any] | None = None, **virtual_machines: Any) -> Plan:
    return a_plan(namespace="shop", virtual_machines=virtual_machines, target=target)


def keys(selection: Selection) -> list[str]:
    return [str(instance.key) for instance in selection.instances]


def problems(selection: Selection) -> list[tuple[str, str]]:
    return [(problem.code, problem.field) for problem in selection.problems]


def test_a_plan_looks_in_its_own_namespace_unless_it_names_others() -> None:
    selector = {"matchLabels": DB}

    assert keys(select(plan(selector=selector), shop())) == ["shop/db1", "shop/db2"]
    assert keys(select(plan(selector=selector, namespaces={"names": ["lab", "shop"]}), shop())) == [
        "lab/db1",
        "shop/db1",
        "shop/db2",
    ]
    assert keys(
        select(plan(selector=selector, namespaces={"selector": {"matchLabels": {"stage": "test"}}}), shop())
    ) == ["lab/db1"]


def test_the_terms_of_a_plan_are_intersected() -> None:
    chosen = plan(names=["db1", "db2", "web1"], selector={"matchLabels": DB}, onNodes={"names": ["node-1"]})

    assert keys(select(chosen, shop())) == ["shop/db1"]


def test_an_exclusion_leaves_out_what_either_of_its_terms_means() -> None:
    chosen = plan(names=["db1", "db2", "web1"], exclude={"names": ["db2"], "selector": {"matchLabels": WEB}})

    assert keys(select(chosen, shop())) == ["shop/db1"]


def test_nodes_are_chosen_by_label_too() -> None:
    assert keys(select(plan(onNodes={"nodeSelector": {"zone": "b"}}), shop())) == ["shop/db2"]


def test_a_virtual_machine_that_does_not_run_is_named_and_not_moved() -> None:
    selection = select(plan(selector={"matchLabels": DB}), shop())

    assert selection.not_running == (Key("shop", "off"),)
    assert selection.problems == ()


def test_an_instance_that_has_ended_does_not_run() -> None:
    snapshot = a_cluster(an_instance("db1", phase="Succeeded"), a_node())

    selection = select(a_plan(virtual_machines={"names": ["db1"]}), snapshot)

    assert (selection.instances, selection.not_running) == ((), (Key("default", "db1"),))


def test_labels_are_those_of_the_virtual_machine_and_of_a_bare_instance_its_own() -> None:
    owned = an_instance("owned", labels={"tier": "of the instance"})
    bare = an_instance("bare", owner_vm="", labels=DB)
    snapshot = a_cluster(owned, bare, a_virtual_machine("owned", labels=DB))

    assert keys(select(a_plan(virtual_machines={"selector": {"matchLabels": DB}}), snapshot)) == [
        "default/bare",
        "default/owned",
    ]


def test_what_no_node_and_no_virtual_machine_is_called_is_said_field_by_field() -> None:
    selection = select(
        plan(
            names=["db1", "db9"],
            onNodes={"names": ["node-1", "node-8"]},
            exclude={"names": ["web9"]},
            namespaces={"names": ["shop", "nowhere"]},
            target={"nodeNames": ["node-7"], "excludeNodes": ["node-6"]},
        ),
        shop(),
    )

    assert problems(selection) == [
        ("UnknownNamespace", "spec.virtualMachines.namespaces.names"),
        ("UnknownVirtualMachine", "spec.virtualMachines.names"),
        ("UnknownVirtualMachine", "spec.virtualMachines.exclude.names"),
        ("UnknownNode", "spec.virtualMachines.onNodes.names"),
        ("UnknownNode", "spec.target.nodeNames"),
        ("UnknownNode", "spec.target.excludeNodes"),
    ]
    assert "db9" in selection.problems[1].message
    assert "db1" not in selection.problems[1].message
    assert selection.problems[1].remedy


def test_a_selector_that_matches_nothing_is_a_problem_of_its_own_field() -> None:
    selection = select(
        plan(
            selector={"matchLabels": {"tier": "bd"}},
            onNodes={"nodeSelector": {"zone": "z"}},
            target={"nodeSelector": {"zone": "y"}},
        ),
        shop(),
    )

    assert problems(selection) == [
        ("NoMatch", "spec.virtualMachines.selector"),
        ("NoMatch", "spec.virtualMachines.onNodes.nodeSelector"),
        ("NoMatch", "spec.target.nodeSelector"),
        ("NoMatch", "spec.virtualMachines"),
    ]


def test_namespaces_that_match_nothing_are_a_problem() -> None:
    selection = select(plan(names=["db1"], namespaces={"selector": {"matchLabels": {"stage": "moon"}}}), shop())

    assert ("NoMatch", "spec.virtualMachines.namespaces.selector") in problems(selection)


def test_terms_that_each_mean_something_may_mean_nothing_together() -> None:
    selection = select(plan(names=["web1"], onNodes={"names": ["node-2"]}), shop())

    assert problems(selection) == [("NoMatch", "spec.virtualMachines")]
    assert "names and onNodes" in selection.problems[0].message


OWN = {"kubernetes.io/hostname": "node-1"}


def test_without_any_profile_that_applies_nothing_may_move_and_the_plan_says_so() -> None:
    instance = an_instance()
    chosen = a_plan(virtual_machines={"names": ["db1"]})
    common = (a_node(), instance, a_virtual_machine("db1"))

    none = select(chosen, a_snapshot(*common))
    elsewhere = select(chosen, a_snapshot(*common, a_profile(node_selector={"no": "such"})))
    broken = select(chosen, a_snapshot(*common, a_profile(), a_profile("typed", node_selector=OWN, error="spec: bad")))

    for selection, words in (
        (none, "there is no HostProfile"),
        (elsewhere, "selects"),
        (broken, "break a rule: typed"),
    ):
        assert problems(selection) == [("NoHostProfile", "HostProfile.spec.nodeSelector")]
        assert words in selection.problems[0].message


def test_a_plan_that_breaks_the_schema_means_nothing() -> None:
    assert select(a_plan(error="spec: required"), shop()) == Selection()


def test_plans_that_choose_from_one_roster_mean_what_each_means_by_itself() -> None:
    snapshot = shop()
    roster = Roster(snapshot)
    plans = [
        plan(selector={"matchLabels": DB}),
        plan(names=["db1", "missing"], namespaces={"names": ["lab", "shop"]}),
        plan(onNodes={"nodeSelector": {"zone": "b"}}),
        a_plan(error="spec: required"),
    ]

    assert [select(each, snapshot, roster) for each in plans] == [select(each, snapshot) for each in plans]
