"""The dirty curve: what a guest can dirty within a window."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whimbrel.forecast import DirtyCurve

sizes = st.floats(0, 2.0**40)
curves = st.builds(DirtyCurve, sizes, sizes, sizes, sizes)
windows = st.floats(0, 1e6)


@given(curves, windows, windows)
def test_nothing_is_dirtied_at_once_and_more_within_longer_but_never_more_than_the_working_set(
    curve: DirtyCurve, one_s: float, other_s: float
) -> None:
    shorter_s, longer_s = sorted((one_s, other_s))

    assert curve.distinct_bytes(0) == 0
    assert curve.distinct_bytes(shorter_s) <= curve.distinct_bytes(longer_s) <= curve.working_set_bytes


@given(curves, windows, windows)
def test_a_curve_bends_only_downwards(curve: DirtyCurve, one_s: float, other_s: float) -> None:
    middle = curve.distinct_bytes((one_s + other_s) / 2)

    assert middle >= (curve.distinct_bytes(one_s) + curve.distinct_bytes(other_s)) / 2 * (1 - 1e-9) - 1e-9


@given(curves, windows, st.floats(0, 1))
def test_a_throttled_guest_dirties_in_the_same_time_what_it_would_have_in_less(
    curve: DirtyCurve, window_s: float, throttle: float
) -> None:
    slower = curve.throttled(throttle).distinct_bytes(window_s)

    assert slower == pytest.approx(curve.distinct_bytes(window_s * (1 - throttle)), rel=1e-9, abs=1e-6)


@given(curves, st.floats(0, 2.0**40), windows)
def test_no_more_is_dirtied_than_there_is_memory(curve: DirtyCurve, memory_bytes: float, window_s: float) -> None:
    assert curve.within(memory_bytes).distinct_bytes(window_s) <= memory_bytes * (1 + 1e-12)


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf")])
def test_a_curve_has_sizes_and_rates_that_can_be(wrong: float) -> None:
    with pytest.raises(ValueError, match="finite and not negative"):
        DirtyCurve(wrong, 1.0)
