"""Decisions: complete writes, ready to be sent as they are.

Each carries its own fence: creates have deterministic names, deletes a UID precondition, status replacements a UID and a
resourceVersion, patches tests. All decisions of one tick are about different objects and may be sent in any order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from whimbrel.domain.records import Key
from whimbrel.domain.resources import Resource

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LiveGuard:
    """What a live read of the instance must still show just before a migration is created."""

    instance: Key
    uid: str
    node: str
    labels: Mapping[str, str]
    """The reserved labels that it must carry: exactly these (`naming.reserved`)."""


@dataclass(frozen=True, slots=True)
class Create:
    """Create an object under its deterministic name. AlreadyExists is answered by reading what is there."""

    resource: Resource
    key: Key
    body: Json
    why: str
    guard: LiveGuard | None = None


@dataclass(frozen=True, slots=True)
class ReplaceSpec:
    """PUT metadata and spec of an object of ours; `body` carries UID and resourceVersion."""

    resource: Resource
    key: Key
    body: Json
    why: str


@dataclass(frozen=True, slots=True)
class ReplaceStatus:
    """PUT a whole status; `body` carries UID and resourceVersion, so that a deposed leader gets 409."""

    resource: Resource
    key: Key
    body: Json
    why: str


@dataclass(frozen=True, slots=True)
class JsonPatch:
    """A JSON patch whose first operations test the UID, and whatever else must hold."""

    resource: Resource
    key: Key
    operations: Sequence[Json]
    why: str


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete the object of this UID."""

    resource: Resource
    key: Key
    uid: str
    why: str
    unless_exists: tuple[Resource, Key] | None = None
    """An object whose absence is the reason: a live read must still not find it, else nothing is deleted."""
    unless_post_copy: Key | None = None
    """The instance of the migration to be deleted: where a live read shows that very migration in post-copy or completed,
    nothing is deleted. Post-copy is irrevocable, and our view of the instance may be late."""


Write = Create | ReplaceSpec | ReplaceStatus | JsonPatch | Delete


@dataclass(frozen=True, slots=True)
class Announcement:
    """An Event on a transition."""

    resource: Resource
    key: Key
    uid: str
    reason: str
    message: str
    warning: bool = False
    action: str = "Migrate"
    behind: Key | None = None
    """Key of the object whose write remembers that this was said, where that is another one: not written, not said."""


@dataclass(frozen=True, slots=True)
class HostOutlook:
    """Whether a host can be emptied now, for whoever watches."""

    node: str
    evacuable: bool
    seconds: int
    """A floor of the time for all that can leave."""
    blockers: tuple[str, ...]
    """The virtual machines that keep it from being emptied, as `namespace/name`."""
    enabled: bool = True
    """Whether plans may use it."""
    appeared: int = 0
    """How many of the blockers are new since the last look; of a host that plans may not use nobody counts them."""


@dataclass(frozen=True, slots=True)
class ForecastScore:
    """How well finished moves were foretold, for whoever watches."""

    moves: int
    """How many it is of."""
    median_error: float
    """Of the durations: |forecast ÷ fact - 1|."""
    p90_held: float
    """Share of them that took no longer than the 90th percentile foretold; 0.9 is what was said."""


@dataclass(frozen=True, slots=True)
class Decisions:
    """All that one tick decided. `wake_after_s`: look again then even if nothing changes; None: only on a change."""

    writes: tuple[Write, ...] = ()
    announcements: tuple[Announcement, ...] = ()
    wake_after_s: float | None = None
    hosts: tuple[HostOutlook, ...] | None = None
    """What was found out about all hosts; None: this tick did not look."""
    score: ForecastScore | None = None
    """How well finished moves were foretold; None: this tick did not look, or none has ended that had a forecast."""
