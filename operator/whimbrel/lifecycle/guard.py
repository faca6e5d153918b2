"""The stun guard: no guest of ours stays suspended for longer than its plan accepted.

Runs on every replica, leader or not. All that it needs stands on the migration itself; its one write is the DELETE of
the migration, with its UID. Libvirt then resumes the guest at the source.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

from whimbrel.domain import naming
from whimbrel.domain.decision import Delete
from whimbrel.domain.quantities import time_budget_units
from whimbrel.domain.records import Instance, Key, Migration, MigrationState
from whimbrel.domain.resources import MIGRATIONS

RESUME_S = 2.1
"""Longest time from an abort to the guest running again: 1.24 to 2.07 s in eight runs of libvirt 9.0 with QEMU 7.2."""
READ_INTERVAL_S = 1.0
"""How often an instance is read live while its suspension is due and the watch has not told of it."""
MONITOR_LAG_S = 1.0
"""KubeVirt suspends no earlier than this after the deadline: its monitor compares whole elapsed seconds."""


@dataclass(frozen=True, slots=True)
class GuardVerdict:
    """Which migrations must end now, and when to look again (None: when something changes)."""

    deletes: tuple[Delete, ...]
    wake_after_s: float | None
    reads: tuple[Key, ...] = ()
    """Instances that must be read live now: their suspension is due, and the watch has not told of it."""
    suspended: tuple[str, ...] = ()
    """UIDs of migrations whose guest is seen suspended; who calls remembers since when (`first_seen`)."""


def overdue_stuns(
    migrations: Mapping[Key, Migration],
    instances: Mapping[Key, Instance],
    now: datetime,
    first_seen: Mapping[str, datetime] = MappingProxyType({}),
) -> GuardVerdict:
    """Migrations of ours whose guest is suspended without consent, or would be for longer than consented.

    The begin of a suspension has no timestamp of its own. It is taken as start + deadline + 1 s, the earliest that
    KubeVirt's monitor can act, so the guard holds after a restart as well; or as the time when this process first saw the
    guest suspended (`first_seen`, by UID of the migration), where that was earlier. The abort is sent early enough for
    the guest to run again within its budget.
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
        began = _earliest_pause(migration, instance, state)
        if state is not None and state.mode == "Paused":
            suspended.append(migration.uid)
            known = began if state.started_at is not None else None
            abort_at = _abort_at(migration, known, first_seen.get(migration.uid))
            wait_s = (abort_at - now).total_seconds() if abort_at is not None else 0.0
            if wait_s <= 0:
                why = f"guest of {migration.instance_key} would stay suspended for longer than consented"
                deletes.append(Delete(MIGRATIONS, key, migration.uid, why))
            else:
                waits.append(wait_s)
        elif began is not None and (state is None or state.mode != "PostCopy"):
            due_s = (began - now).total_seconds()
            waits.append(max(READ_INTERVAL_S, due_s))
            if due_s <= 0:
                reads.append(migration.instance_key)
    return GuardVerdict(tuple(deletes), min(waits, default=None), tuple(reads), tuple(suspended))


def _state_of(migration: Migration, instance: Instance | None) -> MigrationState | None:
    state = instance.migration if instance is not None else None
    return state if state is not None and state.migration_uid == migration.uid else None


def _earliest_pause(migration: Migration, instance: Instance | None, state: MigrationState | None) -> datetime | None:
    """When KubeVirt can suspend the guest at the earliest; None for a migration that may not suspend it.

    From the deadline that was wanted, or the effective one where that is shorter. As long as nothing is known of the
    start, the creation stands for it.
    """
    deadline_s = _number(migration.annotations.get(naming.ANNOTATION_DEADLINE_S))
    if migration.annotations.get(naming.ANNOTATION_STUN) != "Allowed" or deadline_s is None:
        return None
    effective = state.configuration if state is not None else None
    if effective is not None and effective.completion_timeout_per_gib and instance is not None:
        deadline_s = min(deadline_s, effective.completion_timeout_per_gib * time_budget_units(instance.memory_bytes))
    started_at = state.started_at if state is not None and state.started_at is not None else migration.created_at
    return started_at + timedelta(seconds=deadline_s + MONITOR_LAG_S)


def _abort_at(migration: Migration, began: datetime | None, seen: datetime | None) -> datetime | None:
    """When the abort must be sent at the latest; None where nothing was consented to: at once, whatever the clocks say."""
    budget_ms = _number(migration.annotations.get(naming.ANNOTATION_BUDGET_MS))
    if began is None or budget_ms is None:
        return None
    began = min(began, seen) if seen is not None else began
    return began + timedelta(milliseconds=max(0.0, budget_ms - RESUME_S * 1000))


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None
