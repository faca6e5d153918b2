"""How long a suspended guest stands still: what real QEMU showed, and what holds for any guest."""

import random
from math import exp, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.migration_cases import guests, paths
from whimbrel.domain.quantities import MIB
from whimbrel.domain.suspension import pause_in_all_s, pause_s
from whimbrel.forecast import CurvePoint, Guest, Path, pause_if_suspended_now, quantile

SET = 64.0 * MIB


@pytest.mark.parametrize(
    ("rate_mib", "remaining_s", "real_s"),
    [(40, 1.20, 2.47), (40, 1.40, 2.64), (40, 0.71, 1.95), (40, 1.20, 2.42), (40, 1.10, 2.32), (40, 0.50, 1.76),
     (20, 0.85, 3.53)],
)  # fmt: skip
def test_real_pauses_lie_between_remaining_and_the_bound(rate_mib: float, remaining_s: float, real_s: float) -> None:
    """Measured on QEMU 7.2 with a set of 64 MiB; remaining ÷ rate alone is far too little."""
    rate = rate_mib * MIB
    settled = CurvePoint(0.5, SET, "sample"), CurvePoint(20.0, SET, "round")

    pause = pause_if_suspended_now(Guest(512.0 * MIB, 512.0 * MIB, settled), Path(rate), remaining_s * rate, 20.0, None)

    assert remaining_s < real_s <= pause.bound_ms / 1000
    assert pause.p50_ms / 1000 == pytest.approx(real_s, rel=0.25)


@given(guests, paths, st.floats(0, 2.0**40), st.floats(0, 1e5), st.none() | st.floats(0, 1e5))
def test_a_pause_is_never_foretold_beyond_its_bound(
    known: Guest, path: Path, remaining: float, elapsed_s: float, round_age_s: float | None
) -> None:
    pause = pause_if_suspended_now(known, path, remaining, elapsed_s, round_age_s)

    assert 0 < pause.p50_ms <= pause.p90_ms <= pause.bound_ms


def test_a_round_that_just_began_has_little_dirtied() -> None:
    known = Guest(8192.0 * MIB, 8192.0 * MIB, (CurvePoint(1.0, 100.0 * MIB, "sample"),))

    fresh = pause_if_suspended_now(known, Path(100.0 * MIB), 100.0 * MIB, 100.0, 0.0)
    old = pause_if_suspended_now(known, Path(100.0 * MIB), 100.0 * MIB, 100.0, 30.0)

    assert fresh.p90_ms == pytest.approx(1025, abs=2)
    assert old.p90_ms > 2000
    assert old.bound_ms == fresh.bound_ms


@given(st.floats(-10, 1e4), st.floats(-1e6, 1e12), st.floats(-1e6, 1e12), st.floats(-1, 1e9))
def test_a_live_estimate_is_never_less_than_what_has_passed(
    suspended_s: float, remaining: float, uncounted: float, rate: float
) -> None:
    assert pause_in_all_s(suspended_s, remaining, uncounted, rate) >= max(0.0, suspended_s)


def test_a_link_that_stands_still_never_ends_a_pause() -> None:
    assert pause_s(1.0, 0.0, 0.0) == float("inf")


def test_what_was_left_of_rounds_makes_the_bound_surer_and_never_less_than_it_is_certain_of() -> None:
    """Guests as they are believed to be: the sample says 1000 MiB in a second, the set is as likely larger by any factor."""
    drawn, rate = random.Random(3), 596.0 * MIB
    known = Guest(8192.0 * MIB, 6144.0 * MIB, (CurvePoint(1.0, 1000.0 * MIB, "sample"),))
    alone = pause_if_suspended_now(known, Path(rate), 0.0, 30.0, None, certainty=0.95, round_may_begin=True)
    held, bounds_ms = 0, list[int]()
    for _ in range(200):
        set_bytes = 1000 * MIB * exp(drawn.uniform(0, log(6.144)))
        left = [drawn.uniform(0, set_bytes) for _ in range(4)]
        pause = pause_if_suspended_now(
            known, Path(rate), left[-1], 30.0, None, later_left=left, certainty=0.95, round_may_begin=True
        )
        really_ms = 1000 * (drawn.uniform(0, set_bytes) + set_bytes) / rate
        held += really_ms <= pause.bound_ms
        assert pause.p90_ms <= pause.bound_ms
        bounds_ms.append(pause.bound_ms)

    assert held >= 0.95 * 200
    assert sum(bounds_ms) < 0.9 * 200 * alone.bound_ms


def test_twice_the_largest_round_bounds_the_pause() -> None:
    known = Guest(8192.0 * MIB, 6144.0 * MIB, (CurvePoint(1.0, 1000.0 * MIB, "sample"),))

    pause = pause_if_suspended_now(
        known, Path(596.0 * MIB), 500.0 * MIB, 30.0, None, later_left=(500.0 * MIB,), round_at_most=1100.0 * MIB,
        certainty=0.95, round_may_begin=True,
    )  # fmt: skip

    assert 1000 * 1000 / 596 < pause.bound_ms <= 1000 * 2 * 1100 / 596 + 26


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0.01, 1)), min_size=1), st.floats(0, 1))
def test_a_quantile_does_not_depend_on_how_large_all_weights_are(
    weighted: list[tuple[float, float]], share: float
) -> None:
    tiny = [(value, weight * 2.0**-100) for value, weight in weighted]

    assert quantile(tiny, share) == quantile(weighted, share)
