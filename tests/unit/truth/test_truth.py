"""Scenes, judgements and the table of the bench of real migrations, on trials made up here."""

import json
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from whimbrel.api.forecast import Convergence
from whimbrel.domain.quantities import MIB
from whimbrel.forecast import exactly
from whimbrel_lab.hypervisor.guest import image
from whimbrel_lab.truth.bargain import FIRST_SEED, Bargain, hopeless
from whimbrel_lab.truth.judging import judge, judge_all, known_of
from whimbrel_lab.truth.learning import Learnt, learn
from whimbrel_lab.truth.picture import MOVED_ONCE, NEVER_MOVED, picture
from whimbrel_lab.truth.report import ROWS, bargain_table, table
from whimbrel_lab.truth.scenes import CAPS_MIB, LONGEST_PASS_S, Means, Scene, Split, again, scene
from whimbrel_lab.truth.trial import Sample, Trial, patience_s

IDLE = Scene(2, 128 * MIB, 96 * MIB, 0, 0, 32 * MIB, Means.PRE_COPY)
HOPELESS = replace(IDLE, seed=3, working_set_bytes=90 * MIB, dirty_bytes_per_second=96 * MIB)


def a_trial(of: Scene, duration_s: float, *, converged: bool = True, downtime_ms: float = 20.0) -> Trial:
    sampled = min(of.working_set_bytes, of.dirty_bytes_per_second) // MIB * MIB
    return Trial(of, sampled, converged, duration_s, of.touched_bytes, downtime_ms)


def test_a_seed_is_one_scene_and_keeps_its_half() -> None:
    assert [scene(seed) for seed in range(50)] == [scene(seed) for seed in range(50)]
    assert {scene(seed).split for seed in range(0, 50, 2)} == {Split.FIT}
    assert {scene(seed).split for seed in range(1, 50, 2)} == {Split.HELD_OUT}


def test_every_scene_is_a_guest_that_can_be_and_every_kind_is_among_ninety() -> None:
    scenes = [scene(seed) for seed in range(90)]

    for each in scenes:
        image.kernel(each.guest())
    assert {each.means for each in scenes} == set(Means)
    assert any(each.changes_after_s for each in scenes)
    assert any(each.ratio < 0.85 for each in scenes)
    assert any(each.ratio > 1.15 for each in scenes)


def test_facts_of_the_hypervisor_are_learnt_from_the_half_that_may_be_fitted_to() -> None:
    """A copy 10 % slower than its cap, and 0.2 s until it is over beside the 40 ms in which the guest stood still."""
    samples = tuple(Sample(at_s, None, int(32 * MIB * at_s / 1.1), 0, None, None) for at_s in (0.5, 1.5, 2.5, 3.0))
    seen = replace(a_trial(IDLE, 3.3 + 0.24, downtime_ms=40.0), samples=samples)

    learnt = learn([seen])

    assert learnt.slowdown.p50 == pytest.approx(1.1)
    assert learnt.hand_over is not None
    assert learnt.hand_over.p50 == pytest.approx(0.2, abs=0.01)
    assert learnt.device_state_s == pytest.approx(0.04)
    assert learn([replace(seen, scene=replace(IDLE, seed=5))]) == Learnt()


def test_the_next_move_of_a_guest_is_plain_pre_copy_at_a_cap_that_takes_no_longer_than_it_may() -> None:
    for seed in range(50):
        first = scene(seed)
        then = again(first)

        assert then == again(first)
        assert then.means is Means.PRE_COPY
        assert then.cap_bytes_per_second in {cap * MIB for cap in CAPS_MIB}
        assert then.pass_s <= LONGEST_PASS_S
        assert then.dirty_bytes_per_second == (first.later_dirty_bytes_per_second or first.dirty_bytes_per_second)


def test_of_a_guest_that_moved_before_more_is_known() -> None:
    """It took a third longer than one pass, so it dirtied a quarter of its memory in the time of one."""
    learnt = Learnt(hand_over=exactly(0.2))
    first = a_trial(IDLE, 4.25)

    known = known_of(replace(a_trial(IDLE, 3.25), earlier=first), learnt)

    assert len(known_of(first, learnt).points) == 1
    assert known.points[1].distinct_bytes == pytest.approx(IDLE.touched_bytes / 4, rel=0.1)


def test_a_copy_that_took_as_long_as_was_said_has_no_error_and_another_has_one() -> None:
    close, late = judge(a_trial(IDLE, 3.1), Learnt()), judge(a_trial(IDLE, 6.1), Learnt())

    assert close.time_error is not None
    assert close.time_error < 0.02
    assert late.time_error is not None
    assert late.time_error > 0.45
    assert close.right is True
    assert late.within_p90 is False


def test_a_guest_that_rewrites_three_times_what_goes_over_is_said_not_to_converge() -> None:
    judged = judge(a_trial(HOPELESS, 20.0, converged=False), Learnt())

    assert not judged.critical
    assert judged.right is True
    assert judged.time_error is None


