"""Guests, paths and terms at random, for the tests of what a migration will take."""

from hypothesis import strategies as st

from whimbrel.domain.quantities import MIB
from whimbrel.forecast import AtDeadline, CurvePoint, Disks, Guest, Path, Spread, Terms

MEMORY = 16_384.0 * MIB

shares = st.floats(0, 1)
points = st.builds(
    CurvePoint,
    st.floats(0.01, 1000),
    st.floats(0, MEMORY),
    st.just("test"),
    st.sampled_from((1.0, 2.0)),
    st.booleans(),
)
guests = st.builds(
    lambda in_use, found: Guest(MEMORY, None if in_use is None else in_use * MEMORY, tuple(found)),
    st.none() | shares,
    st.lists(points, max_size=3),
)
spreads = st.builds(lambda p50, more: Spread(p50, p50 * more), st.floats(0.8, 3), st.floats(1, 3))
rates = st.floats(MIB, 8192.0 * MIB)
paths = st.builds(Path, rates, st.just(0.0) | rates, st.none() | rates, st.integers(1, 8), spreads, spreads)
terms = st.builds(
    Terms, st.just(0.0) | st.floats(1, 3600), st.sampled_from(AtDeadline), st.booleans(), st.floats(0.05, 10)
)
plain_terms = st.builds(Terms, st.just(0.0) | st.floats(1, 3600), st.sampled_from(AtDeadline))
disks = st.builds(Disks, st.floats(0, MEMORY), rates, st.floats(0, 100.0 * MIB))
