"""Rules between pods: who keeps a launcher away, whom it must be near, and how evenly its like are spread."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from support.builders import a_cluster, a_launcher, a_migration, a_node, a_plan, a_pod, an_instance
from whimbrel.domain.records import Instance, Key, Pod
from whimbrel.domain.scheduling import PodTerm, Scheduling, SpreadConstraint
from whimbrel.domain.selectors import LabelSelector, Requirement
from whimbrel.inventory.hosts import effective_hosts
from whimbrel.inventory.ledger import Ledger
from whimbrel.preflight import PreflightReason, pod_affinity, topology_spread
from whimbrel.preflight.assessment import candidate, host_demand
from whimbrel.preflight.family import Reach
from whimbrel.preflight.lineup import Lineup, Terms

ZONE = "topology.kubernetes.io/zone"
HOSTNAME = "kubernetes.io/hostname"
DB = LabelSelector((Requirement("app", "In", ("db",)),))
NODES = [
    a_node("node-1", labels={ZONE: "a"}),
    a_node("node-2", labels={ZONE: "a"}),
    a_node("node-3", labels={ZONE: "b"}),
    a_node("node-4", without=[ZONE]),
]


def a_term(key: str = ZONE, selector: LabelSelector | None = DB, *spaces: str) -> PodTerm:
    return PodTerm(key, selector, spaces or ("default",), None)


def a_spread(key: str = ZONE, **more: Any) -> SpreadConstraint:
    stated = {"max_skew": 1, "min_domains": 1, "selector": DB, "honours_node_affinity": True, "honours_taints": False}
    return SpreadConstraint(topology_key=key, **{**stated, **more})


def a_template(instance: Instance, app: str = "db", **scheduling: Any) -> Pod:
    return replace(
        a_launcher(instance), labels={"kubevirt.io": "virt-launcher", "app": app}, scheduling=Scheduling(**scheduling)
    )


def another(name: str, node: str, **more: Any) -> Pod:
    return replace(a_pod(name, node=node, labels={"app": "db"}), **more)


def refused(family: Any, launcher: Pod, *others: Any, reach: Reach | None = None) -> dict[str, list[PreflightReason]]:
    """By node, what is said against a guest with this launcher, warnings included; the mask says the same."""
    instance = an_instance()
    snapshot = a_cluster(instance, *NODES, launcher, *others)
    hosts, ledger = effective_hosts(snapshot), Ledger.of(snapshot)
    plan = a_plan().plan
    assert plan is not None
    lineup = Lineup(hosts, Terms(plan.spec.target, ledger, snapshot))
    demand: Any = host_demand(family, candidate(instance, hosts, ledger, snapshot, reach), lineup)
    found = {name: list(family.judge(demand, lineup.supply(family.supply, host))) for name, host in hosts.items()}
    blocked = {name for name, reasons in found.items() if any(reason.blocks for reason in reasons)}
    assert blocked == set(hosts) - set(lineup.names(family.mask(demand, lineup)))
    return {name: reasons for name, reasons in found.items() if reasons}


def codes(found: dict[str, list[PreflightReason]]) -> dict[str, list[str]]:
    return {name: [reason.code for reason in reasons] for name, reasons in found.items()}


def names(found: Iterable[str]) -> list[str]:
    return sorted(found)


def test_a_launcher_without_rules_goes_everywhere() -> None:
    assert refused(pod_affinity, a_template(an_instance()), another("db2", "node-2")) == {}


def test_a_launcher_keeps_away_from_its_like_and_the_pod_in_the_way_is_named() -> None:
    launcher = a_template(an_instance(), app="web", anti_affinity=(a_term(HOSTNAME),))

    found = refused(pod_affinity, launcher, another("db2", "node-2"), another("db1", "node-2"))

    assert codes(found) == {"node-2": ["PodAntiAffinity"]}
    assert found["node-2"][0].found == "default/db1 in kubernetes.io/hostname=node-2"


def test_the_launcher_that_the_guest_runs_in_counts_against_its_own_rule() -> None:
    by_host = a_template(an_instance(), anti_affinity=(a_term(HOSTNAME),))
    by_zone = a_template(an_instance(), anti_affinity=(a_term(ZONE),))

    assert names(refused(pod_affinity, by_host)) == ["node-1"]
    assert names(refused(pod_affinity, by_zone)) == ["node-1", "node-2"]


def test_a_pods_own_rule_keeps_the_launcher_away_too() -> None:
    hermit = another("hermit", "node-3", labels={"app": "x"}, scheduling=Scheduling(anti_affinity=(a_term(ZONE),)))

    found = refused(pod_affinity, a_template(an_instance()), hermit)

    assert codes(found) == {"node-3": ["PodAntiAffinity"]}
    assert found["node-3"][0].field == "Pod default/hermit: spec.affinity.podAntiAffinity"
    assert refused(pod_affinity, a_template(an_instance(), app="web"), hermit) == {}


def test_a_pod_of_another_namespace_that_is_in_the_way_is_not_named() -> None:
    everywhere = PodTerm(HOSTNAME, DB, (), LabelSelector())
    theirs = another("salary-db", "node-2", key=Key("hr-secret", "salary-db"))
    hermit = replace(theirs, labels={}, scheduling=Scheduling(anti_affinity=(everywhere,)))

    own = refused(pod_affinity, a_template(an_instance(), app="web", anti_affinity=(everywhere,)), theirs)
    others = refused(pod_affinity, a_template(an_instance()), hermit)

    assert [own["node-2"][0].field, own["node-2"][0].found] == [
        "spec.affinity.podAntiAffinity",
        "a pod of another namespace in kubernetes.io/hostname=node-2",
    ]
    assert [others["node-2"][0].field, others["node-2"][0].found] == [
        "spec.affinity.podAntiAffinity of a pod of another namespace",
        "a pod of another namespace in kubernetes.io/hostname=node-2",
    ]
    assert "hr-secret" not in str([own, others]) + own["node-2"][0].cure() + others["node-2"][0].cure()


def test_guests_of_two_namespaces_under_one_rule_are_each_told_of_their_own_pods_only() -> None:
    everywhere = PodTerm(HOSTNAME, DB, (), LabelSelector())
    guests = [an_instance("db1"), an_instance("db1", "hr-secret")]
    launchers = [a_template(guest, app="web", anti_affinity=(everywhere,)) for guest in guests]
    theirs = another("salary-db", "node-2", key=Key("hr-secret", "salary-db"))
    ledger = Ledger.of(a_cluster(*guests, *launchers, *NODES, theirs))

    demands = [pod_affinity.among(*each, ledger.neighbours) for each in zip(guests, launchers, strict=True)]
    found = [next(pod_affinity.judge(each, pod_affinity.Supply(NODES[1].labels))).found for each in demands]

    assert found == [
        "a pod of another namespace in kubernetes.io/hostname=node-2",
        "hr-secret/salary-db in kubernetes.io/hostname=node-2",
    ]


def test_rules_look_at_the_namespaces_that_they_name() -> None:
    elsewhere = another("db2", "node-2", key=Key("shop", "db2"))
    launcher = a_template(an_instance(), app="web", anti_affinity=(a_term(HOSTNAME),))
    across = a_template(an_instance(), app="web", anti_affinity=(a_term(HOSTNAME, DB, "shop"),))
    everywhere = PodTerm(HOSTNAME, DB, (), LabelSelector())
    anywhere = a_template(an_instance(), app="web", anti_affinity=(everywhere,))

    assert refused(pod_affinity, launcher, elsewhere) == {}
    assert names(refused(pod_affinity, across, elsewhere)) == ["node-2"]
    assert names(refused(pod_affinity, anywhere, elsewhere)) == ["node-2"]


def test_pods_that_have_ended_count_no_more_and_those_that_leave_still_do() -> None:
    launcher = a_template(an_instance(), app="web", anti_affinity=(a_term(HOSTNAME),))

    assert refused(pod_affinity, launcher, another("db2", "node-2", phase="Succeeded")) == {}
    assert names(refused(pod_affinity, launcher, another("db2", "node-2", deleting=True))) == ["node-2"]


def test_what_is_on_its_way_to_a_node_counts_there() -> None:
    coming = an_instance("db9", node="node-3")
    its_launcher = replace(a_launcher(coming), labels={"app": "db"}, scheduling=Scheduling())
    migration = a_migration(coming, target="node-2", phase="Pending")
    launcher = a_template(an_instance(), app="web", anti_affinity=(a_term(HOSTNAME),))

    found = refused(pod_affinity, launcher, coming, its_launcher, migration)

    assert names(found) == ["node-2", "node-3"]
    assert "default/db9 (on its way)" in found["node-2"][0].found


def test_a_launcher_goes_only_near_the_pods_that_it_needs() -> None:
    launcher = a_template(an_instance(), app="web", affinity=(a_term(ZONE),))

    found = refused(pod_affinity, launcher, another("db2", "node-3"))

    assert names(found) == ["node-1", "node-2", "node-4"]
    assert found["node-4"][0].found == f"no label {ZONE}"
    assert found["node-1"][0].needed == f"a pod with app=db in the same {ZONE}"


def test_the_first_of_a_group_may_go_anywhere_that_has_the_domain() -> None:
    first = a_template(an_instance(), affinity=(a_term("rack"),))
    stranger = a_template(an_instance(), app="web", affinity=(a_term("rack"),))
    with_rack = a_node("node-5", labels={"rack": "1"})

    assert "node-5" not in refused(pod_affinity, first, with_rack)
    assert "node-5" in refused(pod_affinity, stranger, with_rack)
    assert "node-5" in refused(
        pod_affinity, first, with_rack, a_node("node-6", labels={"rack": "2"}), another("db2", "node-6")
    )


def test_once_there_are_others_a_launcher_stays_in_their_domain() -> None:
    launcher = a_template(an_instance(), affinity=(a_term(ZONE),))

    assert names(refused(pod_affinity, launcher)) == ["node-3", "node-4"]


def test_only_pods_that_match_all_terms_count_as_near() -> None:
    old = LabelSelector((Requirement("rev", "In", ("1",)),))
    launcher = a_template(an_instance(), app="web", affinity=(a_term(ZONE), a_term(HOSTNAME, old)))
    half = another("half", "node-3")
    both = another("both", "node-2", labels={"app": "db", "rev": "1"})

    assert "node-2" not in refused(pod_affinity, launcher, half, both)
    assert "node-3" in refused(pod_affinity, launcher, half, both)


def test_kubevirts_rule_that_keeps_two_launchers_of_one_guest_apart_is_said_elsewhere() -> None:
    own = LabelSelector((Requirement("kubevirt.io/created-by", "In", (an_instance().uid,)),))

    assert refused(pod_affinity, a_template(an_instance(), anti_affinity=(a_term(HOSTNAME, own),))) == {}


def test_a_rule_may_name_another_guest() -> None:
    other = an_instance("db2", node="node-2")
    named = LabelSelector((Requirement("vm.kubevirt.io/name", "In", ("db2",)),))
    launcher = a_template(an_instance(), anti_affinity=(a_term(HOSTNAME, named),))

    assert names(refused(pod_affinity, launcher, other, a_launcher(other))) == ["node-2"]


def test_where_kubevirt_names_the_target_an_uneven_spread_is_a_warning() -> None:
    launcher = a_template(an_instance(), spread=(a_spread(),))

    found = refused(topology_spread, launcher, another("db2", "node-2"))

    assert codes(found) == {
        "node-1": ["TopologySpreadUneven"], "node-2": ["TopologySpreadUneven"], "node-4": ["TopologySpread"],
    }  # fmt: skip
    assert (found["node-2"][0].found, found["node-2"][0].needed) == (f"2 pods with app=db in {ZONE}=a", "at most 0")


def test_where_the_scheduler_chooses_it_refuses_what_makes_the_spread_uneven() -> None:
    launcher = a_template(an_instance(), spread=(a_spread(),))

    found = refused(topology_spread, launcher, another("db2", "node-2"), reach=Reach(("node-2", "node-3"), ""))

    assert codes(found) == {name: ["TopologySpread"] for name in ("node-1", "node-2", "node-4")}


def test_a_constraint_that_ignores_node_affinity_sees_all_domains() -> None:
    launcher = a_template(an_instance(), spread=(a_spread(honours_node_affinity=False),))

    found = refused(topology_spread, launcher, another("db2", "node-2"))

    assert codes(found) == {name: ["TopologySpread"] for name in ("node-1", "node-2", "node-4")}


def test_with_too_few_domains_the_emptiest_counts_as_empty() -> None:
    launcher = a_template(an_instance(), spread=(a_spread(HOSTNAME, min_domains=2),))

    found = refused(topology_spread, launcher, another("db3", "node-3"))

    assert {name: reasons[0].code for name, reasons in found.items()} == dict.fromkeys(
        ("node-1", "node-3"), "TopologySpread"
    )


def test_pods_on_their_way_out_are_not_spread() -> None:
    launcher = a_template(an_instance(), app="web", spread=(a_spread(honours_node_affinity=False, max_skew=1),))
    two = (another("db2", "node-3"), another("db3", "node-3"))

    assert names(refused(topology_spread, launcher, *two)) == ["node-3", "node-4"]
    assert names(refused(topology_spread, launcher, two[0], replace(two[1], deleting=True))) == ["node-4"]
