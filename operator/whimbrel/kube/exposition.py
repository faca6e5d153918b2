"""Reads virt-handler's exposition text: samples of running migrations, and what is told of guests that run.

Pure. A line parser of our own, because only a handful of 10 000 lines matter and KubeVirt exports several timestamps of one
series, unordered (KubeVirt contract §9.1).
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta

from whimbrel.domain.records import Key
from whimbrel.domain.samples import GuestReadings, MigrationSample, Reading
from whimbrel.forecast.readings import MOST_DIRTY_BYTES_PER_SECOND

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

DIRTY_RATE = "kubevirt_vmi_dirty_rate_bytes_per_second"
RESIDENT = "kubevirt_vmi_memory_resident_bytes"
MOST_BYTES = 1 << 56
"""More than any guest: a value beyond is a defect of the exporter."""
GUEST_MEMBERS: Mapping[str, tuple[str, float]] = {
    DIRTY_RATE: ("dirty_bytes_per_second", MOST_DIRTY_BYTES_PER_SECOND),
    RESIDENT: ("resident_bytes", MOST_BYTES),
}
"""Series of guests that run: the member of `GuestReadings` that each one is, and the most that can be."""

_MIGRATION_PREFIX = (b"kubevirt_vmi_migration_",)
_GUEST_PREFIXES = tuple(name.encode() + b"{" for name in GUEST_MEMBERS)
_LINE = re.compile(rb"(\w+)\{((?:[^\"}]|\"(?:[^\"\\]|\\.)*\")*)\}\s+(\S+)(?:\s+(-?\d+))?\s*$")
_LABEL = re.compile(rb"(\w+)=\"((?:[^\"\\]|\\.)*)\"")
_MEASURED = tuple(field.name for field in fields(MigrationSample) if field.name != "sampled_at")

OLDEST = timedelta(seconds=60)
NEWEST = timedelta(seconds=60)
"""How far a node's clock may be ahead of ours."""


@dataclass(frozen=True, slots=True)
class Point:
    """One value of one series of one instance. `node` is the label, empty where there is none."""

    series: bytes
    instance: Key
    node: str
    value: float
    at: datetime


def plausible(value: float, at: datetime, now: datetime) -> bool:
    """Whether a value of bytes, or of bytes per second, can be, and is of now."""
    return math.isfinite(value) and 0 <= value <= MOST_BYTES and now - OLDEST <= at <= now + NEWEST


def points(text: bytes, prefixes: tuple[bytes, ...], now: datetime) -> Iterator[Point]:
    """All believable values of series that begin so; NaN, negative, absurd, old and future ones are left out."""
    for line in text.splitlines():
        if not line.startswith(prefixes) or (matched := _LINE.match(line)) is None:
            continue
        try:
            value = float(matched[3])
            at = datetime.fromtimestamp(int(matched[4]) / 1000, UTC) if matched[4] else now
        except (ValueError, OverflowError, OSError):
            continue
        if not plausible(value, at, now):
            continue
        labels = {key: told.decode("utf-8", "replace") for key, told in _LABEL.findall(matched[2])}
        if not (namespace := labels.get(b"namespace")) or not (name := labels.get(b"name")):
            continue
        yield Point(matched[1], Key(namespace, name), labels.get(b"node", ""), value, at)


def courses(text: bytes, now: datetime, began: Mapping[Key, datetime | None]) -> dict[Key, tuple[MigrationSample, ...]]:
    """All samples of each instance in `began`, which says when its migration began, if that is known; the oldest first.

    What was sampled before belongs to an earlier migration of the same guest.
    """
    moments: dict[Key, dict[datetime, dict[str, int]]] = {}
    for point in points(text, _MIGRATION_PREFIX, now):
        member = MEMBERS.get(point.series)
        if member is None or point.instance not in began:
            continue
        start = began[point.instance]
        if start is not None and point.at < start:
            continue
        moments.setdefault(point.instance, {}).setdefault(point.at, {}).setdefault(member, int(point.value))
    return {
        instance: tuple(MigrationSample(sampled_at=at, **members) for at, members in sorted(told.items()))
        for instance, told in moments.items()
    }


def newest(course: Iterable[MigrationSample]) -> MigrationSample:
    """The newest value of each member of a course, which holds at least one sample, the oldest first."""
    held: dict[str, int] = {}
    for sample in course:
        at = sample.sampled_at
        held |= {name: value for name in _MEASURED if (value := getattr(sample, name)) is not None}
    return MigrationSample(sampled_at=at, **held)


def readings(text: bytes, now: datetime, node: str, running: Iterable[Key]) -> dict[Key, GuestReadings]:
    """What the virt-handler of a node tells of the guests that run there; of other guests and nodes it is not believed."""
    return guest_readings(points(text, _GUEST_PREFIXES, now), dict.fromkeys(running, node))


def guest_readings(told: Iterable[Point], home_of: Mapping[Key, str]) -> dict[Key, GuestReadings]:
    """The newest of these values for each guest that is at home on the node that they name; of equally new ones the larger."""
    found: dict[Key, dict[str, Reading]] = {}
    for point in told:
        member, most = GUEST_MEMBERS[point.series.decode()]
        if point.value > most or home_of.get(point.instance) != point.node:
            continue
        members = found.setdefault(point.instance, {})
        held = members.get(member)
        if held is None or (point.at, point.value) > (held.at, held.value):
            members[member] = Reading(point.value, point.at)
    return {instance: GuestReadings(home_of[instance], **members) for instance, members in found.items()}
