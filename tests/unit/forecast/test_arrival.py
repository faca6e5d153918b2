"""Progress never goes backwards, and the time of arrival follows what is seen."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.migration_cases import MEMORY, guests, paths, terms
from whimbrel.domain.quantities import MIB
from whimbrel.forecast import (
    CurvePoint,
    Guest,
    Path,
    Sighting,
    Spread,
    Terms,
    chance_of_rest,
    eta,
    eta_of_rest,
    progress,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
anything = st.floats(allow_nan=True, allow_infinity=True)
sightings = st.builds(
    Sighting,
    st.just(NOW),
    st.floats(0.1, 1e5),
    st.floats(0, 4 * MEMORY),
    st.floats(0, 1.5 * MEMORY),
    st.none() | st.floats(1, 1e11),
    st.booleans(),
    st.none() | st.floats(0, 1e5),
)


@given(st.lists(st.tuples(anything, st.none() | anything), max_size=20), anything)
def test_progress_never_goes_backwards_whatever_is_seen(seen: list[tuple[float, float | None]], begin: float) -> None:
    shown = progress(0.0, None, begin)
    for sent, will_send in seen:
        later = progress(sent, will_send, shown)
        assert shown <= later <= 0.99
        shown = later


def test_progress_is_what_was_sent_of_all_that_will_be() -> None:
    assert progress(250.0, 750.0) == 0.25
    assert progress(250.0, 1000.0, 0.25) == 0.25


@settings(max_examples=40)
@given(guests, paths, terms, sightings)
def test_whatever_is_seen_an_arrival_is_told_or_not_known(
    known: Guest, path: Path, limits: Terms, seen: Sighting
) -> None:
    told = eta(known, path, limits, seen)

    assert told.p50_s is None or told.p50_s >= 0
    assert told.p90_s is None or (told.p50_s is not None and told.p50_s <= told.p90_s)


def test_a_copy_half_as_fast_as_promised_takes_twice_as_long() -> None:
    quiet = Guest(MEMORY, 8000.0 * MIB, (CurvePoint(1.0, 0.0, "sample"),))
    seen = Sighting(NOW, 40.0, 2000.0 * MIB, 6000.0 * MIB, 50.0 * MIB, True, 40.0)

    told = eta(quiet, Path(1000.0 * MIB, 100.0 * MIB), Terms(), seen)

    assert told.p50_s == pytest.approx(120, rel=0.01)
    assert told.will_send_bytes == pytest.approx(6000 * MIB, rel=0.01)


def test_what_this_copy_showed_of_its_guest_narrows_its_own_arrival() -> None:
    """A sample of one second leaves open whether 80 MiB/s go on for long; the first round showed that they do."""
    sampled = Guest(MEMORY, 8000.0 * MIB, (CurvePoint(1.0, 70.0 * MIB, "sample"),))
    blind = Sighting(NOW, 81.0, 8100.0 * MIB, 5500.0 * MIB, 100.0 * MIB, False, 1.0)
    showed = CurvePoint(80.0, 5600.0 * MIB, "rounds")
    told = Sighting(NOW, 81.0, 8100.0 * MIB, 5500.0 * MIB, 100.0 * MIB, False, 1.0, (showed,))
    path = Path(1000.0 * MIB, 100.0 * MIB)

    before, after = eta(sampled, path, Terms(), blind), eta(sampled, path, Terms(), told)

    assert before.p50_s is not None
    assert after.p50_s is not None
    assert after.p50_s > 2 * before.p50_s
    assert after.p50_s == pytest.approx(55 / 0.3, rel=0.05)


def test_post_copy_is_not_capped_and_a_suspended_copy_is() -> None:
    path = Path(1000.0 * MIB, 100.0 * MIB)

    assert eta_of_rest(path, 1000.0 * MIB, None, capped=True).p50_s == pytest.approx(10)
    assert eta_of_rest(path, 1000.0 * MIB, 50.0 * MIB, capped=True).p50_s == pytest.approx(20)
    assert eta_of_rest(path, 1000.0 * MIB, 50.0 * MIB, capped=False).p50_s == pytest.approx(1)


def test_a_rate_seen_over_a_moment_counts_less_than_what_is_known_of_the_path() -> None:
    """Half as fast as promised, but that may be a tenth of a second's burst: it is taken for as fast as it may have been."""
    quiet = Guest(MEMORY, 8000.0 * MIB, (CurvePoint(1.0, 0.0, "sample"),))
    path = Path(1000.0 * MIB, 100.0 * MIB)
    seen = Sighting(NOW, 0.3, 15.0 * MIB, 7985.0 * MIB, 50.0 * MIB, True, 0.3, rate_within=0.5)

    assert eta(quiet, path, Terms(), seen).p50_s == pytest.approx(7985 / 75, rel=0.01)