def test_a_guest_that_goes_from_calm_to_hopeless_is_critical() -> None:
    turning = replace(HOPELESS, dirty_bytes_per_second=MIB, later_dirty_bytes_per_second=96 * MIB, changes_after_s=4.0)

    assert judge(a_trial(turning, 20.0, converged=False), Learnt()).critical


def test_what_is_critical_and_what_converges_hangs_on_the_downtime_that_is_allowed() -> None:
    small = replace(HOPELESS, working_set_bytes=HOPELESS.cap_bytes_per_second, dirty_bytes_per_second=96 * MIB)

    by_downtime = {
        ms: judge(a_trial(replace(small, allowed_downtime_ms=ms), 20.0, converged=False), Learnt())
        for ms in (300, 1000, 5000)
    }

    assert {ms: each.critical for ms, each in by_downtime.items()} == {300: False, 1000: True, 5000: False}
    assert by_downtime[300].said.convergence is not Convergence.CONVERGES
    assert by_downtime[5000].said.convergence is Convergence.CONVERGES


def test_a_pause_is_held_against_what_was_said_when_it_began() -> None:
    stun = replace(
        a_trial(replace(HOPELESS, means=Means.STUN), 9.0, converged=False, downtime_ms=3_000.0),
        suspended_at_s=4.5,
        remaining_at_suspension_bytes=30 * MIB,
    )

    assert judge(stun, Learnt()).downtime_within_bound is True
    assert judge(replace(stun, downtime_ms=60_000.0), Learnt()).downtime_within_bound is False


def test_guests_that_were_harmed_are_left_out_and_each_figure_has_a_row() -> None:
    harmed = replace(a_trial(IDLE, 3.0), intact=False)

    judged = judge_all([harmed, a_trial(IDLE, 3.0), a_trial(HOPELESS, 20.0, converged=False)])

    assert len(judged) == 2
    assert len(table(judged).splitlines()) == len(ROWS) + 1


def test_a_recording_reads_as_it_was_written() -> None:
    trial = replace(a_trial(IDLE, 3.0), samples=(Sample(0.5, 1, 2, 3, None, None),))
    next_one = replace(trial, earlier=trial)

    assert Trial.of(json.loads(json.dumps(next_one.document()))) == next_one


def test_refusals_are_of_guests_that_dirty_more_than_goes_over_and_have_sets_that_the_downtime_does_not_let_through() -> (
    None
):
    for seed in range(FIRST_SEED, FIRST_SEED + 100):
        refused = hopeless(seed)

        image.kernel(refused.guest())
        assert refused == hopeless(seed)
        assert refused.ratio >= 1.15
        assert refused.working_set_bytes > 1.15 * refused.cap_bytes_per_second * refused.allowed_downtime_s


def test_a_tested_price_reads_as_it_was_written_and_has_its_table() -> None:
    tested = Bargain(a_trial(HOPELESS, 20.0, converged=False), 60 * MIB, 90 * MIB, True, True, False)

    assert Bargain.of(json.loads(json.dumps(tested.document()))) == tested
    rows = bargain_table([tested, tested]).splitlines()
    assert rows[1].endswith("100 % of 2")
    assert rows[2].endswith("100 % of 2")
    assert rows[3].endswith("0 % of 2")
    assert rows[4].endswith("1.50 / 1.50")


def test_the_picture_shows_each_move_that_had_a_number_with_a_bar_to_its_90th_percentile() -> None:
    once = a_trial(IDLE, 3.1)
    judged = judge_all([once, replace(once, earlier=once), a_trial(HOPELESS, 20.0, converged=False)])

    drawn = ElementTree.fromstring(picture(judged))

    svg = "{http://www.w3.org/2000/svg}"
    circles = drawn.findall(f"{svg}circle")
    assert len(circles) == 2
    assert {circle.get("stroke") for circle in circles} == {NEVER_MOVED, MOVED_ONCE}
    assert len([path for path in drawn.findall(f"{svg}path") if path.get("stroke")]) == 2


def test_a_guest_that_dirties_as_fast_as_goes_over_is_critical_unless_it_may_be_throttled() -> None:
    even = replace(HOPELESS, dirty_bytes_per_second=32 * MIB)
    throttled = replace(even, means=Means.AUTO_CONVERGE)

    assert judge(a_trial(even, 20.0, converged=False), Learnt()).critical
    assert not judge(a_trial(throttled, 20.0), Learnt()).critical


def test_a_copy_said_to_end_later_than_a_trial_waits_is_right_where_it_was_given_up() -> None:
    slow = replace(HOPELESS, means=Means.AUTO_CONVERGE, cap_bytes_per_second=16 * MIB, dirty_bytes_per_second=160 * MIB)
    judged = judge(a_trial(slow, 60.0, converged=False), Learnt())

    assert judged.said.duration_p50_s is not None
    assert judged.said.duration_p50_s > patience_s(slow)
    assert judged.right is True
