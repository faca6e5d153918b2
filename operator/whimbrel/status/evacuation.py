"""Who blocks which host, as the HostProfiles remember it, as Events say it, and as figures for whoever watches.

What a profile's status holds is what was said already: an Event is made for what it lacks, so that a restart repeats nothing.
It remembers for a while who has ceased to block, too: a node that is not ready for a minute makes blockers of all its
neighbours' guests, and none of them is news when that happens again.
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


def figures(found: Iterable[Evacuation], hosts: Mapping[str, Host]) -> tuple[HostOutlook, ...]:
    """Of the hosts that plans may use; of others nobody expects that they can be emptied."""
    return tuple(
        HostOutlook(each.host, each.at_once, each.seconds, len(each.blockers))
        for each in found
        if hosts[each.host].enabled
    )


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
    record: Profile, now: HostEvacuation | None, found: Mapping[str, Evacuation] | None, snapshot: Snapshot
) -> Iterator[Announcement]:
    """An Event for each virtual machine that this status names and none of the stored ones does, or did not long ago.

    The first status of a profile announces nothing: who blocked before anybody looked is not new. Nor does what may have been
    omitted from the stored one.
    """
    stored = record.profile.status.evacuation if record.profile is not None else None
    if now is None or found is None or stored is None:
        return
    known = {name for each in snapshot.profiles.values() for name in _known(each, snapshot.now)}
    last = stored.blocked[-1] if stored.omitted and stored.blocked else None
    blockers = {(each.host, str(b.guest)): b for each in found.values() for b in each.blockers} if now.blocked else {}
    for row in now.blocked:
        shown = last is None or (row.node, row.virtual_machine) <= (last.node, last.virtual_machine)
        if shown and row.virtual_machine not in known:
            yield _event(record, row.node, blockers[row.node, row.virtual_machine], snapshot)


def _known(record: Profile, now: datetime) -> Iterator[str]:
    """Virtual machines that the stored status names, or named not long ago."""
    evacuation = record.profile.status.evacuation if record.profile is not None else None
    if evacuation is not None:
        yield from (row.virtual_machine for row in evacuation.blocked)
        yield from (each.virtual_machine for each in evacuation.cleared if _recent(each, now))


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
