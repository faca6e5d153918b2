"""Claims: two plans on one virtual machine."""

from datetime import timedelta
from typing import Any

from support.builders import BORN, NOW, a_cluster, a_migration, a_move, a_plan, an_instance
from whimbrel.api.scalars import format_timestamp
from whimbrel.domain.naming import LABEL_INSTANCE_UID, LABEL_PLAN_UID
from whimbrel.domain.records import Plan
from whimbrel.inventory.claims import claims
from whimbrel.inventory.selection import select

GUEST = an_instance()
OLDER = a_plan("older", created_at=BORN)
YOUNGER = a_plan("younger", created_at=BORN + timedelta(hours=1))


def owner(*records: Any) -> str | None:
    """Name of the plan that has the guest."""
    snapshot = a_cluster(GUEST, *records)
    selections = {key: select(plan, snapshot) for key, plan in snapshot.plans.items()}
    names = {record.uid: record.key.name for record in records if isinstance(record, Plan)}
    uid = claims(snapshot, selections).get(GUEST.uid)
    return None if uid is None else names.get(uid, uid)


def test_the_older_plan_has_the_virtual_machine() -> None:
    assert owner(YOUNGER, OLDER) == "older"
    assert owner(YOUNGER) == "younger"


def test_of_two_plans_of_one_instant_the_smaller_uid_has_it() -> None:
    assert owner(a_plan("b", uid="2"), a_plan("a", uid="1")) == "a"


def test_a_plan_that_will_not_act_has_nothing() -> None:
    finished = a_plan("older", status={"finishedAt": format_timestamp(NOW)})

    for idle in (a_plan("older", dry_run=True), a_plan("older", deleting=True), a_plan("older", error="x"), finished):
        assert owner(YOUNGER, idle) == "younger"


def test_a_move_that_has_begun_stays_with_its_plan() -> None:
    assert owner(OLDER, YOUNGER, a_move(YOUNGER, GUEST, phase="Moving")) == "younger"


def test_a_move_that_only_waits_yields_to_the_older_plan() -> None:
    assert owner(OLDER, YOUNGER, a_move(YOUNGER, GUEST, phase="Waiting")) == "older"


def test_a_move_between_two_attempts_stays_with_its_plan() -> None:
    status = {"history": [{"number": 1, "rung": "PreCopy", "outcome": "Aborted"}]}

    assert owner(OLDER, YOUNGER, a_move(YOUNGER, GUEST, status=status)) == "younger"


def test_a_migration_that_was_just_created_counts_before_the_move_says_so() -> None:
    labels = {LABEL_PLAN_UID: YOUNGER.uid, LABEL_INSTANCE_UID: GUEST.uid}

    assert owner(OLDER, YOUNGER, a_migration(GUEST, labels=labels)) == "younger"


def test_a_plan_that_is_being_deleted_keeps_what_is_in_flight() -> None:
    leaving = a_plan("leaving", created_at=NOW, deleting=True)

    assert owner(OLDER, leaving, a_move(leaving, GUEST, phase="Moving")) == "leaving"
    assert owner(OLDER, leaving, a_move(leaving, GUEST, phase="Waiting")) == "older"


def test_a_finished_move_claims_nothing() -> None:
    assert owner(OLDER, YOUNGER, a_move(YOUNGER, GUEST, phase="Failed")) == "older"
