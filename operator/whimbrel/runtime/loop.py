"""The loop: wait for a change, take a snapshot, decide, carry out, wait again. One at a time, and only as leader.

A decision is taken anew only when all answers of the one before are in the store: we read our own writes.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from whimbrel.domain.decision import Decisions
from whimbrel.domain.records import Capabilities
from whimbrel.inventory.snapshot import Snapshot
from whimbrel.kube.reflector import Backoff
from whimbrel.kube.store import Store
from whimbrel.kube.telemetry import Telemetry
from whimbrel.runtime.executor import Executor
from whimbrel.runtime.queue import CoalescingQueue
from whimbrel.schedule.survey import OUTLOOK_INTERVAL_S
from whimbrel.status.evacuation import remembered

log = logging.getLogger("whimbrel.loop")

Decide = Callable[[Snapshot], Decisions]

SLOW_S = 0.05
"""A decision that takes longer is taken in a worker thread, so that lease and probes are served meanwhile."""
LONGEST_WAIT_S = 60.0
"""Even if nothing changes and nobody asked: whatever was missed is found within a minute."""
LONGEST_REST_S = 0.5


class DecisionLoop:
    """Ticks for as long as it runs; `gate` says whether this replica may decide at this instant."""

    def __init__(
        self,
        store: Store,
        queue: CoalescingQueue,
        decide: Decide,
        executor: Executor,
        gate: Callable[[], bool],
        telemetry: Telemetry,
        *,
        beat: Callable[[], None] = lambda: None,
        rng: random.Random | None = None,
    ) -> None:
        self.problem = ""
        """What the last decision failed with, or empty."""
        self._store, self._queue, self._decide, self._executor = store, queue, decide, executor
        self._gate, self._telemetry, self._beat = gate, telemetry, beat
        self._backoff = Backoff(1.0, 30.0, rng or random.Random())
        self._decided_s = {True: 0.0, False: 0.0}
        """How long the last decision took, with an outlook and without: one takes ten times as long as the other."""
        self._outlook_at = 0.0
        self._outlook_on: Capabilities | None = None
        self._blocked: Mapping[str, datetime] | None = None
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Decides no more; the tick in progress ends by itself."""
        self._stopping.set()
        self._queue.notify()

    async def run(self) -> None:
        """Until `stop`."""
        while not self._stopping.is_set():
            waited_s = await self._queue.wait()
            self._beat()
            if self._stopping.is_set():
                return
            wait_s: float | None = None
            if self._gate():
                self._telemetry.queue_age.observe(waited_s)
                wait_s = await self._tick()
                self._executor.prune()
            else:
                self._blocked = None  # whoever leads meanwhile sees who comes and goes
            self._queue.wake_at(time.monotonic() + min(LONGEST_WAIT_S, LONGEST_WAIT_S if wait_s is None else wait_s))

    async def _tick(self) -> float | None:
        """One decision and its writes; answers when to look again at the latest."""
        began = time.monotonic()
        # What KubeVirt can be told is read beside us, and nothing is quoted before: then an outlook waits for no interval.
        due = began >= self._outlook_at or self._store.capabilities != self._outlook_on
        snapshot = self._store.snapshot(datetime.now(UTC), outlook_due=due, blocked=self._blocked)
        try:
            decisions = await self._decided(snapshot)
        except Exception as error:  # a defect in deciding must not end the process, nor spin it
            await self._suffer(error)
            return 0.0
        if due:
            self._outlook_at, self._outlook_on = began + OUTLOOK_INTERVAL_S, snapshot.capabilities
        decided_s = self._decided_s[due] = time.monotonic() - began
        self._telemetry.decide_seconds.observe(decided_s)
        self._telemetry.ticks.labels("ok").inc()
        if self.problem:
            log.info("Deciding works again.")
            self.problem = ""
        self._backoff.reset()
        if decisions.score is not None:
            self._telemetry.show_score(decisions.score)
        if decisions.hosts is not None:
            self._telemetry.show_hosts(decisions.hosts)
            self._blocked = remembered(self._blocked, decisions.hosts, snapshot.now)
        outcome = await self._executor.execute(decisions)
        log.debug(
            "generation %d: decided in %.0f ms, %d writes, %d failed",
            snapshot.generation,
            decided_s * 1000,
            outcome.done,
            outcome.failed,
        )
        # At most half of the time is spent on deciding, however fast things change.
        await self._rest(min(decided_s, LONGEST_REST_S))
        waits = [wait for wait in (decisions.wake_after_s, outcome.retry_after_s) if wait is not None]
        if decisions.wake_after_s is not None:  # something waits, and may wait for the next outlook
            waits.append(max(0.0, self._outlook_at - time.monotonic()))
        return min(waits, default=None)

    async def _decided(self, snapshot: Snapshot) -> Decisions:
        if self._decided_s[snapshot.outlook_due] > SLOW_S:
            return await asyncio.to_thread(self._decide, snapshot)
        return self._decide(snapshot)

    async def _suffer(self, error: Exception) -> None:
        self._telemetry.ticks.labels("failed").inc()
        problem = f"{type(error).__name__}: {error}"
        if problem != self.problem:
            log.error("Deciding failed and will be tried again; nothing is written meanwhile.", exc_info=error)
        self.problem = problem
        await self._rest(self._backoff.next_s())

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return
