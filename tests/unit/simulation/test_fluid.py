"""The fluid model against closed forms of pre-copy, and against what real QEMU showed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whimbrel.simulation import fluid
from whimbrel.simulation.fluid import Copy, Memory, Stage
from whimbrel.simulation.links import Flow, shares
from whimbrel.simulation.network import Network

MIB = 1024.0 * 1024.0
QUIET = Memory(size_bytes=512 * MIB, touched_bytes=512 * MIB, working_set_bytes=0, dirty_bytes_per_second=0)


def to_the_end(copy: Copy, rate: float, link: float | None = None) -> Copy:
    for _ in range(100):
        if copy.stage is Stage.DONE:
            return copy
        copy, _used = fluid.advance_within_stage(copy, rate if copy.stage is Stage.PRE_COPY else link or rate, 1000)
    raise AssertionError(f"no end: {copy}")


def test_a_quiet_guest_takes_its_memory_divided_by_the_rate() -> None:
    done = to_the_end(fluid.begin(QUIET), 64 * MIB)

    assert done.elapsed_s == pytest.approx(8.0 + fluid.DEVICE_STATE_S)
    assert done.sent_bytes == pytest.approx(512 * MIB)
    assert done.blackout_s == pytest.approx(fluid.DEVICE_STATE_S)


def test_zero_pages_are_nearly_free() -> None:
    sparse = Memory(1024 * MIB, 64 * MIB, 0, 0)

    done = to_the_end(fluid.begin(sparse), 64 * MIB)

    assert done.sent_bytes == pytest.approx(64 * MIB + 960 * MIB / 4096 * 9)
    assert fluid.begin(sparse).remaining_bytes == 1024 * MIB


def test_rounds_shrink_geometrically_when_the_guest_dirties_at_half_the_rate() -> None:
    guest = Memory(512 * MIB, 512 * MIB, 512 * MIB, 32 * MIB)

    done = to_the_end(fluid.begin(guest), 64 * MIB)

    # 512, 256, 128, 64, and of 32 MiB so much that what is pending, 19.2 MiB, goes over in 300 ms of 64 MiB/s.
    assert done.iteration == 6
    assert done.sent_bytes == pytest.approx((512 + 256 + 128 + 64 + 25.6 + 19.2) * MIB)
    assert done.blackout_s == pytest.approx(0.3 + fluid.DEVICE_STATE_S)


def test_a_working_set_larger_than_300_ms_of_the_link_never_converges() -> None:
    guest = Memory(512 * MIB, 512 * MIB, 64 * MIB, 400 * MIB)

    later = fluid.advance(fluid.begin(guest), 40 * MIB, 600.0)

    assert later.stage is Stage.PRE_COPY
    assert later.round_bytes == 64 * MIB


def test_a_hot_but_small_working_set_converges_although_it_is_dirtied_faster_than_the_link() -> None:
    guest = Memory(512 * MIB, 512 * MIB, 10 * MIB, 400 * MIB)

    assert to_the_end(fluid.begin(guest), 40 * MIB).blackout_s == pytest.approx(10 / 40 + fluid.DEVICE_STATE_S)


def test_the_cap_is_lifted_for_the_last_step() -> None:
    guest = Memory(512 * MIB, 512 * MIB, 10 * MIB, 400 * MIB)

    done = to_the_end(fluid.begin(guest, cap_bytes_per_second=40 * MIB), 40 * MIB, link=1000 * MIB)

    assert done.blackout_s == pytest.approx(0.01 + fluid.DEVICE_STATE_S)


def test_a_stun_lasts_for_the_rest_of_the_round_and_for_what_was_dirtied_in_it() -> None:
    guest = Memory(512 * MIB, 512 * MIB, 64 * MIB, 400 * MIB)
    copying = fluid.advance(fluid.begin(guest, 40 * MIB), 40 * MIB, 12.8 + 1.6 + 0.8)
    assert copying.left_bytes == pytest.approx(32 * MIB)

    done = to_the_end(fluid.suspend(copying), 40 * MIB)

    assert done.blackout_s == pytest.approx((32 + 64) / 40 + fluid.DEVICE_STATE_S)


def test_a_suspended_guest_dirties_nothing() -> None:
    guest = Memory(512 * MIB, 512 * MIB, 64 * MIB, 400 * MIB)

    suspended = fluid.suspend(fluid.begin(guest))

    assert suspended.stands_still
    assert suspended.dirty_bytes_per_second == 0
    assert fluid.advance(suspended, 40 * MIB, 5.0).dirtied_bytes == 0


def test_auto_converge_throttles_a_busy_guest_until_it_fits() -> None:
    guest = Memory(320 * MIB, 320 * MIB, 64 * MIB, 100 * MIB)

    done = to_the_end(fluid.begin(guest, auto_converge=True), 64 * MIB)

    assert 0.4 <= done.throttle <= 0.9
    assert done.sent_bytes > 2 * 320 * MIB


def test_post_copy_sends_the_rest_once_and_the_guest_stands_still_only_for_its_devices() -> None:
    guest = Memory(512 * MIB, 512 * MIB, 64 * MIB, 400 * MIB)
    copying = fluid.advance(fluid.begin(guest), 40 * MIB, 12.8 + 0.8)

    done = to_the_end(fluid.post_copy(copying), 40 * MIB)

    assert done.blackout_s == pytest.approx(fluid.DEVICE_STATE_S)
    assert done.sent_bytes == pytest.approx((512 + 32 + 32 + 64) * MIB)


def test_a_dead_link_moves_nothing() -> None:
    later = fluid.advance(fluid.begin(QUIET), 0.0, 3600.0)

    assert later.sent_bytes == 0
    assert later.stage is Stage.PRE_COPY


STALLED = Memory(512 * MIB, 512 * MIB, 64 * MIB, 400 * MIB)
"""Never converges at 40 MiB/s: each round begins with 64 MiB, 1.6 s of it."""


def stalled(seconds_into_a_round: float) -> Copy:
    copy = fluid.advance(fluid.begin(STALLED), 40 * MIB, 12.8 + 1.6 + seconds_into_a_round)
    assert copy.iteration == 3
    return copy


def test_a_raised_downtime_limit_stops_the_guest_at_once_when_all_that_is_pending_goes_over_within_it() -> None:
    copying = stalled(0.8)  # 32 MiB are left and all 64 dirty again: 2.4 s

    raised, used = fluid.advance_within_stage(fluid.limit_downtime(copying, 2.5), 40 * MIB, 10)
    done = to_the_end(raised, 40 * MIB)

    assert (raised.stage, used) == (Stage.SWITCH_OVER, 0.0)
    assert done.blackout_s == pytest.approx(2.4 + fluid.DEVICE_STATE_S)


def test_a_raised_downtime_limit_waits_within_a_round_until_little_enough_is_left_of_it() -> None:
    raised, used = fluid.advance_within_stage(fluid.limit_downtime(stalled(0.4), 2.0), 40 * MIB, 10)

    # 48 MiB are left of the round, 64 dirty: 80 MiB go over in 2 s, so 32 go first.
    assert (raised.stage, used) == (Stage.SWITCH_OVER, pytest.approx(0.8))
    assert to_the_end(raised, 40 * MIB).blackout_s == pytest.approx(2.0 + fluid.DEVICE_STATE_S)


def test_a_raised_downtime_limit_that_fits_a_whole_round_stops_the_guest_at_the_end_of_one() -> None:
    raised, used = fluid.advance_within_stage(fluid.limit_downtime(stalled(0.4), 1.6), 40 * MIB, 10)

    assert (raised.stage, used) == (Stage.SWITCH_OVER, pytest.approx(1.2))
    assert to_the_end(raised, 40 * MIB).blackout_s == pytest.approx(1.6 + fluid.DEVICE_STATE_S)


def test_a_raised_downtime_limit_that_is_just_too_short_changes_nothing() -> None:
    later = fluid.advance(fluid.limit_downtime(stalled(0.4), 1.59), 40 * MIB, 600)

    assert later.stage is Stage.PRE_COPY


def test_a_lowered_downtime_limit_keeps_a_guest_running_that_would_have_been_stopped() -> None:
    small = Memory(512 * MIB, 512 * MIB, 10 * MIB, 400 * MIB)

    assert to_the_end(fluid.begin(small), 40 * MIB).blackout_s > 0.25
    later = fluid.advance(fluid.limit_downtime(fluid.begin(small), 0.24), 40 * MIB, 60)
    assert later.stage is Stage.PRE_COPY


def test_in_the_first_round_free_memory_counts_in_full_for_a_raised_limit() -> None:
    sparse = Memory(512 * MIB, 128 * MIB, 64 * MIB, 400 * MIB)
    copying = fluid.advance(fluid.begin(sparse), 40 * MIB, 1.0)  # 88 left, 64 dirty, 384 free: 536 MiB pending

    too_short = fluid.advance_within_stage(fluid.limit_downtime(copying, 10.0), 40 * MIB, 1.0)[0]
    enough = fluid.advance_within_stage(fluid.limit_downtime(copying, 13.5), 40 * MIB, 1.0)[0]

    assert too_short.stage is Stage.PRE_COPY
    assert enough.stage is Stage.SWITCH_OVER
    assert to_the_end(enough, 40 * MIB).blackout_s == pytest.approx(152 / 40 + fluid.DEVICE_STATE_S, abs=0.03)


def test_a_round_says_what_was_remaining_when_it_began_and_when_it_will_be_over() -> None:
    sparse = Memory(512 * MIB, 128 * MIB, 64 * MIB, 400 * MIB)
    first, second = fluid.begin(sparse), stalled(0.4)

    assert (first.began_with_bytes, second.began_with_bytes) == (512 * MIB, 64 * MIB)
    assert fluid.round_left_s(second, 40 * MIB) == pytest.approx(1.2)
    assert fluid.round_left_s(second, 0) == fluid.round_left_s(fluid.post_copy(second), 40 * MIB) == float("inf")


@settings(max_examples=200, deadline=None)
@given(
    touched=st.floats(1, 1024),
    working_set=st.floats(0, 512),
    dirty=st.floats(0, 500),
    rate=st.floats(1, 1000),
    uncapped=st.floats(1, 4),
    raised_at=st.floats(0, 60),
    limit=st.floats(0.31, 2000),
    compression=st.floats(1, 4),
)
def test_no_guest_stands_still_for_longer_than_its_limit_where_the_last_step_is_as_fast_as_the_copy_was(
    touched: float, working_set: float, dirty: float, rate: float, uncapped: float, raised_at: float, limit: float,
    compression: float,
) -> None:  # fmt: skip
    guest = Memory(2048 * MIB, touched * MIB, min(working_set, touched) * MIB, dirty * MIB)

    copy = fluid.advance(fluid.begin(guest, compression=compression), rate * MIB, raised_at)
    copy = fluid.limit_downtime(copy, limit)
    for _ in range(4):
        copy, _ = fluid.advance_within_stage(copy, rate * MIB * (1 if copy.stage is Stage.PRE_COPY else uncapped), 1000)

    assert copy.blackout_s <= limit + fluid.DEVICE_STATE_S + 1e-6


def test_a_compressed_copy_sends_fewer_bytes_and_is_over_sooner_and_stops_the_guest_for_less_than_qemu_expects() -> (
    None
):
    guest = Memory(512 * MIB, 512 * MIB, 12 * MIB, 400 * MIB)

    plain = to_the_end(fluid.begin(guest), 40 * MIB)
    packed = to_the_end(fluid.begin(guest, compression=2.0), 40 * MIB)

    assert plain.sent_bytes == pytest.approx((512 + 12) * MIB)
    assert packed.sent_bytes == pytest.approx((512 + 12) / 2 * MIB)
    assert packed.elapsed_s == pytest.approx(524 / 80 + fluid.DEVICE_STATE_S)
    assert packed.blackout_s == pytest.approx(12 / 80 + fluid.DEVICE_STATE_S)


def test_pages_that_post_copy_asks_for_are_not_compressed() -> None:
    copying = fluid.advance(fluid.begin(STALLED, compression=2.0), 40 * MIB, 6.4 + 0.4)

    done = to_the_end(fluid.post_copy(copying), 40 * MIB)

    # 512 MiB in the first round and half of the second's 64, halved; then 32 that are left and 64 dirty as they are.
    assert done.sent_bytes == pytest.approx(((512 + 32) / 2 + 32 + 64) * MIB)


@settings(max_examples=60, deadline=None)
@given(
    touched=st.floats(1, 4096),
    working_set=st.floats(0, 512),
    dirty=st.floats(0, 500),
    rate=st.floats(1, 1000),
    cuts=st.lists(st.floats(0.01, 5.0), min_size=1, max_size=12),
    auto_converge=st.booleans(),
)
def test_many_short_steps_lead_to_the_same_state_as_one_long_step(
    touched: float, working_set: float, dirty: float, rate: float, cuts: list[float], auto_converge: bool
) -> None:
    guest = Memory(8192 * MIB, touched * MIB, min(working_set, touched) * MIB, dirty * MIB)
    begun = fluid.begin(guest, auto_converge=auto_converge)

    stepwise = begun
    for seconds in cuts:
        stepwise = fluid.advance(stepwise, rate * MIB, seconds)
    at_once = fluid.advance(begun, rate * MIB, sum(cuts))

    assert stepwise.elapsed_s == pytest.approx(at_once.elapsed_s, abs=1e-6)
    assert stepwise.sent_bytes == pytest.approx(at_once.sent_bytes, rel=1e-6, abs=100)
    assert stepwise.blackout_s == pytest.approx(at_once.blackout_s, abs=1e-6)


LINKS = {"a": 100.0, "b": 100.0, "c": 50.0}


def test_migrations_share_a_link_evenly_and_a_capped_one_leaves_its_share_to_the_others() -> None:
    flows = {1: Flow("a", "b"), 2: Flow("a", "c"), 3: Flow("a", "b", cap_bytes_per_second=10)}

    assert shares(flows, LINKS) == {1: 45.0, 2: 45.0, 3: 10.0}


def test_both_directions_of_a_link_are_free_for_each_other() -> None:
    assert shares({1: Flow("a", "b"), 2: Flow("b", "a")}, LINKS) == {1: 100.0, 2: 100.0}


def test_a_flow_to_an_unknown_host_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="host nowhere has no migration link"):
        shares({"vm": Flow("a", "nowhere")}, LINKS)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd"), st.sampled_from([0.0, 5.0, 30.0, 500.0])),
        max_size=12,
    ),
    st.lists(st.sampled_from([0.0, 10.0, 100.0, 1000.0]), min_size=4, max_size=4),
)
def test_no_link_is_overfull_and_every_migration_is_stopped_by_its_cap_or_by_a_full_link(
    pairs: list[tuple[str, str, float]], capacities: list[float]
) -> None:
    links = dict(zip("abcd", capacities, strict=True))
    flows = {n: Flow(source, target, cap) for n, (source, target, cap) in enumerate(pairs)}

    rates = shares(flows, links)

    def load(host: str, out: bool) -> float:
        return sum(rates[n] for n, flow in flows.items() if (flow.source if out else flow.target) == host)

    for host, capacity in links.items():
        assert load(host, True) <= capacity + 1e-6
        assert load(host, False) <= capacity + 1e-6
    for n, flow in flows.items():
        capped = 0 < flow.cap_bytes_per_second <= rates[n] + 1e-6
        full_out = load(flow.source, True) >= links[flow.source] - 1e-6
        full_in = load(flow.target, False) >= links[flow.target] - 1e-6
        assert capped or full_out or full_in


def test_two_migrations_on_one_link_take_twice_as_long_and_the_second_speeds_up_when_the_first_is_over() -> None:
    network = Network({"a": 64 * MIB, "b": 64 * MIB, "c": 64 * MIB})
    half = Memory(256 * MIB, 256 * MIB, 0, 0)
    network.begin("small", "a", "b", fluid.begin(half), 0.0)
    network.begin("large", "a", "c", fluid.begin(QUIET), 0.0)

    ended = network.advance_to(100.0)

    # The last step counts no bytes here: 8 s shared, 4 s alone, and nobody waits for the devices' state of the other.
    assert [end.name for end in ended] == ["small", "large"]
    assert ended[0].at == pytest.approx(8.0 + fluid.DEVICE_STATE_S)
    assert 12.0 <= ended[1].at <= 12.1


def test_a_migration_that_never_converges_is_followed_without_end() -> None:
    network = Network({"a": 40 * MIB, "b": 40 * MIB})
    network.begin("busy", "a", "b", fluid.begin(Memory(512 * MIB, 512 * MIB, 64 * MIB, 400 * MIB)), 0.0)

    assert network.advance_to(5000.0) == []
    assert network.copy("busy", 5000.0).elapsed_s == pytest.approx(5000.0)


def test_a_slower_link_holds_back_what_runs_on_it_from_then_on() -> None:
    network = Network({"a": 64 * MIB, "b": 64 * MIB})
    network.begin("vm", "a", "b", fluid.begin(QUIET), 0.0)
    network.advance_to(4.0)

    network.set_link("b", 32 * MIB, 4.0)

    assert network.advance_to(100.0)[0].at == pytest.approx(4.0 + 8.0 + fluid.DEVICE_STATE_S)


def test_migrations_that_are_alike_end_at_the_same_instant() -> None:
    network = Network({"a": 64 * MIB, "b": 64 * MIB, "c": 64 * MIB, "d": 64 * MIB})
    for name, source, target in (("one", "a", "b"), ("two", "b", "c"), ("three", "c", "d"), ("four", "d", "a")):
        network.begin(name, source, target, fluid.begin(QUIET), 0.0)

    ended = network.advance_to(9.0)

    assert {end.name for end in ended} == {"one", "two", "three", "four"}
    assert {end.at for end in ended} == {ended[0].at}
