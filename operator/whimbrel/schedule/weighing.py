"""What the ladder says of one guest on its way from one host to another: its rungs, and the one for the next attempt.

Asked by `together` for each line of a quote. Answers are remembered by value: most guests have not changed since the outlook
before, and those of a template are alike.
"""

from dataclasses import replace
from functools import lru_cache
from math import ceil

from whimbrel.api.forecast import Forecast, SkippedRung
from whimbrel.api.ladder import Migration, Rung
from whimbrel.api.virtual_machine_move import AttemptRecord
from whimbrel.domain.quantities import MBPS, preferred
from whimbrel.domain.records import Instance
from whimbrel.domain.samples import GuestReadings
from whimbrel.forecast import (
    CERTAIN,
    BandwidthPrice,
    Guest,
    Knowledge,
    Prediction,
    admitted_rate,
    guest,
    pass_seconds,
    rounded_up,
    stream_rate,
)
from whimbrel.inventory.hosts import Host
from whimbrel.inventory.snapshot import Snapshot
from whimbrel.ladder import Choice, Ladder, Load, choose, compressed, ladder_of
from whimbrel.ladder.consent import owner_limit_ms, permitted_by_owner
from whimbrel.ladder.price import Change, Price, price
from whimbrel.ladder.rung import NEVER_MEASURED, Offer
from whimbrel.ladder.served import spared
from whimbrel.ladder.streams import ONE_STREAM, streams
from whimbrel.ladder.stun import most_downtime_ms
from whimbrel.preflight import PreflightReason, where

STALL_DETECTION = "MigrationStallDetection"
REMEMBERED = 16_384


class NoRungFits(PreflightReason):
    """No rung of the ladder that is permitted is likely to move it within what is permitted, by the forecast."""

    evidence = where.PLAN
    remedy = (
        "Wait until the guest is less busy, or give it one of these (settings are those of the plan's spec.migration): "
        "{needed}."
    )


def permitted_for(instance: Instance, migration: Migration, snapshot: Snapshot) -> Migration:
    """The plan's terms for this guest, less what its owner forbids."""
    return permitted_by_owner(migration, owner_limit_ms(instance, snapshot.virtual_machines))


def known_of(instance: Instance, snapshot: Snapshot, knowledge: Knowledge) -> Guest:
    """What is known of a guest's memory: by the metrics of the node that it runs on, and by its earlier migrations."""
    told = told_of(instance, snapshot)
    sample, shown_at = told.dirty_bytes_per_second if told is not None else None, knowledge.shown_at(instance)
    if sample is not None and shown_at is not None and sample.at < shown_at:
        sample = None
    return guest(
        float(max(1, instance.memory_bytes)),
        snapshot.now,
        in_use=told.resident_bytes if told is not None else None,
        dirty_sample=sample,
        points=knowledge.points(instance, snapshot.now),
    )


def told_of(instance: Instance, snapshot: Snapshot) -> GuestReadings | None:
    """What the metrics of the node that it runs on tell of a guest; None where nobody reads them, or they do not know it. Of
    one that has just moved, what its source told before.
    """
    told = snapshot.readings.get(instance.key)
    if told is None or told.node == instance.node or told.came_before_the_move_of(instance):
        return told
    return None


def load_of(
    instance: Instance,
    source: Host,
    target: Host,
    migration: Migration,
    snapshot: Snapshot,
    knowledge: Knowledge,
) -> Load | None:
    """What is to be moved, and how fast it may be; None where one of the hosts takes no part."""
    if source.migration is None or target.migration is None:
        return None
    kubevirt, capabilities = snapshot.kubevirt, snapshot.capabilities
    load = Load(
        memory_bytes=instance.memory_bytes,
        rate_bytes_per_second=admitted_rate(source.migration, target.migration, migration.bandwidth.max_mbps),
        local_disk_bytes=instance.local_disk_bytes,
        stall_detection=detects_stalls(snapshot),
        workload_disruption=capabilities is not None and capabilities.workload_disruption,
        passes_devices_through=spared(instance, capabilities),
        known=known_of(instance, snapshot, knowledge),
        link_bytes_per_second=admitted_rate(source.migration, target.migration, None),
        slowdown=knowledge.slowdown(source.name, target.name, NEVER_MEASURED),
        start_up=knowledge.start_up(instance),
        streams=streams(kubevirt.version, instance.hardware) if kubevirt is not None else ONE_STREAM,
        stream_bytes_per_second=stream_rate(source.migration, target.migration),
        can_compress=capabilities is not None and capabilities.compression,
        sampled=told_of(instance, snapshot) is not None,
        owner_limit_ms=owner_limit_ms(instance, snapshot.virtual_machines),
    )
    return compressed(load, migration.compression)


def detects_stalls(snapshot: Snapshot) -> bool:
    """Whether this KubeVirt has its stall detection switched on; a gate that a release does not know does nothing."""
    kubevirt, capabilities = snapshot.kubevirt, snapshot.capabilities
    known = capabilities is not None and capabilities.stall_detection
    return known and kubevirt is not None and STALL_DETECTION in kubevirt.feature_gates


@lru_cache(maxsize=REMEMBERED)
def rungs_of(load: Load, migration: Migration) -> Ladder:
    """What the plan permits and this KubeVirt can do, completely configured."""
    return ladder_of(load, migration)


