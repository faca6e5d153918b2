"""The elector's rule: at most one replica believes that it leads, whatever the API server and the clocks do."""

from hypothesis import given
from hypothesis import strategies as st

from whimbrel.kube.lease import Acquire, Lost, Renew, Seen, Timing, Wait, step, vanished

TIMING = Timing()
ME, OTHER = "me", "other"


def seen(holder: str, since: float = 0.0, duration_s: float = 15.0) -> Seen:
    return Seen(holder=holder, version="1", duration_s=duration_s, since=since)


def test_a_lease_that_does_not_exist_is_taken() -> None:
    assert step(None, ME, None, 100.0, TIMING) == Acquire()


def test_a_released_lease_is_taken_at_once() -> None:
    assert step(seen(""), ME, None, 0.1, TIMING) == Acquire()


def test_another_ones_lease_is_left_alone_until_it_expires() -> None:
    assert step(seen(OTHER), ME, None, 0.0, TIMING) == Wait(2.0)
    assert step(seen(OTHER), ME, None, 14.5, TIMING) == Wait(0.5)
    assert step(seen(OTHER), ME, None, 15.0, TIMING) == Acquire()


def test_the_holders_own_duration_counts() -> None:
    assert step(seen(OTHER, duration_s=60), ME, None, 20.0, TIMING) == Wait(2.0)


def test_a_restarted_container_resumes_its_own_lease() -> None:
    assert step(seen(ME), ME, None, 0.0, TIMING) == Acquire()


def test_a_leader_renews_every_two_seconds() -> None:
    assert step(seen(ME), ME, 100.0, 101.5, TIMING) == Wait(0.5)
    assert step(seen(ME), ME, 100.0, 102.0, TIMING) == Renew(8.0)


def test_a_leader_that_cannot_renew_has_lost_before_anybody_can_take_over() -> None:
    verdict = step(seen(ME), ME, 100.0, 110.0, TIMING)

    assert isinstance(verdict, Lost)
    assert TIMING.renew_deadline_s < TIMING.duration_s


def test_a_leader_that_sees_another_holder_has_lost() -> None:
    assert step(seen(OTHER), ME, 100.0, 100.1, TIMING) == Lost("other holds the Lease now")


def test_a_leader_whose_lease_was_deleted_writes_it_again() -> None:
    assert isinstance(step(None, ME, 100.0, 103.0, TIMING), Renew)


def test_another_ones_lease_that_is_deleted_is_left_alone_for_its_duration() -> None:
    gone = vanished(seen(OTHER, since=50.0, duration_s=20), ME, 70.0)

    assert step(gone, ME, None, 70.0, TIMING) == Wait(2.0)
    assert step(gone, ME, None, 89.0, TIMING) == Wait(1.0)
    assert step(gone, ME, None, 90.0, TIMING) == Acquire()


def test_looking_for_a_deleted_lease_again_does_not_prolong_the_wait() -> None:
    gone = vanished(seen(OTHER), ME, 70.0)

    assert vanished(gone, ME, 80.0) == gone


def test_a_deleted_lease_that_nobody_else_held_is_taken_at_once() -> None:
    for before in (None, seen(""), seen(ME)):
        assert step(vanished(before, ME, 1.0), ME, None, 1.0, TIMING) == Acquire()


@given(
    looked=st.floats(0, 1000), renewed_after=st.floats(0, 60), noticed_after=st.floats(0, 60), waited=st.floats(0, 30)
)
def test_a_deleted_lease_is_not_taken_while_a_write_of_its_leader_may_be_under_way(
    looked: float, renewed_after: float, noticed_after: float, waited: float
) -> None:
    """The leader may have renewed after our last look and before the deletion; its fence is the whole duration."""
    renewed = looked + renewed_after
    noticed = renewed + noticed_after
    gone = vanished(seen(OTHER, since=looked), ME, noticed)

    if isinstance(step(gone, ME, None, noticed + waited, TIMING), Acquire):
        assert noticed + waited >= renewed + TIMING.duration_s - 1e-6


@given(
    renewed=st.floats(0, 1000),
    took=st.floats(0, 60),
    delay=st.floats(0, 100),
    elapsed=st.floats(0, 200),
)
def test_a_follower_never_takes_over_while_a_leader_may_believe_that_it_leads(
    renewed: float, took: float, delay: float, elapsed: float
) -> None:
    """A renewal that began at `renewed` commits within `took`; a follower sees it some `delay` after that."""
    observed = renewed + took + delay
    now = renewed + elapsed

    leads = not isinstance(step(seen(ME, since=renewed), ME, renewed, now, TIMING), Lost)
    if now >= observed:
        takes = isinstance(step(seen(OTHER, since=observed), ME, None, now, TIMING), Acquire)
        assert not (leads and takes)
