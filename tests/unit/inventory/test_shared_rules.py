"""Shared rules: one value for each rule between pods, with everybody whom it concerns."""

from dataclasses import replace

from support.builders import a_cluster, a_launcher, a_node, a_pod, an_instance
from whimbrel.domain.records import Instance, Pod
from whimbrel.domain.scheduling import PodTerm, Scheduling, SpreadConstraint
from whimbrel.domain.selectors import LabelSelector, Requirement
from whimbrel.inventory.ledger import Ledger
from whimbrel.inventory.shared_rules import SharedRule, shared_rules

DB = LabelSelector((Requirement("app", "In", ("db",)),))
APART = PodTerm("kubernetes.io/hostname", DB, ("default",), None)
EVEN = SpreadConstraint("kubernetes.io/hostname", 1, 1, DB, honours_node_affinity=True, honours_taints=False)
FIRST, SECOND = an_instance("db1", node="node-1"), an_instance("db2", node="node-2")


def a_template(instance: Instance, **rules: tuple[PodTerm, ...] | tuple[SpreadConstraint, ...]) -> Pod:
    return replace(a_launcher(instance), labels={"app": "db"}, scheduling=Scheduling(**rules))  # type: ignore[arg-type]


def rules_of(*pods: Pod) -> tuple[SharedRule, ...]:
    nodes = [a_node(f"node-{number}") for number in (1, 2, 3)]
    return shared_rules([FIRST, SECOND], Ledger.of(a_cluster(FIRST, SECOND, *nodes, *pods)))


def test_guests_with_one_rule_share_it() -> None:
    stranger = replace(a_pod("db9", node="node-3"), labels={"app": "db"})

    (rule,) = rules_of(a_template(FIRST, anti_affinity=(APART,)), a_template(SECOND, anti_affinity=(APART,)), stranger)

    both = frozenset({FIRST.uid, SECOND.uid})
    assert rule == SharedRule(APART, both, both, (("node-3", 1),))


def test_affinity_and_spread_are_rules_too() -> None:
    near, even = a_template(FIRST, affinity=(APART,)), a_template(SECOND, spread=(EVEN,))

    found = {type(rule.rule).__name__: rule.holders for rule in rules_of(near, even)}

    assert found == {"tuple": {FIRST.uid}, "SpreadConstraint": {SECOND.uid}}


def test_a_pod_that_keeps_guests_away_is_fixed() -> None:
    hermit = replace(a_pod("hermit", node="node-3"), scheduling=Scheduling(anti_affinity=(APART,)))

    (rule,) = rules_of(a_template(FIRST), a_template(SECOND), hermit)

    assert (rule.holders, rule.about, rule.fixed) == (frozenset(), {FIRST.uid, SECOND.uid}, (("node-3", 1),))
