"""Scenes, judgements and the table of the bench of real migrations, on trials made up here."""

from dataclasses import replace

from whimbrel.domain.quantities import MIB
from whimbrel_lab.hypervisor.guest import image
from whimbrel_lab.truth.judging import judge, judge_all, slowdown_seen
from whimbrel_lab.truth.report import ROWS, table
from whimbrel_lab.truth.scenes import Means, Scene, Split, scene
from whimbrel_lab.truth.trial import Trial

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


def test_how_slow_the_path_is_comes_from_idle_guests_of_the_half_that_may_be_fitted_to() -> None:
    held_out = a_trial(replace(IDLE, seed=5), 9.0)

    assert slowdown_seen([a_trial(IDLE, 3.3), held_out]).p50 == 3.3 / 3
    assert slowdown_seen([held_out]).p50 == 1.0


def test_a_copy_that_took_as_long_as_was_said_has_no_error_and_another_has_one() -> None:
    slowdown = slowdown_seen([])
    close, late = judge(a_trial(IDLE, 3.05), slowdown), judge(a_trial(IDLE, 6.1), slowdown)

    assert close.time_error is not None
    assert close.time_error < 0.02
    assert late.time_error is not None
    assert late.time_error > 0.45
    assert close.right is True
    assert late.within_p90 is False


def test_a_guest_that_rewrites_three_times_what_goes_over_is_said_not_to_converge() -> None:
    judged = judge(a_trial(HOPELESS, 20.0, converged=False), slowdown_seen([]))

    assert not judged.critical
    assert judged.right is True
    assert judged.time_error is None


def test_a_guest_that_goes_from_calm_to_hopeless_is_critical() -> None:
    turning = replace(HOPELESS, dirty_bytes_per_second=MIB, later_dirty_bytes_per_second=96 * MIB, changes_after_s=4.0)

    assert judge(a_trial(turning, 20.0, converged=False), slowdown_seen([])).critical


def test_a_pause_is_held_against_what_was_said_when_it_began() -> None:
    stun = replace(
        a_trial(replace(HOPELESS, means=Means.STUN), 9.0, converged=False, downtime_ms=3_000.0),
        suspended_at_s=4.5,
        remaining_at_suspension_bytes=30 * MIB,
    )

    assert judge(stun, slowdown_seen([])).downtime_within_bound is True
    assert judge(replace(stun, downtime_ms=60_000.0), slowdown_seen([])).downtime_within_bound is False


def test_guests_that_were_harmed_are_left_out_and_each_figure_has_a_row() -> None:
    harmed = replace(a_trial(IDLE, 3.0), intact=False)

    judged = judge_all([harmed, a_trial(IDLE, 3.0), a_trial(HOPELESS, 20.0, converged=False)])

    assert len(judged) == 2
    assert len(table(judged).splitlines()) == len(ROWS) + 1


def test_a_recording_reads_as_it_was_written() -> None:
    trial = a_trial(IDLE, 3.0)

    assert Trial.of(trial.document()) == trial
