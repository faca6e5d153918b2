"""How fast memory goes over the wire: link, cap, streams and compression as one rate, with its uncertainty.

Rates are in bytes per second. Uncompressed, a byte of memory is a byte on the wire. Source: KubeVirt contract §5.1 (whole
MiB/s cap, eight multifd channels, zstd on them), performance reference B1.3 (single-stream limit, neighbours).
"""

from dataclasses import dataclass
from math import inf

from whimbrel.forecast.spread import ONE, Spread

UNKNOWN_ZSTD = Spread(1.5, 3.0)
"""Bytes of memory per byte on the wire with zstd where nothing was learnt yet; never less than 1, for zstd sends as it is what
it cannot compress."""
ZSTD_BYTES_PER_SECOND = float(200 << 20)
"""Bytes of memory that one stream compresses in a second on one processor: assumed, at zstd's fastest level."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Rates of one migration in bytes of memory per second. Not capped: the last step, and post-copy (performance reference
    B1.2, 3 and 7). `wire_share` is bytes on the wire per byte of memory.
    """

    bytes_per_second: float
    uncapped_bytes_per_second: float
    wire_share: float = 1.0
    hand_over_s: float = 0.0
    """From the last byte until the guest is reported to run at its target."""


@dataclass(frozen=True, slots=True)
class Path:
    """What carries a migration. Raises ValueError for a rate that is not above 0.

    The stream limit is what one stream's processor work lets through, in bytes of memory; `compression` is bytes of memory
    per byte on the wire; `slowdown` is how much longer than computed copies on this path take.
    """

    link_bytes_per_second: float
    cap_bytes_per_second: float = 0.0
    """0: none."""
    stream_bytes_per_second: float | None = None
    streams: int = 1
    compression: Spread = ONE
    slowdown: Spread = ONE
    hand_over: Spread | None = None
    """Seconds from the last byte until the guest is reported to run at its target: what both daemons still have to agree on.
    None where nobody has learnt it: nothing beside start-ups of pods.
    """

    def __post_init__(self) -> None:
        stream = 1.0 if self.stream_bytes_per_second is None else self.stream_bytes_per_second
        rates = (self.link_bytes_per_second, stream, float(self.streams))
        if not all(0 < rate < inf for rate in rates) or not 0 <= self.cap_bytes_per_second < inf:
            raise ValueError(f"{self}: rates of a path are finite and above 0 (a cap of 0 is none)")

    def paces(self) -> tuple[tuple[Pace, float], ...]:
        """The rates that it may turn out to have, and the weight of each; weights add up to 1."""
        compressions = tuple(max(1.0, ratio) for ratio in self.compression.values(3))
        slowdowns = self.slowdown.values(5)
        hand_overs = (0.0,) if self.hand_over is None else self.hand_over.values(5)
        weight = 1 / (len(compressions) * len(slowdowns) * len(hand_overs))
        return tuple(
            (self._pace(compression, slowdown, hand_over_s), weight)
            for compression in compressions
            for slowdown in slowdowns
            for hand_over_s in hand_overs
        )

    def _pace(self, compression: float, slowdown: float, hand_over_s: float) -> Pace:
        processor = inf if self.stream_bytes_per_second is None else self.stream_bytes_per_second * self.streams
        wire = min(self.link_bytes_per_second, self.cap_bytes_per_second or inf)
        return Pace(
            min(wire * compression, processor) / slowdown,
            min(self.link_bytes_per_second * compression, processor) / slowdown,
            1 / compression,
            hand_over_s,
        )
