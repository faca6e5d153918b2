"""How many distinct bytes a guest dirties within a window: the one property of a guest that decides a pre-copy.

W(τ) = min(H, h·τ) + min(C, c·τ): a hot set of H bytes written at h, and C cold bytes written at c (performance reference
B1.2, 4). Concave, W(0) = 0, never more than H + C. Used by every model of this room.
"""

from dataclasses import dataclass, replace
from math import isfinite


@dataclass(frozen=True, slots=True)
class DirtyCurve:
    """Sizes in bytes, rates in bytes per second; valid for a guest whose work does not change. Raises ValueError for a
    member that is negative or not finite.
    """

    hot_bytes: float
    hot_bytes_per_second: float
    cold_bytes: float = 0.0
    cold_bytes_per_second: float = 0.0

    def __post_init__(self) -> None:
        members = (self.hot_bytes, self.hot_bytes_per_second, self.cold_bytes, self.cold_bytes_per_second)
        if not all(isfinite(member) and member >= 0 for member in members):
            raise ValueError(f"{self}: sizes and rates of a dirty curve are finite and not negative")

    def distinct_bytes(self, window_s: float) -> float:
        """W(τ): expected distinct bytes dirtied within so many seconds."""
        return min(self.hot_bytes, self.hot_bytes_per_second * window_s) + min(
            self.cold_bytes, self.cold_bytes_per_second * window_s
        )

    @property
    def working_set_bytes(self) -> float:
        """All that is ever rewritten: the most that W reaches."""
        return (self.hot_bytes if self.hot_bytes_per_second else 0.0) + (
            self.cold_bytes if self.cold_bytes_per_second else 0.0
        )

    @property
    def saturations_s(self) -> tuple[float, ...]:
        """The windows in seconds after which the hot set, and the cold one, are dirtied whole: where the slope changes."""
        return tuple(
            size / rate
            for size, rate in (
                (self.hot_bytes, self.hot_bytes_per_second),
                (self.cold_bytes, self.cold_bytes_per_second),
            )
            if rate > 0
        )

    def throttled(self, throttle: float) -> "DirtyCurve":
        """The curve while the processors are held for this share (0 to 1) of the time: the same sets, written slower."""
        return replace(
            self,
            hot_bytes_per_second=self.hot_bytes_per_second * (1 - throttle),
            cold_bytes_per_second=self.cold_bytes_per_second * (1 - throttle),
        )

    def within(self, memory_bytes: float) -> "DirtyCurve":
        """The curve of a guest that has no more memory than this; the hot set goes first."""
        hot = min(self.hot_bytes, memory_bytes)
        return replace(self, hot_bytes=hot, cold_bytes=min(self.cold_bytes, memory_bytes - hot))


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One observation of a curve: so many distinct bytes were dirtied within a window.

    `within_factor` says how well it is known: in four of five cases the true value is no further away than this factor;
    1 for what was measured on this guest, 2 or so for what is borrowed from its class. With `at_most` it was no more than
    that, and may have been anything less.
    """

    window_s: float
    distinct_bytes: float
    source: str
    within_factor: float = 1.0
    at_most: bool = False
