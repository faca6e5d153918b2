"""The rungs: what each needs of a plan, and how it configures KubeVirt."""

from hypothesis import assume, given
from hypothesis import strategies as st

from whimbrel.api.migration_plan import Disruption, Permission
from whimbrel.api.virtual_machine_move import Rung
from whimbrel.domain.quantities import MIB
from whimbrel.forecast import pass_seconds, time_budget_units
from whimbrel.ladder import Load, Offer, Withheld, offers, pre_copy, stun, withheld

GIB = 1024**3
NEVER = Disruption()


def consent(max_downtime_ms: int = 5000, unattended_downtime_ms: int = 60_000) -> Disruption:
    return Disruption(
        stun=Permission.ALLOWED, max_downtime_ms=max_downtime_ms, unattended_downtime_ms=unattended_downtime_ms
    )


loads = st.builds(Load, st.integers(0, 2**42), st.integers(1, 12_500).map(lambda mib: mib * MIB))
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
    offer = stun.offer(load, consent(*permitted))
    assume(isinstance(offer, Offer))
    assert isinstance(offer, Offer)

    # One further deadline, KubeVirt's look every 400 ms, and libvirt's 2.1 s from the abort to a running guest.
    assert offer.unattended_downtime_ms == offer.deadline_seconds * 1000 + 2500
    assert offer.unattended_downtime_ms <= permitted[1]
    assert offer.budget_ms == permitted[0]


@given(loads, consents)
def test_a_guest_is_not_suspended_before_its_memory_was_sent_once(load: Load, permitted: tuple[int, int]) -> None:
    offer = stun.offer(load, consent(*permitted))

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

    assert isinstance(stun.offer(load, consent(*permitted)), Offer) == possible


@given(loads)
def test_without_consent_no_rung_may_disturb_the_guest(load: Load) -> None:
    (only,) = offers(load, NEVER)

    assert only.rung == Rung.PRE_COPY
    assert only.budget_ms is None
    assert only.unattended_downtime_ms is None


@given(loads, consents)
def test_no_rung_throttles_or_post_copies_and_only_a_stun_suspends(load: Load, permitted: tuple[int, int]) -> None:
    for offer in offers(load, consent(*permitted)):
        assert not offer.configuration.allow_auto_converge
        assert not offer.configuration.allow_post_copy
        assert offer.configuration.allow_workload_disruption == (offer.rung == Rung.STUN)


@given(loads)
def test_pre_copy_has_time_for_three_passes_and_never_less_than_ten_seconds(load: Load) -> None:
    deadline_s = pre_copy.offer(load, NEVER).deadline_seconds

    assert deadline_s >= 10
    assert deadline_s >= 3 * pass_seconds(load.memory_bytes, load.rate_bytes_per_second)


def test_rungs_go_from_gentle_to_hard() -> None:
    available = offers(Load(2 * GIB, 596 * MIB), consent())

    assert [offer.rung for offer in available] == [Rung.PRE_COPY, Rung.STUN]


def test_a_stun_waits_one_and_a_half_passes_where_the_unattended_limit_leaves_room() -> None:
    load = Load(8 * GIB, 100 * MIB)  # one pass: 82 s; KubeVirt's unit: 9 s

    roomy, tight = stun.offer(load, consent(5000, 600_000)), stun.offer(load, consent(5000, 94_500))

    assert isinstance(roomy, Offer)
    assert roomy.deadline_seconds == 126
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
