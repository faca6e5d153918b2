"""The forecast of an attempt: monotone, bounded, unit-safe, and silent where nobody can tell."""

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.migration_cases import MEMORY, disks, guests, paths, plain_terms, rates, terms
from whimbrel.domain.quantities import MIB
from whimbrel.forecast import (
    AtDeadline,
    Convergence,
    CurvePoint,
    Disks,
    Ending,
    Guest,
    Path,
    Prediction,
    Spread,
    Terms,
    predict,
    unattended_downtime_ms,
)

ORDER = (Convergence.CONVERGES, Convergence.UNCERTAIN, Convergence.DOES_NOT)


def a_guest(dirty_mib: float, in_use_mib: float = 8192, *, settled: bool = False) -> Guest:
    """Dirties so much in one second, and no more in a minute if settled."""
    points = [CurvePoint(1.0, dirty_mib * MIB, "sample")]
    if settled:
        points.append(CurvePoint(60.0, dirty_mib * MIB, "round"))
    return Guest(MEMORY, in_use_mib * MIB, tuple(points))


def order_of(one: float | None) -> float:
    return inf if one is None else one


def no_worse(better: Prediction, worse: Prediction) -> None:
    """Each number of one is at most the other's, where both have it; and it converges at least as surely."""
    assert ORDER.index(better.convergence) <= ORDER.index(worse.convergence)
    assert order_of(better.longest_s) <= order_of(worse.longest_s) * (1 + 1e-6)
    if Convergence.UNCERTAIN not in (better.convergence, worse.convergence):
        assert order_of(better.duration_p50_s) <= order_of(worse.duration_p50_s) * (1 + 1e-6)
        assert order_of(better.duration_p90_s) <= order_of(worse.duration_p90_s) * (1 + 1e-6)


@settings(max_examples=60)
@given(guests, paths, terms, disks)
def test_whatever_is_known_there_is_an_answer_and_its_parts_fit_together(
    known: Guest, path: Path, limits: Terms, copied: Disks
) -> None:
    said = predict(known, path, limits, copied)

    assert order_of(said.duration_p50_s) <= order_of(said.duration_p90_s)
    assert said.duration_p90_s is None or said.duration_p90_s <= order_of(said.longest_s)
    assert order_of(said.bytes_p50) <= order_of(said.bytes_p90)
    assert sum(weight for _ending, weight in said.endings) == pytest.approx(1)
    assert 0 <= said.downtime_bound_ms <= said.unattended_downtime_ms
    assert said.convergence is not Convergence.UNCERTAIN or said.duration_p50_s is None


@given(st.floats(0, 8192), rates, rates, st.floats(1, 2), plain_terms, disks)
def test_more_bandwidth_never_takes_longer(
    dirty_mib: float, one: float, other: float, slower: float, limits: Terms, copied: Disks
) -> None:
    narrow, wide = sorted((one, other))
    path = Path(10_000.0 * MIB, narrow, slowdown=Spread(1.0, slower))

    no_worse(
        predict(a_guest(dirty_mib), replace(path, cap_bytes_per_second=wide), limits, copied),
        predict(a_guest(dirty_mib), path, limits, copied),
    )


@given(st.floats(0, 8192), st.floats(0, 8192), rates, plain_terms)
def test_more_dirtying_never_takes_less(one_mib: float, other_mib: float, cap: float, limits: Terms) -> None:
    less, more = sorted((one_mib, other_mib))
    path = Path(10_000.0 * MIB, cap, slowdown=Spread(1.0, 1.1))
    quieter, busier = predict(a_guest(less), path, limits), predict(a_guest(more), path, limits)

    no_worse(quieter, busier)
    if Convergence.UNCERTAIN not in (quieter.convergence, busier.convergence):
        assert order_of(quieter.bytes_p50) <= order_of(busier.bytes_p50) * (1 + 1e-6)
        assert order_of(quieter.bytes_p90) <= order_of(busier.bytes_p90) * (1 + 1e-6)


@given(st.floats(0, 8192), rates, plain_terms, st.sampled_from((0.5, 8.0, 1000.0)))
def test_bytes_and_rates_scaled_together_leave_durations_as_they_are(
    dirty_mib: float, cap: float, limits: Terms, scale: float
) -> None:
    point = CurvePoint(1.0, dirty_mib * MIB, "sample")
    one = predict(Guest(MEMORY, MEMORY / 2, (point,)), Path(10_000.0 * MIB, cap), limits)
    scaled = replace(point, distinct_bytes=scale * point.distinct_bytes)
    wide = Path(scale * 10_000.0 * MIB, scale * cap)
    other = predict(Guest(scale * MEMORY, scale * MEMORY / 2, (scaled,)), wide, limits)

    if one.convergence is not other.convergence:
        assert Convergence.UNCERTAIN in (one.convergence, other.convergence)  # at the very edge of the band
        return
    for mine, theirs in ((one.duration_p50_s, other.duration_p50_s), (one.duration_p90_s, other.duration_p90_s)):
        assert theirs == (None if mine is None else pytest.approx(mine, rel=0.01))


