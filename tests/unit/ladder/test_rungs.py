"""The rungs: what each needs of a plan, and how it configures KubeVirt."""

from hypothesis import assume, given
from hypothesis import strategies as st

from support.own import an_attempt
from whimbrel.api.ladder import Disruption, LadderStep, Migration, Permission, Preset, Rung
from whimbrel.api.virtual_machine_move import AttemptSpec
from whimbrel.domain.quantities import MIB
from whimbrel.forecast import AtDeadline, Terms, pass_seconds, time_budget_units, unattended_downtime_ms
from whimbrel.ladder import PRESETS, Load, Offer, Withheld, ladder_of, steps, stun
from whimbrel.ladder.consent import disturbs_beyond
from whimbrel.ladder.deadlines import on_grid

GIB = 1024**3
NEVER = Disruption()
EVERYTHING = Disruption(
    throttle=Permission.ALLOWED,
    post_copy=Permission.ALLOWED,
    stun=Permission.ALLOWED,
    max_downtime_ms=5000,
    unattended_downtime_ms=600_000,
)
STUN_STEP = LadderStep(rung=Rung.STUN)


def consent(max_downtime_ms: int = 5000, unattended_downtime_ms: int = 60_000) -> Disruption:
    return Disruption(
        stun=Permission.ALLOWED, max_downtime_ms=max_downtime_ms, unattended_downtime_ms=unattended_downtime_ms
    )


def offers(load: Load, disruption: Disruption) -> tuple[Offer, ...]:
    return ladder_of(load, Migration(disruption=disruption)).offers


def withheld(load: Load, disruption: Disruption) -> tuple[Withheld, ...]:
    """Of rungs that every KubeVirt has."""
    found = ladder_of(load, Migration(disruption=disruption)).withheld
    return tuple(each for each in found if each.rung is not Rung.DOWNTIME_RAMP)


def only(load: Load, *rungs: Rung, disruption: Disruption = EVERYTHING, **bounds: int) -> tuple[Offer | Withheld, ...]:
    ladder = tuple(LadderStep(rung=rung, **bounds) for rung in rungs)  # type: ignore[arg-type]
    found = ladder_of(load, Migration(ladder=ladder, disruption=disruption))
    return (*found.offers, *found.withheld)


loads = st.builds(Load, st.integers(1, 2**42), st.integers(1, 12_500).map(lambda mib: mib * MIB))
consents = st.tuples(st.integers(2000, 600_000), st.integers(2000, 3_600_000)).filter(lambda c: c[0] <= c[1])


@given(loads, consents)
def test_a_deadline_is_a_whole_multiple_of_kubevirts_unit(load: Load, permitted: tuple[int, int]) -> None:
    for offer in offers(load, consent(*permitted)):
        assert offer.deadline_seconds == offer.configuration.completion_timeout_per_gib * time_budget_units(
            load.memory_bytes
        )
        assert offer.configuration.completion_timeout_per_gib >= 1
        assert offer.configuration.bandwidth_bytes_per_second == load.rate_bytes_per_second


@given(loads, consents)
def test_the_unattended_worst_case_of_a_stun_is_within_the_consent(load: Load, permitted: tuple[int, int]) -> None:
    offer = stun.offer(load, STUN_STEP, consent(*permitted))
    assume(isinstance(offer, Offer))
    assert isinstance(offer, Offer)

    # One further deadline, KubeVirt's look every 400 ms, and libvirt's 2.1 s from the abort to a running guest.
    assert offer.unattended_downtime_ms == offer.deadline_seconds * 1000 + 2500
    assert offer.unattended_downtime_ms <= permitted[1]
    assert offer.budget_ms == permitted[0]


