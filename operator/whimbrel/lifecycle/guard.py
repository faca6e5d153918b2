"""The stun guard: no guest of ours stays suspended for longer than its plan accepted, and none is where nothing was accepted.

Runs on every replica, leader or not. All that it needs stands on the migration itself; samples of its copy only make it act
earlier. Its one write is the DELETE of the migration, with its UID. Libvirt then resumes the guest at the source. Post-copy
can be ended by nobody: where somebody else's configuration permits it, the migration is ended before it begins.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from types import MappingProxyType

from whimbrel.domain import naming
from whimbrel.domain.decision import Delete
from whimbrel.domain.quantities import time_budget_units
from whimbrel.domain.records import Instance, Key, Migration, MigrationState
from whimbrel.domain.resources import MIGRATIONS
from whimbrel.domain.samples import MigrationSample
from whimbrel.lifecycle.overruled import beyond_its_terms, ruler_of
from whimbrel.lifecycle.pause_estimate import estimated_pause_s

RESUME_S = 2.1
"""Longest time that libvirt takes from an abort to the guest running again: 1.24 to 2.07 s in eight runs of libvirt 9.0 with
QEMU 7.2."""
FIRST_RESUME_S = 3.0
"""Time from the guard's decision to the guest running again, as long as none was measured: libvirt's `RESUME_S`, and the way
there through the API server, virt-controller, virt-handler and the launcher."""
READ_INTERVAL_S = 1.0
"""How often an instance is read live while its suspension is due and the watch has not told of it."""
MONITOR_LAG_S = 1.0
"""KubeVirt suspends no earlier than this after the deadline: its monitor compares whole elapsed seconds."""
LAST_STEP_TOLD_MS = 8000
"""How late one may hear of a last step's begin or end: virt-handler, the API server and the watch are in between."""
BEGIN_SPREAD_S = 1.4
"""How much later than computed a suspension may begin: the monitor looks every 400 ms, and `startTimestamp` has whole
seconds."""


@dataclass(frozen=True, slots=True)
class GuardVerdict:
    """Which migrations must end now, and when to look again (None: when something changes)."""

    deletes: tuple[Delete, ...]
    wake_after_s: float | None
    reads: tuple[Key, ...] = ()
    """Instances that must be read live now: their suspension is due, and the watch has not told of it."""
    suspended: tuple[str, ...] = ()
    """UIDs of migrations whose guest is seen suspended; who calls remembers since when (`first_seen`)."""


def attended_downtime_ms(budget_ms: int, resume_s: float = FIRST_RESUME_S) -> int:
    """The longest suspension in milliseconds, rounded up, while a guard is alive, of a guest that runs again `resume_s` after
    the abort was decided on: the budget, or budget + resume time where the abort waits for the budget to be spent.
    """
    return budget_ms + ceil(1000 * resume_s) if _aborts_at_the_budget(budget_ms, resume_s) else budget_ms


def overdue_stuns(
    migrations: Mapping[Key, Migration],
    instances: Mapping[Key, Instance],
    now: datetime,
    first_seen: Mapping[str, datetime] = MappingProxyType({}),
    samples: Mapping[Key, Sequence[MigrationSample]] = MappingProxyType({}),
    resume_s: float = FIRST_RESUME_S,
) -> GuardVerdict:
    """Migrations of ours whose guest is suspended without consent, or would be for longer than consented; and those by whose
    configuration it could be, or be switched to post-copy.

    Under KubeVirt's stall detection a pause is the hypervisor's last step, whose length was bounded beforehand and which
    nothing can end. It is given the time that it may take, and more: what lasts longer is none, and ends.

    The begin of a suspension has no timestamp of its own. It is taken as start + deadline + 1 s, the earliest that
    KubeVirt's monitor can act, so the guard holds after a restart as well; or as the time when this process first saw the
    guest suspended (`first_seen`, by UID of the migration), where that was earlier.

    `samples` of running copies, by key of the instance and oldest first, let the guard act as soon as they foretell a pause
    beyond the budget; whoever calls looks again when there are newer ones. Without any the abort is sent at the latest
    moment that `attended_downtime_ms` promises; `resume_s` is the time from a decision here to the guest running.
    """
    deletes: list[Delete] = []
    waits: list[float] = []
    reads: list[Key] = []
    suspended: list[str] = []
    for key in sorted(migrations):
        migration = migrations[key]
        if migration.final or migration.deleting:
            continue
        if not naming.is_our_migration(key.name, migration.instance_name, migration.labels):
            continue
        instance = instances.get(migration.instance_key)
        state = _state_of(migration, instance)
        if state is not None and (state.completed or state.failed or state.abort_requested):
            continue
        if state is not None and (overruled := _overruled(key, migration, state, instance)) is not None:
            deletes.append(overruled)
            continue
        began = _earliest_pause(migration, instance, state)
        if state is not None and state.mode == "Paused":
            suspended.append(migration.uid)
            known = began if state.started_at is not None else None
            stun = _consented(migration, known, first_seen.get(migration.uid))
            if stun is None:
                stun = _last_step(migration, first_seen.get(migration.uid, now))
            wait_s = (stun.latest_abort(resume_s) - now).total_seconds() if stun is not None else 0.0
            why = f"guest of {migration.instance_key} would stay suspended for longer than consented"
            if stun is not None and wait_s > 0:
                why = _foretold(stun, samples.get(migration.instance_key, ()), now, resume_s)
                waits.append(wait_s)
            if why:
                deletes.append(Delete(MIGRATIONS, key, migration.uid, why))
        elif began is not None and (state is None or state.mode != "PostCopy"):
            due_s = (began - now).total_seconds()
            waits.append(max(READ_INTERVAL_S, due_s))
            if due_s <= 0:
                reads.append(migration.instance_key)
    return GuardVerdict(tuple(deletes), min(waits, default=None), tuple(reads), tuple(suspended))


