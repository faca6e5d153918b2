"""Reflector: keeps the Store's records of one kind like the server's, by list and watch, for as long as it runs.

A missing kind or permission is a state that is told and tried again, never an end. Called by `runtime.app`, one per kind.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from whimbrel.domain.resources import Resource
from whimbrel.kube.api import PAGE_SIZE, KubeApi
from whimbrel.kube.errors import (
    ApiError,
    Forbidden,
    Garbled,
    Gone,
    NotFound,
    Silent,
    Throttled,
    Unauthorized,
)
from whimbrel.kube.store import Store
from whimbrel.kube.telemetry import Telemetry

log = logging.getLogger("whimbrel.reflector")


class State(StrEnum):
    """How far a reflector is. Everything but SYNCED and ABSENT is worth a line in /readyz."""

    STARTING = "starting"
    SYNCED = "synced"
    MISSING = "missing"
    FORBIDDEN = "forbidden"
    UNAUTHORIZED = "unauthorized"
    UNREACHABLE = "unreachable"
    ABSENT = "absent"
    """Not served, and the cluster may do without it."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Times in seconds. `relist_s`: a whole list from time to time mends what a watch may have missed."""

    relist_s: float = 1800.0
    idle_s: float = 75.0
    """Servers send a bookmark each minute; a stream that is silent for longer is dead."""
    lifetime_s: float = 300.0
    first_backoff_s: float = 0.25
    last_backoff_s: float = 15.0
    absent_s: float = 60.0
    """How often a kind that need not be there is asked for again."""
    stale_s: float = 180.0
    page_size: int = PAGE_SIZE


FOREIGN_KINDS_PACE = Pace()
OWN_KINDS_PACE = Pace(relist_s=60.0)


class Backoff:
    """Waiting times that double, with jitter, until something succeeds."""

    def __init__(self, first_s: float, last_s: float, rng: random.Random) -> None:
        self._first_s, self._last_s, self._rng = first_s, last_s, rng
        self._next_s = first_s

    def reset(self) -> None:
        """Something succeeded."""
        self._next_s = self._first_s

    def next_s(self) -> float:
        """How long to wait now."""
        wait_s = self._next_s * (0.5 + self._rng.random())
        self._next_s = min(self._next_s * 2, self._last_s)
        return wait_s


