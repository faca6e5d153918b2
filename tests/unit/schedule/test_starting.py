"""From admitted to begun: policy, labels, migration – one write at a time."""

from typing import Any

from support.builders import CAPABILITIES, a_cluster, a_move, a_plan, a_policy, an_attempt, an_instance
from whimbrel.domain.decision import Create, Delete, JsonPatch
from whimbrel.domain.records import Instance, MigrationConfiguration
from whimbrel.domain.resources import INSTANCES, MIGRATION_POLICIES, MIGRATIONS
from whimbrel.ladder.attachment import labels_of
from whimbrel.lifecycle.evidence import migration_key
from whimbrel.schedule.candidate import Candidate
from whimbrel.schedule.starting import next_write

PLAN = a_plan()


def a_candidate(instance: Instance, **attempt: Any) -> Candidate:
    move = a_move(PLAN, instance, attempt=an_attempt(**attempt))
    assert move.move.spec.attempt is not None
    assert PLAN.plan is not None
    of = (PLAN, PLAN.plan.spec, move, move.move.spec.attempt, instance, migration_key(move, 1))
    return Candidate.of(*of, CAPABILITIES, begun=False)


def the_policy(candidate: Candidate, **changed: Any) -> Any:
    wanted = candidate.attempt.configuration
    stated = {
        "bandwidth_bytes_per_second": wanted.bandwidth_bytes_per_second,
        "completion_timeout_per_gib": wanted.completion_timeout_per_gib,
        "allow_auto_converge": False,
        "allow_post_copy": False,
        "allow_workload_disruption": False,
        **changed.pop("configuration", {}),
    }
    name = candidate.attempt.policy_name
    pairs = {"whimbrel.dev/policy-0": name}
    return a_policy(
        name, **{"ours": True, "instance_pairs": pairs, **changed}, configuration=MigrationConfiguration(**stated)
    )


def test_first_the_policy() -> None:
    candidate = a_candidate(an_instance())

    write = next_write(candidate, a_cluster(candidate.instance))

    assert isinstance(write, Create)
    assert write.resource == MIGRATION_POLICIES


def test_then_the_labels() -> None:
    candidate = a_candidate(an_instance())

    write = next_write(candidate, a_cluster(candidate.instance, the_policy(candidate)))

    assert isinstance(write, JsonPatch)
    assert write.resource == INSTANCES


def test_then_the_migration() -> None:
    bare = a_candidate(an_instance())
    labelled = a_candidate(an_instance(labels=labels_of(bare.attempt, bare.migration_key)))

    write = next_write(labelled, a_cluster(labelled.instance, the_policy(labelled)))

    assert isinstance(write, Create)
    assert (write.resource, write.key) == (MIGRATIONS, bare.migration_key)


def test_an_attempt_without_a_policy_first_takes_off_what_is_left_of_an_earlier_one() -> None:
    stale = a_candidate(an_instance(labels={"whimbrel.dev/vmim": "old"}), policy_name="", policy_labels=0)
    clean = a_candidate(an_instance(), policy_name="", policy_labels=0)

    first, then = next_write(stale, a_cluster(stale.instance)), next_write(clean, a_cluster(clean.instance))

    assert isinstance(first, JsonPatch)
    assert isinstance(then, Create)
    assert then.resource == MIGRATIONS


def test_a_policy_of_ours_that_does_not_say_what_its_name_stands_for_is_made_anew() -> None:
    candidate = a_candidate(an_instance())

    for edited in (
        the_policy(candidate, configuration={"allow_post_copy": True}),
        the_policy(candidate, instance_pairs={}),
        the_policy(candidate, namespace_pairs={"a": "b"}),
    ):
        write = next_write(candidate, a_cluster(candidate.instance, edited))
        assert isinstance(write, Delete)
        assert write.uid == edited.uid


def test_somebody_elses_policy_under_our_name_is_never_touched() -> None:
    candidate = a_candidate(an_instance())

    assert next_write(candidate, a_cluster(candidate.instance, the_policy(candidate, ours=False))) is None
