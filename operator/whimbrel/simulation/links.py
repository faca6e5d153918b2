"""The migration links of hosts, and the rate that each running migration gets on them.

Pure. A link is full duplex: a migration loads the outgoing side of its source and the incoming side of its target.
Used by `simulation.network` and by the lab's hypervisors.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Flow:
    """One running migration as the links see it. A cap of 0 means that only the links bound it."""

    source: str
    target: str
    cap_bytes_per_second: float = 0


def shares(flows: Mapping[Name, Flow], links: Mapping[str, float]) -> dict[Name, float]:
    """Max–min fair rates in bytes per second; `links` gives each host's link, per direction.

    Raises ValueError for a flow between hosts of which one has no link. A migration never gets less than another one
    unless its own cap or a full link of its own stops it.
    """
    sides: dict[tuple[str, str], set[Name]] = {}
    for name, flow in flows.items():
        for side in _sides(flow):
            if side[1] not in links:
                raise ValueError(f"{name}: host {side[1]} has no migration link; known are {', '.join(sorted(links))}")
            sides.setdefault(side, set()).add(name)
    free = {side: float(links[side[1]]) for side in sides}
    rates: dict[Name, float] = {}
    undecided = dict(flows)
    while undecided:
        tightest = min((side for side in sides if sides[side]), key=lambda side: free[side] / len(sides[side]))
        level = free[tightest] / len(sides[tightest])
        settled = {
            name: flow.cap_bytes_per_second
            for name, flow in undecided.items()
            if 0 < flow.cap_bytes_per_second <= level
        } or dict.fromkeys(sides[tightest], level)
        for name, rate in settled.items():
            rates[name] = rate
            for side in _sides(undecided.pop(name)):
                sides[side].discard(name)
                free[side] = max(0.0, free[side] - rate)
    return rates


def _sides(flow: Flow) -> tuple[tuple[str, str], tuple[str, str]]:
    return ("out", flow.source), ("in", flow.target)
