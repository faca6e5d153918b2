"""Forecasts of recorded migrations against what came of them. The forecast gets what KubeVirt exposes and no more. Pure.

Memory in use is told, as by a guest agent or the domain; the dirty rate is KubeVirt's one-second sample in whole MiB, taken
before the migration; the cap is what was asked for. Of a guest that moved before, what that move showed is known too. Facts
of the hypervisor are learnt from the half of the seeds that constants may be fitted to (`learning`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from whimbrel.domain.samples import MigrationSample
from whimbrel.forecast import (
    Convergence,
    CurvePoint,
    Guest,
    Path,
    Prediction,
    Reading,
    Terms,
    exactly,
    guest,
    pause_if_suspended_now,
    point_of_finished,
    predict,
    sighting,
)
from whimbrel_lab.bench.arriving import arrival_error
from whimbrel_lab.hypervisor.libvirt import SAMPLE_PAGES_PER_GIBIBYTE
from whimbrel_lab.truth.learning import Learnt, learn
from whimbrel_lab.truth.scenes import Means
from whimbrel_lab.truth.trial import Trial, patience_s

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
CRITICAL = 0.15
"""So near to one, the ratio of dirtying and copying makes the length of a copy a lottery."""
MOST_THROTTLE = 0.99
AT_ONCE = exactly(1e-6)
"""A trial begins with the copy: there is no pod to start."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A trial and what was said of it beforehand."""

    trial: Trial
    said: Prediction
    critical: bool
    """Whether dirtying and copying are so near to each other that no answer is the right one."""
    time_error: float | None = None
    """As a share of the fact; None where no number was given or the copy did not end by itself."""
    bytes_error: float | None = None
    within_p90: bool | None = None
    downtime_within_bound: bool | None = None
    eta_error: float | None = None
    """Of the arrival told at a quarter of the progress, as a share of the whole copy."""

    @property
    def right(self) -> bool | None:
        """Whether it converged within the patience of a trial as was said; None where no answer was given."""
        if self.said.convergence is Convergence.UNCERTAIN:
            return None
        ends_s = self.said.duration_p50_s
        return (ends_s is not None and ends_s <= patience_s(self.trial.scene)) == self.trial.converged


def judge(trial: Trial, learnt: Learnt) -> Judgement:
    """What would have been said of a trial, and how far that is from what came."""
    scene = trial.scene
    known = known_of(trial, learnt)
    path, terms = learnt.path(scene), learnt.terms(scene)
    said = predict(known, path, terms, start_up=AT_ONCE)
    critical = _is_critical(trial)
    downtime = _within_bound(trial, known, path, terms, said)
    if not trial.converged or said.duration_p50_s is None or said.bytes_p50 is None or said.duration_p90_s is None:
        return Judgement(trial, said, critical, downtime_within_bound=downtime)
    return Judgement(
        trial,
        said,
        critical,
        time_error=abs(said.duration_p50_s / trial.duration_s - 1),
        bytes_error=None if not trial.sent_bytes else abs(said.bytes_p50 / trial.sent_bytes - 1),
        within_p90=trial.duration_s <= said.duration_p90_s,
        downtime_within_bound=downtime,
        eta_error=arrival_error(known, path, terms, kubevirt_samples(trial), BEGAN, trial.duration_s),
    )


def judge_all(trials: Sequence[Trial]) -> tuple[Judgement, ...]:
    """All trials that ended as guests should: one that was harmed is a defect of the lab and says nothing of a forecast."""
    learnt = learn(trials)
    return tuple(judge(trial, learnt) for trial in trials if trial.intact)


def known_of(trial: Trial, learnt: Learnt) -> Guest:
    """What is known of the guest before the move: more where it moved before."""
    scene, sampled = trial.scene, trial.sampled_dirty_bytes_per_second
    fresh = guest(
        scene.memory_bytes,
        BEGAN,
        in_use=Reading(float(scene.in_use_bytes), BEGAN),
        dirty_sample=None if sampled is None else Reading(float(sampled), BEGAN),
        sampled_pages=SAMPLE_PAGES_PER_GIBIBYTE * scene.memory_bytes / (1 << 30),
    )
    earlier = trial.earlier
    return fresh if earlier is None else replace(fresh, points=(*fresh.points, *points_seen(earlier, fresh, learnt)))


def points_seen(trial: Trial, known: Guest, learnt: Learnt) -> tuple[CurvePoint, ...]:
    """What a migration, finished or given up, has shown of its guest: by its samples, else by how long it took."""
    allowed_s = trial.scene.allowed_downtime_s
    seen = sighting(kubevirt_samples(trial), BEGAN, known, allowed_s)
    if seen is not None and seen.points:
        return seen.points
    if not trial.converged or learnt.hand_over is None:
        return ()
    cap = trial.scene.cap_bytes_per_second
    slowdowns, hand_overs_s = learnt.slowdown.values(3), learnt.hand_over.values(3)
    copied_s = trial.duration_s - learnt.device_state_s
    point = point_of_finished(
        known,
        (cap / slowdowns[-1], cap / slowdowns[0]),
        (copied_s - hand_overs_s[-1], copied_s - hand_overs_s[0]),
        allowed_s,
    )
    return () if point is None else (point,)


def kubevirt_samples(trial: Trial) -> tuple[MigrationSample, ...]:
    """A trial's samples as KubeVirt would tell them."""
    return tuple(
        MigrationSample(
            BEGAN + timedelta(seconds=sample.at_s),
            sample.total_bytes,
            sample.processed_bytes,
            sample.remaining_bytes,
            sample.transfer_bytes_per_second,
            sample.dirty_bytes_per_second,
        )
        for sample in trial.samples
    )


def _is_critical(trial: Trial) -> bool:
    """By what the guest truly dirties in the time that a switch-over may take, over what goes over in it: the dirty rate over
    the bandwidth of guests whose set is larger, the set over what the downtime lets through of others. A guest that may be
    throttled counts as throttled to the utmost; one that changes from one side to the other while it moves is critical too.
    """
    scene = trial.scene
    share = 1 - MOST_THROTTLE if scene.means is Means.AUTO_CONVERGE else 1.0
    told = (scene.dirty_bytes_per_second, scene.later_dirty_bytes_per_second)
    rates = {rate * share for rate in told if rate is not None}
    over = scene.cap_bytes_per_second * scene.allowed_downtime_s
    ratios = [min(scene.working_set_bytes, rate * scene.allowed_downtime_s) / over for rate in rates]
    near = any(abs(ratio - 1) < CRITICAL for ratio in ratios)
    return near or min(ratios) < 1 < max(ratios)


def _within_bound(trial: Trial, known: Guest, path: Path, terms: Terms, said: Prediction) -> bool | None:
    """Of a stun, whether the guest stood still no longer than the bound named when it began; else than was said beforehand."""
    if trial.suspended_at_s is None:
        return trial.downtime_ms <= said.downtime_bound_ms if trial.converged else None
    if trial.failure or trial.remaining_at_suspension_bytes is None:
        return None
    pause = pause_if_suspended_now(
        known, path, trial.remaining_at_suspension_bytes, trial.suspended_at_s, None, terms.device_state_s
    )
    return trial.downtime_ms <= pause.bound_ms
