"""The price of a refusal: a bandwidth, or a change of what plan and owner permit, by which the move would be done.

Every change is put to the choice itself, so what is named is what the next quote takes: a rung that would not do, or that this
KubeVirt cannot do, is no price. Called by the quote.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product

from whimbrel.api.ladder import (
    MIN_DOWNTIME_MS,
    Compression,
    Disruption,
    LadderStep,
    Migration,
    Permission,
    Preset,
    Rung,
)
from whimbrel.api.virtual_machine_move import AttemptRecord
from whimbrel.domain.naming import ANNOTATION_BUDGET_MS
from whimbrel.domain.quantities import preferred
from whimbrel.forecast import CERTAIN, BandwidthPrice, bandwidth_price, least
from whimbrel.ladder import ladder_of
from whimbrel.ladder.choice import LIKELY, Choice, choose
from whimbrel.ladder.compression import compressed
from whimbrel.ladder.presets import DEFAULT_PRESET, PRESETS
from whimbrel.ladder.rung import Load

PRE_COPY_FAILED = frozenset({"NotConverged", "CannotConverge"})
"""Reasons of a failed attempt that say of a bandwidth that pre-copy does not end at it."""
EVERY_RUNG = frozenset(Rung)
PAUSING = frozenset({Rung.DOWNTIME_RAMP, Rung.STUN})
MOST_DOWNTIME_MS, MOST_UNATTENDED_MS = 600_000, 3_600_000
MOST_OF_A_STEP = (("max_mebibytes", 1 << 26), ("max_duration_seconds", 604_800))
"""What a plan may say at most; more than 64 TiB no attempt sends."""
PAUSE_STEP_MS = 100


@dataclass(frozen=True, slots=True)
class Change:
    """A change of what is permitted under which a rung would be chosen."""

    settings: tuple[str, ...]
    """All that is to be set, as it is spelt in `spec.migration`, and the owner's annotation where that is in the way."""
    load: Load
    migration: Migration
    """The load, and the plan's terms, with the change."""
    rung: Rung
    chance: float
    """That an attempt on this rung does; never less than `LIKELY`."""


@dataclass(frozen=True, slots=True)
class Price:
    """What would make a move possible, each by itself."""

    bandwidth: BandwidthPrice | None
    """None where bandwidth is not what is lacking."""
    changes: tuple[Change, ...]
    """The gentlest rung first."""


@dataclass(frozen=True, slots=True)
class _Refusal:
    """What was refused, and how a change of it would fare."""

    load: Load
    migration: Migration
    history: tuple[AttemptRecord, ...]

    def under(self, rungs: frozenset[Rung], migration: Migration, load: Load | None = None) -> Choice | None:
        """The choice among these rungs under these terms, where it is likely to do. Earlier attempts count for nothing: they
        were made under other terms, and the next quote has none.
        """
        load = self.load if load is None else load
        ladder = ladder_of(load, migration)
        found = choose(replace(ladder, offers=tuple(each for each in ladder.offers if each.rung in rungs)), load)
        return found if found.offer is not None and found.chance >= LIKELY else None

    def least(
        self,
        rungs: frozenset[Rung],
        terms: Callable[[int], Migration],
        fewest: int,
        most: int,
        load: Load | None = None,
    ) -> int | None:
        """The least value of a bound under which one of these rungs is taken and is sure, or as sure as no bound makes it."""
        freely = self.under(rungs, terms(most), load)
        if freely is None:
            return None
        wanted = min(CERTAIN, freely.chance)

        def does(value: int) -> bool:
            found = self.under(rungs, terms(value), load)
            return found is not None and found.chance >= wanted

        return least(does, fewest, most)

    def does_at(self, bytes_per_second: int | None) -> bool:
        """Whether a move would be begun at this bandwidth, which is more than it has."""
        if bytes_per_second is None or bytes_per_second <= self.load.rate_bytes_per_second:
            return False
        link = max(bytes_per_second, self.load.link_bytes_per_second)
        faster = replace(self.load, rate_bytes_per_second=bytes_per_second, link_bytes_per_second=link)
        return choose(ladder_of(faster, self.migration), faster).chance >= LIKELY

    def change(
        self, rungs: frozenset[Rung], settings: tuple[str, ...], migration: Migration, load: Load | None = None
    ) -> Iterator[Change]:
        """That these settings would do; nothing where they would not."""
        found = self.under(rungs, migration, load)
        if settings and found is not None and found.offer is not None:
            yield Change(settings, self.load if load is None else load, migration, found.offer.rung, found.chance)


