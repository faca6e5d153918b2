"""Which replica writes: our own elector on one Lease, since no stock one fences.

`step` is pure; `Elector` is the thin loop around it. Times are seconds of a clock that never goes back
and also counts suspension.
Rules: a leader that cannot renew for `renew_deadline_s` has lost; others take over `duration_s` after they last saw the
Lease change, by their own clock; nobody compares wall clocks. A Lease that is deleted frees nobody from that wait.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from whimbrel.domain.records import Key
from whimbrel.domain.resources import LEASES
from whimbrel.kube.api import KubeApi, Raw
from whimbrel.kube.errors import ApiError, Conflict, NotFound

log = logging.getLogger("whimbrel.lease")


def elapsed_clock() -> float:
    """Seconds that also pass while the machine sleeps, where the system offers such a clock."""
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    return time.clock_gettime(boottime) if boottime is not None else time.monotonic()


@dataclass(frozen=True, slots=True)
class Timing:
    """The usual 15/10/2 seconds of Kubernetes' own controllers."""

    duration_s: float = 15.0
    renew_deadline_s: float = 10.0
    retry_s: float = 2.0


USUAL_TIMING = Timing()


@dataclass(frozen=True, slots=True)
class Seen:
    """The Lease as it was when we first saw it so. `version` tells one state from the next."""

    holder: str
    version: str
    duration_s: float
    since: float
    gone: bool = False
    """There is no Lease any more, `since` when we first looked for it in vain."""


def vanished(seen: Seen | None, me: str, now: float) -> Seen | None:
    """What to remember when there is no Lease: the other one that held it may believe in it for its duration still.

    That counts from now, not from the last look that showed the holder: it may have renewed in between.
    """
    if seen is None or seen.holder in ("", me):
        return None
    return seen if seen.gone else replace(seen, gone=True, since=now)


@dataclass(frozen=True, slots=True)
class Acquire:
    """Write ourselves in as holder."""