class Reflector:
    """Lists and watches one kind, or, with `watching=False`, only lists it from time to time."""

    def __init__(
        self,
        api: KubeApi,
        store: Store,
        resource: Resource,
        telemetry: Telemetry,
        *,
        pace: Pace = FOREIGN_KINDS_PACE,
        watching: bool = True,
        optional: bool = False,
        on_state: Callable[[], None] = lambda: None,
        turns: asyncio.Semaphore | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.resource = resource
        self.state = State.STARTING
        self.detail = ""
        self.synced = False
        """Whether a whole list was taken once; stays true through disconnections."""
        self.last_event_at = 0.0
        """Monotonic time of the last sign of life: list, event or bookmark."""
        self.list_began_at = 0.0
        """Monotonic time at which the last list that was taken whole began."""
        self._api, self._store, self._telemetry = api, store, telemetry
        self._pace, self._watching, self._optional, self._on_state = pace, watching, optional, on_state
        self._turns = turns or asyncio.Semaphore()
        """Who lists takes a turn per page, so that not all kinds fill the memory at once."""
        self._rng = rng or random.Random()
        self._version = ""
        self._listed = asyncio.Event()
        self._list_lock = asyncio.Lock()

    @property
    def fresh(self) -> bool:
        """Whether the store may be believed about this kind."""
        return self.synced and time.monotonic() - self.last_event_at < self._stale_s

    @property
    def _stale_s(self) -> float:
        return self._pace.stale_s if self._watching else max(self._pace.stale_s, 3 * self._pace.relist_s)

    async def run(self) -> None:
        """Runs until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            if self._watching:
                group.create_task(self._relist())

    async def wait_synced(self) -> None:
        """Returns once a whole list was taken."""
        await self._listed.wait()

    async def list_once(self, why: str) -> None:
        """Takes in a whole list, page by page; restarts once where the continue token expires meanwhile."""
        async with self._list_lock:
            try:
                await self._list(why)
            except Gone:
                await self._list("expired")

    async def _list(self, why: str) -> None:
        intake = self._store.intake(self.resource)
        version, more, began = "", "", time.monotonic()
        while True:
            async with self._turns:
                page = await self._api.list_page(self.resource, limit=self._pace.page_size, more=more)
                intake.add(page.items)
                version, more = version or page.version, page.more
                del page  # before the next one comes
            if not more:
                break
        intake.finish(version)
        self._telemetry.relists.labels(self.resource.kind, why).inc()
        self._version, self.list_began_at = version, began
        self._alive()
        if not self.synced:
            self.synced = True
            self._listed.set()
        self._enter(State.SYNCED)

    async def _follow(self) -> None:
        backoff = Backoff(self._pace.first_backoff_s, self._pace.last_backoff_s, self._rng)
        why = "start"
        while True:
            try:
                if why:
                    await self.list_once(why)
                    why = ""
                if not self._watching:
                    await asyncio.sleep(self._jittered(self._pace.relist_s))
                    why = "resync"
                    backoff.reset()
                    continue
                began = time.monotonic()
                await self._watch()
                if time.monotonic() - began > 1.0:
                    backoff.reset()
                    continue
                wait_s = backoff.next_s()
            except Silent:
                wait_s = backoff.next_s()
            except Throttled as error:
                wait_s = error.retry_after_s + backoff.next_s()
            except (Gone, Garbled) as error:
                why = "expired" if isinstance(error, Gone) else "garbled"
                wait_s = backoff.next_s()
                log.debug("%s: listing again: %s", self.resource.kind, error)
            except NotFound as error:
                why = why or "returned"
                if self._optional:
                    self._do_without(error)
                    wait_s = self._jittered(self._pace.absent_s)
                else:
                    self._blame(error)
                    wait_s = backoff.next_s()
            except ApiError as error:
                self._blame(error)
                if isinstance(error, (Forbidden, Unauthorized)):
                    why = why or "returned"
                wait_s = backoff.next_s()
            await asyncio.sleep(wait_s)

    async def _watch(self) -> None:
        stream = self._api.watch(
            self.resource,
            self._version,
            idle_s=self._pace.idle_s,
            lifetime_s=self._jittered(self._pace.lifetime_s),
            opened=self._opened,
        )
        kind, count = self.resource.kind, self._telemetry.watch_events
        try:
            async for event in stream:
                if event.type == "DELETED":
                    self._store.remove(self.resource, event.object)
                elif event.type != "BOOKMARK":
                    self._store.apply(self.resource, event.object)
                count.labels(kind, event.type).inc()
                self._version = event.object["metadata"].get("resourceVersion") or self._version
                self._alive()
        finally:
            await stream.aclose()

    async def _relist(self) -> None:
        await self._listed.wait()
        while True:
            await asyncio.sleep(self._jittered(self._pace.relist_s))
            try:
                await self.list_once("resync")
            except ApiError as error:
                log.debug("%s: resync failed: %s", self.resource.kind, error)

    def _do_without(self, error: NotFound) -> None:
        """A kind that need not be there is not served: there are none of it, and that is known."""
        self._store.intake(self.resource).finish("")
        self._alive()
        self.synced = True
        self._listed.set()
        self._enter(State.ABSENT, error.message)

    def _opened(self) -> None:
        self._alive()
        self._enter(State.SYNCED)

    def _alive(self) -> None:
        self.last_event_at = time.monotonic()

    def _jittered(self, seconds: float) -> float:
        return seconds * (0.9 + 0.2 * self._rng.random())

    def _blame(self, error: ApiError) -> None:
        match error:
            case NotFound():
                self._enter(State.MISSING, error.message)
            case Forbidden():
                self._enter(State.FORBIDDEN, error.message)
            case Unauthorized():
                self._enter(State.UNAUTHORIZED, error.message)
            case _:
                self._enter(State.UNREACHABLE, error.message)

    def _enter(self, state: State, detail: str = "") -> None:
        if state is not self.state:
            log.debug("%s is %s %s", self.resource.kind, state, detail)
        changed = (state, detail) != (self.state, self.detail)
        self.state, self.detail = state, detail
        self._telemetry.synced.labels(self.resource.kind).set(state is State.SYNCED)
        if changed:
            self._on_state()
