"""The price of a refusal: what is named is taken by the next quote, and nothing else is named."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.ladder_cases import GENTLE, GIB, a_load, history, known, settled
from whimbrel.api.ladder import Disruption, LadderStep, Migration, Permission, Preset, Rung
from whimbrel.domain.quantities import MIB
from whimbrel.forecast import CERTAIN
from whimbrel.ladder import Load, choose, ladder_of
from whimbrel.ladder.choice import LIKELY
from whimbrel.ladder.price import Change, Price, price
from whimbrel.ladder.streams import Streams

ALLOWED = Permission.ALLOWED
STUN = Disruption(stun=ALLOWED, max_downtime_ms=2000, unattended_downtime_ms=60_000)
BUSY = a_load(300, *settled(200))
"""Rewrites 200 MiB more often than once a second, over 100 MiB/s."""
BUSIER = a_load(900, *settled(900))
WRITES_ALL_ITS_MEMORY = a_load(20_000, *settled(1900), rate=40 * MIB)


def named(priced: Price, rung: Rung) -> Change | None:
    return next((change for change in priced.changes if change.rung is rung), None)


def settings_of(load: Load, migration: Migration, rung: Rung) -> tuple[str, ...] | None:
    change = named(price(load, migration), rung)
    return change.settings if change is not None else None


def an_own_ladder(*rungs: Rung, disruption: Disruption | None = None) -> Migration:
    return Migration(ladder=tuple(LadderStep(rung=rung) for rung in rungs), disruption=disruption or Disruption())


def test_a_busy_guest_may_go_for_a_bandwidth_a_permission_or_a_pause() -> None:
    priced = price(BUSY, GENTLE)

    assert priced.bandwidth is not None
    assert priced.bandwidth.p50_bytes_per_second is not None
    assert priced.bandwidth.p50_bytes_per_second > BUSY.rate_bytes_per_second
    assert [(change.rung, change.settings) for change in priced.changes] == [
        (Rung.AUTO_CONVERGE, ("disruption.throttle: Allowed",)),
        (Rung.STUN, ("disruption {stun: Allowed, maxDowntimeMs: 5000, unattendedDowntimeMs: 25000}",)),
        (Rung.POST_COPY, ("disruption.postCopy: Allowed", "preset: Assertive")),
    ]


def test_the_pause_named_is_hardly_longer_than_it_must_be() -> None:
    change = named(price(BUSY, GENTLE), Rung.STUN)
    assert change is not None
    disruption = change.migration.disruption
    assert disruption.max_downtime_ms is not None

    shorter = disruption.model_copy(update={"max_downtime_ms": int(0.85 * disruption.max_downtime_ms)})

    terms = Migration(disruption=shorter)
    assert change.chance >= CERTAIN > choose(ladder_of(BUSY, terms), BUSY).chance


def test_only_what_is_lacking_is_to_be_set() -> None:
    assert settings_of(BUSIER, Migration(disruption=STUN), Rung.STUN) == ("disruption.maxDowntimeMs: 22400",)
    assert settings_of(BUSY, Migration(preset=Preset.ASSERTIVE), Rung.POST_COPY) == ("disruption.postCopy: Allowed",)


def test_a_ladder_of_the_plans_own_is_told_which_rung_it_lacks() -> None:
    only = an_own_ladder(Rung.PRE_COPY)

    assert settings_of(BUSY, only, Rung.AUTO_CONVERGE) == ("disruption.throttle: Allowed", "AutoConverge in the ladder")
    consented = only.model_copy(update={"disruption": Disruption(throttle=ALLOWED)})
    assert settings_of(BUSY, consented, Rung.AUTO_CONVERGE) == ("AutoConverge in the ladder",)


def test_a_missing_rung_takes_its_place_between_the_others_and_before_giving_up() -> None:
    migration = an_own_ladder(Rung.PRE_COPY, Rung.GIVE_UP)

    changes = price(BUSY, migration).changes

    assert changes
    for change in changes:
        assert change.migration.ladder is not None
        assert [step.rung for step in change.migration.ladder] == [Rung.PRE_COPY, change.rung, Rung.GIVE_UP]


def test_throttling_is_no_price_where_it_would_not_help() -> None:
    assert named(price(WRITES_ALL_ITS_MEMORY, GENTLE), Rung.AUTO_CONVERGE) is None


def test_what_this_kubevirt_cannot_do_is_no_price() -> None:
    old, with_devices = replace(BUSY, workload_disruption=False), replace(BUSY, passes_devices_through=True)

    assert named(price(old, GENTLE), Rung.STUN) is None
    assert named(price(with_devices, GENTLE), Rung.POST_COPY) is None


def test_an_owners_limit_is_named_where_nothing_shorter_does() -> None:
    permitted = Migration(disruption=STUN.model_copy(update={"max_downtime_ms": 10_000}))

    def annotation(limit_ms: int) -> tuple[str, ...] | None:
        return settings_of(replace(BUSY, owner_limit_ms=limit_ms), permitted, Rung.STUN)

    assert annotation(3000) == annotation(0) == ("the owner's annotation whimbrel.dev/max-downtime-ms: 5000",)
    assert settings_of(replace(BUSY, owner_limit_ms=8000), GENTLE, Rung.STUN) == (
        "disruption {stun: Allowed, maxDowntimeMs: 5000, unattendedDowntimeMs: 25000}",
    )


@pytest.mark.parametrize(
    ("bound", "settings"),
    [
        ({"max_mebibytes": 500}, ("maxMebibytes: 1120 on PreCopy",)),
        ({"max_duration_seconds": 10}, ("maxDurationSeconds: 12 on PreCopy",)),
    ],
)
def test_a_bound_of_the_plans_own_that_is_in_the_way_is_named(bound: dict[str, int], settings: tuple[str, ...]) -> None:
    migration = Migration(ladder=(LadderStep.model_validate({"rung": Rung.PRE_COPY} | bound),))

    assert settings_of(a_load(5), migration, Rung.PRE_COPY) == settings


def test_no_bandwidth_is_named_where_it_is_not_what_is_lacking() -> None:
    migration = Migration(ladder=(LadderStep(rung=Rung.PRE_COPY, max_mebibytes=500),))

    assert price(a_load(5), migration).bandwidth is None


def test_compression_is_named_where_it_would_do_what_the_link_does_not() -> None:
    load = replace(a_load(15, *settled(15), rate=40 * MIB), can_compress=True, streams=Streams(8, 8))

    changes = price(load, Migration(ladder=(LadderStep(rung=Rung.PRE_COPY),))).changes

    assert ("compression: Zstd",) in [change.settings for change in changes]


def test_what_was_tried_under_other_terms_takes_nothing_from_a_price() -> None:
    stun, tried = Migration(disruption=STUN), history((Rung.PRE_COPY, "NotConverged"), (Rung.STUN, "PauseTooLong"))

    assert price(BUSIER, stun, tried).changes == price(BUSIER, stun).changes
    assert named(price(BUSIER, stun, tried), Rung.AUTO_CONVERGE) is not None


def test_a_bandwidth_at_which_it_failed_is_no_price() -> None:
    failed = tuple(
        record.model_copy(update={"asked_bytes_per_second": 700 * MIB})
        for record in history((Rung.PRE_COPY, "CannotConverge"))
    )

    untried, tried = (price(a_load(300), GENTLE, past).bandwidth for past in ((), failed))

    assert untried is not None
    assert tried is not None
    assert tried.p50_bytes_per_second is not None
    assert (untried.p50_bytes_per_second or 0) < 700 * MIB < tried.p50_bytes_per_second


@pytest.mark.parametrize("unattended_ms", [4000, 8000, 12_000, 20_000, 60_000])
@pytest.mark.parametrize("set_mib", [100, 150, 200, 400])
def test_the_pause_named_is_the_shortest_however_little_is_permitted_unattended(
    set_mib: int, unattended_ms: int
) -> None:
    load = a_load(set_mib + 100, *settled(set_mib))
    narrow = Migration(disruption=STUN.model_copy(update={"unattended_downtime_ms": unattended_ms}))
    pauses = [named(price(load, terms), Rung.STUN) for terms in (GENTLE, narrow)]

    freely, own = (each.migration.disruption.max_downtime_ms for each in pauses if each is not None)

    assert own == freely


def test_no_rung_is_asked_for_where_one_that_the_ladder_has_would_do() -> None:
    load = replace(BUSY, stall_detection=True)
    ramp = an_own_ladder(Rung.PRE_COPY, Rung.DOWNTIME_RAMP, disruption=STUN)

    assert settings_of(load, ramp, Rung.DOWNTIME_RAMP) == ("disruption.maxDowntimeMs: 5000",)


def test_bounds_that_are_in_the_way_together_are_named_together() -> None:
    step = LadderStep(rung=Rung.PRE_COPY, max_mebibytes=500, max_duration_seconds=10)

    assert settings_of(a_load(5), Migration(ladder=(step,)), Rung.PRE_COPY) == (
        "maxMebibytes: 1120 on PreCopy",
        "maxDurationSeconds: 12 on PreCopy",
    )


permissions = st.sampled_from(Permission)
disruptions = st.builds(Disruption, throttle=permissions, post_copy=permissions) | st.builds(
    Disruption,
    throttle=permissions,
    post_copy=permissions,
    stun=st.just(ALLOWED),
    max_downtime_ms=st.integers(2000, 4000),
    unattended_downtime_ms=st.integers(4000, 100_000),
)
steps = st.builds(
    LadderStep,
    rung=st.just(Rung.PRE_COPY),
    max_duration_seconds=st.none() | st.integers(10, 1000),
    max_mebibytes=st.none() | st.integers(1, 4096),
)
migrations = st.builds(Migration, preset=st.sampled_from(Preset), disruption=disruptions) | st.builds(
    Migration, ladder=st.tuples(steps), disruption=disruptions
)
loads = st.builds(
    lambda dirty, rate, settles, **rest: Load(
        2 * GIB, rate * MIB, known=known(dirty, *(settled(settles) if settles else ())), **rest
    ),
    st.integers(0, 4000),
    st.integers(8, 600),
    st.none() | st.integers(1, 1024),
    link_bytes_per_second=st.integers(8, 2000).map(lambda mib: mib * MIB),
    stall_detection=st.booleans(),
    workload_disruption=st.booleans(),
    passes_devices_through=st.booleans(),
    can_compress=st.booleans(),
    owner_limit_ms=st.none() | st.integers(0, 10_000),
    local_disk_bytes=st.sampled_from([0, 0, 10 * GIB]),
)


@settings(max_examples=150)
@given(loads, migrations)
def test_whatever_is_named_is_a_plan_that_may_be_applied_and_under_which_the_move_is_begun(
    load: Load, migration: Migration
) -> None:
    refused, priced = choose(ladder_of(load, migration), load).offer is None, price(load, migration)

    for change in priced.changes:
        assert change.settings
        assert change.chance >= LIKELY
        applied = Migration.model_validate(change.migration.model_dump(by_alias=True, exclude_none=True))
        found = choose(ladder_of(change.load, applied), change.load)
        assert found.offer is not None
        # A preset that has the rung may have gentler ones, which consent covers as well.
        ranks = tuple(Rung)
        assert not refused or ranks.index(found.offer.rung) <= ranks.index(change.rung)
    if priced.bandwidth is not None and priced.bandwidth.p50_bytes_per_second is not None:
        rate = priced.bandwidth.p50_bytes_per_second
        faster = replace(load, rate_bytes_per_second=rate, link_bytes_per_second=max(rate, load.link_bytes_per_second))
        assert choose(ladder_of(faster, migration), faster).offer is not None


@settings(max_examples=150)
@given(loads, migrations)
def test_a_price_never_takes_consent_back_and_never_asks_for_two_kinds_of_it(load: Load, migration: Migration) -> None:
    for change in price(load, migration).changes:
        asked, now = change.migration.disruption, migration.disruption
        kinds = [name for name in ("throttle", "stun", "post_copy") if getattr(asked, name) != getattr(now, name)]
        assert all(getattr(asked, name) == ALLOWED for name in kinds)
        assert len(kinds) <= 1
        assert (asked.max_downtime_ms or 0) >= (now.max_downtime_ms or 0)
        assert (asked.unattended_downtime_ms or 0) >= (now.unattended_downtime_ms or 0)
