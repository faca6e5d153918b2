"""What the samples of a running migration say of its rounds and of the guest."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whimbrel.domain.quantities import MIB
from whimbrel.domain.samples import MigrationSample
from whimbrel.forecast import CurvePoint, Guest, Sighting, point_of_finished, sighting
from whimbrel.forecast.steady import (
    FEWEST_ROUNDS_LEFT,
    independent,
    one_of_each_round,
    round_at_most,
    round_by_what_was_left,
    steady_rounds,
)

BEGAN = datetime(2026, 3, 1, 12, tzinfo=UTC)
KNOWN = Guest(1000.0 * MIB, 1000.0 * MIB)


def a_sample(second: float, sent_mib: float, left_mib: float) -> MigrationSample:
    return MigrationSample(
        BEGAN + timedelta(seconds=second),
        processed_bytes=int(sent_mib * MIB),
        remaining_bytes=int(left_mib * MIB),
    )


def test_in_the_first_round_its_age_is_the_copys() -> None:
    seen = sighting([a_sample(5, 250, 750)], BEGAN, KNOWN)

    assert seen == Sighting(BEGAN + timedelta(seconds=5), 5, 250 * MIB, 750 * MIB, 50 * MIB, True, 5, rate_within=0.02)


def test_what_remains_and_was_sent_at_the_next_sample_tells_what_the_first_round_dirtied() -> None:
    """50 MiB/s: the first round ends after 20 s; the second began with 600 MiB."""
    seen = sighting([a_sample(17, 850, 150), a_sample(22, 1100, 500)], BEGAN, KNOWN)

    assert seen is not None
    assert not seen.first_round
    assert seen.round_age_s == pytest.approx(2)
    assert seen.points == (CurvePoint(pytest.approx(20), 600 * MIB, "rounds seen while it migrated"),)


def test_where_rounds_may_have_been_missed_there_is_a_bound_only() -> None:
    """Between the samples lie the end of the first round and perhaps several short ones, 100 MiB in all, and what QEMU may
    have left unsent of a round, 0.3 s of 38 MiB/s.
    """
    seen = sighting([a_sample(18, 900, 100), a_sample(23, 1090, 10)], BEGAN, KNOWN)

    assert seen is not None
    assert seen.round_age_s is None
    assert [(point.distinct_bytes, point.at_most) for point in seen.points] == [(pytest.approx(111.4 * MIB), True)]


def test_a_copy_that_does_not_get_on_tells_the_size_of_its_rounds() -> None:
    """Rounds of 70 MiB at 50 MiB/s, sampled every 5 s."""
    samples = [a_sample(20, 1000, 70)]
    for second in range(25, 60, 5):
        sent = 50.0 * second
        samples.append(a_sample(second, sent, 70 - (sent - 1000) % 70))

    seen = sighting(samples, BEGAN, KNOWN)

    assert seen is not None
    assert {round(point.distinct_bytes / MIB) for point in seen.points if not point.at_most} == {70}
    assert max(point.window_s for point in seen.points if not point.at_most) == pytest.approx(20, rel=0.01)


def test_where_more_is_left_than_is_sent_of_a_round_the_rest_was_left_unsent_for_the_next() -> None:
    """A set of 26 MiB at 24 MiB/s: QEMU looks again when 7.2 MiB are left; four samples a second. In the time in which the
    other 18.8 are sent, at least these are dirtied and at most all 26.
    """
    samples, second, sent, left = list[MigrationSample](), 2.0, 50.0, 26.0
    while second < 8:
        samples.append(a_sample(second, sent, left))
        second, sent, left = second + 0.25, sent + 6, left - 6
        if left < 7.2:
            left += 18.8

    seen = sighting(samples, BEGAN, replace(KNOWN, in_use_bytes=48.0 * MIB, memory_bytes=48.0 * MIB))

    assert seen is not None
    short, long = (point for point in seen.points if not point.at_most)
    assert short.distinct_bytes / short.within_factor == pytest.approx(18.8 * MIB, rel=0.05)
    assert short.distinct_bytes * short.within_factor == pytest.approx(26 * MIB, rel=0.05)
    assert long.distinct_bytes == pytest.approx(26 * MIB, rel=0.05)


def test_samples_within_one_round_count_as_one() -> None:
    """Each round is seen three times; pages of zeros make a little of difference."""
    seen = [(100.0 * lap + part, 60.0 - part + 0.2 * part / 40) for lap in range(8) for part in (0.0, 20.0, 40.0)]

    assert len(one_of_each_round(seen)) == 8
    rounds = steady_rounds(one_of_each_round(seen))
    assert rounds is not None
    assert rounds.sent_bytes == pytest.approx(100)


@pytest.mark.parametrize(
    "marks",
    [
        [],
        [(10.0, 5.0), (20.0, 2.0)],
        [(10.0 * n, 3.0) for n in range(9)],  # always the same phase: 10, 5 or 10/3 explain it alike
        [(10.0, 4.0), (21.3, 6.1), (29.9, 3.3), (44.1, 1.7), (51.2, 6.9), (63.7, 2.2)],
    ],
)
def test_no_size_is_made_up_where_samples_do_not_tell_it(marks: list[tuple[float, float]]) -> None:
    assert steady_rounds(marks) is None


def test_of_rounds_that_are_too_short_for_the_samples_what_was_left_tells_their_size() -> None:
    drawn = random.Random(7)
    ratios = list[float]()
    for _ in range(2000):
        left = [drawn.uniform(0, 70 * MIB) for _ in range(FEWEST_ROUNDS_LEFT)]
        found = round_by_what_was_left(left)
        assert found is not None
        ratios.append(found / (70 * MIB))

    assert 0.95 < sorted(ratios)[1000] < 1.05
    assert sum(2 / 3 < ratio < 4 / 3 for ratio in ratios) > 0.8 * len(ratios)
    assert round_by_what_was_left(left[1:]) is None


def test_samples_that_fall_ever_further_into_their_rounds_by_the_same_step_count_as_one() -> None:
    drawn = random.Random(11)
    anywhere = [[drawn.uniform(0, 500) for _ in range(8)] for _ in range(500)]

    assert independent([114, 134, 154, 174, 194, 214]) == (214,)
    assert independent([20, 0.1, 480, 460, 440, 420]) == (480,)
    assert independent([300]) == (300,)
    assert sum(len(independent(left)) == 8 for left in anywhere) > 450


@given(
    st.floats(20, 3000), st.integers(2, 10), st.floats(0.9, 1.1), st.floats(0, 1), st.sampled_from([0.0, 100.0]),
)  # fmt: skip
def test_no_round_is_larger_than_the_bound_by_samples_of_it(
    sent_mib: float, samples: int, interval: float, begins: float, unsent_mib: float
) -> None:
    """Rounds of one size at 596 MiB/s, sampled about every five seconds."""
    marks = []
    for number in range(samples):
        sent = begins * sent_mib + 596 * 5 * interval * number
        marks.append((sent, unsent_mib + sent_mib - sent % sent_mib))

    bound = round_at_most(one_of_each_round(marks), unsent_mib)

    assert bound is None or bound >= 0.999 * (sent_mib + unsent_mib)


def test_two_samples_bound_a_round_and_more_tell_it() -> None:
    marks = [(2980.0 * number, 1200 - 2980.0 * number % 1200) for number in range(1, 5)]

    assert round_at_most(marks[:1]) is None
    assert round_at_most(marks[:2]) == pytest.approx(1.05 * 2400)
    assert round_at_most(marks) == pytest.approx(1.05 * 1200)


def test_repeated_disordered_and_broken_samples_change_nothing() -> None:
    good = [a_sample(17, 850, 150), a_sample(22, 1100, 500)]
    bad = [
        a_sample(-3, 10, 10),
        a_sample(23, 0, 500),
        a_sample(24, 1200, 9000),
        replace(a_sample(25, 1250, 400), remaining_bytes=None),
        replace(a_sample(25, 1250, 400), processed_bytes=-5),
    ]

    assert sighting([*reversed(good), *bad, *good], BEGAN, KNOWN) == sighting(good, BEGAN, KNOWN)


def test_nothing_is_said_without_samples() -> None:
    assert sighting([], BEGAN, KNOWN) is None


@given(
    st.lists(
        st.builds(
            MigrationSample,
            st.floats(-10, 1e4).map(lambda second: BEGAN + timedelta(seconds=second)),
            processed_bytes=st.none() | st.integers(-(2**40), 2**56),
            remaining_bytes=st.none() | st.integers(-(2**40), 2**56),
        ),
        max_size=12,
    )
)
def test_whatever_the_samples_a_sighting_is_sound(samples: list[MigrationSample]) -> None:
    seen = sighting(samples, BEGAN, KNOWN)

    if seen is not None:
        assert seen.elapsed_s > 0
        assert seen.round_age_s is None or 0 <= seen.round_age_s <= seen.elapsed_s
        assert seen.bytes_per_second is None or seen.bytes_per_second > 0
        assert all(point.window_s > 0 and point.distinct_bytes > 0 for point in seen.points)


def test_the_duration_of_a_finished_move_tells_what_its_first_round_dirtied() -> None:
    """1000 MiB at 50 MiB/s, 500 MiB dirtied meanwhile, then 250, 125, …: 40 s in all."""
    rate = 50.0 * MIB

    point = point_of_finished(KNOWN, (rate, rate), (39.5, 40.5))

    assert point is not None
    assert point.distinct_bytes == pytest.approx(500 * MIB, rel=0.03)
    assert not point.at_most


def test_a_duration_that_is_hardly_longer_than_one_pass_only_bounds_it() -> None:
    """What went over while the guest stood still is not in it."""
    rate = 50.0 * MIB

    point = point_of_finished(KNOWN, (rate, rate), (20, 21))

    assert point is not None
    assert point.at_most
    assert point.distinct_bytes == pytest.approx((50 + 0.3 * 50) * MIB)


@pytest.mark.parametrize(("rate_mib", "took_s"), [(50, 10), (0, 10)])
def test_a_duration_that_cannot_be_tells_nothing(rate_mib: float, took_s: float) -> None:
    assert point_of_finished(KNOWN, (rate_mib * MIB, rate_mib * MIB), (took_s, took_s)) is None
