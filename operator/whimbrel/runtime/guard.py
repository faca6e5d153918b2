"""The stun guard's loop: on every replica, leader or not, and whatever else stands still.

What must end is decided by `lifecycle.guard`; here it is only looked at in time, and the DELETE is sent.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from whimbrel.domain.decision import Delete
from whimbrel.domain.records import Instance, Key, Migration
from whimbrel.domain.resources import INSTANCES, MIGRATIONS
from whimbrel.kube.api import KubeApi
from whimbrel.kube.errors import ApiError, Conflict, NotFound
from whimbrel.kube.store import Store
from whimbrel.kube.telemetry import Telemetry
from whimbrel.lifecycle.guard import GuardVerdict
from whimbrel.runtime.executor import take_deletion
from whimbrel.runtime.queue import CoalescingQueue

log = logging.getLogger("whimbrel.guard")

Judge = Callable[[Mapping[Key, Migration], Mapping[Key, Instance], datetime], GuardVerdict]

LONGEST_WAIT_S = 30.0
RETRY_S = 0.5
REST_S = 0.1
"""Pause between two looks, so that a burst of changes does not become a burst of looks."""


class StunGuard:
    """Looks at each change of the store and at the very moment that the verdict names."""

    def __init__(
        self,
        api: KubeApi,
        store: Store,
        queue: CoalescingQueue,
        judge: Judge,
        telemetry: Telemetry,
        *,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self._api, self._store, self._queue, self._judge = api, store, queue, judge
        self._telemetry, self._beat = telemetry, beat

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._queue.wait()
            self._beat()
            try:
                wait_s = await self.look()
            except Exception:  # the guard outlives its own defects; they are loud
                log.exception("The stun guard failed to look; it looks again in %g s.", RETRY_S)
                wait_s = RETRY_S
            self._queue.wake_at(time.monotonic() + min(wait_s, LONGEST_WAIT_S))
            await asyncio.sleep(min(REST_S, wait_s))

    async def look(self) -> float:
        """Ends what is overdue; answers when to look again."""
        unfinished = {key: held for key, held in self._store.records(MIGRATIONS).items() if not held.final}
        if not unfinished:
            return LONGEST_WAIT_S
        verdict = self._judge(unfinished, self._store.records(INSTANCES), datetime.now(UTC))
        succeeded = await asyncio.gather(*(self._end(delete) for delete in verdict.deletes))
        waits = [LONGEST_WAIT_S if verdict.wake_after_s is None else verdict.wake_after_s]
        return min(waits + ([] if all(succeeded) else [RETRY_S]))

    async def _end(self, delete: Delete) -> bool:
        try:
            answer = await self._api.delete(delete.resource, delete.key, delete.uid)
        except NotFound as error:
            if error.of_object:
                self._store.forget(delete.resource, delete.key, delete.uid)
            return error.of_object
        except Conflict:
            self._store.forget(delete.resource, delete.key, delete.uid)
            return True
        except ApiError as error:
            log.error("The migration %s should end now (%s) but: %s", delete.key, delete.why, error)
            return False
        self._telemetry.guard_deletes.inc()
        log.warning("Ended the migration %s: %s", delete.key, delete.why)
        take_deletion(self._store, delete.resource, delete.key, delete.uid, answer)
        return True