def price(load: Load, migration: Migration, history: tuple[AttemptRecord, ...] = ()) -> Price:
    """What a move costs that `choose` refuses; `history`: its earlier attempts."""
    refusal, ranks = _Refusal(load, migration, history), tuple(Rung)
    changes = [*_another_rung(refusal), *_a_pause(refusal), *_compression(refusal), *_wider_bounds(refusal)]
    return Price(_bandwidth(refusal), tuple(sorted(changes, key=lambda change: ranks.index(change.rung))))


def _bandwidth(refusal: _Refusal) -> BandwidthPrice | None:
    """At which pre-copy ends by itself within the time that it has now; None where bandwidth is not what is lacking."""
    load, offers = refusal.load, ladder_of(refusal.load, refusal.migration).offers
    base = next((offer for offer in offers if offer.rung is Rung.PRE_COPY), next(iter(offers), None))
    if base is None:
        return None
    failed_at = [r.asked_bytes_per_second or 0 for r in refusal.history if r.reason in PRE_COPY_FAILED]
    found = bandwidth_price(
        load.guest,
        load.path,
        base.terms,
        load.disks,
        load.start_up,
        failed_at_bytes_per_second=max(failed_at, default=0) or None,
    )
    return found if refusal.does_at(found.p50_bytes_per_second) else None


def _another_rung(refusal: _Refusal) -> Iterator[Change]:
    """A rung that the ladder lacks, or that there is no consent to."""
    permissions = ((Rung.PRE_COPY, ""), (Rung.AUTO_CONVERGE, "throttle"), (Rung.POST_COPY, "post_copy"))
    for rung, name in permissions:
        wider, settings = _with_rung(refusal.migration, rung)
        disruption = wider.disruption
        if name:
            wider = _consenting(wider, disruption.model_copy(update={name: Permission.ALLOWED}))
            settings = (*_settings(disruption, wider.disruption), *settings)
        yield from refusal.change(frozenset({rung}), settings, wider)


def _a_pause(refusal: _Refusal) -> Iterator[Change]:
    """The shortest pause within which the guest would be moved; with another rung, and beyond what its owner permits, only
    where nothing does without.
    """
    loads = [refusal.load]
    if refusal.load.owner_limit_ms is not None:
        loads.append(replace(refusal.load, owner_limit_ms=None))
    ladders: list[tuple[Migration, tuple[str, ...]]] = [
        (refusal.migration, ()),
        _with_rung(refusal.migration, Rung.STUN),
    ]
    for load, (migration, ladder) in product(loads, ladders):
        if found := tuple(_a_pause_for(refusal, load, migration, ladder)):
            yield from found
            return


