"""Which MigrationPolicy applies, and what it makes of the cluster's configuration (contract §4.1, §4.2)."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from support.kubevirt_scenarios import a_policy, apply_policies, configuration_of, moved
from whimbrel_lab.kubevirt.client import RequestRefused
from whimbrel_lab.lab import Lab

MakeLab = Callable[..., Awaitable[Lab]]
APP = {"app": "app-1"}
TIER = {"tier": "front"}
SPACE = {"team": "shop"}
BOTH = {**SPACE, "stage": "live"}

TIES: dict[str, tuple[list[dict[str, Any]], str]] = {
    "more pairs win": ([a_policy("a-one", APP), a_policy("z-two", {**APP, **TIER})], "z-two"),
    "pairs of both selectors count together": ([a_policy("a-one", APP), a_policy("z-two", APP, SPACE)], "z-two"),
    "as many pairs: more of the instance's": ([a_policy("a-space", None, BOTH), a_policy("z-mix", APP, SPACE)], "z-mix"),
    "as many of each: the first name": ([a_policy("b", APP), a_policy("a", TIER)], "a"),
    "everybody's loses to anybody's": ([a_policy("a-all", {}), a_policy("z-space", None, SPACE)], "z-space"),
    "one pair that does not match spoils it": (
        [a_policy("a-all", {}), a_policy("z-other", {**APP, "tier": "back"})],
        "a-all",
    ),
    "a value decides, not a key": ([a_policy("a-other", {"app": "app-9"}), a_policy("z-space", None, SPACE)], "z-space"),
}  # fmt: skip


@pytest.mark.parametrize("case", TIES)
async def test_one_policy_applies(make_lab: MakeLab, case: str) -> None:
    lab = await make_lab()
    await lab.client.patch("Namespace", lab.namespace, "", {"metadata": {"labels": BOTH}})
    spaces = lab.standin.cluster.namespaces
    await lab.wait_until(lambda: BOTH.items() <= spaces.objects["", lab.namespace]["metadata"]["labels"].items(), 5)
    await lab.label_instance("vm-1", TIER)
    policies, winner = TIES[case]
    await apply_policies(lab, *policies)

    await moved(lab, "vm-1")

    assert lab.state_of("vm-1")["migrationPolicyName"] == winner


async def test_a_policy_that_selects_nothing_is_everybodys_and_one_without_selectors_is_refused(
    make_lab: MakeLab,
) -> None:
    lab = await make_lab()
    without = a_policy("nobodys", None)
    await apply_policies(lab, without)
    del without["spec"]["selectors"]

    with pytest.raises(RequestRefused, match="selectors"):
        await lab.client.create({**without, "metadata": {"name": "refused"}})
    await moved(lab, "vm-1")

    assert lab.state_of("vm-1")["migrationPolicyName"] == "nobodys"


async def test_policies_are_never_merged_with_each_other(make_lab: MakeLab) -> None:
    lab = await make_lab(migrations={"progressTimeout": 33})
    await apply_policies(
        lab,
        a_policy("everybody", {}, allowAutoConverge=True, completionTimeoutPerGiB=7),
        a_policy("this-one", APP, bandwidthPerMigration="4096Ki"),
    )

    await moved(lab, "vm-1")

    shown = configuration_of(lab, "vm-1")
    assert (shown["bandwidthPerMigration"], shown["progressTimeout"]) == ("4Mi", 33)
    assert (shown["allowAutoConverge"], shown["completionTimeoutPerGiB"]) == (False, 150)


@pytest.mark.parametrize(
    ("cluster", "policy", "effective"),
    [
        ({}, {"allowPostCopy": True}, (True, True)),
        ({"allowPostCopy": True}, {"allowPostCopy": False}, (False, False)),
        ({}, {"allowPostCopy": True, "allowWorkloadDisruption": False}, (True, False)),
        ({}, {"allowWorkloadDisruption": True}, (False, True)),
        ({"allowPostCopy": True}, {"allowAutoConverge": True}, (True, True)),
    ],
)
async def test_disruption_follows_post_copy_where_a_policy_names_only_that(
    make_lab: MakeLab, cluster: dict[str, bool], policy: dict[str, bool], effective: tuple[bool, bool]
) -> None:
    lab = await make_lab(migrations=cluster)
    await apply_policies(lab, a_policy("one", APP, **policy))

    await moved(lab, "vm-1")

    shown = configuration_of(lab, "vm-1")
    assert (shown["allowPostCopy"], shown["allowWorkloadDisruption"]) == effective


async def test_a_policy_may_select_by_the_target_that_was_chosen(make_lab: MakeLab) -> None:
    lab = await make_lab()
    by_target = {f"to-{n}": {"kubevirt.io/migrationTargetNodeName": f"node-{n}"} for n in (2, 3)}
    await apply_policies(lab, *(a_policy(name, selector) for name, selector in by_target.items()))

    await moved(lab, "vm-1", node="node-3")

    assert lab.state_of("vm-1")["migrationPolicyName"] == "to-3"


async def test_what_is_experimental_is_taken_from_the_policy(make_lab: MakeLab) -> None:
    lab = await make_lab()
    await apply_policies(lab, a_policy("compressed", APP, experimental={"compression": "zstd"}))

    await moved(lab, "vm-1")

    assert configuration_of(lab, "vm-1")["experimental"] == {"compression": "zstd"}
