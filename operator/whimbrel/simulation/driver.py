"""The operator on a virtual clock: watches a World, takes snapshots, decides, sends the writes – and suffers faults.

Stands for `kube.Store`, the loops and the executor, which need a real clock. It is handed what it drives: `decide` of the
engine and the stun guard's judge, which runs apart from the decisions, as on every replica.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from whimbrel.domain.decision import (
    Announcement,
    Create,
    Decisions,
    Delete,
    JsonPatch,
    ReplaceSpec,
    ReplaceStatus,
    Write,
)
from whimbrel.domain.naming import reserved
from whimbrel.domain.records import Capabilities, Instance, Key, Migration
from whimbrel.domain.resources import INSTANCES, KUBEVIRTS, MIGRATIONS, Resource
from whimbrel.domain.samples import MigrationSample
from whimbrel.inventory.projections import PROJECTIONS
from whimbrel.inventory.snapshot import FIELDS, Refusal, Snapshot
from whimbrel.lifecycle.guard import GuardVerdict
from whimbrel.simulation.agenda import Agenda, Alarm
from whimbrel.simulation.kubevirt.releases import release
from whimbrel.simulation.metrics import Measurements
from whimbrel.simulation.world import ApiError, Change, NotFound, Object, World

ACTOR = "whimbrel"
FIRST_REFUSAL_S, LAST_REFUSAL_S, REFUSAL_MEMORY_S = 15.0, 600.0, 1200.0
FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.5, 30.0
GUARD_RETRY_S = 0.5
GUARD_READ_S = 1.0
OUTLOOK_INTERVAL = timedelta(seconds=10)
Decide = Callable[[Snapshot], Decisions]
Samples = Mapping[Key, Sequence[MigrationSample]]
Judge = Callable[
    [Mapping[Key, Migration], Mapping[Key, Instance], datetime, Mapping[str, datetime], Samples], GuardVerdict
]
Order = Callable[[Sequence[Write]], Sequence[Write]]


@dataclass(frozen=True, slots=True)
class Timing:
    """How long things take, in virtual seconds."""

    watch_s: float = 0.02
    """From a write to its arrival at the watcher."""
    gather_s: float = 0.05
    """How long changes are gathered before the next decision."""
    write_s: float = 0.03
    """From a decision to its writes' arrival at the server."""
    restart_s: float = 3.0
    resync_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Staleness:
    """The view of one kind stands still for a while; our own answered writes are seen all the same."""

    resource: Resource
    from_s: float
    until_s: float


@dataclass(frozen=True, slots=True)
class Faults:
    """What befalls the operator. Writes are numbered from 1 over all of its lives."""

    crashes: Mapping[int, bool] = field(default_factory=dict)
    """Number of a write → whether it was still applied. All that was in memory is lost."""
    lost_answers: frozenset[int] = frozenset()
    """Writes that are applied, but the operator hears of a failure."""
    staleness: Sequence[Staleness] = ()


class _Crashed(Exception):
    """The operator died."""


class _View:
    """Records by kind, as far as the watches have told; of two states of an object the later stays."""

    def __init__(self) -> None:
        self._records: dict[Resource, dict[Key, Any]] = {resource: {} for resource in PROJECTIONS}
        self._versions: dict[Resource, dict[Key, int]] = {resource: {} for resource in PROJECTIONS}
        self._copies: dict[Resource, dict[Key, Any]] = {}
        self.generation = 0

    def take(self, resource: Resource, key: Key, version: int, body: Object | None) -> bool:
        """A state of an object; None: it is gone. Whether a decision could see the difference."""
        if version <= self._versions[resource].get(key, 0):
            return False
        self._versions[resource][key] = version
        record = PROJECTIONS[resource](body) if body is not None else None
        if record == self._records[resource].get(key):
            if record is not None:
                self._records[resource][key] = record  # what is not compared may be newer
                self._copies.pop(resource, None)
            return False
        self._copies.pop(resource, None)
        self.generation += 1
        if record is None:
            del self._records[resource][key]
        else:
            self._records[resource][key] = record
        return True

    def records(self, resource: Resource) -> Mapping[Key, Any]:
        """The live records of a kind."""
        return self._records[resource]

    def fields(self) -> dict[str, Any]:
        """The members of a snapshot."""
        for resource, records in self._records.items():
            if resource not in self._copies:
                self._copies[resource] = dict(records)
        return {FIELDS[resource]: copy for resource, copy in self._copies.items()}


