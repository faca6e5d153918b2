"""Flights: unfinished migrations, where each leaves and arrives. Read off a snapshot by the ledger, which counts them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from whimbrel.api.virtual_machine_move import AttemptSpec
from whimbrel.domain.naming import (
    ANNOTATION_MOVE,
    ANNOTATION_PLAN,
    HOSTNAME_LABEL,
    LABEL_ATTEMPT,
    is_our_migration,
)
from whimbrel.domain.records import Instance, Key, Migration, Pod
from whimbrel.inventory.snapshot import Snapshot

LONGEST_PENDING = timedelta(minutes=15)
"""After so long KubeVirt gives up a target launcher that does not run (KubeVirt contract §6.4)."""


@dataclass(frozen=True, slots=True)
class InFlight:
    """An unfinished migration and the nodes that it binds; an unknown one is empty and counts nowhere."""

    migration: Migration
    source: str
    target: str
    """Where it arrives; as long as the scheduler may still choose, where it is expected."""
    arrivals: tuple[str, ...]
    """Nodes where it takes an inbound slot: its target, or each that the scheduler may still choose."""


def abandoned(migration: Migration, snapshot: Snapshot, arrival: Pod | None) -> bool:
    """Whether only a finalizer keeps it: KubeVirt deletes a migration whose instance is gone, and leaves its finalizer on.

    It can get no target launcher any more, so it takes no slot, in KubeVirt's count neither (KubeVirt contract §1.6, §6.1).
    """
    waiting = migration.deleting and migration.phase in ("", "Pending")
    return waiting and migration.instance_key not in snapshot.instances and (arrival is None or arrival.ended)


def in_flight(
    migration: Migration, snapshot: Snapshot, arrival: Pod | None, by_hostname: Mapping[str, str]
) -> InFlight:
    """Where a migration leaves and arrives: by the handed-off state, the target launcher, the selector it asks with, or
    what its move expects.
    """
    instance = snapshot.instances.get(migration.instance_key)
    state = instance.migration if instance is not None else None
    handed_off = state if state is not None and state.migration_uid == migration.uid else None
    hostname = migration.added_node_selector.get(HOSTNAME_LABEL)
    asked = by_hostname.get(hostname, "") if hostname else ""
    source = (handed_off.source_node if handed_off else "") or (instance.node if instance is not None else "")
    bound = arrival.node if arrival is not None else ""
    nominated = arrival.nomination.node if arrival is not None and arrival.nomination is not None else ""
    target = (handed_off.target_node if handed_off else "") or bound or nominated or asked
    if target:
        return InFlight(migration, source, target, (target,))
    attempt = _attempt_of(migration, snapshot)
    if attempt is None or attempt.names_target:
        return InFlight(migration, source, "", ())
    return InFlight(migration, source, attempt.target_node, attempt.allowed_nodes)


def lingering(flight: InFlight, snapshot: Snapshot) -> set[str]:
    """Nodes beside its source where KubeVirt counts an unfinished migration as outbound: it takes the guest's node and the
    source that the instance still shows, be that of an earlier migration.
    """
    instance = snapshot.instances.get(flight.migration.instance_key)
    if instance is None:
        return set()
    shown = instance.migration.source_node if instance.migration is not None else ""
    return {instance.node, shown} - {"", flight.source}


def _attempt_of(migration: Migration, snapshot: Snapshot) -> AttemptSpec | None:
    """The specification that a migration of ours carries out; None for anybody else's."""
    namespace = migration.annotations.get(ANNOTATION_PLAN, "").partition("/")[0]
    record = snapshot.moves.get(Key(namespace, migration.annotations.get(ANNOTATION_MOVE, "")))
    if record is None or not is_our_migration(migration.key.name, migration.instance_name, migration.labels):
        return None
    attempt = record.move.status.attempt or record.move.spec.attempt
    return attempt if attempt is not None and migration.labels.get(LABEL_ATTEMPT) == str(attempt.number) else None


def by_instance(flights: list[InFlight], snapshot: Snapshot) -> Mapping[Key, InFlight]:
    """One unfinished migration per instance: the one handed off, else the oldest."""

    def rank(flight: InFlight) -> tuple[bool, object, Key]:
        instance = snapshot.instances.get(flight.migration.instance_key)
        state = instance.migration if instance is not None else None
        handed_off = state is not None and state.migration_uid == flight.migration.uid
        return (not handed_off, flight.migration.created_at, flight.migration.key)

    chosen: dict[Key, InFlight] = {}
    for flight in sorted(flights, key=rank):
        chosen.setdefault(flight.migration.instance_key, flight)
    return chosen


def leaving(flights: Mapping[Key, InFlight], snapshot: Snapshot) -> tuple[Instance, ...]:
    """Instances that migrations are about to bring elsewhere, as far as one may believe it: what has not been handed over to
    the nodes after so long KubeVirt gives up itself, or nobody will.
    """
    believed = (
        key
        for key, flight in sorted(flights.items())
        if flight.target not in ("", flight.source)
        and (flight.migration.handed_off or snapshot.now - flight.migration.created_at < LONGEST_PENDING)
    )
    return tuple(instance for key in believed if (instance := snapshot.instances.get(key)) is not None)
