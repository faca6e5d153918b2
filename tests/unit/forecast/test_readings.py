"""What the cluster tells of a guest is checked before it is believed."""

from datetime import UTC, datetime, timedelta

import pytest

from whimbrel.domain.quantities import MIB
from whimbrel.forecast import CurvePoint, Reading, guest

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
GIB = 1024.0 * MIB


def test_a_forecast_says_what_it_knows_from_where() -> None:
    known = guest(4 * GIB, NOW, in_use=Reading(GIB, NOW), dirty_sample=Reading(20.0 * MIB, NOW))

    assert known.in_use_bytes == GIB
    assert known.points == (
        CurvePoint(1.0, 20.5 * MIB, "dirty-rate sample of one second", pytest.approx(1.4, abs=0.05)),
    )
    assert known.sources == ("memory of the instance", "memory in use", "dirty-rate sample of one second")
    assert known.missing == ()


def test_a_forecast_says_what_is_missing() -> None:
    missing = guest(4 * GIB, NOW).missing

    assert [text.split(" (")[0].split(":")[0] for text in missing] == [
        "memory in use is not told",
        "no dirty-rate sample",
    ]


@pytest.mark.parametrize(
    ("sample", "fault"),
    [
        (Reading(float("nan"), NOW), "is no number"),
        (Reading(float("inf"), NOW), "is no number"),
        (Reading(-1.0, NOW), "is negative"),
        (Reading(1e18, NOW), "is more than can be"),
        (Reading(1.0, NOW - timedelta(minutes=11)), "it is 660 s old"),
        (Reading(1.0, NOW + timedelta(minutes=2)), "it is from 120 s in the future"),
    ],
)
def test_a_sample_that_cannot_be_is_dropped_with_the_reason(sample: Reading, fault: str) -> None:
    known = guest(4 * GIB, NOW, in_use=Reading(GIB, NOW), dirty_sample=sample)

    assert known.points == ()
    assert len(known.missing) == 1
    assert known.missing[0].startswith("the dirty-rate sample is not believed: ")
    assert fault in known.missing[0]


@pytest.mark.parametrize(
    "point",
    [
        CurvePoint(float("nan"), 1.0, "rounds"),
        CurvePoint(0.0, 1.0, "rounds"),
        CurvePoint(1.0, -1.0, "rounds"),
        CurvePoint(1.0, 7 * GIB, "rounds"),
        CurvePoint(1.0, 1.0, "rounds", within_factor=0.5),
    ],
)
def test_a_point_that_cannot_be_is_dropped_with_the_reason(point: CurvePoint) -> None:
    known = guest(4 * GIB, NOW, points=(point,))

    assert known.points == ()
    assert any(text.startswith("rounds is not believed: ") for text in known.missing)


def test_more_memory_in_use_than_there_is_counts_as_all_of_it() -> None:
    assert guest(GIB, NOW, in_use=Reading(1.2 * GIB, NOW)).in_use_bytes == GIB


@pytest.mark.parametrize("wrong", [0.0, float("nan"), -GIB])
def test_a_guest_without_memory_is_no_guest(wrong: float) -> None:
    with pytest.raises(ValueError, match="at least one byte"):
        guest(wrong, NOW)


def test_a_sample_of_few_pages_is_known_less_well_than_one_of_many() -> None:
    """QEMU compares so many pages before and after: of 1 GiB 512, of which here 26 are dirty, give or take 5."""
    sample = Reading(51.0 * MIB, NOW)

    few = guest(GIB, NOW, dirty_sample=sample).points[0]
    many = guest(GIB, NOW, dirty_sample=sample, sampled_pages=16 * 512).points[0]

    assert few.within_factor == pytest.approx(1 + 1.28 * 5 / 26, abs=0.02)
    assert many.within_factor - 1 == pytest.approx((few.within_factor - 1) / 4, rel=0.01)
