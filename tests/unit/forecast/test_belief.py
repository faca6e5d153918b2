"""Which curves a guest may have, by what is known of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.migration_cases import MEMORY, guests
from whimbrel.domain.quantities import MIB
from whimbrel.forecast import CurvePoint, Guest
from whimbrel.forecast.belief import candidates, rounded_up

SAMPLE = CurvePoint(1.0, 100.0 * MIB, "sample")


def working_sets(*points: CurvePoint) -> tuple[float, float]:
    """The smallest and the largest that is thought possible."""
    sizes = [one.curve.working_set_bytes for one in candidates(Guest(MEMORY, MEMORY, points))]
    return min(sizes), max(sizes)


@given(guests)
def test_what_is_believed_adds_up_and_stays_within_memory(known: Guest) -> None:
    believed = candidates(known)

    assert sum(one.weight for one in believed) == pytest.approx(1)
    for one in believed:
        assert 0 <= one.curve.working_set_bytes <= one.in_use_bytes * (1 + 1e-9)
        assert one.in_use_bytes <= known.memory_bytes


@given(guests)
def test_a_guest_that_is_rounded_up_is_hardly_busier_and_never_less_busy(known: Guest) -> None:
    rounded = rounded_up(known)

    assert rounded_up(rounded) == rounded
    told = [(known.in_use_bytes, rounded.in_use_bytes)] if known.in_use_bytes is not None else []
    told += [(a.distinct_bytes, b.distinct_bytes) for a, b in zip(known.points, rounded.points, strict=True)]
    for exact, up in told:
        assert up is not None
        assert min(exact, MEMORY) <= up <= max(exact * 1.15, exact + 1)


@given(st.floats(0.1, 100), st.floats(0, MEMORY))
def test_every_curve_believed_passes_through_the_only_point_known(window_s: float, seen: float) -> None:
    for one in candidates(Guest(MEMORY, MEMORY, (CurvePoint(window_s, seen, "sample"),))):
        assert one.curve.distinct_bytes(window_s) == pytest.approx(seen, rel=1e-9, abs=1e-6)


def test_a_sample_of_one_second_leaves_open_how_far_the_set_goes_on_growing() -> None:
    assert working_sets(SAMPLE) == (100 * MIB, MEMORY)


def test_a_longer_window_that_shows_no_more_settles_the_size() -> None:
    assert working_sets(SAMPLE, CurvePoint(20.0, 100.0 * MIB, "round")) == (100 * MIB, 100 * MIB)


def test_a_longer_window_that_shows_a_constant_rate_keeps_only_what_is_as_large() -> None:
    assert working_sets(SAMPLE, CurvePoint(20.0, 2000.0 * MIB, "round")) > (2000 * MIB, 0)


def test_of_two_points_that_no_one_curve_explains_either_may_be_true() -> None:
    """Quiet when sampled, busy when it was moved the last time."""
    believed = candidates(Guest(MEMORY, MEMORY, (SAMPLE, CurvePoint(10.0, 4000.0 * MIB, "round"))))

    through_sample = sum(one.weight for one in believed if one.curve.distinct_bytes(1) == pytest.approx(100 * MIB))
    through_round = sum(one.weight for one in believed if one.curve.distinct_bytes(10) == pytest.approx(4000 * MIB))
    assert through_sample == through_round == pytest.approx(0.5)


def test_a_bound_seen_later_excludes_what_is_larger() -> None:
    assert working_sets(SAMPLE, CurvePoint(20.0, 300.0 * MIB, "duration", at_most=True)) == (100 * MIB, 300 * MIB)


def test_a_bound_that_a_constant_rate_would_not_reach_excludes_nothing() -> None:
    bound = CurvePoint(2.0, 190.0 * MIB, "duration", at_most=True)

    assert working_sets(SAMPLE, bound) == working_sets(SAMPLE)


def test_what_is_borrowed_from_a_class_widens_and_what_was_measured_outweighs_it() -> None:
    borrowed = CurvePoint(1.0, 100.0 * MIB, "its class", within_factor=2.0)

    assert working_sets(borrowed) == (50 * MIB, MEMORY)
    assert working_sets(borrowed, SAMPLE) == working_sets(SAMPLE)


@given(st.lists(st.floats(0, MEMORY), min_size=2, max_size=2), st.none() | st.floats(0, MEMORY), st.floats(0.01, 100))
def test_a_greater_sample_makes_every_curve_greater(seen: list[float], in_use: float | None, window_s: float) -> None:
    less, more = (candidates(Guest(MEMORY, in_use, (CurvePoint(1.0, one, "sample"),))) for one in sorted(seen))

    assert [one.weight for one in less] == [one.weight for one in more]
    for lesser, greater in zip(less, more, strict=True):
        assert lesser.curve.distinct_bytes(window_s) <= greater.curve.distinct_bytes(window_s) * (1 + 1e-9)


@given(guests)
def test_the_order_of_what_is_known_does_not_matter(known: Guest) -> None:
    assert candidates(known) == candidates(Guest(known.memory_bytes, known.in_use_bytes, known.points[::-1]))
