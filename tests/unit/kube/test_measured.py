"""What metrics told stays in snapshots for as long as it says something, and no snapshot copies it anew for nothing."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from support.raw_objects import an_instance
from whimbrel.domain.records import Key
from whimbrel.domain.resources import INSTANCES
from whimbrel.domain.samples import MOST_SAMPLES, GuestReadings, MigrationSample, Reading
from whimbrel.inventory.projections import PROJECTIONS
from whimbrel.kube.store import Store

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
DB = Key("shop", "db1")


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def raw(version: int = 1, name: str = "db1", migration_uid: str = "m1") -> dict[str, Any]:
    found = an_instance(name)
    found["metadata"] |= {
        "uid": name,
        "resourceVersion": str(version),
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    found["status"]["migrationState"] = {"migrationUid": migration_uid, "sourceNode": "node-1"}
    return found


def a_store(changes: list[str] | None = None) -> Store:
    heard = changes if changes is not None else []
    store = Store(PROJECTIONS, on_change=lambda: heard.append("change"))
    store.apply(INSTANCES, raw())
    heard.clear()
    return store


def told(store: Store, at: datetime = NOW) -> GuestReadings | None:
    return store.snapshot(at).readings.get(DB)


def course(store: Store, at: datetime = NOW) -> list[int | None]:
    return [each.processed_bytes for each in store.snapshot(at).courses.get(DB, ())]


def a_sample(seconds: float) -> MigrationSample:
    return MigrationSample(after(seconds), processed_bytes=int(seconds))


def test_readings_are_in_the_next_snapshot_and_wake_nobody() -> None:
    store = a_store(changes := [])

    store.tell({DB: GuestReadings("node-1", resident_bytes=Reading(5, NOW))})

    assert told(store) == GuestReadings("node-1", resident_bytes=Reading(5, NOW))
    assert not changes


def test_the_newest_of_each_member_wins_so_that_a_migrating_guest_keeps_its_dirty_rate() -> None:
    store = a_store()
    store.tell({DB: GuestReadings("node-1", Reading(1, NOW), Reading(2, after(9)))})

    store.tell({DB: GuestReadings("node-1", resident_bytes=Reading(3, after(5)))})
    store.tell({DB: GuestReadings("node-1", resident_bytes=Reading(4, after(10)))})

    assert told(store) == GuestReadings("node-1", Reading(1, NOW), Reading(4, after(10)))


def runs_on(node: str, **migration: Any) -> dict[str, Any]:
    found = raw(int(node[-1]) + 1)
    found["status"]["nodeName"] = node
    found["status"]["migrationState"] |= {"targetNode": "node-2", **migration}
    return found


def test_what_its_target_tells_while_a_guest_migrates_does_not_displace_what_its_node_told() -> None:
    store = a_store()
    store.apply(INSTANCES, runs_on("node-1"))
    at_home = GuestReadings("node-1", Reading(1, NOW), Reading(2, NOW))
    store.tell({DB: at_home})

    store.tell({DB: GuestReadings("node-2", resident_bytes=Reading(3, after(5)))})

    assert told(store) == at_home


def test_of_a_guest_that_has_moved_the_source_tells_what_its_node_has_not_told_yet() -> None:
    store = a_store()
    store.tell({DB: GuestReadings("node-1", Reading(1, NOW), Reading(2, NOW))})
    store.apply(INSTANCES, runs_on("node-2", endTimestamp="2026-03-01T12:00:04Z"))

    store.tell({DB: GuestReadings("node-2", resident_bytes=Reading(3, after(5)))})
    assert told(store) == GuestReadings("node-2", Reading(1, NOW), Reading(3, after(5)))

    store.tell({DB: (now := GuestReadings("node-2", Reading(9, after(8)), Reading(3, after(8))))})
    assert told(store) == now


def test_a_third_node_displaces_the_one_that_told_longest_ago() -> None:
    store = a_store()
    for second, node in enumerate(("node-1", "node-2", "node-3")):
        store.tell({DB: GuestReadings(node, Reading(second, after(second)))})
    store.apply(INSTANCES, runs_on("node-1"))

    assert told(store) == GuestReadings("node-3", Reading(2, after(2)))


def test_readings_go_with_their_instance_or_when_all_of_them_are_an_hour_old() -> None:
    store = a_store()
    store.tell({DB: GuestReadings("node-1", Reading(1, NOW), Reading(2, after(60)))})

    assert told(store, after(3659)) is not None
    assert told(store, after(3660)) is None

    store.tell({DB: GuestReadings("node-1", Reading(1, NOW))})
    store.remove(INSTANCES, raw(2))
    assert told(store) is None

    store.apply(INSTANCES, raw(3) | {"metadata": raw(3)["metadata"] | {"uid": "another"}})
    assert told(store) is None, "another guest of the same name"


def test_snapshots_share_what_did_not_change() -> None:
    store = a_store()
    store.tell({DB: GuestReadings("node-1", Reading(1, NOW))})
    store.follow(DB, "m1", [a_sample(0)])
    first = store.snapshot(NOW)

    store.tell({DB: GuestReadings("node-1", Reading(1, NOW))})
    store.follow(DB, "m1", [a_sample(0)])
    store.apply(INSTANCES, raw(2, "db2"))
    second = store.snapshot(after(1))
    store.tell({DB: GuestReadings("node-1", Reading(2, after(2)))})
    store.follow(DB, "m1", [a_sample(2)])
    third = store.snapshot(after(2))

    assert second.readings is first.readings
    assert second.courses is first.courses
    assert (first.readings[DB].dirty_bytes_per_second, third.readings[DB].dirty_bytes_per_second) == (
        Reading(1, NOW),
        Reading(2, after(2)),
    )
    assert (len(first.courses[DB]), len(third.courses[DB])) == (1, 2)


def test_a_course_is_in_order_and_repeated_samples_stand_once() -> None:
    store = a_store()

    store.follow(DB, "m1", [a_sample(10), a_sample(0), a_sample(5)])
    store.follow(DB, "m1", [a_sample(15), a_sample(10), a_sample(5)])

    assert course(store, after(15)) == [0, 5, 10, 15]


def test_a_course_ends_a_minute_after_its_last_sample_or_with_another_migration() -> None:
    store = a_store()
    store.follow(DB, "m1", [a_sample(0), a_sample(5)])

    assert course(store, after(64)) == [0, 5]
    assert course(store, after(65)) == []

    store.follow(DB, "m1", [a_sample(70)])
    store.apply(INSTANCES, raw(2, migration_uid="m2"))
    assert course(store, after(70)) == []

    store.follow(DB, "m1", [a_sample(71)])
    store.follow(DB, "m2", [a_sample(72)])
    assert course(store, after(72)) == [72]


@given(count=st.integers(1, 600), ring=st.integers(1, 10), lot=st.randoms(use_true_random=False))
def test_a_long_migration_keeps_its_first_sample_its_latest_ones_and_a_bound(count: int, ring: int, lot: Any) -> None:
    store = a_store()

    for number in range(count):
        exported = [a_sample(5 * each) for each in range(max(0, number + 1 - ring), number + 1)]
        lot.shuffle(exported)
        store.follow(DB, "m1", exported)

    held = [second or 0 for second in course(store, after(5 * count))]
    assert len(held) <= MOST_SAMPLES
    assert held == sorted(set(held))
    assert held[0] == 0
    latest = min(count, MOST_SAMPLES // 2)
    assert held[-latest:] == [5 * each for each in range(count - latest, count)]


def test_samples_beyond_all_measure_are_thinned_too() -> None:
    store = a_store()

    store.follow(DB, "m1", [a_sample(number / 100) for number in range(6000)])

    assert MOST_SAMPLES // 2 < len(course(store, after(60))) <= MOST_SAMPLES
