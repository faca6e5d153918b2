"""The choice of the rung: the first that is likely to do, by the forecast and by what was tried."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.ladder_cases import GENTLE, GIB, a_load, history, settled
from whimbrel.api.ladder import Disruption, LadderStep, Migration, Permission, Rung
from whimbrel.domain.quantities import MIB
from whimbrel.forecast import Convergence
from whimbrel.ladder import Choice, Load, choose, ladder_of
from whimbrel.ladder.choice import HOPELESS, LIKELY_TO_STOP_IT, STAYS_BY

STUN = Disruption(stun=Permission.ALLOWED, max_downtime_ms=5000, unattended_downtime_ms=60_000)
EVERYTHING = STUN.model_copy(update={"throttle": Permission.ALLOWED, "post_copy": Permission.ALLOWED})
BOTH = Migration(disruption=STUN)
ALL = Migration(ladder=tuple(LadderStep(rung=rung) for rung in Rung if rung is not Rung.GIVE_UP), disruption=EVERYTHING)
UNTOLD = Load(2 * GIB, 596 * MIB)


def chosen(load: Load, terms: Migration, *ends: tuple[Rung, str], stood: Rung | None = None) -> Choice:
    return choose(ladder_of(load, terms), load, history(*ends), stood=stood)


def rung(choice: Choice) -> Rung | None:
    return choice.offer.rung if choice.offer is not None else None


def test_a_calm_guest_is_copied_while_it_runs() -> None:
    found = chosen(a_load(5), ALL)

    assert rung(found) is Rung.PRE_COPY
    assert found.prediction is not None
    assert found.prediction.convergence is Convergence.CONVERGES
    assert found.skipped == ()


def test_a_guest_of_which_nothing_is_told_is_tried_gently() -> None:
    assert rung(chosen(UNTOLD, ALL)) is Rung.PRE_COPY


def test_a_rung_that_cannot_do_is_passed_over_with_the_reason() -> None:
    found = chosen(a_load(300, *settled(200)), BOTH)

    assert rung(found) is Rung.STUN
    (passed,) = found.skipped
    assert passed.rung is Rung.PRE_COPY
    assert "dirties memory faster than is copied" in passed.reason


def test_a_pause_that_would_be_too_long_is_not_chosen() -> None:
    load = a_load(900, *settled(900))

    assertive = Migration(
        ladder=tuple(LadderStep(rung=rung) for rung in (Rung.STUN, Rung.POST_COPY)), disruption=EVERYTHING
    )

    refused, permitted = chosen(load, BOTH), chosen(load, assertive)

    assert rung(refused) is None
    assert "5000 ms are permitted" in refused.skipped[-1].reason
    assert rung(permitted) is Rung.POST_COPY


def test_a_stun_is_begun_where_it_is_clearly_likely_to_do_and_stays_chosen_a_little_below() -> None:
    def offered(*, stood: Rung | None = None) -> list[float]:
        loads = [a_load(dirty, rate=200 * MIB) for dirty in range(100, 600, 10)]
        found = [chosen(load, STUN_ALONE, stood=stood) for load in loads]
        return sorted(each.chance for each in found if each.offer is not None)

    fresh, stayed = offered(), offered(stood=Rung.STUN)

    assert fresh[0] >= LIKELY_TO_STOP_IT
    assert LIKELY_TO_STOP_IT - STAYS_BY <= stayed[0] < LIKELY_TO_STOP_IT
    assert len(fresh) < len(stayed) < 50


def test_a_rung_that_was_quoted_stays_while_it_is_not_much_worse() -> None:
    loads = [a_load(dirty) for dirty in range(10, 110, 2)]

    fresh = [rung(chosen(load, BOTH)) for load in loads]
    stood = [rung(chosen(load, BOTH, stood=Rung.PRE_COPY)) for load in loads]

    assert fresh.count(Rung.PRE_COPY) < stood.count(Rung.PRE_COPY)


def test_what_did_not_converge_is_tried_harder() -> None:
    assert rung(chosen(UNTOLD, BOTH, (Rung.PRE_COPY, "NotConverged"))) is Rung.STUN


def test_what_failed_for_another_reason_is_tried_again_as_it_was() -> None:
    assert rung(chosen(UNTOLD, BOTH, (Rung.PRE_COPY, "TargetNotPrepared"))) is Rung.PRE_COPY
    assert rung(chosen(UNTOLD, BOTH, (Rung.STUN, "MigrationFailed"))) is Rung.STUN


def test_there_is_nothing_harder_than_the_last_rung() -> None:
    assert rung(chosen(UNTOLD, BOTH, (Rung.STUN, "NotConverged"))) is Rung.STUN
    assert rung(chosen(a_load(5), GENTLE, (Rung.PRE_COPY, "NotConverged"))) is Rung.PRE_COPY


def test_a_copy_that_did_not_converge_is_not_repeated_where_nothing_else_is_told_of_its_guest() -> None:
    found = chosen(UNTOLD, GENTLE, (Rung.PRE_COPY, "NotConverged"))

    assert found.offer is None
    assert "did not converge in the attempt before" in found.skipped[0].reason
    assert rung(chosen(UNTOLD, GENTLE, (Rung.PRE_COPY, "MigrationFailed"))) is Rung.PRE_COPY


def test_a_ladder_that_gives_up_ends_where_its_last_rung_did_not_converge() -> None:
    terms = Migration(ladder=(LadderStep(rung=Rung.PRE_COPY), LadderStep(rung=Rung.GIVE_UP)))

    assert rung(chosen(UNTOLD, terms)) is Rung.PRE_COPY
    assert rung(chosen(UNTOLD, terms, (Rung.PRE_COPY, "TargetNotPrepared"))) is Rung.PRE_COPY
    assert chosen(UNTOLD, terms, (Rung.PRE_COPY, "NotConverged")) == Choice(None)


def test_a_rung_is_not_tried_more_often_than_its_step_permits() -> None:
    terms = Migration(
        ladder=(LadderStep(rung=Rung.PRE_COPY, max_attempts=1), LadderStep(rung=Rung.STUN)), disruption=STUN
    )

    assert rung(chosen(UNTOLD, terms, (Rung.PRE_COPY, "MigrationFailed"))) is Rung.STUN


def test_a_rung_whose_consent_was_taken_back_is_left() -> None:
    assert rung(chosen(UNTOLD, GENTLE, (Rung.STUN, "MigrationFailed"))) is Rung.PRE_COPY


def test_a_bound_on_bytes_rules_out_a_copy_that_would_send_more() -> None:
    terms = Migration(ladder=(LadderStep(rung=Rung.PRE_COPY, max_mebibytes=500),))

    found = chosen(a_load(5), terms)

    assert rung(found) is None


ends = st.lists(
    st.tuples(st.sampled_from(list(Rung)), st.sampled_from(["NotConverged", "MigrationFailed", "NameTaken"])),
    max_size=10,
)


@given(ends, st.sampled_from([BOTH, GENTLE, ALL]), st.integers(0, 2000), st.integers(8, 600))
def test_only_what_is_offered_and_not_hopeless_is_ever_chosen(
    past: Sequence[tuple[Rung, str]], terms: Migration, dirty_mib_per_second: int, rate_mib_per_second: int
) -> None:
    load = a_load(dirty_mib_per_second, rate=rate_mib_per_second * MIB)
    ladder = ladder_of(load, terms)

    found = choose(ladder, load, history(*past))

    assert found.offer is None or (rung(found) in [offer.rung for offer in ladder.offers] and found.chance >= HOPELESS)


def test_before_a_rung_that_only_throttles_being_merely_likely_is_not_enough() -> None:
    load = a_load(60)  # a set of 60 MiB or more, perhaps dirtied far faster than within the second of the sample

    throttling = Migration(disruption=Disruption(throttle=Permission.ALLOWED))
    found = chosen(load, throttling)

    assert rung(found) is Rung.AUTO_CONVERGE
    (passed,) = found.skipped
    assert "the next rung is surer" in passed.reason
    assert rung(chosen(load, GENTLE)) is Rung.PRE_COPY
    assert rung(chosen(load, throttling, stood=Rung.PRE_COPY)) is Rung.PRE_COPY
    assert rung(chosen(load, BOTH)) is Rung.PRE_COPY


def test_a_throttled_copy_that_cannot_end_is_not_tried_again_since_it_teaches_nothing() -> None:
    throttle = Migration(disruption=Disruption(throttle=Permission.ALLOWED))
    ended = (Rung.AUTO_CONVERGE, "CannotConverge")

    assert chosen(a_load(300), throttle, ended) == Choice(None)
    assert rung(chosen(a_load(300), throttle, (Rung.AUTO_CONVERGE, "NotConverged"))) is Rung.AUTO_CONVERGE
    assert rung(chosen(a_load(300), ALL, ended)) is Rung.POST_COPY


def test_a_throttled_copy_that_its_deadline_ended_is_given_twice_the_time_as_far_as_its_step_permits() -> None:
    throttle = Disruption(throttle=Permission.ALLOWED)
    free, bound = (
        Migration(ladder=(LadderStep(rung=Rung.AUTO_CONVERGE, max_duration_seconds=most),), disruption=throttle)
        for most in (None, 100)
    )
    ended = (Rung.AUTO_CONVERGE, "NotConverged")

    def deadline_s(terms: Migration, *ends: tuple[Rung, str]) -> int:
        offer = chosen(a_load(300), terms, *ends).offer
        assert offer is not None
        assert offer.terms.deadline_s == offer.deadline_seconds
        assert offer.deadline_seconds == 3 * offer.configuration.completion_timeout_per_gib
        return offer.deadline_seconds

    first = deadline_s(free)
    assert deadline_s(free, ended) == 2 * first
    assert deadline_s(free, ended, ended) == 4 * first
    assert deadline_s(free, (Rung.AUTO_CONVERGE, "MigrationFailed")) == first
    assert deadline_s(bound, ended, ended) <= 100
    load = a_load(5)
    again, once = (chosen(load, GENTLE, *ends).offer for ends in (((Rung.PRE_COPY, "NotConverged"),), ()))
    assert again == once


@pytest.mark.parametrize("limit_ms", [0, 1999])
@pytest.mark.parametrize("only", [Rung.STUN, Rung.DOWNTIME_RAMP])
def test_a_ladder_of_which_the_owner_leaves_nothing_is_refused_in_his_name(only: Rung, limit_ms: int) -> None:
    load = replace(a_load(5), owner_limit_ms=limit_ms)

    found = chosen(load, Migration(ladder=(LadderStep(rung=only),), disruption=STUN))

    assert found.offer is None
    assert [each.rung for each in found.skipped] == [only]
    assert "whimbrel.dev/max-downtime-ms" in found.skipped[0].reason


def test_a_rung_that_the_owner_forbids_is_told_beside_those_that_are_left() -> None:
    ladder = ladder_of(replace(a_load(5), owner_limit_ms=0), Migration(disruption=STUN))

    assert [offer.rung for offer in ladder.offers] == [Rung.PRE_COPY]
    assert {each.rung for each in ladder.withheld} == {Rung.DOWNTIME_RAMP, Rung.STUN}


def test_an_owner_narrows_a_stun_that_he_permits() -> None:
    offers = ladder_of(replace(UNTOLD, owner_limit_ms=3000), BOTH).offers

    assert [offer.budget_ms for offer in offers if offer.rung is Rung.STUN] == [3000]


STUN_ALONE = Migration(ladder=(LadderStep(rung=Rung.STUN),), disruption=STUN)
ALL_MEMORY_TWICE_MS = 50_000
"""2 GiB twice at 100 MiB/s, a fifth slower than computed, and what a device state takes."""


def test_a_guest_of_whose_writing_nobody_will_tell_is_suspended_only_where_all_its_memory_goes_over_twice_within_it() -> (
    None
):
    load = replace(UNTOLD, rate_bytes_per_second=100 * MIB, sampled=False)

    def within(pause_ms: int) -> Choice:
        pause = {"max_downtime_ms": pause_ms, "unattended_downtime_ms": 100_000}
        return chosen(load, STUN_ALONE.model_copy(update={"disruption": STUN.model_copy(update=pause)}))

    refused = within(ALL_MEMORY_TWICE_MS - 2000)

    assert refused.offer is None
    assert "nobody tells how the guest writes, so it could stand still for" in refused.skipped[0].reason
    assert rung(within(ALL_MEMORY_TWICE_MS)) is Rung.STUN
    assert rung(chosen(replace(load, sampled=True), STUN_ALONE)) is Rung.STUN


@pytest.mark.parametrize("never_ends", [{"stall_detection": True}, {"passes_devices_through": True}])
def test_a_pause_that_nothing_can_end_is_bounded_by_what_is_told_and_not_by_samples_to_come(
    never_ends: dict[str, bool],
) -> None:
    untold = replace(UNTOLD, rate_bytes_per_second=100 * MIB, **never_ends)

    assert chosen(untold, STUN_ALONE).offer is None
    assert rung(chosen(replace(a_load(1, *settled(1)), **never_ends), STUN_ALONE)) is Rung.STUN


def test_a_ladder_that_this_kubevirt_cannot_do_is_refused_by_what_it_lacks() -> None:
    load = replace(a_load(5), workload_disruption=False)

    found = chosen(load, Migration(ladder=(LadderStep(rung=Rung.STUN),), disruption=STUN))

    assert found.offer is None
    assert "KubeVirt" in found.skipped[0].reason


@given(
    load=st.builds(
        Load,
        st.integers(1, 64 * GIB),
        st.integers(1 * MIB, 1024 * MIB),
        stall_detection=st.booleans(),
        workload_disruption=st.booleans(),
        passes_devices_through=st.booleans(),
        owner_limit_ms=st.none() | st.integers(0, 10_000),
    ),
    rungs=st.lists(st.sampled_from([rung for rung in Rung if rung is not Rung.GIVE_UP]), min_size=1, unique=True),
)
def test_every_ladder_with_every_word_of_an_owner_has_an_answer(load: Load, rungs: list[Rung]) -> None:
    found = chosen(load, Migration(ladder=tuple(LadderStep(rung=rung) for rung in rungs), disruption=EVERYTHING))

    assert found.offer is not None or found.skipped