@pytest.mark.parametrize(
    ("dirty_mib", "convergence"),
    [
        (5, Convergence.CONVERGES),
        (84, Convergence.CONVERGES),
        (95, Convergence.UNCERTAIN),
        (105, Convergence.UNCERTAIN),
        (116, Convergence.DOES_NOT),
        (400, Convergence.DOES_NOT),
    ],
)
def test_near_dirty_rate_equal_to_bandwidth_there_is_an_answer_but_no_number(
    dirty_mib: float, convergence: Convergence
) -> None:
    linear = CurvePoint(0.3, 0.3 * dirty_mib * MIB, "short"), CurvePoint(60.0, 60 * dirty_mib * MIB, "long")

    said = predict(Guest(4 * MEMORY, 4 * MEMORY, linear), Path(100.0 * MIB), Terms(deadline_s=10_000))

    assert said.convergence is convergence
    assert (said.duration_p50_s is None) == (convergence is Convergence.UNCERTAIN)
    assert said.longest_s is not None


def test_start_up_is_part_of_the_duration_and_widens_it() -> None:
    said = predict(a_guest(0, 1000), Path(1000.0 * MIB), start_up=Spread(10, 22))

    assert said.duration_p50_s == pytest.approx(11, abs=0.5)
    assert said.duration_p90_s == pytest.approx(23, abs=0.5)


def test_without_any_sample_the_forecast_is_wider() -> None:
    path = Path(1000.0 * MIB)

    told = predict(a_guest(20), path)
    untold = predict(Guest(MEMORY, None), path)

    assert told.duration_p50_s is not None
    assert told.duration_p90_s is not None
    assert (
        untold.duration_p90_s is None
        or untold.duration_p50_s is None
        or (untold.duration_p90_s / untold.duration_p50_s > told.duration_p90_s / told.duration_p50_s)
    )


def test_streams_and_the_processor_bound_the_rate_and_compression_spares_bytes() -> None:
    quiet = a_guest(0, 8000)
    link = 4000.0 * MIB

    one = predict(quiet, Path(link, stream_bytes_per_second=500.0 * MIB), start_up=Spread(1, 1))
    eight = predict(quiet, Path(link, stream_bytes_per_second=500.0 * MIB, streams=8), start_up=Spread(1, 1))
    packed = predict(quiet, Path(link, compression=Spread(2.0, 2.0)), start_up=Spread(1, 1))

    assert one.duration_p50_s == pytest.approx(17, rel=0.02)
    assert eight.duration_p50_s == pytest.approx(3, rel=0.02)
    assert packed.duration_p50_s == pytest.approx(2, rel=0.02)
    assert packed.bytes_p50 == pytest.approx(4000 * MIB, rel=0.01)


def test_a_doomed_attempt_is_foretold_to_its_abort() -> None:
    said = predict(a_guest(500, settled=True), Path(100.0 * MIB), Terms(deadline_s=200), start_up=Spread(1, 1))

    assert said.convergence is Convergence.DOES_NOT
    assert said.endings == ((Ending.ABORTED, pytest.approx(1)),)
    assert said.duration_p50_s == pytest.approx(202.4)
    assert said.bytes_p50 == pytest.approx(201.4 * 100 * MIB)


def test_the_unattended_worst_case_of_a_stun_is_one_further_deadline_and_the_time_to_resume() -> None:
    assert unattended_downtime_ms(Terms(60, AtDeadline.SUSPEND)) == 62_500
    assert unattended_downtime_ms(Terms(60, AtDeadline.RAISE_DOWNTIME)) == 120_025
    assert unattended_downtime_ms(Terms(60, AtDeadline.POST_COPY)) == unattended_downtime_ms(Terms()) == 325


@settings(max_examples=10)
@given(guests, paths, terms)
def test_the_same_is_said_of_the_same(known: Guest, path: Path, limits: Terms) -> None:
    turned = replace(known, points=known.points[::-1])

    assert replace(predict(known, path, limits), sources=(), missing=()) == predict(turned, path, limits)
