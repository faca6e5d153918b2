"""Hosts: which profile applies to which node; label selectors."""

import pytest

from support.builders import a_node, a_profile, a_snapshot
from whimbrel.api.scalars import LabelSelector
from whimbrel.domain.resources import HOST_PROFILES
from whimbrel.inventory.hosts import Coverage, effective_hosts, profile_coverage
from whimbrel.inventory.labels import carries, matches, node_may_set
from whimbrel.inventory.projections import PROJECTIONS

GPU = {"gpu": "yes"}
GPU_IN_A = {"gpu": "yes", "zone": "a"}


def test_the_profile_with_the_most_matched_keys_applies_whole() -> None:
    everywhere = a_profile("everywhere", link_speed_mbps=1000, outbound=1)
    special = a_profile("gpu-nodes", node_selector=GPU, link_speed_mbps=25_000, enabled=False)
    snapshot = a_snapshot(everywhere, special, a_node("node-1"), a_node("node-2", labels=GPU))

    hosts = effective_hosts(snapshot)

    assert hosts["node-1"].profile_name == "everywhere"
    assert hosts["node-1"].enabled
    assert hosts["node-2"].profile_name == "gpu-nodes"
    assert hosts["node-2"].conflicts == ("everywhere",)
    assert not hosts["node-2"].enabled
    assert hosts["node-2"].migration is not None
    assert hosts["node-2"].migration.limits.parallel_outbound == 2


def test_of_two_equally_specific_profiles_the_first_by_name_applies() -> None:
    snapshot = a_snapshot(
        a_profile("b", node_selector={"zone": "a"}), a_profile("a", node_selector=GPU), a_node(labels=GPU_IN_A)
    )

    assert effective_hosts(snapshot)["node-1"].profile_name == "a"


def test_a_profile_that_breaks_a_rule_keeps_its_nodes_from_being_enabled_by_a_less_specific_one() -> None:
    snapshot = a_snapshot(
        a_profile("everywhere"),
        a_profile("broken", node_selector=GPU, error="spec.migration: required"),
        a_node("node-1", labels=GPU),
        a_node("node-2"),
    )

    host, other = effective_hosts(snapshot).values()

    assert (host.profile_name, host.error, host.migration) == ("broken", "spec.migration: required", None)
    assert (host.enabled, host.conflicts) == (False, ("everywhere",))
    assert (other.profile_name, other.error, other.enabled) == ("everywhere", "", True)


def test_a_typo_in_a_subnet_never_enables_what_its_profile_disables() -> None:
    typed = {
        "metadata": {"name": "keep-out"},
        "spec": {
            "nodeSelector": GPU,
            "migration": {"enabled": False, "network": {"subnets": ["10.20.0.0/33"]}},
        },
    }
    broken = PROJECTIONS[HOST_PROFILES](typed)

    host = effective_hosts(a_snapshot(a_profile(), broken, a_node(labels=GPU)))["node-1"]

    assert not host.enabled
    assert "10.20.0.0/33" in host.error


@pytest.mark.parametrize("selector", [None, "all", {"gpu": 1}, {"gpu": "y" * 64}])
def test_where_nobody_can_tell_which_nodes_a_profile_means_none_is_enabled(selector: object) -> None:
    spec = {"nodeSelector": selector, "migration": {"enabled": False}}
    broken = PROJECTIONS[HOST_PROFILES]({"metadata": {"name": "zz-broken"}, "spec": spec})

    hosts = effective_hosts(a_snapshot(a_profile(node_names=["node-1"]), broken, a_node("node-1"), a_node("node-2")))

    assert {host.profile_name for host in hosts.values()} == {"zz-broken"}
    assert not any(host.enabled for host in hosts.values())


def test_a_node_cannot_talk_itself_out_of_a_profile_that_names_it() -> None:
    snapshot = a_snapshot(
        a_profile("keep-out", node_names=["node-1", "node-3"], enabled=False),
        a_profile("best-hardware", node_selector={"gpu": "yes", "tier": "gold", "speed": "most"}),
        a_node("node-1", labels={"gpu": "yes", "tier": "gold", "speed": "most"}),
        a_node("node-2", labels={"gpu": "yes", "tier": "gold", "speed": "most"}),
    )

    hosts = effective_hosts(snapshot)

    assert (hosts["node-1"].profile_name, hosts["node-1"].enabled) == ("keep-out", False)
    assert hosts["node-1"].conflicts == ("best-hardware",)
    assert hosts["node-2"].profile_name == "best-hardware"


def test_names_and_labels_of_a_profile_are_both_asked_for() -> None:
    both = a_profile(node_names=["node-1", "node-2"], node_selector=GPU)
    snapshot = a_snapshot(both, a_node("node-1"), a_node("node-2", labels=GPU), a_node("node-3", labels=GPU))

    assert profile_coverage(snapshot) == {"standard": Coverage(("node-2",), ())}


def test_a_profile_knows_its_nodes_and_who_has_the_others() -> None:
    snapshot = a_snapshot(
        a_profile("everywhere"),
        a_profile("gpu-nodes", node_selector=GPU),
        a_profile("nowhere", node_selector={"none": "such"}),
        a_node("node-2"),
        a_node("node-1"),
        a_node("node-3", labels=GPU),
    )

    assert profile_coverage(snapshot) == {
        "everywhere": Coverage(("node-1", "node-2"), (("node-3", "gpu-nodes"),)),
        "gpu-nodes": Coverage(("node-3",), ()),
        "nowhere": Coverage((), ()),
    }


@pytest.mark.parametrize(
    ("expression", "matched"),
    [
        ({"key": "tier", "operator": "In", "values": ["db", "web"]}, {"db"}),
        ({"key": "tier", "operator": "NotIn", "values": ["db"]}, {"cache", ""}),
        ({"key": "tier", "operator": "Exists"}, {"db", "cache"}),
        ({"key": "tier", "operator": "DoesNotExist"}, {""}),
    ],
)
def test_a_label_selector_matches_as_kubernetes_does(expression: dict[str, object], matched: set[str]) -> None:
    selector = LabelSelector.model_validate({"matchExpressions": [expression]})

    found = {tier for tier in ("db", "cache", "") if matches(selector, {"tier": tier} if tier else {})}

    assert found == matched


def test_all_terms_of_a_selector_must_match() -> None:
    selector = LabelSelector.model_validate(
        {"matchLabels": {"app": "shop"}, "matchExpressions": [{"key": "tier", "operator": "Exists"}]}
    )

    assert matches(selector, {"app": "shop", "tier": "db"})
    assert not matches(selector, {"app": "shop"})
    assert not matches(selector, {"tier": "db"})
    assert carries({"app": "shop"}, {})


@pytest.mark.parametrize(
    ("label", "may"),
    [
        ("rack", True),
        ("example.com/rack", True),
        ("cpu-model.node.kubevirt.io/Haswell", True),
        ("kubernetes.io/hostname", True),
        ("topology.kubernetes.io/zone", True),
        ("node.kubernetes.io/anything", True),
        ("own.kubelet.kubernetes.io/anything", True),
        ("kubernetes.io/role", False),
        ("node-role.kubernetes.io/worker", False),
        ("x.k8s.io/anything", False),
        ("node-restriction.kubernetes.io/class", False),
        ("example.com.node-restriction.kubernetes.io/class", False),
        ("notkubernetes.io/x", True),
    ],
)
def test_a_node_may_set_the_labels_that_node_restriction_lets_kubelets_set(label: str, may: bool) -> None:
    assert node_may_set(label) is may
