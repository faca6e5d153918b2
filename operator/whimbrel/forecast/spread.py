"""Uncertain quantities as a few equally likely values, and quantiles of weighted ones. No randomness anywhere.

Quantiles are steps (the smallest value that enough weight does not exceed): where every value grows, so does the quantile.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import exp, log

_Z_P90 = 1.2815515655446004
_Z_MIDPOINTS = {
    1: (0.0,),
    3: (-0.967421566101701, 0.0, 0.967421566101701),
    5: (-_Z_P90, -0.5244005127080407, 0.0, 0.5244005127080407, _Z_P90),
}
"""Standard normal quantiles at the middles of so many equal parts: 1/6, 3/6, 5/6 and 10, 30, 50, 70, 90 %."""
_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Spread:
    """A positive quantity known by its median and its 90th percentile, log-normal between: durations, rates and ratios of
    computers are skewed like that. Raises ValueError unless 0 < p50 ≤ p90.
    """

    p50: float
    p90: float

    def __post_init__(self) -> None:
        if not 0 < self.p50 <= self.p90 < float("inf"):
            raise ValueError(f"{self}: 0 < p50 ≤ p90 is wanted")

    def values(self, parts: int) -> tuple[float, ...]:
        """So many (1, 3 or 5) equally likely values, ascending; one where nothing is uncertain."""
        if self.p50 == self.p90:
            return (self.p50,)
        sigma = log(self.p90 / self.p50) / _Z_P90
        return tuple(self.p50 * exp(sigma * z) for z in _Z_MIDPOINTS[parts])


def exactly(value: float) -> Spread:
    """A quantity that is not uncertain."""
    return Spread(value, value)


ONE = exactly(1.0)


def quantile(weighted: Iterable[tuple[float, float]], share: float) -> float:
    """The smallest of (value, weight) that at least this share (0 to 1) of the weight does not exceed. Raises ValueError for
    none.
    """
    ordered = sorted(weighted)
    if not ordered:
        raise ValueError("there are no values to take a quantile of")
    wanted = (share - _TOLERANCE) * sum(weight for _value, weight in ordered)
    reached = 0.0
    for value, weight in ordered:
        reached += weight
        if reached >= wanted:
            return value
    return ordered[-1][0]


def finite(value: float) -> float | None:
    """None for what never comes."""
    return value if value < float("inf") else None
