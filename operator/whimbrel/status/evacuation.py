"""Who blocks which host, as the HostProfiles remember it, as Events say it, and as figures for whoever watches.

What a profile's status holds is what was said already: an Event is made for what it lacks, so that a restart repeats nothing.
It remembers for a while who has ceased to block, too: a node that is not ready for a minute makes blockers of all its
neighbours' guests, and none of them is news when that happens again. A status names a hundred; who blocked beside them the
process remembers, and after a restart nobody.
"""

from collections.abc import Iterable, Iterator, Mapping, Set
from datetime import datetime

from whimbrel.api.host_profile import BlockedHost, ClearedBlocker, HostEvacuation
from whimbrel.domain.decision import Announcement, HostOutlook
from whimbrel.domain.records import Key, Profile
from whimbrel.domain.resources import INSTANCES, VIRTUAL_MACHINES
from whimbrel.inventory.hosts import Coverage, Host
from whimbrel.inventory.snapshot import Snapshot
from whimbrel.schedule.evacuation import Blocker, Evacuation

MAX_BLOCKED = 100
MAX_CLEARED = 100
QUIET_S = 3600
"""Who blocks again within this time is no news."""
REASON = "BlocksEvacuation"


def figures(found: Iterable[Evacuation], hosts: Mapping[str, Host], snapshot: Snapshot) -> tuple[HostOutlook, ...]:
    """Of all hosts. New blockers are counted where plans may use the host: of others nobody expects that it can be emptied."""
    stored = {key.name: _stored(record) for key, record in snapshot.profiles.items()}
    known = _known(snapshot)

    def outlook(each: Evacuation) -> HostOutlook:
        host = hosts[each.host]
        guests = tuple(str(blocker.guest) for blocker in each.blockers)
        fresh = set(guests) - known if host.enabled else set[str]()
        if snapshot.blocked is not None:
            appeared = len(fresh - snapshot.blocked.keys())
        else:  # the first look of a process: what the statuses prove
            before = stored[host.profile_name] if fresh else None
            appeared = sum(_would_be_named(each.host, guest, before) for guest in fresh)
        return HostOutlook(each.host, each.at_once, each.seconds, guests, host.enabled, appeared)

    return tuple(map(outlook, found))


def remembered(
    before: Mapping[str, datetime] | None, hosts: Iterable[HostOutlook], now: datetime
) -> Mapping[str, datetime]:
    """Who blocks now or did not long ago, with when that was seen last; what `Snapshot.blocked` is to be next time."""
    kept = {guest: seen for guest, seen in (before or {}).items() if (now - seen).total_seconds() < QUIET_S}
    return kept | {guest: now for host in hosts for guest in host.blockers}


def of_profile(
    record: Profile, coverage: Coverage, found: Mapping[str, Evacuation] | None, now: datetime
) -> HostEvacuation | None:
    """What the profile's status shall hold. `found`, by host: None where nobody looked, and what is stored stands.

    It stands as well while the same virtual machines block the same hosts, be it for other reasons.
    """
    if record.profile is None or not record.profile.spec.migration.enabled:
        return None
    stored = record.profile.status.evacuation
    if found is None:
        return stored
    here = [found[node] for node in coverage.nodes if node in found]
    rows = [
        BlockedHost(node=each.host, virtual_machine=str(blocker.guest), code=blocker.codes[0])
        for each in here
        for blocker in each.blockers
    ]
    fresh = HostEvacuation(
        hosts=len(here),
        evacuable=sum(each.possible for each in here),
        blocked=tuple(rows[:MAX_BLOCKED]),
        omitted=max(0, len(rows) - MAX_BLOCKED),
    )
    if stored is None:
        return fresh
    if _who(stored) == _who(fresh):
        return stored
    blocking = {str(blocker.guest) for each in found.values() for blocker in each.blockers}
    return fresh.model_copy(update={"cleared": tuple(_cleared(stored, blocking, now))[-MAX_CLEARED:]})


def _who(evacuation: HostEvacuation) -> tuple[object, ...]:
    """Which virtual machine blocks which host, as far as the status holds it, and how many hosts can be emptied."""
    rows = [(row.node, row.virtual_machine) for row in evacuation.blocked]
    return evacuation.hosts, evacuation.evacuable, rows, evacuation.omitted


def _cleared(stored: HostEvacuation, blocking: Set[str], now: datetime) -> Iterator[ClearedBlocker]:
    """Who was in the way not long ago and blocks no host any more, the longest gone first."""
    gone = dict.fromkeys(row.virtual_machine for row in stored.blocked)
    for earlier in stored.cleared:
        if earlier.virtual_machine not in blocking and earlier.virtual_machine not in gone and _recent(earlier, now):
            yield earlier
    for name in gone:
        if name not in blocking:
            yield ClearedBlocker(virtual_machine=name, cleared_at=now.replace(microsecond=0))


def _recent(cleared: ClearedBlocker, now: datetime) -> bool:
    return (now - cleared.cleared_at).total_seconds() < QUIET_S


def newcomers(
    record: Profile, coverage: Coverage, found: Mapping[str, Evacuation] | None, snapshot: Snapshot
) -> Iterator[Announcement]:
    """An Event for each virtual machine that blocks a host of this profile and did not, as far as anything is remembered.

    The first status of a profile announces nothing: who blocked before anybody looked is not new. Nor does what may have been
    omitted from the stored one, unless this process knows better.
    """
    stored, blocked = _stored(record), snapshot.blocked
    enabled = record.profile is not None and record.profile.spec.migration.enabled
    if found is None or stored is None or not enabled:
        return
    known = _known(snapshot)
    for node in coverage.nodes:
        for blocker in found[node].blockers if node in found else ():
            guest = str(blocker.guest)
            if guest in known:
                continue
            if _would_be_named(node, guest, stored) or (blocked is not None and guest not in blocked):
                yield _event(record, node, blocker, snapshot)


def _would_be_named(node: str, guest: str, stored: HostEvacuation | None) -> bool:
    """Whether the stored status would name it, had it blocked then: it may only have been omitted."""
    if stored is None:
        return False
    last = stored.blocked[-1] if stored.omitted and stored.blocked else None
    return last is None or (node, guest) <= (last.node, last.virtual_machine)


def _known(snapshot: Snapshot) -> frozenset[str]:
    """Virtual machines that a stored status names, or named not long ago."""
    found = filter(None, map(_stored, snapshot.profiles.values()))
    return frozenset(
        name
        for each in found
        for name in (
            *(row.virtual_machine for row in each.blocked),
            *(gone.virtual_machine for gone in each.cleared if _recent(gone, snapshot.now)),
        )
    )


def _stored(record: Profile) -> HostEvacuation | None:
    return record.profile.status.evacuation if record.profile is not None else None


def _event(record: Profile, node: str, blocker: Blocker, snapshot: Snapshot) -> Announcement:
    """On the VirtualMachine, where its owner looks; on the instance where it has none."""
    said = blocker.to_owner or blocker.message
    message = f"{node} cannot be emptied while this virtual machine is on it. {said}"
    instance = snapshot.instances[blocker.guest]
    machine = snapshot.virtual_machines.get(Key(instance.key.namespace, instance.owner_vm))
    resource, key, uid = (
        (INSTANCES, instance.key, instance.uid) if machine is None else (VIRTUAL_MACHINES, machine.key, machine.uid)
    )
    return Announcement(resource, key, uid, REASON, message, warning=True, action="Evacuate", behind=record.key)
