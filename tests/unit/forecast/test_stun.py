"""How long a suspended guest stands still: what real QEMU showed, and what holds for any guest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.migration_cases import guests, paths
from whimbrel.domain.quantities import MIB
from whimbrel.domain.suspension import pause_in_all_s, pause_s
from whimbrel.forecast import CurvePoint, Guest, Path, pause_if_suspended_now

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
