"""Under KubeVirt's stall detection (alpha in 1.9): what is written so that no guest is stopped early, or for too long."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.builders import CAPABILITIES, KUBEVIRT_CONFIGURATION, an_attempt
from whimbrel.api.ladder import Disruption, LadderStep, Migration, Permission, Rung
from whimbrel.api.virtual_machine_move import AttemptSpec
from whimbrel.domain.quantities import MIB
from whimbrel.forecast import AtDeadline, CurvePoint, Guest
from whimbrel.ladder import Load, Offer, choose, ladder_of
from whimbrel.ladder.consent import disturbs_beyond
from whimbrel.ladder.deadlines import on_grid_below
from whimbrel.ladder.policy import overlay, policy_body, policy_name
from whimbrel.ladder.price import price
from whimbrel.ladder.served import unserved
from whimbrel.ladder.terms import terms_of
from whimbrel.lifecycle.overruled import unconsented

GIB = 1024**3
ALLOWED = Permission.ALLOWED
EVERYTHING = Disruption(
    throttle=ALLOWED, post_copy=ALLOWED, stun=ALLOWED, max_downtime_ms=6000, unattended_downtime_ms=600_000
)
ALL_RUNGS = tuple(LadderStep(rung=rung) for rung in Rung if rung is not Rung.GIVE_UP)
ALL = Migration(ladder=ALL_RUNGS, disruption=EVERYTHING)
WITH_DETECTOR = replace(
    CAPABILITIES,
    policy_fields=CAPABILITIES.policy_fields | {"maxDowntimeMs", "experimental", "experimental.stallDetector"},
)
QUIET = Load(2 * GIB, 100 * MIB)
DETECTING = replace(QUIET, stall_detection=True)

loads = st.builds(
    Load, st.integers(1, 2**42), st.integers(1, 12_500).map(lambda mib: mib * MIB), stall_detection=st.just(True)
)


def busy(load: Load, mib: int) -> Load:
    """A guest that rewrites a set of so many MiB again and again, as an earlier move has shown."""
    points = tuple(CurvePoint(window_s, float(mib * MIB), "earlier move") for window_s in (0.2, 12.0))
    return replace(load, known=Guest(float(load.memory_bytes), float(GIB), points))


def offered(load: Load, rung: Rung, terms: Migration = ALL) -> Offer:
    return next(offer for offer in ladder_of(load, terms).offers if offer.rung is rung)


def specified(offer: Offer) -> AttemptSpec:
    made = AttemptSpec.model_validate(an_attempt(rung=str(offer.rung)))
    forecast = made.forecast.model_copy(update={"budget_ms": offer.budget_ms})
    return made.model_copy(
        update={
            "configuration": offer.configuration,
            "deadline_seconds": offer.deadline_seconds,
            "forecast": forecast,
        }
    )


def test_without_it_a_downtime_ramp_is_withheld_and_a_stun_stands_in_for_it() -> None:
    (held,) = ladder_of(QUIET, ALL).withheld

    assert held.rung is Rung.DOWNTIME_RAMP
    assert "Stun" in held.reason
    assert offered(QUIET, Rung.STUN).terms.at_deadline is AtDeadline.SUSPEND


def test_a_downtime_ramp_asks_for_half_of_the_budget_and_suspends_nobody() -> None:
    ramp = offered(DETECTING, Rung.DOWNTIME_RAMP)

    assert ramp.configuration.max_downtime_ms == 3000
    assert not ramp.configuration.allow_workload_disruption
    assert ramp.budget_ms == 6000
    assert ramp.attended_downtime_ms == ramp.unattended_downtime_ms == 3025


def test_only_a_downtime_ramp_may_stop_a_guest_for_longer_than_the_hypervisor_would() -> None:
    for offer in ladder_of(DETECTING, ALL).offers:
        limit_ms = offer.configuration.max_downtime_ms
        assert limit_ms == (3000 if offer.rung is Rung.DOWNTIME_RAMP else 300)


def test_no_standstill_counts_but_the_one_that_a_ramp_waits_for() -> None:
    for offer in ladder_of(DETECTING, ALL).offers:
        window_s = offer.configuration.stall_window_seconds or 0
        assert (window_s > 604_800) == (offer.rung is not Rung.DOWNTIME_RAMP)


def test_guests_of_all_sizes_share_a_few_policies() -> None:
    names: dict[Rung, set[str]] = {}
    for gib in range(1, 65):
        for offer in ladder_of(replace(DETECTING, memory_bytes=gib * GIB), ALL).offers:
            names.setdefault(offer.rung, set()).add(policy_name(offer.configuration, 1))

    assert {rung: len(found) for rung, found in names.items() if len(found) > 8} == {}


def test_a_stun_raises_the_downtime_so_it_needs_a_bound_within_half_of_the_budget() -> None:
    assert offered(DETECTING, Rung.STUN).terms.at_deadline is AtDeadline.RAISE_DOWNTIME

    stun_alone = Migration(ladder=(LadderStep(rung=Rung.STUN),), disruption=EVERYTHING)
    small, large = (busy(DETECTING, mib) for mib in (100, 500))

    assert choose(ladder_of(small, stun_alone), small).offer is not None
    refused = choose(ladder_of(large, stun_alone), large)
    assert refused.offer is None
    assert "3000 ms are permitted" in refused.skipped[0].reason
    (dearer,) = (change for change in price(large, stun_alone).changes if change.rung is Rung.STUN)
    assert (dearer.migration.disruption.max_downtime_ms or 0) > 6000


def test_a_guest_whose_rounds_settle_within_half_of_the_budget_is_moved_by_a_downtime_ramp() -> None:
    load = busy(DETECTING, 150)

    found = choose(
        ladder_of(load, ALL.model_copy(update={"disruption": EVERYTHING.model_copy(update={"throttle": "Never"})})),
        load,
    )

    assert found.offer is not None
    assert found.offer.rung is Rung.DOWNTIME_RAMP
    assert found.prediction is not None
    assert found.prediction.downtime_bound_ms <= 3025


def test_a_guest_whose_rounds_stay_larger_is_not_tried_by_a_downtime_ramp() -> None:
    load = busy(DETECTING, 500)

    ladder = Migration(
        ladder=(LadderStep(rung=Rung.DOWNTIME_RAMP), LadderStep(rung=Rung.POST_COPY)), disruption=EVERYTHING
    )
    found = choose(ladder_of(load, ladder), load)

    assert found.offer is not None
    assert found.offer.rung is Rung.POST_COPY


@given(loads, st.integers(2000, 600_000))
def test_a_last_step_is_never_longer_than_half_of_what_the_plan_accepts(load: Load, budget_ms: int) -> None:
    disruption = EVERYTHING.model_copy(update={"max_downtime_ms": budget_ms})

    for offer in ladder_of(load, ALL.model_copy(update={"disruption": disruption})).offers:
        limit_ms = offer.configuration.max_downtime_ms or 0
        assert limit_ms <= (budget_ms / 2 if offer.rung is Rung.DOWNTIME_RAMP else 300)
        assert disturbs_beyond(specified(offer), ALL.model_copy(update={"disruption": disruption})) == ()


def test_a_ramp_is_not_permitted_any_more_once_the_plan_accepts_less() -> None:
    attempt = specified(offered(DETECTING, Rung.DOWNTIME_RAMP))

    for disruption in (Disruption(), EVERYTHING.model_copy(update={"max_downtime_ms": 5000})):
        assert disturbs_beyond(attempt, Migration(disruption=disruption)) == ("let the guest stand still for 3000 ms",)


@pytest.mark.parametrize("rung", [each.rung for each in ALL_RUNGS])
def test_a_specification_means_to_the_forecast_what_was_offered(rung: Rung) -> None:
    offer = offered(DETECTING, rung)

    assert terms_of(specified(offer), passes_devices_through=False) == offer.terms


def test_the_policy_says_it_in_kubevirts_words() -> None:
    ramp = offered(DETECTING, Rung.DOWNTIME_RAMP)

    spec = policy_body("whimbrel-p", ramp.configuration, 1, WITH_DETECTOR)["spec"]

    assert spec["maxDowntimeMs"] == 3000
    assert spec["experimental"] == {"stallDetector": {"stallProgressTimeout": ramp.configuration.stall_window_seconds}}
    assert unserved(specified(ramp).model_copy(update={"policy_name": "p"}), WITH_DETECTOR) == ()
    assert set(unserved(specified(ramp).model_copy(update={"policy_name": "p"}), CAPABILITIES)) >= {
        "maxDowntimeMs of the policy",
        "experimental.stallDetector of the policy",
    }


def test_a_policy_that_lets_the_guest_stand_still_for_longer_is_not_what_was_wanted() -> None:
    wanted = offered(DETECTING, Rung.PRE_COPY).configuration
    as_wanted = overlay(KUBEVIRT_CONFIGURATION, replace(KUBEVIRT_CONFIGURATION, max_downtime_ms=300))
    longer = replace(as_wanted, max_downtime_ms=900)

    assert unconsented(wanted, as_wanted, stall_detection=True) == ()
    assert unconsented(wanted, longer, stall_detection=True) == ("let the guest stand still for 900 ms",)
    assert unconsented(wanted, longer) == ()


def test_a_stun_that_was_specified_before_it_was_switched_on_does_not_begin() -> None:
    wanted = offered(QUIET, Rung.STUN).configuration
    effective = replace(
        KUBEVIRT_CONFIGURATION,
        allow_workload_disruption=True,
        completion_timeout_per_gib=wanted.completion_timeout_per_gib,
    )

    assert unconsented(wanted, effective) == ()
    assert "stop the guest without anybody being able to end it" in unconsented(wanted, effective, stall_detection=True)


@given(st.integers(1, 10**7))
def test_a_limit_comes_from_the_grid_and_is_never_more(value: int) -> None:
    found = on_grid_below(value)

    assert 1 <= found <= value < 1.6 * found + 1
    assert on_grid_below(found) == found