@dataclass(frozen=True, slots=True)
class Renew:
    """Write that we still hold it; give up after `within_s`."""

    within_s: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Look again after `for_s`."""

    for_s: float


@dataclass(frozen=True, slots=True)
class Lost:
    """We led and must not write any more."""

    why: str


Step = Acquire | Renew | Wait | Lost


def step(seen: Seen | None, me: str, renewed_at: float | None, now: float, timing: Timing) -> Step:
    """What to do now. `seen` None: nobody holds it. `renewed_at`: when our last successful write began; None: we follow."""
    if renewed_at is not None:
        left_s = renewed_at + timing.renew_deadline_s - now
        if seen is not None and seen.holder != me:
            return Lost(f"{seen.holder or 'nobody'} holds the Lease now")
        if left_s <= 0:
            return Lost(f"the Lease could not be renewed for {timing.renew_deadline_s:g} s")
        due_s = renewed_at + timing.retry_s - now
        return Wait(due_s) if due_s > 0 else Renew(left_s)
    if seen is None or not seen.holder or seen.holder == me:
        return Acquire()
    left_s = seen.since + seen.duration_s - now
    return Acquire() if left_s <= 0 else Wait(min(left_s, timing.retry_s))


RELEASE_S = 3.0


class LeaseLost(Exception):
    """We led and do not any more; the process must end without another write."""


class Elector:
    """Runs for the Lease and keeps it. `remaining` is the fence that every write looks at."""

    def __init__(
        self,
        api: KubeApi,
        key: Key,
        identity: str,
        *,
        timing: Timing = USUAL_TIMING,
        on_change: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = elapsed_clock,
    ) -> None:
        self.key = key
        self.identity = identity
        self.problem = ""
        """Why the Lease could not be read or written last, in the server's words; empty when it could."""
        self.looked = asyncio.Event()
        """Set once it is known whether we lead, or that this cannot be known."""
        self._api, self._timing, self._on_change, self._clock = api, timing, on_change, clock
        self._seen: Seen | None = None
        self._raw: Raw | None = None
        self._renewed_at: float | None = None
        self._released = False

    @property
    def leading(self) -> bool:
        """Whether we hold the Lease, as far as we know at this instant."""
        return self.remaining() > 0

    @property
    def holder(self) -> str:
        """Who held the Lease when it was seen last."""
        return self._seen.holder if self._seen else ""

    def remaining(self) -> float:
        """Seconds for which nobody else can have taken over; 0 where we do not lead."""
        if self._renewed_at is None or self._released:
            return 0.0
        return max(0.0, self._renewed_at + self._timing.duration_s - self._clock())

    async def run(self) -> None:
        """Until cancelled; raises LeaseLost where leadership ends by itself."""
        while True:
            if self._renewed_at is None:
                await self._observe()
                if self.problem:
                    self.looked.set()
                    await asyncio.sleep(self._timing.retry_s)
                    continue
            decision = step(self._seen, self.identity, self._renewed_at, self._clock(), self._timing)
            match decision:
                case Wait(for_s):
                    self.looked.set()
                    await asyncio.sleep(for_s)
                case Acquire():
                    if not await self._write(self._timing.renew_deadline_s):
                        await asyncio.sleep(self._timing.retry_s)
                case Renew(within_s):
                    if not await self._write(within_s):
                        await self._observe()
                        await asyncio.sleep(min(self._timing.retry_s, max(0.0, within_s)) / 4)
                case Lost(why):
                    self._renewed_at = None
                    self._on_change()
                    raise LeaseLost(why)

    async def release(self) -> None:
        """Lets the next replica take over at once. To be called after the last write, when `run` has been cancelled."""
        if self._renewed_at is None or self._raw is None:
            return
        self._released = True
        self._on_change()
        try:
            async with asyncio.timeout(RELEASE_S):
                while not await self._let_go(self._raw):
                    # The renewal that was cut off by our end may have been carried out after all.
                    self._raw = await self._api.get(LEASES, self.key)
            log.info("Released the Lease %s.", self.key)
        except (ApiError, TimeoutError) as error:
            log.warning("The Lease %s could not be released and will expire by itself: %s", self.key, error)

    async def _let_go(self, raw: Raw) -> bool:
        """Clears the holder, if that is still us. Whether nothing is left to do."""
        if (raw.get("spec") or {}).get("holderIdentity") != self.identity:
            return True
        try:
            await self._api.replace(LEASES, self.key, self._body(holder="", transitions=_transitions(raw)))
        except Conflict:
            return False
        return True

    def _trouble(self, problem: str) -> None:
        if problem != self.problem:
            self.problem = problem
            self._on_change()

    async def _observe(self) -> None:
        try:
            self._note(await self._api.get(LEASES, self.key, timeout_s=self._timing.retry_s * 2))
            self._trouble("")
        except NotFound as error:
            if error.of_object:
                self._seen, self._raw = vanished(self._seen, self.identity, self._clock()), None
            self._trouble("" if error.of_object else f"Leases are not served: {error.message}")
        except ApiError as error:
            self._trouble(error.message)

    async def _write(self, within_s: float) -> bool:
        began, leading = self._clock(), self._renewed_at is not None
        held = self._raw
        transitions = _transitions(held) + (0 if leading or held is None else 1)
        body = self._body(holder=self.identity, transitions=transitions)
        try:
            async with asyncio.timeout(min(within_s, self._timing.renew_deadline_s / 2)):
                if held is None:
                    raw = await self._api.create(LEASES, self.key.namespace, body)
                else:
                    raw = await self._api.replace(LEASES, self.key, body)
        except Conflict:
            self._trouble("")
            return False
        except (ApiError, TimeoutError) as error:
            self._trouble(str(error) or "the API server did not answer in time")
            return False
        self._note(raw)
        self._renewed_at = began
        self._trouble("")
        if not leading:
            log.info("%s leads: holds the Lease %s.", self.identity, self.key)
            self._on_change()
        return True

    def _note(self, raw: Raw) -> None:
        spec = raw.get("spec") or {}
        version = str(raw["metadata"].get("resourceVersion") or "")
        self._raw = raw
        if self._seen is not None and self._seen.version == version and not self._seen.gone:
            return
        self._seen = Seen(
            holder=str(spec.get("holderIdentity") or ""),
            version=version,
            duration_s=float(spec.get("leaseDurationSeconds") or self._timing.duration_s),
            since=self._clock(),
        )

    def _body(self, holder: str, transitions: int) -> dict[str, Any]:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        held = self._raw or {}
        spec = held.get("spec") or {}
        metadata = held.get("metadata") or {"name": self.key.name, "namespace": self.key.namespace}
        kept = spec.get("holderIdentity") == holder and spec.get("acquireTime")
        return {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": metadata,
            "spec": {
                "holderIdentity": holder,
                "leaseDurationSeconds": max(1, round(self._timing.duration_s)) if holder else 1,
                "acquireTime": kept or now,
                "renewTime": now,
                "leaseTransitions": transitions,
            },
        }


def _transitions(raw: Raw | None) -> int:
    return int(((raw or {}).get("spec") or {}).get("leaseTransitions") or 0)
