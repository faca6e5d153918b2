"""After a stun was ended the guest must be seen running; who was not is told with the way to get it back."""

from datetime import datetime, timedelta

import pytest

from support.builders import NOW, a_migration, a_migration_state, an_instance
from whimbrel.domain.records import Condition, Instance, MigrationState
from whimbrel.lifecycle.left_paused import LeftPaused, left_paused

UID = "uid-of-the-migration"
SUSPENDED = Condition("True", "PausedByMigrationMonitor")
LATER = NOW + timedelta(minutes=1)


def ended(**more: object) -> MigrationState:
    """A stun that was aborted at NOW."""
    told = {"mode": "Paused", "ended_at": NOW, "completed": True, "failed": True, "abort_status": "Succeeded", **more}
    return a_migration_state(UID, **told)  # type: ignore[arg-type]


def found(
    state: MigrationState,
    paused: Condition | None = None,
    *,
    phase: str = "Running",
    requested_at: datetime | None = None,
    now: datetime = LATER,
) -> tuple[LeftPaused, ...]:
    instance: Instance = an_instance(namespace="shop", migration=state, paused=paused, phase=phase)
    migration = a_migration(instance, uid=UID, deletion_requested_at=requested_at)
    return left_paused({instance.key: instance}, {migration.key: migration}, now)


def test_a_guest_that_is_paused_after_its_stun_was_ended_is_told_with_the_way_to_get_it_back() -> None:
    (guest,) = found(ended(), SUSPENDED)

    assert (str(guest.instance), guest.migration_uid, guest.node) == ("shop/db1", UID, "node-1")
    assert guest.found == "is still paused (PausedByMigrationMonitor) after its migration was ended"
    assert "virsh resume in the launcher pod of shop/db1 on node-1" in guest.recovery
    assert guest.recovery.endswith("-- virsh resume shop_db1")


@pytest.mark.parametrize("paused", [None, Condition("False", "PausedByMigrationMonitor")])
def test_a_guest_that_shows_no_pause_after_its_stun_runs(paused: Condition | None) -> None:
    assert found(ended(), paused) == ()


@pytest.mark.parametrize("reason", ["PausedByUser", "PausedIOError"])
def test_a_guest_that_somebody_else_paused_later_was_not_left_so_by_its_stun(reason: str) -> None:
    assert found(ended(), Condition("True", reason)) == ()


def test_virt_handler_may_take_a_moment_to_show_that_the_guest_runs_again() -> None:
    assert found(ended(), SUSPENDED, now=NOW + timedelta(seconds=4)) == ()
    assert found(ended(), SUSPENDED, now=NOW + timedelta(seconds=5))


def test_a_stun_that_failed_by_itself_may_leave_its_guest_paused_too() -> None:
    assert found(ended(abort_status="", failure_reason="Lost connection to destination host"), SUSPENDED)


@pytest.mark.parametrize("abort_status", ["", "Aborting", "Failed"])
def test_an_abort_that_does_not_end_within_thirty_seconds_leaves_its_guest_paused(abort_status: str) -> None:
    stun = a_migration_state(UID, mode="Paused", abort_requested=True, abort_status=abort_status)

    assert found(stun, requested_at=NOW, now=NOW + timedelta(seconds=29)) == ()
    (guest,) = found(stun, requested_at=NOW, now=NOW + timedelta(seconds=31))
    assert (
        guest.found == f"is suspended by its migration, whose end was asked for at {NOW:%H:%M:%S} UTC and has not come"
    )


def test_a_stun_that_nobody_ended_is_no_alarm_however_long_it_lasts() -> None:
    assert found(a_migration_state(UID, mode="Paused"), SUSPENDED, now=NOW + timedelta(hours=1)) == ()


@pytest.mark.parametrize(
    ("state", "phase"),
    [
        (ended(failed=False, abort_status=""), "Running"),
        (ended(mode="PreCopy"), "Running"),
        (ended(mode="PostCopy"), "Running"),
        (ended(), "Failed"),
    ],
)
def test_a_guest_that_arrived_or_was_not_suspended_or_ended_is_not_left_paused(
    state: MigrationState, phase: str
) -> None:
    assert found(state, SUSPENDED, phase=phase) == ()


def test_guests_are_told_in_the_order_of_their_names() -> None:
    instances = [an_instance(name, migration=ended(), paused=SUSPENDED) for name in ("db2", "db1")]

    told = left_paused({each.key: each for each in instances}, {}, LATER)

    assert [guest.instance.name for guest in told] == ["db1", "db2"]
