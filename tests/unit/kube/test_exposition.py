"""Virt-handler's metrics: believable samples of migrations, and readings of guests that run on that very node."""

from datetime import UTC, datetime, timedelta

import pytest

from whimbrel.domain.records import Key
from whimbrel.domain.samples import GuestReadings, MigrationSample, Reading
from whimbrel.kube.exposition import courses, newest, readings

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
DB = Key("shop", "db1")


def ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def line(metric: str, value: object, at: datetime = NOW, name: str = "db1") -> str:
    return f'kubevirt_vmi_migration_{metric}{{name="{name}",namespace="shop",node="node-1"}} {value} {ms(at)}'


def read(*lines: str, began: datetime | None = None) -> dict[Key, MigrationSample]:
    found = courses("\n".join(lines).encode(), NOW, {DB: began})
    return {instance: newest(course) for instance, course in found.items()}


def guest_line(series: str, value: object, *, name: str = "db1", node: str = "node-1", end: str = "") -> str:
    labels = f'node="{node}",namespace="shop",name="{name}",kubernetes_vmi_label_app="x"'
    return f"kubevirt_vmi_{series}{{{labels}}} {value}{end}"


def told(*lines: str) -> dict[Key, GuestReadings]:
    return readings("\n".join(lines).encode(), NOW, "node-1", {DB})


def test_the_newest_of_several_timestamps_wins_whatever_their_order() -> None:
    old, new = NOW - timedelta(seconds=10), NOW - timedelta(seconds=5)

    found = read(
        line("data_processed_bytes", 1.5e9, old),
        line("data_processed_bytes", 2.5e9, new),
        line("data_processed_bytes", 1e9, old - timedelta(seconds=5)),
    )

    assert found == {DB: MigrationSample(sampled_at=new, processed_bytes=2_500_000_000)}


@pytest.mark.parametrize("total", ["data_bytes_total", "data_total_bytes"])
@pytest.mark.parametrize("rate", ["memory_transfer_rate_bytes", "disk_transfer_rate_bytes"])
def test_names_of_old_and_new_releases_are_understood(total: str, rate: str) -> None:
    found = read(line(total, 8), line(rate, 9), line("dirty_memory_rate_bytes", 7), line("data_remaining_bytes", 6))

    assert found[DB] == MigrationSample(
        sampled_at=NOW,
        total_bytes=8,
        remaining_bytes=6,
        transfer_bytes_per_second=9,
        dirty_bytes_per_second=7,
    )


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-Inf", "-1", "1e300", "many"])
def test_values_that_cannot_be_are_left_out(value: str) -> None:
    assert read(line("data_remaining_bytes", value)) == {}


@pytest.mark.parametrize("age_s", [61, -61])
def test_values_of_another_time_are_left_out(age_s: int) -> None:
    assert read(line("data_remaining_bytes", 5, NOW - timedelta(seconds=age_s))) == {}


def test_samples_of_the_migration_before_are_left_out() -> None:
    assert read(line("data_remaining_bytes", 5, NOW - timedelta(seconds=9)), began=NOW - timedelta(seconds=3)) == {}


def test_other_guests_comments_and_other_metrics_are_left_out() -> None:
    found = read(
        "# HELP kubevirt_vmi_migration_data_remaining_bytes text",
        'kubevirt_vmi_vcpu_seconds_total{name="db1",namespace="shop"} 1',
        line("data_remaining_bytes", 5, name="db2"),
        line("start_time_seconds", 5),
        "kubevirt_vmi_migration_data_remaining_bytes 4",
        "kubevirt_vmi_migration_data_remaining_bytes{name=",
    )

    assert found == {}


def test_hostile_label_values_do_not_confuse_the_reader() -> None:
    text = r'kubevirt_vmi_migration_data_remaining_bytes{node="a\"} 9 \\",name="db1",namespace="shop",x="}"} 5'

    assert read(text) == {DB: MigrationSample(sampled_at=NOW, remaining_bytes=5)}


def test_a_value_without_timestamp_is_of_now() -> None:
    text = 'kubevirt_vmi_migration_data_remaining_bytes{name="db1",namespace="shop"} 5'

    assert read(text)[DB].sampled_at == NOW


def test_a_course_holds_every_sample_once_the_oldest_first() -> None:
    times = [NOW - timedelta(seconds=second) for second in (15, 10, 5)]
    lines = [line("data_processed_bytes", number, at) for number, at in enumerate(times)]
    text = "\n".join([lines[1], lines[2], lines[0], lines[2], line("data_remaining_bytes", 9, times[1])])

    found = courses(text.encode(), NOW, {DB: None})

    assert found == {
        DB: (
            MigrationSample(times[0], processed_bytes=0),
            MigrationSample(times[1], processed_bytes=1, remaining_bytes=9),
            MigrationSample(times[2], processed_bytes=2),
        )
    }


def test_dirty_rate_and_resident_memory_of_a_running_guest_are_of_the_scrapes_time() -> None:
    found = told(
        guest_line("dirty_rate_bytes_per_second", 3145728),
        guest_line("memory_resident_bytes", "2.5e+09"),
        guest_line("memory_available_bytes", 7),
    )

    assert found == {DB: GuestReadings("node-1", Reading(3145728.0, NOW), Reading(2.5e9, NOW))}


@pytest.mark.parametrize(
    ("series", "value"),
    [
        ("dirty_rate_bytes_per_second", "NaN"),
        ("dirty_rate_bytes_per_second", "-1"),
        ("dirty_rate_bytes_per_second", (1 << 44) + 1),
        ("memory_resident_bytes", "+Inf"),
        ("memory_resident_bytes", "-5"),
        ("memory_resident_bytes", (1 << 56) + 16),
    ],
)
def test_readings_that_cannot_be_are_left_out(series: str, value: object) -> None:
    assert told(guest_line(series, value)) == {}


@pytest.mark.parametrize("age_s", [61, -61])
def test_readings_of_another_time_are_left_out(age_s: int) -> None:
    end = f" {ms(NOW - timedelta(seconds=age_s))}"

    assert told(guest_line("memory_resident_bytes", 5, end=end)) == {}


def test_a_virt_handler_is_believed_only_about_guests_that_run_on_its_node() -> None:
    found = told(
        guest_line("memory_resident_bytes", 5, node="node-2"),
        guest_line("memory_resident_bytes", 5, name="elsewhere"),
        'kubevirt_vmi_memory_resident_bytes{namespace="shop",name="db1"} 5',
    )

    assert found == {}


def test_the_newest_of_several_readings_wins() -> None:
    old, new = (NOW - timedelta(seconds=second) for second in (9, 3))

    found = told(
        *(guest_line("memory_resident_bytes", n, end=f" {ms(at)}") for n, at in ((1, old), (2, new), (3, old)))
    )

    assert found[DB].resident_bytes == Reading(2.0, new)
