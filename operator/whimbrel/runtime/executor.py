"""The executor: sends Decisions as they are, feeds every answer into the store, and never tries again in place.

Each write is fenced by the lease just before it is sent, and by what it says itself. What fails waits its turn: only the
next decision, on what the server answered, may write again.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from whimbrel.api.definition import GROUP
from whimbrel.domain.decision import (
    Announcement,
    Create,
    Decisions,
    Delete,
    JsonPatch,
    LiveGuard,
    ReplaceSpec,
    ReplaceStatus,
    Write,
)
from whimbrel.domain.naming import reserved
from whimbrel.domain.records import Key
from whimbrel.domain.resources import INSTANCES, MIGRATIONS, Resource
from whimbrel.kube.api import WRITE_TIMEOUT_S, KubeApi, Raw
from whimbrel.kube.errors import ApiError, Conflict, Invalid, NotFound, Throttled, Unavailable
from whimbrel.kube.store import Store
from whimbrel.kube.telemetry import Telemetry

log = logging.getLogger("whimbrel.executor")

AT_ONCE = 16
FIRST_REFUSAL_S, LAST_REFUSAL_S = 15.0, 600.0
REFUSAL_MEMORY_S = 1200.0
"""A migration that was not refused for so long begins anew with the shortest wait."""
FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.5, 30.0
NOTHING = Decisions()

VERBS: dict[type, str] = {
    Create: "create",
    ReplaceSpec: "update",
    ReplaceStatus: "update-status",
    JsonPatch: "patch",
    Delete: "delete",
}


class Announcer(Protocol):
    """Where announcements go."""

    def announce(self, announcement: Announcement) -> bool:
        """Queues an Event."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the decisions. `retry_after_s`: look again then, since what was not done may not change by itself."""

    done: int = 0
    failed: int = 0
    held_back: int = 0
    retry_after_s: float | None = None


@dataclass(slots=True)
class _Failure:
    count: int
    not_before: float


@dataclass(frozen=True, slots=True)
class _Refused:
    count: int
    at: float


class Dropped(Exception):
    """The write was not sent, or not accepted, in a way that is no error of anybody's."""

    def __init__(self, result: str, message: str) -> None:
        super().__init__(message)
        self.result = result


