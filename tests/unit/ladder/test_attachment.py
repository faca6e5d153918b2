"""Reserved labels: how a policy is attached to a guest for one attempt, and taken off again."""

from support.builders import CAPABILITIES, a_move, a_plan, an_attempt, an_instance
from whimbrel.api.virtual_machine_move import AttemptSpec
from whimbrel.domain.decision import JsonPatch
from whimbrel.domain.records import Key
from whimbrel.ladder.attachment import create_policy, labels_of, labels_off, labels_on, reserved_labels
from whimbrel.ladder.policy import policy_name
from whimbrel.simulation.world import patched

MIGRATION = Key("default", "whimbrel-db1-1")
ATTEMPT = AttemptSpec.model_validate(an_attempt(policy_name="whimbrel-p", policy_labels=2))


def after(patch: JsonPatch | None, labels: dict[str, str] | None, uid: str = "uid-default-db1") -> dict[str, str]:
    """Labels of the instance after the patch, as an API server applies it."""
    assert patch is not None
    metadata: dict[str, object] = {"uid": uid, "resourceVersion": "1"}
    if labels is not None:
        metadata["labels"] = labels
    return dict(patched({"metadata": metadata}, patch.operations)["metadata"].get("labels", {}))


def test_an_attempt_needs_as_many_policy_labels_as_its_specification_says_and_the_migrations_name() -> None:
    assert labels_of(ATTEMPT, MIGRATION) == {
        "whimbrel.dev/policy-0": "whimbrel-p",
        "whimbrel.dev/policy-1": "whimbrel-p",
        "whimbrel.dev/vmim": "whimbrel-db1-1",
    }


def test_an_attempt_under_kubevirts_own_configuration_needs_no_label() -> None:
    assert labels_of(ATTEMPT.model_copy(update={"policy_name": "", "policy_labels": 0}), MIGRATION) == {}


def test_setting_labels_leaves_other_peoples_alone_and_replaces_what_is_left_of_ours() -> None:
    before = {"app": "db", "whimbrel.dev/policy-7": "old", "whimbrel.dev/vmim": "old"}
    wanted = labels_of(ATTEMPT, MIGRATION)

    patch = labels_on(an_instance(labels=before), wanted)

    assert after(patch, before) == {"app": "db", **wanted}


def test_labels_are_set_on_a_guest_that_has_none_at_all() -> None:
    wanted = labels_of(ATTEMPT, MIGRATION)

    patch = labels_on(an_instance(labels={}), wanted)

    assert after(patch, None) == wanted
    assert {"op": "test", "path": "/metadata/resourceVersion", "value": "1"} in patch.operations


def test_labels_are_set_and_taken_off_only_on_the_guest_that_was_meant() -> None:
    labels = {"whimbrel.dev/vmim": "whimbrel-db1-1"}
    instance = an_instance(labels=labels)

    for patch in (labels_on(instance, labels_of(ATTEMPT, MIGRATION)), labels_off(instance)):
        assert patch is not None
        assert patch.operations[0] == {"op": "test", "path": "/metadata/uid", "value": instance.uid}


def test_taking_labels_off_tests_that_they_still_are_of_the_same_migration() -> None:
    labels = {"app": "db", **labels_of(ATTEMPT, MIGRATION)}

    patch = labels_off(an_instance(labels=labels))

    assert patch is not None
    assert {"op": "test", "path": "/metadata/labels/whimbrel.dev~1vmim", "value": "whimbrel-db1-1"} in patch.operations
    assert after(patch, labels) == {"app": "db"}


def test_where_there_is_no_label_of_ours_there_is_nothing_to_take_off() -> None:
    instance = an_instance(labels={"app": "db", "whimbrel.dev/something-else": "x"})

    assert reserved_labels(instance) == {}
    assert labels_off(instance) is None


def test_the_policy_of_an_attempt_is_made_under_its_name_from_its_specification() -> None:
    plan, instance = a_plan(), an_instance()
    name = policy_name(ATTEMPT.configuration, 2)
    move = a_move(plan, instance, attempt=an_attempt(policy_name=name, policy_labels=2))
    assert move.move.spec.attempt is not None

    create = create_policy(move.move.spec.attempt, CAPABILITIES)

    assert create.key == Key("", name) == Key("", create.body["metadata"]["name"])
    assert len(create.body["spec"]["selectors"]["virtualMachineInstanceSelector"]) == 2
