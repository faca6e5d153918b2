"""The stun guard: no guest of ours stays suspended for longer than its plan accepted.

Runs on every replica, leader or not. All that it needs stands on the migration itself; its one write is the DELETE of
the migration, with its UID. Libvirt then resumes the guest at the source.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from whimbrel.domain import naming
from whimbrel.domain.decision import Delete
from whimbrel.domain.records import Instance, Key, Migration, MigrationState
from whimbrel.domain.resources import MIGRATIONS

RESUME_S = 2.1
"""Longest time from an abort to the guest running again: 1.24 to 2.07 s in eight runs of libvirt 9.0 with QEMU 7.2."""
MONITOR_LAG_S = 1.0
"""KubeVirt suspends no earlier than this after the deadline: its monitor compares whole elapsed seconds."""


@dataclass(frozen=True, slots=True)
class GuardVerdict:
    """Which migrations must end now, and when to look again (None: when something changes)."""

    deletes: tuple[Delete, ...]
    wake_after_s: float | None


def overdue_stuns(
    migrations: Mapping[Key, Migration], instances: Mapping[Key, Instance], now: datetime
) -> GuardVerdict:
    """Migrations of ours whose guest is suspended without consent, or would be for longer than consented.

    The begin of a suspension has no timestamp of its own: it is computed as start + deadline + 1 s, the earliest
    possible, so the guard holds after a restart as well. The abort is sent early enough for the guest to run again
    within its budget.
    """
    deletes: list[Delete] = []
    waits: list[float] = []
    for key in sorted(migrations):
        migration = migrations[key]
        if naming.LABEL_MANAGED not in migration.labels or migration.final or migration.deleting:
            continue
        instance = instances.get(migration.instance_key)
        state = instance.migration if instance is not None else None
        if state is None or state.migration_uid != migration.uid or state.completed or state.abort_requested:
            continue
        if state.mode != "Paused":
            continue
        abort_at = _abort_at(migration, state)
        wait_s = (abort_at - now).total_seconds() if abort_at is not None else 0.0
        if wait_s <= 0:
            why = f"guest of {migration.instance_key} would stay suspended for longer than consented"
            deletes.append(Delete(MIGRATIONS, key, migration.uid, why))
        else:
            waits.append(wait_s)
    return GuardVerdict(tuple(deletes), min(waits, default=None))


def _abort_at(migration: Migration, state: MigrationState) -> datetime | None:
    """When the abort must be sent at the latest; None where nothing was consented to: at once, whatever the clocks say."""
    consented = migration.annotations.get(naming.ANNOTATION_STUN) == "Allowed"
    deadline_s = _number(migration.annotations.get(naming.ANNOTATION_DEADLINE_S))
    budget_ms = _number(migration.annotations.get(naming.ANNOTATION_BUDGET_MS))
    if not consented or state.started_at is None or deadline_s is None or budget_ms is None:
        return None
    began = state.started_at + timedelta(seconds=deadline_s + MONITOR_LAG_S)
    return began + timedelta(milliseconds=max(0.0, budget_ms - RESUME_S * 1000))


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None
