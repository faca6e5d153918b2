"""The hosts' links: what rate each running migration gets.

Pure. Links are full duplex, so a host has an out-port and an in-port of equal capacity; a migration uses the out-port
of its source and the in-port of its target. Used by both hypervisors.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

Key = TypeVar("Key")
Port = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Flow:
    """One running migration. A cap of 0 means that only the links limit it."""

    source: str
    target: str
    cap_bytes_per_second: float = 0


def shares(flows: Mapping[Key, Flow], links: Mapping[str, float]) -> dict[Key, float]:
    """Max-min fair rates in bytes per second; `links` maps a host to its link's bytes per second.

    All rates rise together; a flow stops rising when its cap or one of its ports is full. Every flow thus ends at its
    cap or at a full port where nobody has more. Raises ValueError for a flow whose host has no link.
    """
    for key, flow in flows.items():
        if unknown := {flow.source, flow.target} - links.keys():
            raise ValueError(f"migration {key}: no link is known for {', '.join(sorted(unknown))}")
    waiting: dict[Port, list[Key]] = {}
    for key, flow in flows.items():
        for port in _ports(flow):
            waiting.setdefault(port, []).append(key)
    left: dict[Port, float] = {port: links[port[1]] for port in waiting}
    rising: dict[Port, int] = {port: len(keys) for port, keys in waiting.items()}
    by_cap = sorted((key for key in flows if flows[key].cap_bytes_per_second > 0), key=lambda key: _cap(flows[key]))
    by_cap.reverse()
    rates: dict[Key, float] = {}

    def settle(key: Key, rate: float) -> None:
        rates[key] = rate
        for port in _ports(flows[key]):
            left[port] = max(0.0, left[port] - rate)
            rising[port] -= 1
            if not rising[port]:
                del rising[port]

    while rising:
        port, level = min(((port, left[port] / count) for port, count in rising.items()), key=lambda found: found[1])
        while by_cap and by_cap[-1] in rates:
            by_cap.pop()
        if by_cap and _cap(flows[by_cap[-1]]) <= level:
            settle(by_cap[-1], _cap(flows[by_cap[-1]]))
            continue
        for key in waiting[port]:
            if key not in rates:
                settle(key, level)
    return rates


def _ports(flow: Flow) -> tuple[Port, Port]:
    return ("out", flow.source), ("in", flow.target)


def _cap(flow: Flow) -> float:
    return flow.cap_bytes_per_second
