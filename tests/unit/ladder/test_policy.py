"""MigrationPolicies: what KubeVirt will resolve."""

from collections.abc import Sequence
from dataclasses import fields, replace

from hypothesis import given
from hypothesis import strategies as st

from support.builders import CAPABILITIES, KUBEVIRT_CONFIGURATION, a_policy
from whimbrel.api.virtual_machine_move import KubeVirtConfiguration
from whimbrel.domain.quantities import MIB
from whimbrel.domain.records import Labels, MigrationConfiguration, Policy
from whimbrel.domain.resources import MIGRATION_POLICIES
from whimbrel.inventory.projections import PROJECTIONS
from whimbrel.ladder.policy import (
    is_wanted,
    label_pairs_needed,
    overlay,
    policy_body,
    policy_labels,
    policy_name,
    resolve,
)

WANTED = KubeVirtConfiguration(bandwidth_bytes_per_second=59 * MIB, completion_timeout_per_gib=50)
STUN = WANTED.model_copy(update={"allow_workload_disruption": True})
CLUSTER = KUBEVIRT_CONFIGURATION

pairs = st.none() | st.dictionaries(st.sampled_from("abc"), st.sampled_from("xy"), max_size=3)
labels = st.dictionaries(st.sampled_from("abc"), st.sampled_from("xy"))
policies = st.lists(st.tuples(pairs, pairs), max_size=5).map(
    lambda every: [
        a_policy(
            f"policy-{number}",
            instance_pairs=mine,
            namespace_pairs=theirs,
            configuration=MigrationConfiguration(completion_timeout_per_gib=number + 1),
        )
        for number, (mine, theirs) in enumerate(every)
    ]
)


def oracle(every: Sequence[Policy], instance: Labels, namespace: Labels) -> int | None:
    """KubeVirt's rule in other words: walk through all policies and keep the best so far."""
    best: tuple[int, int, str] | None = None
    chosen = None
    for policy in every:
        if policy.instance_pairs is None and policy.namespace_pairs is None:
            continue
        mine, theirs = dict(policy.instance_pairs or {}), dict(policy.namespace_pairs or {})
        if not (mine.items() <= instance.items() and theirs.items() <= namespace.items()):
            continue
        if best is None:
            better = True
        elif len(mine) + len(theirs) != best[0]:
            better = len(mine) + len(theirs) > best[0]
        elif len(mine) != best[1]:
            better = len(mine) > best[1]
        else:
            better = policy.key.name < best[2]
        if better:
            best = (len(mine) + len(theirs), len(mine), policy.key.name)
            chosen = policy.configuration.completion_timeout_per_gib
    return chosen


@given(policies, labels, labels)
def test_the_policy_that_kubevirt_picks_is_the_one_that_we_expect(
    every: list[Policy], instance: dict[str, str], namespace: dict[str, str]
) -> None:
    found = resolve(CLUSTER, every, instance, namespace).completion_timeout_per_gib

    assert found == (oracle(every, instance, namespace) or CLUSTER.completion_timeout_per_gib)


@given(policies, labels, labels)
def test_as_many_label_pairs_as_we_need_beat_every_foreign_policy(
    every: list[Policy], instance: dict[str, str], namespace: dict[str, str]
) -> None:
    count = label_pairs_needed(every)
    ours = policy_labels("ours", count)
    mine = a_policy(
        "ours", ours=True, instance_pairs=ours, configuration=MigrationConfiguration(completion_timeout_per_gib=99)
    )

    assert resolve(CLUSTER, [*every, mine], {**instance, **ours}, namespace).completion_timeout_per_gib == 99


def test_one_pair_is_enough_where_nobody_else_has_a_policy() -> None:
    assert label_pairs_needed([]) == 1
    assert label_pairs_needed([a_policy(ours=True, instance_pairs={"a": "1", "b": "2"})]) == 1


def test_a_policy_with_more_pairs_than_an_instance_can_be_burdened_with_is_not_outbid() -> None:
    endless = a_policy(instance_pairs={f"key-{number}": "on" for number in range(100)})

    assert label_pairs_needed([endless]) == 64


def test_a_policy_without_selectors_matches_nobody_and_an_empty_selector_everybody() -> None:
    timeout = MigrationConfiguration(completion_timeout_per_gib=7)

    assert resolve(CLUSTER, [a_policy(configuration=timeout)], {}, {}) == CLUSTER
    assert (
        resolve(CLUSTER, [a_policy(configuration=timeout, instance_pairs={})], {}, {}).completion_timeout_per_gib == 7
    )


def test_what_a_policy_leaves_out_the_cluster_says() -> None:
    merged = overlay(CLUSTER, MigrationConfiguration(bandwidth_bytes_per_second=MIB))

    assert merged == replace(CLUSTER, bandwidth_bytes_per_second=MIB)


def test_where_a_policy_states_post_copy_alone_disruption_follows_it() -> None:
    assert overlay(CLUSTER, MigrationConfiguration(allow_post_copy=True)).allow_workload_disruption is True
    assert (
        overlay(
            CLUSTER, MigrationConfiguration(allow_post_copy=True, allow_workload_disruption=False)
        ).allow_workload_disruption
        is False
    )


def effective(wanted: KubeVirtConfiguration, **changed: object) -> MigrationConfiguration:
    stated = {f.name: getattr(wanted, f.name, None) for f in fields(MigrationConfiguration)}
    return MigrationConfiguration(**{**stated, "progress_timeout_s": 150, **changed})  # type: ignore[arg-type]


def test_kubevirts_own_configuration_may_already_be_the_wanted_one() -> None:
    assert is_wanted(WANTED, effective(WANTED))
    assert is_wanted(WANTED, effective(WANTED, allow_auto_converge=None))
    for changed in (
        {"bandwidth_bytes_per_second": 0},
        {"completion_timeout_per_gib": 51},
        {"allow_auto_converge": True},
        {"allow_post_copy": True},
        {"allow_workload_disruption": True},
    ):
        assert not is_wanted(WANTED, effective(WANTED, **changed))


configurations = st.tuples(st.integers(0, 20_000), st.integers(0, 100_000), st.booleans()).map(
    lambda drawn: KubeVirtConfiguration(
        bandwidth_bytes_per_second=drawn[0] * MIB,
        completion_timeout_per_gib=drawn[1],
        allow_workload_disruption=drawn[2],
    )
)


@given(configurations, st.integers(1, 5))
def test_a_policy_that_the_server_returns_says_what_we_wrote(wanted: KubeVirtConfiguration, count: int) -> None:
    stored = PROJECTIONS[MIGRATION_POLICIES](policy_body(policy_name(wanted, count), wanted, count, CAPABILITIES))

    assert isinstance(stored, Policy)
    assert stored.ours
    assert is_wanted(wanted, stored.configuration)
    assert dict(stored.instance_pairs or {}) == policy_labels(stored.key.name, count)


@given(configurations, configurations)
def test_two_configurations_share_a_policy_only_if_they_are_the_same(
    one: KubeVirtConfiguration, other: KubeVirtConfiguration
) -> None:
    assert (policy_name(one, 1) == policy_name(other, 1)) == (one == other)


def test_bandwidth_is_written_as_kubernetes_would_print_it() -> None:
    assert policy_body("whimbrel-x", WANTED, 1, CAPABILITIES)["spec"]["bandwidthPerMigration"] == "59Mi"
    assert (
        policy_body(
            "whimbrel-x", WANTED.model_copy(update={"bandwidth_bytes_per_second": 2 * 1024 * MIB}), 1, CAPABILITIES
        )["spec"]["bandwidthPerMigration"]
        == "2Gi"
    )
