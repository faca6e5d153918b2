"""The bandwidth that a refused pre-copy lacks: what is named does, and a good deal less does not."""

from dataclasses import replace

from hypothesis import example, given, settings
from hypothesis import strategies as st

from support.migration_cases import MEMORY, guests, paths, rates, terms
from whimbrel.domain.quantities import MIB
from whimbrel.forecast import (
    CurvePoint,
    DirtyCurve,
    Guest,
    Path,
    Terms,
    bandwidth_price,
    bandwidth_that_does,
    chance,
    fits,
)

PATH = Path(10_000.0 * MIB, 100.0 * MIB)


def a_guest(hot_mib: float, rate_mib: float) -> Guest:
    """A guest whose curve is well known."""
    curve = DirtyCurve(hot_mib * MIB, rate_mib * MIB)
    points = tuple(CurvePoint(window_s, curve.distinct_bytes(window_s), "test") for window_s in (0.3, 100.0))
    return Guest(MEMORY, MEMORY / 2, points)


def capped_at(path: Path, cap: float) -> Path:
    """The same hosts with another cap; only a cap beyond their link needs a faster one, which the last bytes gain from too."""
    return replace(path, cap_bytes_per_second=cap, link_bytes_per_second=max(cap, path.link_bytes_per_second))


@settings(max_examples=40)
@given(st.floats(1, 8192), st.floats(1, 4096), rates, st.floats(20, 10_000))
@example(790.0, 881.0, 1.0 * MIB, 23.0)
def test_the_bandwidth_named_fits_and_a_tenth_less_does_not(
    hot_mib: float, rate_mib: float, cap: float, within_s: float
) -> None:
    known, path = a_guest(hot_mib, rate_mib), replace(PATH, cap_bytes_per_second=cap)

    named = bandwidth_that_does(known, path, Terms(), within_s=within_s)

    if named is None:
        assert within_s < 60
        return
    assert named % MIB == 0
    at_named, much_less = (capped_at(path, share * named) for share in (1.0, 0.9))
    assert fits(known, at_named, Terms(), within_s=within_s)
    assert named < 20 * MIB or not fits(known, much_less, Terms(), within_s=within_s)


def test_a_sample_of_one_second_leaves_the_price_open() -> None:
    """Within the 300 ms of a switch-over the guest may dirty as much as within the second, or a third of it."""
    sampled = Guest(MEMORY, MEMORY / 2, (CurvePoint(1.0, 300.0 * MIB, "sample"),))

    named = bandwidth_price(sampled, PATH, Terms(200), within_s=300)

    assert named.p50_bytes_per_second is not None
    assert named.p90_bytes_per_second is not None
    assert 300 * MIB < named.p50_bytes_per_second < 350 * MIB
    assert 1000 * MIB < named.p90_bytes_per_second < 1100 * MIB


def test_no_bandwidth_shortens_the_start_up() -> None:
    assert bandwidth_that_does(a_guest(10, 10), PATH, Terms(), within_s=5) is None


@settings(max_examples=40)
@given(guests, paths, terms, st.floats(0, 1e4), st.floats(0, 1e4), st.none() | st.integers(0, 10**6))
def test_more_time_never_lessens_the_chance(
    known: Guest, path: Path, limits: Terms, one_s: float, other_s: float, pause_ms: int | None
) -> None:
    short_s, long_s = sorted((one_s, other_s))

    less = chance(known, path, limits, within_s=short_s, most_downtime_ms=pause_ms)
    more = chance(known, path, limits, within_s=long_s, most_downtime_ms=pause_ms)

    assert 0 <= less <= more <= chance(known, path, limits, most_downtime_ms=pause_ms) <= 1


def test_a_bandwidth_at_which_an_attempt_failed_is_no_price_and_rules_out_the_guests_that_it_would_have_moved() -> None:
    known = Guest(MEMORY, MEMORY / 2, (CurvePoint(1.0, 100.0 * MIB, "sample"),))
    path = Path(10_000.0 * MIB, 40.0 * MIB)
    untried = bandwidth_that_does(known, path, Terms(), within_s=3600, certainty=0.5)
    assert untried is not None

    failed = bandwidth_that_does(
        known, path, Terms(), within_s=3600, certainty=0.5, failed_at_bytes_per_second=float(untried)
    )

    assert failed is not None
    assert failed > untried


def test_the_higher_price_allows_for_a_sample_that_says_too_little() -> None:
    steady = (CurvePoint(60.0, 3000.0 * MIB, "rounds"),)
    exact = Guest(MEMORY, MEMORY / 2, (CurvePoint(1.0, 50.0 * MIB, "sample"), *steady))
    vague = Guest(MEMORY, MEMORY / 2, (CurvePoint(1.0, 50.0 * MIB, "sample", within_factor=1.2), *steady))
    path = Path(10_000.0 * MIB, 40.0 * MIB)

    surely, wider = (bandwidth_price(known, path, Terms(), within_s=3600) for known in (exact, vague))

    assert surely.p50_bytes_per_second == wider.p50_bytes_per_second
    assert surely.p90_bytes_per_second is not None
    assert wider.p90_bytes_per_second is not None
    assert wider.p90_bytes_per_second >= 1.1 * surely.p90_bytes_per_second
