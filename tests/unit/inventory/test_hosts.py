"""Hosts: which profile applies to which node; label selectors."""

import pytest

from support.builders import a_node, a_profile, a_snapshot
from whimbrel.api.scalars import LabelSelector
from whimbrel.inventory.hosts import Coverage, effective_hosts, profile_coverage
from whimbrel.inventory.labels import carries, matches

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


def test_an_invalid_profile_applies_nowhere() -> None:
    snapshot = a_snapshot(a_profile("broken", error="spec.migration: required"), a_node())

    host = effective_hosts(snapshot)["node-1"]

    assert (host.profile_name, host.migration, host.enabled) == ("", None, False)


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
