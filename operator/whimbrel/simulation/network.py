"""Running migrations that share the hosts' links, advanced from event to event and never in between.

Time is a number of seconds that the caller passes; it must not go back. Used by the driver of simulations and by the lab's
model hypervisor, which differ only in whose clock they read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

from whimbrel.simulation import fluid
from whimbrel.simulation.fluid import Copy, Stage
from whimbrel.simulation.links import Flow, shares

HORIZON_S = 300.0
"""How far ahead a migration is thought through at once; one that never converges would have no end."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A migration whose guest runs on the target and of which nothing is left to send."""

    name: str
    copy: Copy
    at: float


@dataclass(slots=True)
class _Running:
    source: str
    target: str
    copy: Copy
    as_of: float
    rate: float = 0.0
    next_copy: Copy | None = None
    next_at: float = inf


class Network:
    """Hosts, their links (bytes per second, per direction) and the migrations that run between them."""

    def __init__(self, links: Mapping[str, float]) -> None:
        self._links = dict(links)
        self._running: dict[str, _Running] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._running

    def advance_to(self, now: float) -> list[Ended]:
        """Lets the time pass; returns the migrations that ended, in the order in which they did."""
        ended: list[Ended] = []
        while self._running:
            name, first = min(self._running.items(), key=lambda item: item[1].next_at)
            if first.next_at > now or first.next_copy is None:
                break
            first.copy, first.as_of, first.next_copy = first.next_copy, first.next_at, None
            if first.copy.stage is Stage.DONE:
                del self._running[name]
                ended.append(Ended(name, first.copy, first.as_of))
            self._share(first.as_of)
        return ended

    def next_change(self) -> float:
        """When something happens next if nobody interferes; infinity when nothing runs."""
        return min((running.next_at for running in self._running.values()), default=inf)

    def begin(self, name: str, source: str, target: str, copy: Copy, now: float) -> None:
        """A migration begins. Raises ValueError for a host that has no link."""
        if unknown := {source, target} - self._links.keys():
            raise ValueError(f"{name}: host {', '.join(sorted(unknown))} has no migration link")
        self._running[name] = _Running(source, target, copy, now)
        self._share(now)

    def copy(self, name: str, now: float) -> Copy:
        """The migration as it is now."""
        running = self._running[name]
        return fluid.advance(running.copy, running.rate, now - running.as_of)

    def rate(self, name: str) -> float:
        """Bytes per second that it gets now."""
        return self._running[name].rate

    def replace(self, name: str, copy: Copy, now: float) -> None:
        """Something was done to the migration, which `copy(name, now)` led to."""
        running = self._running[name]
        running.copy, running.as_of = copy, now
        self._foresee(running)
        self._share(now)

    def remove(self, name: str, now: float) -> None:
        """The migration is no more; the others share its link."""
        del self._running[name]
        self._share(now)

    def set_link(self, host: str, bytes_per_second: float, now: float) -> None:
        """A link becomes faster, slower, or dead (0)."""
        self._links[host] = bytes_per_second
        self._share(now)

    def _share(self, now: float) -> None:
        flows = {
            name: Flow(running.source, running.target, running.copy.link_cap_bytes_per_second)
            for name, running in self._running.items()
        }
        rates = shares(flows, self._links)
        for name, running in self._running.items():
            if running.next_copy is not None and running.next_at <= now:
                continue  # it is due at this very instant, and shared anew when it has happened
            if rates[name] != running.rate or running.next_copy is None or running.as_of == now:
                running.copy, running.as_of = self.copy(name, now), now
                running.rate = rates[name]
                self._foresee(running)

    def _foresee(self, running: _Running) -> None:
        running.next_copy, used = fluid.advance_within_stage(running.copy, running.rate, HORIZON_S)
        running.next_at = running.as_of + used