@given(loads, consents)
def test_a_stun_says_what_an_attended_suspension_comes_to_at_worst(load: Load, permitted: tuple[int, int]) -> None:
    offer = stun.offer(load, STUN_STEP, consent(*permitted))
    assume(isinstance(offer, Offer))
    assert isinstance(offer, Offer)
    assert offer.unattended_downtime_ms is not None

    # A short budget may be spent whole, and the guest runs again within 3 s; KubeVirt ends what lasts longer by itself.
    cut_ms = permitted[0] if permitted[0] >= 6000 else permitted[0] + 3000
    assert offer.attended_downtime_ms == min(cut_ms, offer.unattended_downtime_ms)


def test_a_stun_that_nothing_can_abort_is_as_long_attended_as_unattended() -> None:
    offer = stun.offer(Load(GIB, 100 * MIB, passes_devices_through=True), STUN_STEP, consent())

    assert isinstance(offer, Offer)
    assert offer.attended_downtime_ms == offer.unattended_downtime_ms
    # KubeVirt allows it any last step that the hypervisor takes to last no longer than twice the deadline.
    assert offer.unattended_downtime_ms == 2000 * offer.deadline_seconds + 25


@given(st.integers(0, 3_600_000), st.sampled_from([AtDeadline.SUSPEND, AtDeadline.RAISE_DOWNTIME]))
def test_the_longest_deadline_for_a_pause_is_the_last_one_that_keeps_within_it(pause_ms: int, act: AtDeadline) -> None:
    longest = stun.longest_deadline_s(pause_ms, act)

    assert longest == 0 or unattended_downtime_ms(Terms(longest, act)) <= pause_ms
    assert unattended_downtime_ms(Terms(longest + 1, act)) > pause_ms or unattended_downtime_ms(
        Terms(longest + 1, act)
    ) == unattended_downtime_ms(Terms(4000, act))


@given(loads, consents)
def test_a_guest_is_not_suspended_before_its_memory_was_sent_once(load: Load, permitted: tuple[int, int]) -> None:
    offer = stun.offer(load, STUN_STEP, consent(*permitted))

    assert isinstance(offer, Withheld) or (offer and offer.deadline_seconds) >= pass_seconds(
        load.memory_bytes, load.rate_bytes_per_second
    )


@given(loads, consents)
def test_a_stun_is_offered_exactly_where_a_useful_deadline_fits_the_unattended_limit(
    load: Load, permitted: tuple[int, int]
) -> None:
    units = time_budget_units(load.memory_bytes)
    one_pass_s = pass_seconds(load.memory_bytes, load.rate_bytes_per_second)
    possible = any(k * units >= one_pass_s and k * units * 1000 + 2500 <= permitted[1] for k in range(1, 3601))

    assert isinstance(stun.offer(load, STUN_STEP, consent(*permitted)), Offer) == possible


@given(loads)
def test_without_consent_no_rung_may_disturb_the_guest(load: Load) -> None:
    (single,) = offers(load, NEVER)

    assert single.rung == Rung.PRE_COPY
    assert single.budget_ms is None
    assert single.unattended_downtime_ms is None


@given(loads, consents)
def test_no_rung_throttles_or_post_copies_and_only_a_stun_suspends(load: Load, permitted: tuple[int, int]) -> None:
    for offer in offers(load, consent(*permitted)):
        assert not offer.configuration.allow_auto_converge
        assert not offer.configuration.allow_post_copy
        assert offer.configuration.allow_workload_disruption == (offer.rung == Rung.STUN)


@given(loads)
def test_pre_copy_has_time_for_three_passes_and_never_less_than_ten_seconds(load: Load) -> None:
    deadline_s = offers(load, NEVER)[0].deadline_seconds

    assert deadline_s >= 10
    assert deadline_s >= 3 * pass_seconds(load.memory_bytes, load.rate_bytes_per_second)


def test_rungs_go_from_gentle_to_hard() -> None:
    available = offers(Load(2 * GIB, 596 * MIB), consent())

    assert [offer.rung for offer in available] == [Rung.PRE_COPY, Rung.STUN]


