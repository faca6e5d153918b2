"""The stun guard's loop: on every replica, leader or not, and whatever else stands still.

What must end is decided by `lifecycle.guard`; here it is only looked at in time, and the DELETE is sent. Where the watch
may be late, the instance is read live. Afterwards it is seen to that guests run again (`lifecycle.left_paused`).
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from whimbrel.domain.decision import Delete
from whimbrel.domain.records import Instance, Key, Migration
from whimbrel.domain.resources import INSTANCES, MIGRATIONS
from whimbrel.domain.samples import MigrationSample
from whimbrel.kube.api import KubeApi
from whimbrel.kube.errors import ApiError, Conflict, NotFound
from whimbrel.kube.store import Store
from whimbrel.kube.telemetry import Telemetry
from whimbrel.lifecycle.guard import READ_INTERVAL_S, GuardVerdict
from whimbrel.lifecycle.left_paused import left_paused
from whimbrel.runtime.executor import irrevocable, take_deletion
from whimbrel.runtime.queue import CoalescingQueue
from whimbrel.runtime.resume_time import ResumeTime

log = logging.getLogger("whimbrel.guard")

Samples = Mapping[Key, Sequence[MigrationSample]]
Judge = Callable[
    [Mapping[Key, Migration], Mapping[Key, Instance], datetime, Mapping[str, datetime], Samples, float], GuardVerdict
]

LONGEST_WAIT_S = 30.0
SAMPLE_INTERVAL_S = 1.0
"""How often a suspended guest is looked at: samples of its copy wake nobody."""
ENDING_INTERVAL_S = 5.0
"""How often it is looked whether guests were left paused, and whether what shall end has ended."""
RETRY_S = 0.5
REST_S = 0.1
"""Pause between two looks, so that a burst of changes does not become a burst of looks."""
READ_TIMEOUT_S = 2.0


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
        self._reading: dict[Key, asyncio.Task[None]] = {}
        self._ending: dict[str, asyncio.Task[None]] = {}
        self._read_at: dict[Key, float] = {}
        self._unanswered: set[Key] = set()
        self._first_seen: dict[str, datetime] = {}
        self._sampled: dict[Key, tuple[MigrationSample, ...]] = {}
        self._resume = ResumeTime()
        self._ended_looked_at = -ENDING_INTERVAL_S
        self._left: frozenset[tuple[Key, str]] = frozenset()

    async def run(self) -> None:
        """Until cancelled."""
        try:
            await self._keep_looking()
        finally:
            for task in (*self._reading.values(), *self._ending.values()):
                task.cancel()

    async def _keep_looking(self) -> None:
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
        """Ends what is overdue, begins the live reads that the verdict asks for, sees to what was ended before; answers when
        to look again.
        """
        unfinished = {key: held for key, held in self._store.records(MIGRATIONS).items() if not held.final}
        wait_s = await self._cut_short(unfinished) if unfinished else LONGEST_WAIT_S
        self._see_to_the_ended()
        ending = any(migration.deleting for migration in unfinished.values())
        return min(wait_s, ENDING_INTERVAL_S) if ending or self._left else wait_s

    async def _cut_short(self, unfinished: Mapping[Key, Migration]) -> float:
        verdict = self._judged(unfinished)
        read_in_s = self._begin_reads(verdict.reads)
        decided_at = time.monotonic()
        stunned = [delete for delete in verdict.deletes if delete.unless_post_copy is None]
        for delete in stunned:
            self._resume.decided(delete.uid, unfinished[delete.key].instance_key, decided_at)
        overruled = [delete for delete in verdict.deletes if delete.unless_post_copy is not None]
        for delete in overruled:
            if delete.uid not in self._ending:
                self._ending[delete.uid] = asyncio.create_task(self._end_unless_irrevocable(delete))
        succeeded = await asyncio.gather(*(self._end(delete) for delete in stunned))
        waits = [read_in_s, LONGEST_WAIT_S if verdict.wake_after_s is None else verdict.wake_after_s]
        if verdict.suspended:
            waits.append(SAMPLE_INTERVAL_S)
        return min(waits + ([RETRY_S] if overruled or not all(succeeded) else []))

    def _judged(self, unfinished: Mapping[Key, Migration]) -> GuardVerdict:
        """The verdict, with what this process knows beyond the cluster: since when it sees a guest suspended."""
        now, instances = datetime.now(UTC), self._store.records(INSTANCES)
        newest, moving = self._store.samples, (migration.instance_key for migration in unfinished.values())
        self._sampled = {key: _followed(self._sampled.get(key, ()), newest[key]) for key in moving if key in newest}
        sampled, resume_s = self._sampled, self._resume.seconds
        verdict = self._judge(unfinished, instances, now, self._first_seen, sampled, resume_s)
        seen = {uid: self._first_seen.get(uid, now) for uid in verdict.suspended}
        if seen == self._first_seen:
            return verdict
        self._first_seen = seen
        return self._judge(unfinished, instances, now, seen, sampled, resume_s)

    def _see_to_the_ended(self) -> None:
        """Measures how long guests took to run again, and raises the alarm of those that were not seen to."""
        instances, now = self._store.records(INSTANCES), time.monotonic()
        self._resume.look(instances, now)
        self._telemetry.stun_resume_seconds.set(self._resume.seconds)
        if now - self._ended_looked_at < ENDING_INTERVAL_S:
            return
        self._ended_looked_at = now
        left = left_paused(instances, self._store.records(MIGRATIONS), datetime.now(UTC))
        self._telemetry.guests_left_paused.set(len(left))
        for guest in left:
            if (guest.instance, guest.migration_uid) not in self._left:
                log.error("GuestLeftPaused: %s %s. %s", guest.instance, guest.found, guest.recovery)
        self._left = frozenset((guest.instance, guest.migration_uid) for guest in left)

    def _begin_reads(self, keys: Sequence[Key]) -> float:
        """Reads that may begin again, do; answers when the next one may.

        Nobody waits for them: a read that hangs must not hold up the end of another guest's suspension.
        """
        now = time.monotonic()
        self._read_at = {key: at for key, at in self._read_at.items() if now - at < READ_INTERVAL_S}
        self._unanswered &= set(keys)
        for key in keys:
            if key not in self._reading and key not in self._read_at:
                self._read_at[key] = now
                self._reading[key] = asyncio.create_task(self._read(key))
        return min((self._read_at.get(key, now) + READ_INTERVAL_S - now for key in keys), default=LONGEST_WAIT_S)

    async def _read(self, key: Key) -> None:
        """Reads an instance past the watch, and has the guard look again."""
        held = self._store.records(INSTANCES).get(key)
        try:
            self._store.apply(INSTANCES, await self._api.get(INSTANCES, key, timeout_s=READ_TIMEOUT_S))
            self._unanswered.discard(key)
        except ApiError as error:
            if isinstance(error, NotFound) and error.of_object:
                if held is not None:
                    self._store.forget(INSTANCES, key, held.uid)
            elif key not in self._unanswered:
                self._unanswered.add(key)
                log.warning("The suspension of %s is due, but its instance cannot be read: %s", key, error)
        except Exception:  # as in `run`: the guard outlives its own defects
            log.exception("The stun guard failed to read the instance %s.", key)
        finally:
            self._reading.pop(key, None)
            self._queue.notify()

    async def _end_unless_irrevocable(self, delete: Delete) -> None:
        """Ends a migration after a live read, for which nobody waits either; what fails is asked again at the next look."""
        instance = delete.unless_post_copy
        try:
            if instance is not None and not await self._is_irrevocable(delete.uid, instance):
                await self._end(delete)
        except ApiError as error:
            log.warning(
                "The migration %s should end now (%s) but its instance cannot be read: %s",
                delete.key,
                delete.why,
                error,
            )
        except Exception:  # as in `run`: the guard outlives its own defects
            log.exception("The stun guard failed to end the migration %s.", delete.key)
        finally:
            self._ending.pop(delete.uid, None)

    async def _is_irrevocable(self, migration_uid: str, instance: Key) -> bool:
        """Whether a live read shows the migration in post-copy or completed. An instance that is gone is in neither."""
        try:
            live = await self._api.get(INSTANCES, instance, timeout_s=READ_TIMEOUT_S)
        except NotFound as error:
            if not error.of_object:
                raise
            return False
        if not irrevocable(migration_uid, live):
            return False
        self._store.apply(INSTANCES, live)
        return True

    async def _end(self, delete: Delete) -> bool:
        try:
            answer = await self._api.delete(delete.resource, delete.key, delete.uid)
        except NotFound as error:
            if error.of_object:
                self._resume.dropped(delete.uid)
                self._store.forget(delete.resource, delete.key, delete.uid)
            return error.of_object
        except Conflict:
            self._resume.dropped(delete.uid)
            self._store.forget(delete.resource, delete.key, delete.uid)
            return True
        except ApiError as error:
            log.error("The migration %s should end now (%s) but: %s", delete.key, delete.why, error)
            return False
        self._telemetry.guard_deletes.inc()
        log.warning("Ended the migration %s: %s", delete.key, delete.why)
        take_deletion(self._store, delete.resource, delete.key, delete.uid, answer)
        return True


def _followed(held: tuple[MigrationSample, ...], newest: MigrationSample) -> tuple[MigrationSample, ...]:
    """The sample before and the newest one: a rate needs two."""
    return held if held and held[-1].sampled_at >= newest.sampled_at else (*held[-1:], newest)
