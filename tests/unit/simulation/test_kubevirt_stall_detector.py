"""The launcher's stall-detecting monitor, rule by rule, each from both sides of its bound (KubeVirt 1.9, stall-detector.go)."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from whimbrel.simulation.kubevirt import monitor, stall_options
from whimbrel.simulation.kubevirt.monitor import TICK_S, Action, Look, Rules, Watch
from whimbrel.simulation.kubevirt.stall_options import StallOptions

MIB = 1024**2
PACE = 100 * MIB
FIRST_S = 10
"""How long the first round takes; each later one takes five seconds, unless a test says otherwise."""
AT_ONCE = StallOptions(stall_progress_timeout_s=5)
"""Stalls at the first round that is no smaller than the one before the last."""


def a_rule(deadline_s: int = 1000, **changed: Any) -> Rules:
    return Rules(deadline_s, **{"stall": StallOptions(), **changed})


def looks_at(sizes_mib: tuple[float, ...], round_s: float = 5.0) -> Iterator[Look]:
    """A copy whose rounds from the second on begin with these sizes: told of at once, polled every 400 ms."""
    began_s, length_s = 0.0, float(FIRST_S)
    for iteration, size_mib in enumerate((1000.0, *sizes_mib), start=1):
        at_s = began_s
        while at_s < began_s + length_s - 1e-9:
            left = 1 - (at_s - began_s) / length_s
            yield Look(at_s, int(left * size_mib * MIB), PACE if at_s else 0, iteration, int(size_mib * MIB))
            at_s += TICK_S
        began_s, length_s = began_s + length_s, round_s


def done(of: Rules, *sizes_mib: float, round_s: float = 5.0) -> list[tuple[float, Action, int]]:
    """What the monitor does to such a copy and when, after its first act; with the downtime limit that holds then."""
    watch, acts = monitor.begin(of), []
    for look in looks_at(sizes_mib, round_s):
        watch, action = monitor.tick(of, watch, look)
        if action is not Action.WAIT:
            acts.append((round(look.elapsed_s, 1), action, watch.downtime_ms))
    return acts[1:]


def stalled(of: Rules, size_mib: float = 80.0) -> tuple[Watch, Action]:
    """What the monitor does about a migration that has just stalled, and is as it was best."""
    watch, action = monitor.begin(of), Action.WAIT
    for look in looks_at((size_mib,) * 3):
        watch, action = monitor.tick(of, watch, look)
        if action not in (Action.WAIT, Action.LIMIT_DOWNTIME) or watch.downtime_ms != min(300, of.max_downtime_ms):
            break
    return watch, action


@pytest.mark.parametrize(("stated", "first"), [(900, 300), (300, 300), (299, 299)])
def test_at_first_the_limit_is_qemus_own_or_the_configured_one_where_that_is_lower(stated: int, first: int) -> None:
    rules = a_rule(max_downtime_ms=stated)

    watch, action = monitor.tick(rules, monitor.begin(rules), next(looks_at(())))

    assert (action, watch.downtime_ms, watch.mode) == (Action.LIMIT_DOWNTIME, first, "PreCopy")


@pytest.mark.parametrize(("window_s", "acts_at_s"), [(40, 50.0), (41, 55.0)])
def test_rounds_that_do_not_shrink_are_a_stall_once_one_of_them_is_as_old_as_the_window(
    window_s: int, acts_at_s: float
) -> None:
    rules = a_rule(stall=StallOptions(stall_progress_timeout_s=window_s))

    assert done(rules, *[80] * 12)[0] == (acts_at_s, Action.LIMIT_DOWNTIME, 900)


@pytest.mark.parametrize(("last_mib", "stalls"), [(96.0, True), (95.9, False)])
def test_a_round_smaller_by_more_than_the_margin_than_what_left_the_window_is_progress(
    last_mib: float, stalls: bool
) -> None:
    rules = a_rule(stall=AT_ONCE, max_downtime_ms=1000)

    assert bool(done(rules, 100, last_mib)) is stalls


@pytest.mark.parametrize(("later_mib", "acts_at_s"), [(62.4, 25.0), (62.5, 30.0)])
def test_a_stalled_migration_waits_for_a_round_that_is_about_as_small_as_the_best(
    later_mib: float, acts_at_s: float
) -> None:
    """The best round began at 15 s; the stall is found at 20 s, when the one before it has left the window."""
    rules = a_rule(stall=StallOptions(stall_progress_timeout_s=6))

    assert done(rules, 61, 60, 80, later_mib, 60)[0][0] == acts_at_s


def test_without_the_search_for_a_minimum_a_stall_is_acted_on_at_once() -> None:
    rules = a_rule(stall=replace(AT_ONCE, search_local_minima=False))

    assert done(rules, 60, 80, 80)[0] == (15.0, Action.LIMIT_DOWNTIME, 900)


def test_after_its_patience_it_makes_do_with_the_smallest_since_the_stall_and_after_half_of_that_with_the_next() -> (
    None
):
    """Stalled at 20 s with a best of 40 MiB: from 30 s on 70 will do, the smallest since then, and from 35 s on 72."""
    rules = a_rule(stall=StallOptions(stall_progress_timeout_s=10))
    until_28_s = (40, 90, 90, 90, 90, 90, 70, 90, 90, 72)

    assert done(rules, *until_28_s, 90, 72, round_s=2)[0][0] == 32.0
    assert done(rules, *until_28_s, 90, 80, 80, 90, 74, round_s=2)[0][0] == 38.0


@pytest.mark.parametrize(
    ("size_mib", "act", "limit_ms"),
    [
        (90.0, Action.LIMIT_DOWNTIME, 900),
        (135.0, Action.LIMIT_DOWNTIME, 900),
        (135.2, Action.ABORT, 300),
    ],
)
def test_without_disruption_the_limit_becomes_the_configured_one_up_to_one_and_a_half_times_that_and_else_it_is_given_up(
    size_mib: float, act: Action, limit_ms: int
) -> None:
    watch, action = stalled(a_rule(stall=AT_ONCE), size_mib)

    assert (action, watch.downtime_ms, watch.aborting) == (act, limit_ms, act is Action.ABORT)


def test_the_factor_up_to_which_it_is_tried_can_be_configured() -> None:
    assert stalled(a_rule(stall=replace(AT_ONCE, precopy_possible_factor=1.0)), 90.2)[1] is Action.ABORT
    assert stalled(a_rule(stall=replace(AT_ONCE, precopy_possible_factor=3.0)), 270.0)[1] is Action.LIMIT_DOWNTIME


@pytest.mark.parametrize(
    ("allowed", "act", "mode", "limit_ms"),
    [
        ({"allow_workload_disruption": True}, Action.LIMIT_DOWNTIME, "PreCopy", 2_000_000),
        ({"allow_workload_disruption": True, "allow_post_copy": True}, Action.POST_COPY, "PostCopy", 300),
        (
            {"allow_workload_disruption": True, "allow_post_copy": True, "passes_devices_through": True},
            Action.LIMIT_DOWNTIME, "PreCopy", 2_000_000,
        ),
        ({"allow_post_copy": True}, Action.ABORT, "PreCopy", 300),
    ],
)  # fmt: skip
def test_with_disruption_it_switches_to_post_copy_where_it_may_and_else_stops_the_guest_for_however_long(
    allowed: dict[str, bool], act: Action, mode: str, limit_ms: int
) -> None:
    watch, action = stalled(a_rule(stall=AT_ONCE, **allowed), 500.0)

    assert (action, watch.mode, watch.downtime_ms) == (act, mode, limit_ms)


@pytest.mark.parametrize(("deadline_s", "act"), [(21, Action.LIMIT_DOWNTIME), (20, Action.WAIT)])
def test_nothing_is_done_about_a_stall_where_the_rest_would_not_fit_before_the_prolonged_deadline(
    deadline_s: int, act: Action
) -> None:
    """It stalls at 15 s and needs 6 s more."""
    rules = a_rule(deadline_s, stall=replace(AT_ONCE, completion_timeout_factor=1.0), allow_workload_disruption=True)
    watch, action = monitor.begin(rules), Action.WAIT
    for look in looks_at((600.0, 600.0)):
        watch, action = monitor.tick(rules, watch, look)
        if look.iteration == 3:
            break

    assert action is act


def test_where_there_is_no_deadline_nothing_ever_fits_before_it() -> None:
    assert done(a_rule(0, stall=AT_ONCE, allow_workload_disruption=True), *[80] * 40) == []


@pytest.mark.parametrize(
    ("allowed", "act", "mode", "limit_ms", "deadline_s"),
    [
        ({}, Action.ABORT, "PreCopy", 300, 20),
        ({"allow_workload_disruption": True}, Action.LIMIT_DOWNTIME, "PreCopy", 2_000_000, 40),
        ({"allow_post_copy": True}, Action.POST_COPY, "PostCopy", 300, 20),
        ({"allow_post_copy": True, "passes_devices_through": True}, Action.ABORT, "PreCopy", 300, 20),
    ],
)
def test_at_the_deadline_a_migration_that_has_not_stalled_is_forced_or_given_up(
    allowed: dict[str, bool], act: Action, mode: str, limit_ms: int, deadline_s: int
) -> None:
    """Whole seconds count: more than 20 of them have passed 21 s after the begin."""
    rules, acts = a_rule(20, **allowed), []
    watch = monitor.begin(rules)
    for look in looks_at((900.0, 800.0, 700.0, 600.0)):
        watch, action = monitor.tick(rules, watch, look)
        if action is not Action.WAIT and look.elapsed_s:
            acts.append((round(look.elapsed_s, 1), action))
            break

    assert acts == [(21.2, act)]
    assert (watch.mode, watch.downtime_ms, watch.deadline_s) == (mode, limit_ms, deadline_s)


def test_at_the_deadline_what_would_not_fit_before_the_prolonged_one_is_given_up_whatever_is_allowed() -> None:
    rules = a_rule(
        20, allow_workload_disruption=True, allow_post_copy=True, stall=StallOptions(completion_timeout_factor=1)
    )

    assert done(rules, 900, 800, 700) == [(21.2, Action.ABORT, 300)]


@pytest.mark.parametrize("allowed", [{}, {"allow_workload_disruption": True}])
def test_a_stop_that_was_set_in_motion_and_does_not_come_is_given_up_after_a_while(allowed: dict[str, bool]) -> None:
    rules = a_rule(stall=replace(AT_ONCE, switchover_timeout_s=7), **allowed)

    (began_s, _, _), (gave_up_s, act, _) = done(rules, *[80] * 6)

    assert (began_s, gave_up_s, act) == (15.0, 23.2, Action.ABORT)


def test_nothing_ends_post_copy() -> None:
    rules = a_rule(20, stall=AT_ONCE, allow_workload_disruption=True, allow_post_copy=True)

    assert [act for _, act, _ in done(rules, *[80] * 40)] == [Action.POST_COPY]


def test_a_guest_that_the_migration_has_stopped_is_paused_and_has_until_the_deadline_itself() -> None:
    rules = a_rule(100, stall=replace(AT_ONCE, switchover_timeout_s=7))
    watch, _ = stalled(rules)
    within, _ = monitor.tick(rules, watch, Look(30.0, 10 * MIB, PACE, 3, 80 * MIB, stopped=True))

    _, patient = monitor.tick(rules, within, Look(100.9, 5 * MIB, PACE, 3, 80 * MIB, stopped=True))
    _, over = monitor.tick(rules, within, Look(101.0, 5 * MIB, PACE, 3, 80 * MIB, stopped=True))

    assert (watch.mode, within.mode) == ("PreCopy", "Paused")
    assert (patient, over) == (Action.WAIT, Action.ABORT)


def test_a_raised_limit_that_the_hypervisor_refuses_is_tried_again_at_the_next_round() -> None:
    rules = a_rule(stall=AT_ONCE)
    watch, before, tried = monitor.begin(rules), monitor.begin(rules), []
    for look in looks_at((80.0,) * 5):
        before = watch
        watch, action = monitor.tick(rules, before, look)
        if action is Action.LIMIT_DOWNTIME and watch.downtime_ms == 900:
            tried.append(look.elapsed_s)
            watch = monitor.refused(before, watch)

    assert tried == pytest.approx([15.0, 20.0, 25.0, 30.0])
    assert (watch.downtime_ms, watch.acts_after_s) == (300, 1000)


def test_a_refused_abort_of_a_stall_is_tried_again_at_the_deadline_only() -> None:
    rules, acts = a_rule(40, stall=AT_ONCE), []
    watch = monitor.begin(rules)
    for look in looks_at((500.0,) * 7):
        watch, action = monitor.tick(rules, watch, look)
        if action is Action.ABORT:
            acts.append(round(look.elapsed_s, 1))
            watch = monitor.abort_refused(watch)

    assert acts[:2] == [15.0, 41.2]


def test_the_pace_is_a_moving_average_of_polls_and_of_rounds_that_are_seen_late_and_not_of_events() -> None:
    rules = a_rule(stall=StallOptions(ewma_alpha=0.25))
    seen = [
        Look(0.0, 1000, 77, 1, 1000),
        Look(0.4, 900, 100, 1, 1000),
        Look(0.8, 800, 200, 1, 1000),
        Look(1.2, 500, 999, 2, 500),
    ]
    watch = monitor.begin(rules)
    for look in seen:
        watch, _ = monitor.tick(rules, watch, look)

    assert _of(watch).bytes_per_second == pytest.approx(0.25 * 200 + 0.75 * 100)
    late, _ = monitor.tick(rules, watch, Look(2.4, 300, 325, 3, 400))
    assert _of(late).bytes_per_second == pytest.approx(0.25 * 325 + 0.75 * 125)


def test_a_round_that_is_seen_late_counts_as_what_it_began_with() -> None:
    rules = a_rule(stall=AT_ONCE)
    watch = monitor.begin(rules)
    for look in (Look(0.0, 1000 * MIB, 0, 1, 1000 * MIB), Look(5.0, 500 * MIB, PACE, 1, 1000 * MIB)):
        watch, _ = monitor.tick(rules, watch, look)

    watch, _ = monitor.tick(rules, watch, Look(10.3, 50 * MIB, PACE, 2, 80 * MIB))
    watch, action = monitor.tick(rules, watch, Look(15.3, 50 * MIB, PACE, 3, 80 * MIB))

    assert (action, watch.downtime_ms) == (Action.LIMIT_DOWNTIME, 900)
    assert _of(watch).best_bytes == 80 * MIB


def test_while_nobody_says_what_remains_the_deadline_holds_all_the_same() -> None:
    rules = a_rule(20)
    watch, _ = monitor.tick(rules, monitor.begin(rules), Look(0.0))

    assert monitor.tick(rules, watch, Look(20.9))[1] is Action.WAIT
    assert monitor.tick(rules, watch, Look(21.0))[1] is Action.ABORT


def test_the_launcher_is_told_of_each_round_and_looks_at_least_every_400_ms() -> None:
    assert monitor.pause_s(a_rule(), 5.0) == TICK_S
    assert 0.2 < monitor.pause_s(a_rule(), 0.2) < 0.21
    assert monitor.pause_s(Rules(20), 0.2) == TICK_S


def test_options_that_are_not_stated_have_kubevirts_defaults_and_factors_are_texts() -> None:
    stated = {
        "stallMargin": 10, "ewmaAlpha": "0.125", "stallProgressTimeout": 5, "switchoverTimeout": 7,
        "precopyPossibleFactor": " 2 ", "patienceWindowDecayFactor": "1e-1", "searchLocalMinima": False,
        "completionTimeoutFactor": "3.5",
    }  # fmt: skip

    assert stall_options.options({}) == StallOptions(0.04, 40, 60, 0.4, 1.5, 0.5, True, 2.0)
    assert stall_options.options(stated) == StallOptions(0.1, 5, 7, 0.125, 2.0, 0.1, False, 3.5)


def _of(watch: Watch) -> Any:
    assert watch.stalling is not None
    return watch.stalling