def test_a_stun_waits_at_least_one_and_a_half_passes_where_the_unattended_limit_leaves_room() -> None:
    load = Load(8 * GIB, 100 * MIB)  # one pass: 82 s; KubeVirt's unit: 9 s

    roomy, tight = (
        stun.offer(load, STUN_STEP, consent(5000, 600_000)),
        stun.offer(load, STUN_STEP, consent(5000, 94_500)),
    )

    assert isinstance(roomy, Offer)
    assert roomy.deadline_seconds == 135
    assert isinstance(tight, Offer)
    assert tight.deadline_seconds == 90


def test_a_guest_whose_single_pass_outlasts_the_unattended_limit_is_not_stunned_and_the_quote_says_what_would_help() -> (
    None
):
    (held,) = withheld(Load(8 * GIB, 100 * MIB), consent(5000, 80_000))

    assert held.rung == Rung.STUN
    assert "92500 ms" in held.reason
    assert "unattendedDowntimeMs" in held.reason


def test_a_guest_with_local_disks_of_unknown_size_is_not_stunned_because_kubevirts_deadline_cannot_be_known() -> None:
    load = Load(GIB, 100 * MIB, local_disk_bytes=None)

    assert [offer.rung for offer in offers(load, consent())] == [Rung.PRE_COPY]
    assert "local disks" in withheld(load, consent())[0].reason


def test_a_cloud_init_disk_does_not_stand_in_the_way_of_a_stun() -> None:
    load = Load(GIB, 100 * MIB, local_disk_bytes=4 * MIB)

    assert [offer.rung for offer in offers(load, consent())] == [Rung.PRE_COPY, Rung.STUN]


def test_nothing_is_withheld_that_the_plan_never_permitted() -> None:
    assert withheld(Load(GIB, 100 * MIB, local_disk_bytes=None), NEVER) == ()


def test_a_stun_is_withheld_where_kubevirt_cannot_suspend_and_copying_alone_is_offered() -> None:
    load = Load(2 * GIB, 596 * MIB, workload_disruption=False)

    assert [offer.rung for offer in offers(load, consent())] == [Rung.PRE_COPY]
    (held,) = withheld(load, consent())
    assert held.rung == Rung.STUN
    assert "KubeVirt 1.5 and later can" in held.reason
    assert withheld(load, NEVER) == ()


@given(loads, st.sampled_from(list(Preset)), st.sampled_from([NEVER, consent(), EVERYTHING]))
def test_whatever_the_preset_nothing_is_done_to_the_guest_that_the_plan_does_not_permit(
    load: Load, preset: Preset, disruption: Disruption
) -> None:
    for offer in ladder_of(load, Migration(preset=preset, disruption=disruption)).offers:
        configuration = offer.configuration
        assert not configuration.allow_auto_converge or disruption.throttle == Permission.ALLOWED
        assert not configuration.allow_post_copy or disruption.post_copy == Permission.ALLOWED
        suspends = configuration.allow_workload_disruption and not configuration.allow_post_copy
        assert not suspends or disruption.stun == Permission.ALLOWED


def test_each_preset_is_the_one_before_and_more() -> None:
    gentle, balanced, assertive = (PRESETS[preset] for preset in Preset)

    assert balanced == (*gentle, Rung.DOWNTIME_RAMP, Rung.STUN)
    assert assertive == (*balanced, Rung.POST_COPY)


def test_without_a_word_of_it_a_plan_has_the_balanced_ladder() -> None:
    rungs = [step.rung for step in steps(Migration(disruption=EVERYTHING))]

    assert rungs == [Rung.PRE_COPY, Rung.AUTO_CONVERGE, Rung.DOWNTIME_RAMP, Rung.STUN]


def test_a_plan_may_order_its_ladder_as_it_likes() -> None:
    found = only(Load(2 * GIB, 596 * MIB), Rung.POST_COPY, Rung.PRE_COPY)

    assert [each.rung for each in found] == [Rung.POST_COPY, Rung.PRE_COPY]