@lru_cache(maxsize=REMEMBERED)
def chosen(
    load: Load, migration: Migration, history: tuple[AttemptRecord, ...] = (), stood: Rung | None = None
) -> Choice:
    """The rung of the next attempt, or why there is none."""
    return choose(rungs_of(load, migration), load, history, stood=stood)


def forecast_of(instance: Instance, load: Load, choice: Choice, snapshot: Snapshot) -> Forecast:
    """What is expected of the attempt that was chosen, as it is stored with its specification."""
    offer, said = choice.offer, choice.prediction
    floor_s = pass_seconds(instance.copied_bytes, load.reached_bytes_per_second)
    if offer is None or said is None:
        return Forecast(duration_seconds=floor_s, bytes=instance.copied_bytes)
    return Forecast(
        duration_seconds=floor_s,
        bytes=instance.copied_bytes,
        convergence=said.convergence,
        duration_p50_seconds=_whole(said.duration_p50_s),
        duration_p90_seconds=_whole(said.duration_p90_s),
        bytes_p50=_whole(said.bytes_p50),
        bytes_p90=_whole(said.bytes_p90),
        chance_percent=round(100 * choice.chance),
        downtime_bound_ms=_bound_ms(said, offer, load),
        throttle_seconds=_whole(said.throttle_p90_s) if offer.terms.may_throttle else None,
        budget_ms=offer.budget_ms,
        attended_downtime_ms=offer.attended_downtime_ms,
        unattended_downtime_ms=offer.unattended_downtime_ms,
        missing=said.missing[:8],
        skipped=tuple(SkippedRung(rung=each.rung, reason=each.reason) for each in choice.skipped[:8]),
        made_at=snapshot.now.replace(microsecond=0),
    )


def priced(load: Load, migration: Migration, history: tuple[AttemptRecord, ...] = ()) -> Price:
    """What would make a refused move possible: of a guest that is a little busier, so of many at once."""
    return _priced(replace(load, known=rounded_up(load.guest)), migration, history)


@lru_cache(maxsize=REMEMBERED)
def _priced(load: Load, migration: Migration, history: tuple[AttemptRecord, ...]) -> Price:
    return price(load, migration, history)


def refused(choice: Choice, price: str) -> NoRungFits:
    """Why no attempt is worth beginning, with the price in words."""
    tried = "; ".join(f"{each.rung}: {each.reason.rstrip('.')}" for each in choice.skipped)
    return NoRungFits(
        field="spec.migration",
        found=tried or "every rung that is permitted was tried",
        needed=price or "another guest: no bandwidth, pause or permission would do",
    )


def price_in_words(load: Load, migration: Migration, history: tuple[AttemptRecord, ...] = ()) -> str:
    """What would make it possible, each by itself; empty where nothing would."""
    said = priced(load, migration, history)
    return ", or ".join((*_bandwidth(said.bandwidth, load, migration), *map(_change, said.changes)))


def _bandwidth(found: BandwidthPrice | None, load: Load, migration: Migration) -> tuple[str, ...]:
    """The plan's own bound where that alone is in the way, else what the links would have to leave."""
    even, sure = (found.p50_bytes_per_second, found.p90_bytes_per_second) if found is not None else (None, None)
    if even is None:
        return ()
    sure = None if sure is None or sure <= even else sure
    links = max(load.link_bytes_per_second, load.rate_bytes_per_second)
    they_leave = f"the links leave it {_rate(links // MBPS)}"
    own = migration.bandwidth.max_mbps
    if even <= links:
        said = f"bandwidth.maxMbps: {_asked_mbps(even)}"
        if sure is not None and sure <= links:
            said += f", {_asked_mbps(sure)} to be sure"
        elif sure is not None:
            said += f"; to be sure, {_rate(_asked_mbps(sure))} ({they_leave})"
        return (said,)
    said = f"a bandwidth of {_rate(_asked_mbps(even))}"
    said += f", {_rate(_asked_mbps(sure))} to be sure" if sure is not None else ""
    said += f" ({they_leave})"
    most = _asked_mbps(sure or even)
    return (f"{said} and bandwidth.maxMbps: {most}" if own is not None and own < most else said,)


def _change(change: Change) -> str:
    percent = round(100 * change.chance)
    return " and ".join(change.settings) + (f" (chance {percent} %)" if change.chance < CERTAIN else "")


def _rate(mbps: int) -> str:
    return f"{mbps / 1000:.3g} Gbit/s" if mbps >= 1000 else f"{mbps} Mbit/s"


def _asked_mbps(bytes_per_second: int) -> int:
    """One that is rounded up to a preferred number does, and does not change with every sample."""
    return preferred(ceil(bytes_per_second / MBPS))


def _bound_ms(said: Prediction, offer: Offer, load: Load) -> int:
    """A pause beyond what is permitted is never begun: whoever runs the attempt ends it before. Where nothing is told of how
    the guest writes, that alone bounds it.
    """
    permitted_ms = most_downtime_ms(offer.budget_ms, offer.terms)
    if permitted_ms is not None and not load.guest.tells_how_it_writes:
        return permitted_ms
    return said.downtime_bound_ms if permitted_ms is None else min(said.downtime_bound_ms, permitted_ms)


def _whole(value: float | None) -> int | None:
    return None if value is None or value == float("inf") else round(value)