def _state_of(migration: Migration, instance: Instance | None) -> MigrationState | None:
    state = instance.migration if instance is not None else None
    return state if state is not None and state.migration_uid == migration.uid else None


def _overruled(key: Key, migration: Migration, state: MigrationState, instance: Instance | None) -> Delete | None:
    """The end of a migration under a configuration that could do what nobody consented to, as long as it has not done it."""
    if state.configuration is None or instance is None or state.mode in ("Paused", "PostCopy"):
        return None
    if not (what := beyond_its_terms(migration, state.configuration, instance.memory_bytes)):
        return None
    why = f"under {ruler_of(state)} the guest of {migration.instance_key} could {what}, which is not consented to"
    return Delete(MIGRATIONS, key, migration.uid, why, unless_post_copy=migration.instance_key)


def _earliest_pause(migration: Migration, instance: Instance | None, state: MigrationState | None) -> datetime | None:
    """When KubeVirt can suspend the guest at the earliest; None for a migration that may not suspend it.

    From the deadline that was wanted, or the effective one where that is shorter. As long as nothing is known of the
    start, the creation stands for it.
    """
    deadline_s = naming.number(migration.annotations.get(naming.ANNOTATION_DEADLINE_S))
    if migration.annotations.get(naming.ANNOTATION_STUN) != naming.ALLOWED or deadline_s is None:
        return None
    effective = state.configuration if state is not None else None
    if effective is not None and effective.completion_timeout_per_gib and instance is not None:
        deadline_s = min(deadline_s, effective.completion_timeout_per_gib * time_budget_units(instance.memory_bytes))
    started_at = state.started_at if state is not None and state.started_at is not None else migration.created_at
    return started_at + timedelta(seconds=deadline_s + MONITOR_LAG_S)


@dataclass(frozen=True, slots=True)
class _Stun:
    """A suspension that was consented to. `began`: at the earliest; `began_by`: at the latest."""

    instance: Key
    began: datetime
    began_by: datetime
    budget_ms: int

    def latest_abort(self, resume_s: float) -> datetime:
        """When the abort must be sent at the latest; where guests take longer to run again than the quote reckons with, as much
        earlier as it takes to keep what was quoted.
        """
        late_ms = 0.0 if _aborts_at_the_budget(self.budget_ms, resume_s) else 1000 * resume_s
        kept_ms = attended_downtime_ms(self.budget_ms) - 1000 * resume_s
        return self.began + timedelta(milliseconds=max(0.0, min(self.budget_ms - late_ms, kept_ms)))


def _last_step(migration: Migration, seen: datetime) -> _Stun | None:
    """The last step that a migration under stall detection may take, as if it were a suspension within a budget: twice its
    limit, which is what consent was given to where it is longer than the hypervisor's own, and a while for telling of it.
    None: it may take none of which anybody would hear.
    """
    last_step_ms = naming.number(migration.annotations.get(naming.ANNOTATION_LAST_STEP_MS))
    if last_step_ms is None:
        return None
    return _Stun(migration.instance_key, seen, seen, 2 * last_step_ms + LAST_STEP_TOLD_MS)


def _aborts_at_the_budget(budget_ms: int, resume_s: float) -> bool:
    """Whether a budget is too short to abort ahead of it: less than half of it would be left to copy in."""
    return budget_ms < 2 * 1000 * resume_s


def _consented(migration: Migration, began: datetime | None, seen: datetime | None) -> _Stun | None:
    """The suspension with its terms; None where nothing was consented to: it ends at once, whatever the clocks say."""
    budget_ms = naming.number(migration.annotations.get(naming.ANNOTATION_BUDGET_MS))
    if began is None or budget_ms is None:
        return None
    began_by = began + timedelta(seconds=BEGIN_SPREAD_S)
    if seen is not None:
        began, began_by = min(began, seen), min(began_by, seen)
    return _Stun(migration.instance_key, began, began_by, budget_ms)


def _foretold(stun: _Stun, samples: Sequence[MigrationSample], now: datetime, resume_s: float) -> str:
    """Why the abort is sent ahead of time; empty: it is not.

    Only where it really shortens the pause: a guest that would be done sooner than an abort takes is let be.
    """
    estimate_s = estimated_pause_s(stun.began, stun.began_by, samples, now)
    left_s = estimate_s - (now - stun.began).total_seconds() if estimate_s is not None else 0.0
    if estimate_s is None or 1000 * estimate_s <= stun.budget_ms or left_s <= resume_s:
        return ""
    return (
        f"guest of {stun.instance} would stay suspended for {estimate_s:.1f} s by the samples of its copy, "
        f"{stun.budget_ms / 1000:g} s were consented to"
    )