def test_throttling_and_nothing_else_is_asked_of_kubevirt_by_auto_converge() -> None:
    (offer,) = only(Load(2 * GIB, 596 * MIB), Rung.AUTO_CONVERGE)

    assert isinstance(offer, Offer)
    assert offer.configuration.allow_auto_converge
    assert not offer.configuration.allow_workload_disruption
    assert not offer.configuration.allow_post_copy
    assert offer.terms.may_throttle


def test_post_copy_begins_after_one_and_a_half_passes_and_suspends_nobody() -> None:
    (offer,) = only(Load(8 * GIB, 100 * MIB), Rung.POST_COPY)

    assert isinstance(offer, Offer)
    assert offer.deadline_seconds >= 1.5 * 82
    assert offer.configuration.allow_post_copy
    assert offer.configuration.allow_workload_disruption
    assert offer.budget_ms is None
    assert offer.terms.at_deadline is AtDeadline.POST_COPY


def test_a_kubevirt_without_workload_disruption_is_told_of_post_copy_alone() -> None:
    (offer,) = only(Load(2 * GIB, 596 * MIB, workload_disruption=False), Rung.POST_COPY)

    assert isinstance(offer, Offer)
    assert offer.configuration.allow_post_copy
    assert not offer.configuration.allow_workload_disruption


def test_a_guest_with_a_vfio_device_is_not_switched_to_post_copy() -> None:
    (held,) = only(Load(2 * GIB, 596 * MIB, passes_devices_through=True), Rung.POST_COPY)

    assert isinstance(held, Withheld)
    assert "VFIO devices" in held.reason


def test_a_guest_with_a_vfio_device_is_stunned_by_a_pause_that_nothing_can_end() -> None:
    (offer,) = only(Load(2 * GIB, 596 * MIB, passes_devices_through=True), Rung.STUN)

    assert isinstance(offer, Offer)
    assert offer.terms.at_deadline is AtDeadline.RAISE_DOWNTIME


def test_a_bound_on_the_duration_shortens_kubevirts_deadline_and_one_below_its_unit_holds_the_rung_back() -> None:
    load = Load(8 * GIB, 100 * MIB)  # KubeVirt's unit: 9 s

    (offer,) = only(load, Rung.PRE_COPY, max_duration_seconds=100)
    assert isinstance(offer, Offer)
    assert offer.deadline_seconds == 99

    (big,) = only(Load(512 * GIB, 1000 * MIB), Rung.PRE_COPY, max_duration_seconds=100)
    assert isinstance(big, Withheld)
    assert "the ladder permits 100 s" in big.reason


def test_a_bound_on_bytes_is_kept_beside_the_rung() -> None:
    (offer,) = only(Load(2 * GIB, 596 * MIB), Rung.PRE_COPY, max_mebibytes=3000)

    assert isinstance(offer, Offer)
    assert offer.most_wire_bytes == 3000 * MIB


@given(st.integers(1, 10**7))
def test_deadlines_come_from_a_grid_that_is_never_less_and_at_most_a_half_more(seconds: int) -> None:
    found = on_grid(seconds)

    assert seconds <= found <= 1.5 * seconds
    assert on_grid(found) == found


def test_post_copy_that_kubevirt_would_not_do_is_a_pause_that_has_to_be_permitted() -> None:
    """A guest with passed-through devices is given any last step instead, whatever the configuration says of post-copy."""
    made = AttemptSpec.model_validate(an_attempt(rung="PostCopy"))
    both = {"allow_post_copy": True, "allow_workload_disruption": True}
    attempt = made.model_copy(update={"configuration": made.configuration.model_copy(update=both)})
    terms = Migration(disruption=Disruption(post_copy=Permission.ALLOWED))

    assert disturbs_beyond(attempt, terms) == ()
    assert disturbs_beyond(attempt, terms, passes_devices_through=True) == ("suspend the guest",)