class Executor:
    """Carries out one tick's decisions, up to sixteen writes at once."""

    def __init__(
        self,
        api: KubeApi,
        store: Store,
        telemetry: Telemetry,
        announcer: Announcer,
        remaining_lease: Callable[[], float],
        *,
        write_timeout_s: float = WRITE_TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
        utc_now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._api, self._store, self._telemetry, self._announcer = api, store, telemetry, announcer
        self._remaining_lease, self._write_timeout_s = remaining_lease, write_timeout_s
        self._clock, self._utc_now = clock, utc_now
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._failures: dict[tuple[Resource, Key], _Failure] = {}
        self._refused: dict[Key, _Refused] = {}
        self._throttled_until = 0.0
        self._closed = False

    def close(self) -> None:
        """Begins no write any more; those in flight end by themselves."""
        self._closed = True

    async def execute(self, decisions: Decisions) -> Outcome:
        """Sends all writes, waits for all answers, then announces. Announcements of failed writes stay unsaid."""
        results = await asyncio.gather(*(self._carry_out(write) for write in decisions.writes))
        if not self._closed and self._remaining_lease() > 0:
            failed = {write.key for write, result in zip(decisions.writes, results, strict=True) if result != "done"}
            for announcement in decisions.announcements:
                if announcement.key not in failed and announcement.behind not in failed:
                    self._announcer.announce(announcement)
        now = self._clock()
        waits = [
            max(failure.not_before, self._throttled_until) - now
            for failure in self._failures.values()
            if max(failure.not_before, self._throttled_until) > now
        ]
        if self._throttled_until > now and not waits:
            waits.append(self._throttled_until - now)
        fenced = "fenced" in results
        return Outcome(
            done=results.count("done"),
            failed=len(results) - results.count("done") - results.count("held back"),
            held_back=results.count("held back"),
            retry_after_s=max(0.01, min(waits)) if waits else 1.0 if fenced else None,
        )

    def prune(self) -> None:
        """Forgets failures and refusals that are long over, so that objects which are gone leave nothing behind."""
        horizon = self._clock() - 4 * LAST_BACKOFF_S
        self._failures = {what: held for what, held in self._failures.items() if held.not_before > horizon}
        horizon = self._clock() - REFUSAL_MEMORY_S
        self._refused = {key: refused for key, refused in self._refused.items() if refused.at > horizon}

    async def _carry_out(self, write: Write) -> str:
        what = (write.resource, write.key)
        failure = self._failures.get(what)
        async with self._slots:
            now = self._clock()
            if now < self._throttled_until or (failure is not None and now < failure.not_before):
                return self._count(write, "held back")
            if self._closed or self._remaining_lease() < self._write_timeout_s:
                return self._count(write, "fenced")
            try:
                await self._send(write)
            except Dropped as dropped:
                self._failed(what, immediate=True)
                log.info("%s %s %s: %s", VERBS[type(write)], write.resource.kind, write.key, dropped)
                return self._count(write, dropped.result)
            except ApiError as error:
                if isinstance(error, Throttled):
                    self._throttled_until = self._clock() + error.retry_after_s
                self._failed(what, immediate=isinstance(error, Conflict))
                verb, text = VERBS[type(write)], f"{error}{_remedy(write, error)}"
                log.warning("%s %s %s failed (%s): %s", verb, write.resource.kind, write.key, write.why, text)
                return self._count(write, _result_of(error))
        self._failures.pop(what, None)
        log.info("%s %s %s: %s", VERBS[type(write)], write.resource.kind, write.key, write.why)
        return self._count(write, "done")

    async def _send(self, write: Write) -> None:
        match write:
            case Create():
                await self._create(write)
            case ReplaceSpec():
                await self._change(write, self._api.replace(write.resource, write.key, write.body))
            case ReplaceStatus():
                await self._change(write, self._api.replace_status(write.resource, write.key, write.body))
            case JsonPatch():
                await self._change(write, self._api.patch(write.resource, write.key, write.operations))
            case Delete():
                await self._delete(write)

    async def _create(self, write: Create) -> None:
        if write.guard is not None:
            await self._check(write.guard)
            self._check_lease()
        try:
            answer = await self._api.create(write.resource, write.key.namespace, write.body)
        except Throttled:
            raise
        except ApiError as error:
            await self._settle_create(write, error)
            raise
        if write.resource == MIGRATIONS:
            self._refused.pop(write.key, None)
        self._store.apply(write.resource, answer)

    async def _settle_create(self, write: Create, error: ApiError) -> None:
        """The create was not answered 201: only the name tells what there is now."""
        held = self._uid(write.resource, write.key)
        try:
            there = await self._api.get(write.resource, write.key)
        except NotFound as absent:
            if held and absent.of_object:
                self._store.forget(write.resource, write.key, held)
            if write.resource == MIGRATIONS:
                wait_s = FIRST_REFUSAL_S if isinstance(error, Unavailable) else self._refusal_s(write.key)
                self._store.refuse(write.key, error.message, self._utc_now() + timedelta(seconds=wait_s))
            return
        except ApiError as unknown:
            log.warning("%s %s: whether it was created is unknown: %s", write.resource.kind, write.key, unknown)
            return
        self._store.apply(write.resource, there)
        if write.resource == MIGRATIONS:
            self._refused.pop(write.key, None)
        raise Dropped("exists", f"is there already, or after all ({error})") from error

    def _refusal_s(self, key: Key) -> float:
        """How long this migration waits for having been refused: longer each time. A server that is ill refuses nothing."""
        now, held = self._clock(), self._refused.get(key)
        count = held.count + 1 if held is not None and now - held.at < REFUSAL_MEMORY_S else 1
        self._refused[key] = _Refused(count, now)
        return min(FIRST_REFUSAL_S * 2.0 ** min(count - 1, 16), LAST_REFUSAL_S)

    async def _check(self, guard: LiveGuard) -> None:
        held = self._uid(INSTANCES, guard.instance)
        try:
            live = await self._api.get(INSTANCES, guard.instance)
        except NotFound as error:
            if held and error.of_object:
                self._store.forget(INSTANCES, guard.instance, held)
            raise Dropped("guarded", f"instance {guard.instance} is gone") from error
        if difference := _difference(guard, live):
            self._store.apply(INSTANCES, live)
            raise Dropped("guarded", f"instance {guard.instance} is not as it was decided on: {difference}")

    async def _check_absent(self, resource: Resource, key: Key) -> None:
        try:
            there = await self._api.get(resource, key)
        except NotFound as error:
            if not error.of_object:
                raise
        else:
            self._store.apply(resource, there)
            raise Dropped("guarded", f"{resource.kind} {key} exists after all")
        self._check_lease()

    async def _check_not_post_copy(self, migration_uid: str, instance: Key) -> None:
        """An instance that is gone cannot be in post-copy, and neither can one that another migration moves."""
        held = self._uid(INSTANCES, instance)
        try:
            live = await self._api.get(INSTANCES, instance)
        except NotFound as error:
            if not error.of_object:
                raise
            if held:
                self._store.forget(INSTANCES, instance, held)
        else:
            if progress := irrevocable(migration_uid, live):
                self._store.apply(INSTANCES, live)
                raise Dropped("guarded", f"the migration of {instance} {progress}, and is not aborted any more")
        self._check_lease()

    def _check_lease(self) -> None:
        """To be called between a live read and the write that it permits."""
        if self._closed or self._remaining_lease() < self._write_timeout_s:
            raise Dropped("fenced", "the lease ran short during the live read")

    async def _change(self, write: ReplaceSpec | ReplaceStatus | JsonPatch, sending: Any) -> None:
        held = self._uid(write.resource, write.key)
        try:
            answer = await sending
        except NotFound as error:
            if held and error.of_object:
                self._store.forget(write.resource, write.key, held)
            raise Dropped("gone", "is gone") from error
        except (Conflict, Invalid, Unavailable):
            await self._reread(write.resource, write.key, held)
            raise
        self._store.apply(write.resource, answer)

    async def _delete(self, write: Delete) -> None:
        if write.unless_exists is not None:
            await self._check_absent(*write.unless_exists)
        if write.unless_post_copy is not None:
            await self._check_not_post_copy(write.uid, write.unless_post_copy)
        try:
            answer = await self._api.delete(write.resource, write.key, write.uid)
        except NotFound as error:
            if not error.of_object:
                raise
            self._store.forget(write.resource, write.key, write.uid)
            return
        except (Conflict, Unavailable):
            await self._reread(write.resource, write.key, write.uid)
            raise
        take_deletion(self._store, write.resource, write.key, write.uid, answer)

    async def _reread(self, resource: Resource, key: Key, held: str) -> None:
        """What is there instead? The next decision is made on that."""
        try:
            self._store.apply(resource, await self._api.get(resource, key))
        except NotFound as error:
            if held and error.of_object:
                self._store.forget(resource, key, held)
        except ApiError as error:
            log.debug("%s %s could not be read again: %s", resource.kind, key, error)

    def _uid(self, resource: Resource, key: Key) -> str:
        record = self._store.records(resource).get(key)
        return str(record.uid) if record is not None else ""

    def _failed(self, what: tuple[Resource, Key], *, immediate: bool) -> None:
        """The first conflict may be answered at once, since the store has changed; then each failure waits longer."""
        held = self._failures.get(what)
        count = held.count + 1 if held else 1
        exponent = count - 2 if immediate else count - 1
        wait_s = min(FIRST_BACKOFF_S * 2**exponent, LAST_BACKOFF_S) if exponent >= 0 else 0.0
        self._failures[what] = _Failure(count, self._clock() + wait_s)

    def _count(self, write: Write, result: str) -> str:
        self._telemetry.writes.labels(VERBS[type(write)], write.resource.kind, result).inc()
        return result


def take_deletion(store: Store, resource: Resource, key: Key, uid: str, answer: Raw) -> None:
    """Feeds the answer to a DELETE: the object where a finalizer still holds it, else the news that it is gone."""
    metadata = answer.get("metadata") or {}
    if answer.get("kind") == "Status" or metadata.get("uid") != uid:
        store.forget(resource, key, uid)
    elif metadata.get("finalizers") or metadata.get("deletionGracePeriodSeconds"):
        store.apply(resource, answer)
    else:
        store.remove(resource, answer)


def _difference(guard: LiveGuard, live: Raw) -> str:
    metadata, status = live.get("metadata") or {}, live.get("status") or {}
    labels, wanted = reserved(metadata.get("labels") or {}), dict(guard.labels)
    if metadata.get("uid") != guard.uid:
        return "it was created anew"
    if metadata.get("deletionTimestamp"):
        return "it is being deleted"
    if status.get("nodeName", "") != guard.node:
        return f"it runs on {status.get('nodeName') or 'no node'}, not on {guard.node}"
    if labels != wanted:
        return f"its reserved labels are {labels}, not {wanted}"
    return ""


def irrevocable(migration_uid: str, live: Raw) -> str:
    """Why this migration of a live instance must not be aborted any more; empty while it may be."""
    state = (live.get("status") or {}).get("migrationState") or {}
    if state.get("migrationUid") != migration_uid:
        return ""
    if state.get("mode") == "PostCopy":
        return "is in post-copy"
    return "is completed" if state.get("completed") is True else ""


def _remedy(write: Write, error: ApiError) -> str:
    """What to do about an answer that people can mend and that does not say how, to be put behind it."""
    if isinstance(error, Invalid) and error.of_unserved_field and write.resource.group == GROUP:
        return "; the CRDs are older than the operator: apply the crds/ of its release"
    return ""


def _result_of(error: ApiError) -> str:
    match error:
        case Throttled():
            return "throttled"
        case Conflict():
            return "conflict"
        case Unavailable():
            return "unavailable"
        case _:
            return "refused"
