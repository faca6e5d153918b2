"""How virt-api answers an eviction, and what an instance says of one; quantities as Go counts bytes."""

from datetime import UTC, datetime
from typing import Any

import pytest

from whimbrel.simulation.kubevirt import eviction, instances, quantities
from whimbrel.simulation.kubevirt.effects import Replace
from whimbrel.simulation.kubevirt.values import condition

NOW = datetime(2026, 1, 5, 8, tzinfo=UTC)
Json = dict[str, Any]


def an_instance(strategy: str = "", movable: str = "True", **status: Any) -> Json:
    conditions = [{"type": "LiveMigratable", "status": movable, "lastTransitionTime": None}]
    return {
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
        "metadata": {"name": "db1", "namespace": "shop", "uid": "vmi-1"},
        "spec": {"domain": {}, **({"evictionStrategy": strategy} if strategy else {})},
        "status": {"phase": "Running", "nodeName": "node-1", "conditions": conditions, **status},
    }  # fmt: skip


def a_launcher(node: str = "node-1", phase: str = "Running", kind: str = "virt-launcher") -> Json:
    return {
        "metadata": {"name": "p", "labels": {"kubevirt.io": kind}, "annotations": {"kubevirt.io/domain": "db1"}},
        "spec": {"nodeName": node},
        "status": {"phase": phase},
    }


@pytest.mark.parametrize(
    ("strategy", "movable", "words", "marks"),
    [
        ("", "True", "", False),
        ("None", "True", "", False),
        ("LiveMigrate", "True", 'triggered evacuation of VMI "shop/db1"', True),
        ("LiveMigrate", "False", "not live-migratable", False),
        ("LiveMigrateIfPossible", "True", "triggered evacuation", True),
        ("LiveMigrateIfPossible", "False", "", False),
        ("External", "True", "triggered evacuation", True),
        ("External", "False", "triggered evacuation", True),
    ],
)
def test_an_eviction_is_answered_by_the_guests_strategy(strategy: str, movable: str, words: str, marks: bool) -> None:
    answer = eviction.review(a_launcher(), an_instance(strategy, movable))

    assert answer.names_node is marks
    assert (answer.refused is not None) is bool(words)
    if answer.refused is not None:
        assert words in answer.refused.message
        assert answer.refused.code == 429


def test_the_clusters_strategy_counts_where_the_guest_has_none() -> None:
    cluster = {"spec": {"configuration": {"evictionStrategy": "LiveMigrate"}}}

    assert eviction.review(a_launcher(), an_instance(), cluster).names_node


def test_a_repeated_eviction_and_one_of_a_target_pod_mark_nothing() -> None:
    again = eviction.review(a_launcher(), an_instance("External", evacuationNodeName="node-1"))
    target = eviction.review(a_launcher("node-2"), an_instance("External"))

    assert (again.names_node, target.names_node) == (False, False)
    assert again.refused is not None
    assert again.refused.message.startswith("Evacuation in progress: ")
    assert target.refused is not None
    assert target.refused.message == "Eviction request for target Pod"


def test_kubevirt_has_a_say_only_in_live_launchers() -> None:
    assert eviction.concerns(a_launcher()) == "db1"
    assert eviction.concerns(a_launcher(phase="Succeeded")) == ""
    assert eviction.concerns(a_launcher(kind="virt-handler")) == ""


def test_an_instance_says_that_it_is_to_leave_for_as_long_as_it_is() -> None:
    leaving = an_instance(evacuationNodeName="node-1")

    (told,) = [each.body for each in instances.step(leaving, [], NOW) if isinstance(each, Replace)]
    assert (condition(told, "EvictionRequested") or {})["status"] == "True"

    del told["status"]["evacuationNodeName"]
    told["status"]["phase"] = "Running"
    (stays,) = [each.body for each in instances.step(told, [], NOW) if isinstance(each, Replace)]
    assert condition(stays, "EvictionRequested") is None


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0"), (228 * 2**20, "228Mi"), (3 * 2**30, "3Gi"), (2**10 + 1, "1025"), (1536, "1536")]
)
def test_bytes_are_counted_in_powers_of_two(count: int, text: str) -> None:
    assert quantities.binary(count) == text
