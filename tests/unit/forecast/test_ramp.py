"""A last step that may take longer once the copy gets on no further: KubeVirt's stall detector, its soft stop."""

from math import inf

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from whimbrel.domain.quantities import MIB
from whimbrel.forecast import DirtyCurve, Ending, Guest, Path, Ramp, Terms, predict
from whimbrel.forecast.attempt import attempt
from whimbrel.forecast.path import Pace
from whimbrel.forecast.pre_copy import SWITCH_OVER_WITHIN_S, copy_memory

RATE = 100.0 * MIB
PACE = Pace(RATE, RATE)
FIRST = 1000.0 * MIB
"""Sent in 10 s."""


def hot(mib: float) -> DirtyCurve:
    """A set of so many MiB that is rewritten far faster than it is copied: each round is as large as the set."""
    return DirtyCurve(mib * MIB, 50 * RATE)


def test_a_guest_whose_rounds_settle_within_the_raised_downtime_is_moved_after_the_window() -> None:
    course = copy_memory(FIRST, hot(150), PACE, ramp=Ramp(2.0, 10.0))

    assert course.ended
    assert course.allowed_downtime_s == 2.0
    assert course.left_bytes <= 2.0 * RATE
    # Its first round ends after 10 s, the next ones after 1.5 s each: none is seen to be no progress before 20 s.
    assert 20 <= course.elapsed_s <= 25


def test_a_guest_that_needs_a_little_more_is_tried_for_a_minute_and_aborted() -> None:
    course = copy_memory(FIRST, hot(250), PACE, ramp=Ramp(2.0, 10.0))

    assert not course.ended
    assert course.elapsed_s == pytest.approx(22.5 + SWITCH_OVER_WITHIN_S, abs=3)


def test_a_guest_that_needs_far_more_is_aborted_as_soon_as_it_is_seen() -> None:
    course = copy_memory(FIRST, hot(400), PACE, ramp=Ramp(2.0, 10.0))

    assert not course.ended
    assert course.elapsed_s <= 30


def test_a_calm_guest_is_moved_as_if_there_were_no_ramp() -> None:
    calm = DirtyCurve(50 * MIB, 0.05 * RATE)

    assert copy_memory(FIRST, calm, PACE, ramp=Ramp(2.0, 10.0)) == copy_memory(FIRST, calm, PACE)


def test_the_forecast_of_a_ramp_says_that_it_converges_and_bounds_the_pause() -> None:
    guest = Guest(FIRST, FIRST)
    path = Path(RATE)
    curve = hot(150)
    run = attempt(FIRST, curve, PACE, Terms(deadline_s=120, ramp=Ramp(2.0, 10.0)))

    assert run.ending is Ending.IN_TIME
    assert run.downtime_bound_s <= 2.0 + 0.03
    assert predict(guest, path, Terms(ramp=Ramp(2.0, 10.0))).unattended_downtime_ms == 2025


@given(
    st.floats(1, 2000),
    st.floats(0.01, 100),
    st.floats(0.4, 60),
    st.floats(10, 40),
)
def test_whatever_the_guest_its_last_step_goes_over_within_the_limit_that_held(
    mib: float, pressed: float, downtime_s: float, window_s: float
) -> None:
    curve = DirtyCurve(min(mib, 1000) * MIB, pressed * RATE)

    course = copy_memory(FIRST, curve, PACE, ramp=Ramp(downtime_s, window_s))

    assert not course.ended or course.left_bytes <= course.allowed_downtime_s * RATE * 1.0001
    assert course.allowed_downtime_s in (0.3, downtime_s)


@given(st.floats(1, 900), st.floats(0.01, 100), st.floats(0.4, 10))
def test_a_ramp_moves_every_guest_that_is_moved_without_it(mib: float, pressed: float, downtime_s: float) -> None:
    assume(not 0.85 < pressed < 1.15)
    curve = DirtyCurve(mib * MIB, pressed * RATE)
    plain = copy_memory(FIRST, curve, PACE)

    ramped = copy_memory(FIRST, curve, PACE, ramp=Ramp(downtime_s, 40.0))

    assert ramped.ended or not plain.ended
    assert ramped.elapsed_s < inf or plain.elapsed_s == inf or not plain.ended