class Operator:
    """One replica, from life to life. `inspect` sees every snapshot with what was decided on it."""

    def __init__(
        self,
        world: World,
        agenda: Agenda,
        decide: Decide,
        judge: Judge,
        metrics: Callable[[], Measurements],
        *,
        timing: Timing,
        faults: Faults,
        order: Order = tuple,
    ) -> None:
        self.ticks = 0
        self._outlook_at: datetime | None = None
        self.sent = 0
        """Writes that reached the server, refused ones included."""
        self.crashes = 0
        self.announcements: list[Announcement] = []
        self.refusals: list[tuple[float, Write, str]] = []
        self.inspect: Callable[[Snapshot, Decisions], None] = lambda _snapshot, _decisions: None
        self._world, self._agenda, self.metrics = world, agenda, metrics
        self._decide, self._judge = decide, judge
        self._timing, self._faults, self._order = timing, faults, order
        self._watches: dict[Resource, deque[Change]] = {resource: deque() for resource in PROJECTIONS}
        self._delivery = Alarm(agenda, self._deliver)
        self._clock = Alarm(agenda, self._tick)
        self._guard = Alarm(agenda, self._look)
        self._life = 0
        self._alive = False
        self._sending = False
        self._again = False
        self._view = _View()
        self._refused: dict[Key, Refusal] = {}
        self._refusal_counts: dict[Key, tuple[int, float]] = {}
        self._failures: dict[tuple[Resource, Key], tuple[int, float]] = {}
        self._read_at: dict[Key, float] = {}
        for staleness in faults.staleness:
            agenda.at(staleness.until_s, lambda: self._delivery.after(0))

    def start(self) -> None:
        """A new life: lists everything, then decides."""
        self._life += 1
        self._alive, self._sending, self._again = True, False, False
        self._view, self._refused, self._failures, self._read_at = _View(), {}, {}, {}
        self._refusal_counts = {}
        for resource, watch in self._watches.items():
            watch.clear()
            for key, body in self._world.objects(resource).items():
                self._view.take(resource, key, int(body["metadata"]["resourceVersion"]), body)
        self._clock.after(self._timing.gather_s)
        self._guard.after(0)

    def crash(self) -> None:
        """The process is killed; a new one starts after a while."""
        self._alive = False
        self.crashes += 1
        self._clock.cancel()
        self._guard.cancel()
        self._agenda.after(self._timing.restart_s, self.start)

    def notice(self, change: Change) -> None:
        """A change that the watch will tell of."""
        if self._alive and change.resource in self._watches:
            self._watches[change.resource].append(change)
            self._delivery.after(self._timing.watch_s)

    def _stale(self, resource: Resource) -> bool:
        return any(
            each.resource == resource and each.from_s <= self._agenda.seconds < each.until_s
            for each in self._faults.staleness
        )

    def _deliver(self) -> None:
        if not self._alive:
            return
        changed = False
        horizon = self._world.now - timedelta(seconds=self._timing.watch_s - 1e-6)
        for resource, watch in self._watches.items():
            if self._stale(resource):
                continue
            while watch and watch[0].at <= horizon:
                change = watch.popleft()
                changed |= self._view.take(resource, change.key, change.version, change.after)
            if watch:
                self._delivery.after(self._timing.watch_s)
        if changed:
            self._clock.after(self._timing.gather_s)
            self._guard.after(0)

    def _look(self) -> None:
        """The stun guard, which waits for no decision."""
        if not self._alive:
            return
        records = self._view.records
        verdict = self._judge(records(MIGRATIONS), records(INSTANCES), self._world.now, {}, self.metrics().courses)
        wait_s = self._timing.resync_s if verdict.wake_after_s is None else verdict.wake_after_s
        wait_s = min(wait_s, self._read_live(verdict.reads), GUARD_READ_S if verdict.suspended else wait_s)
        for delete in filter(self._still_wanted, verdict.deletes):
            try:
                self._answered(delete, self._apply(delete))
            except ApiError:
                wait_s = GUARD_RETRY_S
        self._guard.after(max(0.01, wait_s))

    def _read_live(self, keys: Sequence[Key]) -> float:
        """Looks at instances past the watch, at each once a second at most. When the guard must look again."""
        now, wait_s = self._agenda.seconds, self._timing.resync_s
        for key in keys:
            if now < (due_s := self._read_at.get(key, 0.0)):
                wait_s = min(wait_s, due_s - now)
                continue
            self._read_at[key] = now + GUARD_READ_S
            instance = self._world.get(INSTANCES, key)
            version = self._world.version if instance is None else int(instance["metadata"]["resourceVersion"])
            news = self._view.take(INSTANCES, key, version, instance)
            wait_s = min(wait_s, 0.0 if news else GUARD_READ_S)
            if news:
                self._clock.after(self._timing.gather_s)
        return wait_s

    def _tick(self) -> None:
        if not self._alive:
            return
        if self._sending:
            self._again = True
            return
        self.ticks += 1
        now = self._world.now
        self._refused = {key: refusal for key, refusal in self._refused.items() if refusal.until > now}
        due = self._outlook_at is None or now - self._outlook_at >= OUTLOOK_INTERVAL
        self._outlook_at = now if due else self._outlook_at
        told = self.metrics()
        snapshot = Snapshot(
            now=now,
            outlook_due=due,
            samples=told.samples,
            courses=told.courses,
            readings=told.readings,
            refusals=dict(self._refused),
            generation=self._view.generation,
            capabilities=self._capabilities(),
            **self._view.fields(),
        )
        decisions = self._decide(snapshot)
        self.inspect(snapshot, decisions)
        self.announcements += decisions.announcements
        wake_s = self._timing.resync_s if decisions.wake_after_s is None else decisions.wake_after_s
        self._clock.after(max(self._timing.gather_s, min(self._timing.resync_s, wake_s)))
        if decisions.writes:
            self._sending = True
            life = self._life
            self._agenda.after(self._timing.write_s, lambda: self._send(life, decisions))

    def _send(self, life: int, decisions: Decisions) -> None:
        if life != self._life or not self._alive:
            return
        try:
            for write in self._order(decisions.writes):
                self._write(write)
        except _Crashed:
            self.crash()
            return
        self._sending = False
        if self._again:
            self._again = False
            self._clock.after(self._timing.gather_s)

    def _write(self, write: Write) -> None:
        what = (write.resource, write.key)
        count, not_before = self._failures.get(what, (0, 0.0))
        if self._agenda.seconds < not_before:
            self._clock.at(not_before)
            return
        if not self._still_wanted(write):
            self._failed(what, count, at_once=True)
            return
        number = self.sent = self.sent + 1
        applied = self._faults.crashes.get(number)
        if applied is False:
            raise _Crashed
        try:
            body = self._apply(write)
        except ApiError as error:
            self.refusals.append((self._agenda.seconds, write, str(error)))
            if applied is not None:
                raise _Crashed from None
            self._failed(what, count, at_once=not isinstance(write, Create))
            self._read_again(write, error)
            return
        if applied is not None:
            raise _Crashed
        if number in self._faults.lost_answers:
            self._failed(what, count, at_once=False)
            self._read_again(write, ApiError("the answer was lost"))
        else:
            self._failures.pop(what, None)
            self._refusal_counts.pop(write.key, None)
            self._answered(write, body)

    def _failed(self, what: tuple[Resource, Key], count: int, *, at_once: bool) -> None:
        """The first conflict may be answered at once, since the view has changed; then each failure waits longer."""
        exponent = count - 1 if at_once else count
        wait_s = min(FIRST_BACKOFF_S * 2**exponent, LAST_BACKOFF_S) if exponent >= 0 else 0.0
        self._failures[what] = (count + 1, self._agenda.seconds + wait_s)
        self._clock.after(max(wait_s, self._timing.gather_s))

    def _still_wanted(self, write: Write) -> bool:
        """What a live read must still show just before the write."""
        if isinstance(write, Delete):
            absent = write.unless_exists is None or self._world.get(*write.unless_exists) is None
            return absent and self._still_revocable(write)
        if not isinstance(write, Create) or write.guard is None:
            return True
        guard = write.guard
        instance = self._world.get(INSTANCES, guard.instance)
        if instance is None:
            self._view.take(INSTANCES, guard.instance, self._world.version, None)
            return False
        metadata = instance["metadata"]
        holds = (
            metadata["uid"] == guard.uid
            and not metadata.get("deletionTimestamp")
            and (instance.get("status") or {}).get("nodeName", "") == guard.node
            and reserved(metadata.get("labels") or {}) == dict(guard.labels)
        )
        if not holds:
            self._view.take(INSTANCES, guard.instance, int(metadata["resourceVersion"]), instance)
        return holds

    def _still_revocable(self, write: Delete) -> bool:
        """Whether the migration to be deleted is, by a live read of its instance, neither in post-copy nor completed."""
        key = write.unless_post_copy
        if key is None:
            return True
        instance = self._world.get(INSTANCES, key)
        if instance is None:
            self._view.take(INSTANCES, key, self._world.version, None)
            return True
        state = (instance.get("status") or {}).get("migrationState") or {}
        irrevocable = state.get("mode") == "PostCopy" or state.get("completed") is True
        if state.get("migrationUid") != write.uid or not irrevocable:
            return True
        self._view.take(INSTANCES, key, int(instance["metadata"]["resourceVersion"]), instance)
        return False

    def _capabilities(self) -> Capabilities:
        """What the schemas of the world's KubeVirt say, which nobody has to read here."""
        kubevirt = next(iter(self._world.objects(KUBEVIRTS).values()), {})
        served = release(str((kubevirt.get("status") or {}).get("observedKubeVirtVersion") or ""))
        return Capabilities(served.added_node_selector, served.policy_fields)

    def _apply(self, write: Write) -> Object | None:
        match write:
            case Create():
                return self._world.create(ACTOR, write.resource, write.body)
            case ReplaceSpec():
                return self._world.replace(ACTOR, write.resource, write.key, write.body)
            case ReplaceStatus():
                return self._world.replace_status(ACTOR, write.resource, write.key, write.body)
            case JsonPatch():
                return self._world.patch(ACTOR, write.resource, write.key, write.operations)
            case Delete():
                return self._world.delete(ACTOR, write.resource, write.key, write.uid)

    def _answered(self, write: Write, body: Object | None) -> None:
        version = int(body["metadata"]["resourceVersion"]) if body is not None else self._world.version
        gone = body is None or self._world.get(write.resource, write.key) is None
        if self._view.take(write.resource, write.key, self._world.version if gone else version, None if gone else body):
            self._clock.after(self._timing.gather_s)

    def _read_again(self, write: Write, error: ApiError) -> None:
        """Only what is there now tells what became of a write that was not answered with success."""
        found = self._world.get(write.resource, write.key)
        if found is not None:
            self._view.take(write.resource, write.key, int(found["metadata"]["resourceVersion"]), found)
        elif isinstance(write, Create) and write.resource == MIGRATIONS:
            count, at = self._refusal_counts.get(write.key, (0, 0.0))
            count = count + 1 if self._agenda.seconds - at < REFUSAL_MEMORY_S else 1
            self._refusal_counts[write.key] = (count, self._agenda.seconds)
            wait_s = min(FIRST_REFUSAL_S * 2.0 ** min(count - 1, 16), LAST_REFUSAL_S)
            self._refused[write.key] = Refusal(str(error), self._world.now + timedelta(seconds=wait_s))
        elif isinstance(error, NotFound):
            self._view.take(write.resource, write.key, self._world.version, None)
