"""Reads virt-handler's exposition text: the newest value of each member of each running migration.

Pure. A line parser of our own, because only a handful of 10 000 lines matter and KubeVirt exports several timestamps of one
series, unordered (KubeVirt contract §9.1).
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from whimbrel.domain.records import Key, MigrationSample

MEMBERS: Mapping[bytes, str] = {
    b"kubevirt_vmi_migration_data_bytes_total": "total_bytes",
    b"kubevirt_vmi_migration_data_total_bytes": "total_bytes",  # before 1.8
    b"kubevirt_vmi_migration_data_processed_bytes": "processed_bytes",
    b"kubevirt_vmi_migration_data_remaining_bytes": "remaining_bytes",
    b"kubevirt_vmi_migration_memory_transfer_rate_bytes": "transfer_bytes_per_second",
    b"kubevirt_vmi_migration_disk_transfer_rate_bytes": "transfer_bytes_per_second",  # before 1.7
    b"kubevirt_vmi_migration_dirty_memory_rate_bytes": "dirty_bytes_per_second",
}
"""Names of series, new and old, and the member of a sample that each one is."""

_PREFIX = b"kubevirt_vmi_migration_"
_LINE = re.compile(rb"(\w+)\{((?:[^\"}]|\"(?:[^\"\\]|\\.)*\")*)\}\s+(\S+)(?:\s+(-?\d+))?\s*$")
_LABEL = re.compile(rb"(\w+)=\"((?:[^\"\\]|\\.)*)\"")

MOST_BYTES = 1 << 56
"""More than any guest: a value beyond is a defect of the exporter."""
OLDEST = timedelta(seconds=60)
NEWEST = timedelta(seconds=60)
"""How far a node's clock may be ahead of ours."""


@dataclass(frozen=True, slots=True)
class Point:
    """One value of one member of one instance's migration."""

    instance: Key
    member: str
    value: int
    at: datetime


def points(text: bytes, now: datetime) -> Iterator[Point]:
    """All believable values; NaN, negative, absurd, old and future ones are left out."""
    for line in text.splitlines():
        if not line.startswith(_PREFIX):
            continue
        matched = _LINE.match(line)
        member = MEMBERS.get(matched[1]) if matched else None
        if matched is None or member is None:
            continue
        try:
            value = float(matched[3])
            at = datetime.fromtimestamp(int(matched[4]) / 1000, UTC) if matched[4] else now
        except (ValueError, OverflowError, OSError):
            continue
        if not math.isfinite(value) or not 0 <= value <= MOST_BYTES or not now - OLDEST <= at <= now + NEWEST:
            continue
        labels = dict(_LABEL.findall(matched[2]))
        if not (namespace := labels.get(b"namespace")) or not (name := labels.get(b"name")):
            continue
        yield Point(Key(namespace.decode("utf-8", "replace"), name.decode("utf-8", "replace")), member, int(value), at)


def samples(text: bytes, now: datetime, began: Mapping[Key, datetime | None]) -> dict[Key, MigrationSample]:
    """The newest sample of each instance in `began`, which says when its migration began, if that is known.

    What was sampled before belongs to an earlier migration of the same guest.
    """
    newest: dict[tuple[Key, str], Point] = {}
    for point in points(text, now):
        if point.instance not in began:
            continue
        start = began[point.instance]
        if start is not None and point.at < start:
            continue
        held = newest.get((point.instance, point.member))
        if held is None or point.at > held.at:
            newest[point.instance, point.member] = point
    members: dict[Key, dict[str, int]] = {}
    sampled_at: dict[Key, datetime] = {}
    for (instance, member), point in newest.items():
        members.setdefault(instance, {})[member] = point.value
        sampled_at[instance] = max(point.at, sampled_at.get(instance, point.at))
    return {
        instance: MigrationSample(sampled_at=sampled_at[instance], **values) for instance, values in members.items()
    }