def test_an_arrival_counts_the_hand_over_that_follows_the_last_byte() -> None:
    quiet = Guest(MEMORY, 8000.0 * MIB, (CurvePoint(1.0, 0.0, "sample"),))
    path = Path(1000.0 * MIB, 100.0 * MIB)
    handed_over = replace(path, hand_over=Spread(2.0, 2.0))
    seen = Sighting(NOW, 40.0, 4000.0 * MIB, 4000.0 * MIB, 100.0 * MIB, True, 40.0)

    plain, later = eta(quiet, path, Terms(), seen), eta(quiet, handed_over, Terms(), seen)

    assert plain.p50_s is not None
    assert later.p50_s == pytest.approx(plain.p50_s + 2)
    assert eta_of_rest(handed_over, 1000.0 * MIB, None, capped=True).p50_s == pytest.approx(12)


def throttled(set_mib: float, mib_per_second: float) -> Guest:
    """A guest whose set of so many MiB is rewritten at this rate, as an earlier move has shown."""
    window_s = set_mib / mib_per_second
    points = tuple(CurvePoint(each, set_mib * MIB, "earlier move") for each in (window_s, 12.0 + window_s))
    return Guest(MEMORY, 2000.0 * MIB, points)


def test_a_throttled_copy_goes_on_as_far_as_its_guest_is_throttled_by_now() -> None:
    path, limits = Path(100.0 * MIB), Terms(400.0, may_throttle=True)
    early, late = (
        Sighting(NOW, elapsed_s, 100.0 * MIB * elapsed_s, 300.0 * MIB, 100.0 * MIB, False, 1.0)
        for elapsed_s in (30.0, 100.0)
    )
    guest = throttled(600, 900)

    soon, sooner = eta(guest, path, limits, early).p50_s, eta(guest, path, limits, late).p50_s

    assert soon is not None
    assert sooner is not None
    assert sooner < soon


def test_a_throttled_copy_that_should_have_ended_for_every_guest_but_the_fastest_is_without_hope() -> None:
    path, limits = Path(100.0 * MIB), Terms(400.0, may_throttle=True)
    seen = Sighting(NOW, 120.0, 12000.0 * MIB, 300.0 * MIB, 100.0 * MIB, False, 1.0)

    assert chance_of_rest(throttled(600, 200_000), path, limits, seen) == 0
    assert chance_of_rest(throttled(600, 900), path, limits, seen) > 0.5


def test_a_copy_that_kubevirt_will_end_has_no_arrival_and_makes_no_progress() -> None:
    """A set that is rewritten as fast as it is copied, by a deadline in ten seconds."""
    busy = Guest(
        1024.0 * MIB, 1024.0 * MIB, (CurvePoint(1.0, 200.0 * MIB, "sample"), CurvePoint(9.0, 900.0 * MIB, "round"))
    )
    seen = Sighting(NOW, 50.0, 5000.0 * MIB, 300.0 * MIB, 100.0 * MIB, False, 1.0)

    told = eta(busy, Path(100.0 * MIB), Terms(60.0), seen)

    assert chance_of_rest(busy, Path(100.0 * MIB), Terms(60.0), seen) == 0
    assert (told.p50_s, told.p90_s, told.will_send_bytes) == (None, None, None)
