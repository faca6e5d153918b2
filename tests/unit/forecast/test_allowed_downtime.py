"""A downtime limit that was raised, and a guest that is throttled: what that does to the end of a copy and to its pause."""

import pytest

from whimbrel.domain.quantities import MIB
from whimbrel.forecast import Convergence, CurvePoint, DirtyCurve, Guest, Path, Terms, predict
from whimbrel.forecast.attempt import attempt, longest_sleep_s
from whimbrel.forecast.path import Pace

CALM = DirtyCurve(1.0 * MIB, 1.0 * MIB)
PACE = Pace(64.0 * MIB, 1024.0 * MIB)


def seconds(allowed_s: float, free_mib: float) -> float:
    """Of 96 MiB in use at 64 MiB/s."""
    return attempt(96.0 * MIB, CALM, PACE, Terms(allowed_downtime_s=allowed_s), free_bytes=free_mib * MIB).seconds


def test_a_limit_that_is_wider_than_free_memory_ends_the_first_round_early() -> None:
    whole = seconds(0.3, 10)

    assert seconds(1.2, 100) == whole
    assert seconds(1.2, 10) == pytest.approx(whole - (1.2 - 10 / 64) + 0.1 + 67 / 1024, abs=0.1)


def test_no_limit_ends_a_copy_before_the_hypervisor_knows_its_rate() -> None:
    assert seconds(60.0, 0) >= 0.2


def test_a_guest_that_is_throttled_to_the_utmost_stands_still_for_a_second_at_a_time() -> None:
    assert longest_sleep_s(0.99) == pytest.approx(0.99)
    assert longest_sleep_s(0.0) == 0

    busy = DirtyCurve(90.0 * MIB, 5_000.0 * MIB)
    throttled = attempt(96.0 * MIB, busy, PACE, Terms(may_throttle=True))

    assert throttled.downtime_bound_s > 0.9


def test_a_copy_of_which_nobody_knows_whether_it_ends_may_end_within_the_hypervisors_limit() -> None:
    near = Guest(128.0 * MIB, 96.0 * MIB, (CurvePoint(0.3, 19.0 * MIB, "test"), CurvePoint(3.0, 19.0 * MIB, "test")))

    said = predict(near, Path(64.0 * MIB), Terms())

    assert said.convergence is Convergence.UNCERTAIN
    assert said.downtime_bound_ms >= 300
