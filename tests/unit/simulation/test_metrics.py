"""A simulated operator is told what virt-handlers' metrics would tell it, and no more."""

from itertools import pairwise

from support.scenes import empty, hosts, simulate
from whimbrel.domain.decision import Decisions
from whimbrel.domain.quantities import MIB
from whimbrel.domain.records import Key
from whimbrel.domain.samples import MOST_SAMPLES
from whimbrel.inventory.snapshot import Snapshot
from whimbrel.simulation.topology import GIB, GuestShape, Topology, a_plan

DB = Key("default", "db1")


def seen(guest: GuestShape, seconds: float, *, version: str = "v1.9.0") -> list[Snapshot]:
    """What the operator decided on while it emptied the guest's host for so long."""
    shape = {"link_mbps": 1000, "memory_bytes": 512 * GIB}
    simulation, _ = simulate(Topology(hosts(2, **shape), [guest], version=version))
    simulation.apply(a_plan("drain", empty("node-0")))
    snapshots: list[Snapshot] = []
    look = simulation.operator.inspect

    def inspect(snapshot: Snapshot, decisions: Decisions) -> None:
        snapshots.append(snapshot)
        look(snapshot, decisions)

    simulation.operator.inspect = inspect
    simulation.run(seconds)
    return snapshots


def test_readings_tell_memory_that_is_not_zero_and_whole_mib_rewritten_within_a_second() -> None:
    slow = GuestShape("db1", "node-0", touched_bytes=GIB, working_set_mib=64, dirty_mib_per_second=8)
    fast = GuestShape("db1", "node-0", touched_bytes=GIB, working_set_mib=64, dirty_mib_per_second=800)

    told = [seen(guest, 1)[0].readings[DB] for guest in (slow, fast)]

    assert [each.node for each in told] == ["node-0", "node-0"]
    assert [each.resident_bytes and each.resident_bytes.value for each in told] == [GIB, GIB]
    assert [each.dirty_bytes_per_second and each.dirty_bytes_per_second.value for each in told] == [8 * MIB, 64 * MIB]


def test_a_guest_that_migrates_keeps_its_dirty_rate_of_before() -> None:
    last = seen(GuestShape("db1", "node-0", memory_bytes=64 * GIB, touched_bytes=32 * GIB), 200)[-1]

    told = last.readings[DB]
    assert last.courses
    assert told.dirty_bytes_per_second is not None
    assert told.resident_bytes is not None
    assert told.dirty_bytes_per_second.at < told.resident_bytes.at


def test_old_releases_tell_no_dirty_rate() -> None:
    told = seen(GuestShape("db1", "node-0"), 1, version="v1.5.0")[0].readings[DB]

    assert told.dirty_bytes_per_second is None
    assert told.resident_bytes is not None


def test_a_course_is_sampled_every_five_seconds_and_its_newest_is_the_sample() -> None:
    last = seen(GuestShape("db1", "node-0", memory_bytes=64 * GIB, touched_bytes=32 * GIB), 200)[-1]

    course = last.courses[DB]
    times = [each.sampled_at for each in course]
    assert len(course) > 5
    assert {(later - earlier).total_seconds() for earlier, later in pairwise(times)} == {5.0}
    assert last.samples[DB] == course[-1]


def test_a_course_stands_for_a_minute_after_its_migration_and_is_bounded() -> None:
    guest = GuestShape("db1", "node-0", memory_bytes=128 * GIB, touched_bytes=100 * GIB)
    snapshots = seen(guest, 4000)

    longest = max(len(each.courses.get(DB, ())) for each in snapshots)
    afterwards = [each.now for each in snapshots if DB in each.courses and DB not in each.samples]
    assert MOST_SAMPLES // 2 < longest <= MOST_SAMPLES
    assert afterwards
    assert DB not in snapshots[-1].courses
