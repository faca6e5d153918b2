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
