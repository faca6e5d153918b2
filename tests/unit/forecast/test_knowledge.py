"""What finished attempts teach: bounded, of the guest itself, of the time of day, and of the path."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from support.builders import MIB, a_move, a_plan, an_instance
from whimbrel.api.scalars import format_timestamp
from whimbrel.domain.records import Move
from whimbrel.forecast import CurvePoint, Guest, Knowledge, Path, Spread, predict
from whimbrel.forecast.knowledge import MOST_OF_A_GUEST, SLOWEST

NOW = datetime(2026, 3, 10, 14, tzinfo=UTC)
OTHERWISE = Spread(1.1, 1.3)
PLAN = a_plan()
GUEST = an_instance("db1")


def a_record(ended_at: datetime, *, number: int = 1, mib: int = 100, **more: Any) -> dict[str, Any]:
    return {
        "number": number,
        "rung": "PreCopy",
        "targetNode": "node-2",
        "outcome": "Succeeded",
        "endedAt": format_timestamp(ended_at),
        "seen": [{"windowMs": 5000, "distinctBytes": mib * MIB}],
        **more,
    }


def moved(*records: dict[str, Any], name: str = "db1") -> Move:
    return a_move(PLAN, an_instance(name), status={"history": list(records)})


def test_a_guest_is_foretold_by_what_its_own_migrations_have_shown() -> None:
    known = Knowledge.of([moved(a_record(NOW - timedelta(hours=1)))], NOW)

    (point,) = known.points(GUEST, NOW)

    assert (point.window_s, point.distinct_bytes, point.within_factor) == (5.0, 100 * MIB, 1)
    assert known.points(an_instance("other", namespace="elsewhere"), NOW) == ()


def test_a_guest_that_never_moved_borrows_from_its_class_with_a_wide_margin() -> None:
    known = Knowledge.of([moved(a_record(NOW - timedelta(hours=1)))], NOW)

    (borrowed,) = known.points(an_instance("other"), NOW)

    assert (borrowed.distinct_bytes, borrowed.within_factor) == (100 * MIB, 2.0)
    assert "as much memory" in borrowed.source
    assert known.points(an_instance("larger", memory_bytes=2 * GUEST.memory_bytes), NOW) == ()
    assert known.points(GUEST, NOW)[0].within_factor == 1


def test_what_others_have_shown_yields_to_a_sample_of_the_guest_itself() -> None:
    known = Knowledge.of([moved(a_record(NOW - timedelta(hours=1), mib=900))], NOW)
    sample = CurvePoint(1.0, 5.0 * MIB, "sample", 1.1)

    borrowed = known.points(an_instance("other"), NOW)
    alone, both = (Guest(float(1024 * MIB), None, points) for points in ((sample,), (sample, *borrowed)))

    assert predict(both, Path(100.0 * MIB)).bytes_p50 == predict(alone, Path(100.0 * MIB)).bytes_p50


def test_what_was_seen_at_this_time_of_day_outweighs_what_was_seen_at_another() -> None:
    night, day = NOW - timedelta(hours=12), NOW - timedelta(days=1)
    known = Knowledge.of([moved(a_record(night, mib=5), a_record(day, number=2, mib=300))], NOW)

    assert [point.distinct_bytes for point in known.points(GUEST, NOW)] == [300 * MIB]
    assert [point.distinct_bytes for point in known.points(GUEST, night + timedelta(days=1))] == [5 * MIB]


def test_what_was_seen_at_another_time_of_day_counts_with_a_wider_margin() -> None:
    known = Knowledge.of([moved(a_record(NOW - timedelta(hours=12)))], NOW)

    assert known.points(GUEST, NOW)[0].within_factor > 1


def test_no_more_is_kept_of_a_guest_than_is_of_use() -> None:
    records = [a_record(NOW - timedelta(minutes=n), number=n, mib=n) for n in range(1, 17)]

    assert len(Knowledge.of([moved(*records)], NOW).points(GUEST, NOW)) == MOST_OF_A_GUEST


def test_what_is_a_month_old_is_forgotten() -> None:
    assert Knowledge.of([moved(a_record(NOW - timedelta(days=31)))], NOW).points(GUEST, NOW) == ()


def test_a_path_is_as_slow_as_its_moves_were_and_one_that_none_has_taken_as_all_were() -> None:
    slow = {"askedBytesPerSecond": 100 * MIB, "bytesPerSecond": 80 * MIB}
    records = [a_record(NOW - timedelta(minutes=n), number=n, **slow) for n in (1, 2, 3)]
    known = Knowledge.of([moved(*records)], NOW)

    assert known.slowdown("node-1", "node-2", OTHERWISE).p50 == pytest.approx(1.25)
    assert known.slowdown("node-2", "node-1", OTHERWISE).p50 == pytest.approx(1.25)
    assert Knowledge.of([moved(*records[:2])], NOW).slowdown("node-1", "node-2", OTHERWISE) == OTHERWISE


def test_no_record_makes_a_path_slower_than_can_be_believed() -> None:
    absurd = {"askedBytesPerSecond": 1000 * MIB, "bytesPerSecond": 1}
    records = [a_record(NOW - timedelta(minutes=n), number=n, **absurd) for n in (1, 2, 3)]

    assert Knowledge.of([moved(*records)], NOW).slowdown("node-1", "node-2", OTHERWISE).p90 == SLOWEST


def test_start_up_is_what_it_took_so_far() -> None:
    records = [a_record(NOW - timedelta(minutes=n), number=n, startUpSeconds=n) for n in (1, 2, 3)]

    assert Knowledge.of([moved(*records)], NOW).start_up(GUEST) == Spread(2.0, 3.0)


def test_a_class_starts_up_as_its_own_did_and_one_that_has_hardly_moved_as_all_did() -> None:
    quick, slow = (
        a_move(
            PLAN,
            an_instance(name, namespace=name),
            status={
                "history": [a_record(NOW - timedelta(minutes=n), number=n, startUpSeconds=took_s) for n in (1, 2, 3)]
            },
        )
        for name, took_s in (("quick", 2), ("slow", 40))
    )

    known = Knowledge.of([quick, slow], NOW)

    assert known.start_up(an_instance("another", namespace="quick")) == Spread(2.0, 2.0)
    assert known.start_up(an_instance("another", namespace="slow")) == Spread(40.0, 40.0)
    assert known.start_up(an_instance("another", namespace="elsewhere")).p90 == 40.0


def test_the_order_of_the_moves_teaches_nothing() -> None:
    moves = [moved(a_record(NOW - timedelta(minutes=n), startUpSeconds=n, mib=n), name=f"vm-{n}") for n in range(1, 9)]

    assert Knowledge.of(moves, NOW) == Knowledge.of(reversed(moves), NOW)


def test_a_bound_by_itself_does_not_outdate_what_is_sampled() -> None:
    bound = {"windowMs": 5000, "distinctBytes": 900 * MIB, "atMost": True}
    ended_at = NOW - timedelta(hours=1)

    assert Knowledge.of([moved(a_record(ended_at, seen=[bound]))], NOW).shown_at(GUEST) is None
    exact = {"windowMs": 1000, "distinctBytes": 90 * MIB}
    assert Knowledge.of([moved(a_record(ended_at, seen=[bound, exact]))], NOW).shown_at(GUEST) == ended_at


def test_a_guest_that_was_made_anew_is_another_guest_of_its_class() -> None:
    known = Knowledge.of([moved(a_record(NOW - timedelta(hours=1)))], NOW)

    (borrowed,) = known.points(replace(GUEST, uid="another"), NOW)

    assert borrowed.within_factor == 2.0
    assert known.shown_at(replace(GUEST, uid="another")) is None
