"""The complete writes of one move, each with its fence."""

import pytest

from support.builders import a_migration, a_move, a_plan, an_attempt, an_instance
from whimbrel.api.migration_plan import FINALIZER
from whimbrel.api.virtual_machine_move import AttemptSpec, VirtualMachineMoveStatus
from whimbrel.domain.decision import Create
from whimbrel.domain.records import Migration, Move
from whimbrel.domain.resources import MIGRATIONS, VIRTUAL_MACHINE_MOVES
from whimbrel.inventory.projections import PROJECTIONS
from whimbrel.ladder.attachment import labels_of
from whimbrel.lifecycle import writes
from whimbrel.lifecycle.evidence import gather, migration_key
from whimbrel.simulation.world import Refused, patched

PLAN, INSTANCE = a_plan(), an_instance()
MOVE = a_move(PLAN, INSTANCE)
STUN = AttemptSpec.model_validate(an_attempt(2, rung="Stun", deadline_seconds=40, budget_ms=5000))


def create(attempt: AttemptSpec | None = None) -> Create:
    wanted = attempt or MOVE.move.spec.attempt
    assert wanted is not None
    return writes.create_migration(MOVE, wanted, labels_of(wanted, migration_key(MOVE, wanted.number)))


def test_a_migration_that_the_server_returns_is_recognised_as_the_attempt() -> None:
    write = create()

    stored = PROJECTIONS[MIGRATIONS](write.body)

    assert isinstance(stored, Migration)
    found = gather(MOVE, {stored.key: stored}, {}, {INSTANCE.key: INSTANCE}, INSTANCE.created_at)
    assert found.migration_is_ours


def test_a_migration_never_has_an_owner_because_garbage_collection_would_be_an_unguarded_abort() -> None:
    assert "ownerReferences" not in create().body["metadata"]


def test_only_an_attempt_that_may_suspend_carries_a_consent_and_always_with_its_budget() -> None:
    gentle, hard = create().body["metadata"]["annotations"], create(STUN).body["metadata"]["annotations"]

    assert "whimbrel.dev/stun" not in gentle
    assert "whimbrel.dev/max-downtime-ms" not in gentle
    assert (hard["whimbrel.dev/stun"], hard["whimbrel.dev/max-downtime-ms"]) == ("Allowed", "5000")
    assert hard["whimbrel.dev/deadline-seconds"] == "40"


def test_neither_the_target_nor_the_configuration_is_in_a_migrations_name() -> None:
    elsewhere = AttemptSpec.model_validate(an_attempt(target="node-3", completion_timeout_per_gib=7))

    assert create(elsewhere).key == create().key


def test_an_attempt_without_a_policy_is_created_only_on_a_guest_without_our_label() -> None:
    bare = AttemptSpec.model_validate(an_attempt(policy_name="", policy_labels=0))

    guard = create(bare).guard

    assert guard is not None
    assert guard.labels == {}


def test_a_move_that_the_server_returns_says_what_was_quoted_and_whose_it_is() -> None:
    write = writes.create_move(PLAN, MOVE.key, MOVE.move.spec)

    stored = PROJECTIONS[VIRTUAL_MACHINE_MOVES](write.body)

    assert isinstance(stored, Move)
    assert stored.move.spec == MOVE.move.spec
    assert (stored.plan_uid, stored.plan_name) == (PLAN.uid, PLAN.key.name)


def test_a_status_that_says_the_same_is_not_written() -> None:
    assert writes.move_status(MOVE, MOVE.move.status, "nothing") is None


def test_a_status_is_replaced_only_at_the_version_that_was_seen() -> None:
    write = writes.move_status(MOVE, VirtualMachineMoveStatus(reason="X"), "something")

    assert write is not None
    assert write.body["metadata"]["uid"] == MOVE.uid
    assert write.body["metadata"]["resourceVersion"] == MOVE.resource_version


def test_a_quote_made_anew_replaces_only_the_move_that_was_seen_and_keeps_its_owner() -> None:
    write = writes.requote_move(PLAN, MOVE, MOVE.move.spec)

    assert write.body["metadata"]["uid"] == MOVE.uid
    assert write.body["metadata"]["resourceVersion"] == MOVE.resource_version
    assert write.body["metadata"]["ownerReferences"][0]["uid"] == PLAN.uid


def test_the_finalizer_joins_those_of_others_and_leaves_them() -> None:
    with_others = a_plan(finalizers=["somebody/else"])
    document = {"metadata": {"uid": with_others.uid, "resourceVersion": "1", "finalizers": ["somebody/else"]}}

    added = patched(document, writes.add_finalizer(with_others).operations)
    held = a_plan(finalizers=added["metadata"]["finalizers"])
    removed = patched(added, writes.remove_finalizer(held).operations)

    assert added["metadata"]["finalizers"] == ["somebody/else", FINALIZER]
    assert removed["metadata"]["finalizers"] == ["somebody/else"]


def test_a_finalizer_that_is_not_where_it_was_seen_is_not_removed() -> None:
    held = a_plan(finalizers=[FINALIZER])
    meanwhile = {"metadata": {"uid": held.uid, "finalizers": ["somebody/else", FINALIZER]}}

    with pytest.raises(Refused):
        patched(meanwhile, writes.remove_finalizer(held).operations)


def test_a_deletion_names_the_uid_that_was_meant() -> None:
    migration = a_migration(INSTANCE, uid="exactly-this")

    assert writes.delete_migration(migration, "why").uid == "exactly-this"
    assert writes.delete_move(MOVE, "why").uid == MOVE.uid


def test_a_migration_names_its_target_unless_the_scheduler_chooses() -> None:
    floating = AttemptSpec.model_validate({**an_attempt(), "allowedNodes": ["node-2", "node-3"]})

    assert create().body["spec"]["addedNodeSelector"] == {"kubernetes.io/hostname": "node-2"}
    assert create(floating).body["spec"] == {"vmiName": "db1"}
