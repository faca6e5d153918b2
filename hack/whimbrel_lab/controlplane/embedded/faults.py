"""Faults that tests inject into the embedded server: slow, refused, cut and lying answers.

A fault matches requests by any of its fields; `times` bounds how often it strikes (None: until removed).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from whimbrel_lab.controlplane.users import User


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is about, as faults and hooks of the transport see it."""

    client: str
    user: User
    verb: str
    resource: str
    subresource: str
    namespace: str
    name: str


@dataclass(slots=True, eq=False)
class Fault:
    """One fault. Empty matching fields match everything.

    `status` answers instead of the server (with `retry_after_s` as Retry-After; 429 as plain text, as kube-apiserver's
    priority and fairness sends it); `reset` cuts the connection before
    or after the request is carried out; `watch` strikes open streams too: `close` ends the stream, `stall` lets it
    fall silent, `gone` sends a 410 in the stream. `drop_events` and `duplicate_events` strike one event each time.
    """

    client: str = ""
    verb: str = ""
    resource: str = ""
    subresource: str | None = None
    namespace: str = ""
    name: str = ""
    where: Callable[[Target], bool] | None = None
    times: int | None = 1
    skip: int = 0
    latency_s: float = 0.0
    status: int | None = None
    retry_after_s: int | None = None
    message: str = ""
    reset: Literal["before", "after"] | None = None
    watch: Literal["close", "stall", "gone"] | None = None
    drop_events: bool = False
    duplicate_events: bool = False
    hits: int = 0

    def matches(self, target: Target) -> bool:
        pairs = (
            (self.client, target.client),
            (self.verb, target.verb),
            (self.resource, target.resource),
            (self.namespace, target.namespace),
            (self.name, target.name),
        )
        if any(wanted and wanted != found for wanted, found in pairs):
            return False
        if self.subresource is not None and self.subresource != target.subresource:
            return False
        return self.where is None or self.where(target)

    @property
    def of_stream(self) -> bool:
        return self.watch is not None or self.drop_events or self.duplicate_events


class Faults:
    """The faults in force."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._wake: list[Callable[[], None]] = []

    def on_change(self, wake: Callable[[], None]) -> None:
        """Have open streams look again when a fault is added."""
        self._wake.append(wake)

    def add(self, fault: Fault) -> Fault:
        """Put a fault in force; its `hits` say how often it struck."""
        self._faults.append(fault)
        for wake in self._wake:
            wake()
        return fault

    def remove(self, fault: Fault) -> None:
        if fault in self._faults:
            self._faults.remove(fault)

    def clear(self) -> None:
        self._faults.clear()

    def strike(self, target: Target) -> Fault | None:
        """The fault that this request suffers, if any."""
        return self._take(target, lambda fault: not fault.of_stream)

    def strike_stream(self, target: Target) -> Fault | None:
        """The fault that an open watch suffers now: its end, its silence, or a 410."""
        return self._take(target, lambda fault: fault.watch is not None)

    def strike_event(self, target: Target) -> Fault | None:
        """The fault that the next event of a watch suffers: lost or sent twice."""
        return self._take(target, lambda fault: fault.drop_events or fault.duplicate_events)

    def _take(self, target: Target, suits: Callable[[Fault], bool]) -> Fault | None:
        for fault in self._faults:
            if not suits(fault) or not fault.matches(target):
                continue
            if fault.skip > 0:
                fault.skip -= 1
                continue
            if fault.times is not None and fault.hits >= fault.times:
                continue
            fault.hits += 1
            return fault
        return None

    @property
    def any(self) -> bool:
        return bool(self._faults)
