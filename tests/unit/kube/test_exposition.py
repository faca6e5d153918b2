"""Virt-handler's metrics: the newest believable value of each member."""

from datetime import UTC, datetime, timedelta

import pytest

from whimbrel.domain.records import Key, MigrationSample
from whimbrel.kube.exposition import samples

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
DB = Key("shop", "db1")


def ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def line(metric: str, value: object, at: datetime = NOW, name: str = "db1") -> str:
    return f'kubevirt_vmi_migration_{metric}{{name="{name}",namespace="shop",node="node-1"}} {value} {ms(at)}'


def read(*lines: str, began: datetime | None = None) -> dict[Key, MigrationSample]:
    return samples("\n".join(lines).encode(), NOW, {DB: began})


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