def _a_pause_for(refusal: _Refusal, load: Load, migration: Migration, ladder: tuple[str, ...]) -> Iterator[Change]:
    def pausing(steps: int) -> Migration:
        return _with_pause(migration, steps * PAUSE_STEP_MS, MOST_UNATTENDED_MS)

    fewest, most = MIN_DOWNTIME_MS // PAUSE_STEP_MS, MOST_DOWNTIME_MS // PAUSE_STEP_MS
    steps = refusal.least(PAUSING, pausing, fewest, most, load)
    if steps is None:
        return
    now, pause_ms = refusal.migration.disruption, min(preferred(steps * PAUSE_STEP_MS), MOST_DOWNTIME_MS)
    most_ms = max(pause_ms, now.max_downtime_ms or 0)

    def alone(seconds: int) -> Migration:
        return _with_pause(migration, most_ms, max(most_ms, 1000 * seconds))

    alone_s = refusal.least(PAUSING, alone, most_ms // 1000, MOST_UNATTENDED_MS // 1000, load)
    needed_ms = min(preferred(1000 * (alone_s or 0)), MOST_UNATTENDED_MS)
    asked = _with_pause(migration, most_ms, max(most_ms, needed_ms, now.unattended_downtime_ms or 0))
    if load != refusal.load:
        load = replace(load, owner_limit_ms=pause_ms)
        ladder = (*ladder, f"the owner's annotation {ANNOTATION_BUDGET_MS}: {pause_ms}")
    yield from refusal.change(PAUSING, (*_settings(now, asked.disruption), *ladder), asked, load)


def _settings(now: Disruption, asked: Disruption) -> tuple[str, ...]:
    """What is to be set in `disruption`, as it is spelt there."""
    said = [
        f"{field.alias}: {getattr(asked, name)}"
        for name, field in Disruption.model_fields.items()
        if getattr(asked, name) != getattr(now, name)
    ]
    if len(said) == 1:
        return (f"disruption.{said[0]}",)
    return (f"disruption {{{', '.join(said)}}}",) if said else ()


def _compression(refusal: _Refusal) -> Iterator[Change]:
    """Memory that is compressed on its way."""
    smaller = compressed(refusal.load, Compression.ZSTD)
    if smaller != refusal.load:
        asked = refusal.migration.model_copy(update={"compression": Compression.ZSTD})
        yield from refusal.change(EVERY_RUNG, (f"compression: {Compression.ZSTD}",), asked, smaller)


def _wider_bounds(refusal: _Refusal) -> Iterator[Change]:
    """More bytes, or more time, or both, than a step of the plan's own ladder permits."""
    for step in refusal.migration.ladder or ():
        bounds = [(name, most) for name, most in MOST_OF_A_STEP if getattr(step, name) is not None]
        alone = [change for bound in bounds for change in _wider(refusal, step, (bound,))]
        yield from alone or _wider(refusal, step, tuple(bounds))


def _wider(refusal: _Refusal, step: LadderStep, bounds: tuple[tuple[str, int], ...]) -> Iterator[Change]:
    """The least of these bounds, one after the other while those to come are out of the way; nothing where one is wide
    enough.
    """
    rungs, settings = frozenset({step.rung}), list[str]()

    def bounded(values: Mapping[str, int]) -> Migration:
        wider = step.model_copy(update=dict(values))
        ladder = tuple(wider if each is step else each for each in refusal.migration.ladder or ())
        return refusal.migration.model_copy(update={"ladder": ladder})

    values = dict(bounds)
    for name, most in bounds:

        def with_bound(value: int, name: str = name) -> Migration:
            return bounded({**values, name: value})

        enough = refusal.least(rungs, with_bound, getattr(step, name) + 1, most)
        if enough is None:
            return
        values[name] = min(preferred(enough), most)
        settings.append(f"{LadderStep.model_fields[name].alias}: {values[name]} on {step.rung}")
    yield from refusal.change(rungs, tuple(settings), bounded(values))


def _with_rung(migration: Migration, rung: Rung) -> tuple[Migration, tuple[str, ...]]:
    """The terms with a ladder that has this rung, and what is to be set for it; consent apart."""
    if migration.ladder is None:
        preset = migration.preset or DEFAULT_PRESET
        if rung in PRESETS[preset]:
            return migration, ()
        wider = next(each for each in Preset if rung in PRESETS[each])
        return migration.model_copy(update={"preset": wider}), (f"preset: {wider}",)
    if any(step.rung is rung for step in migration.ladder):
        return migration, ()
    ranks = tuple(Rung)
    at = next((n for n, step in enumerate(migration.ladder) if ranks.index(step.rung) > ranks.index(rung)), None)
    before, after = migration.ladder[:at], migration.ladder[at:] if at is not None else ()
    ladder = (*before, LadderStep(rung=rung), *after)
    return migration.model_copy(update={"ladder": ladder}), (f"{rung} in the ladder",)


def _with_pause(migration: Migration, downtime_ms: int, unattended_ms: int) -> Migration:
    pause = {"stun": Permission.ALLOWED, "max_downtime_ms": downtime_ms, "unattended_downtime_ms": unattended_ms}
    return _consenting(migration, migration.disruption.model_copy(update=pause))


def _consenting(migration: Migration, disruption: Disruption) -> Migration:
    return migration.model_copy(update={"disruption": disruption})
