"""Forecasts of recorded migrations against what came of them. The forecast gets what KubeVirt exposes and no more. Pure.

Memory in use is told, as by a guest agent or the domain; the dirty rate is KubeVirt's one-second sample in whole MiB, taken
before the migration; the cap is what was asked for. How much slower than its cap a copy on this path is comes from the
half of the seeds that constants may be fitted to (`slowdown_seen`), as an operator learns it from its own finished moves.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median

from whimbrel.domain.records import MigrationSample
from whimbrel.forecast import (
    Convergence,
    Guest,
    Path,
    Prediction,
    Reading,
    Spread,
    Terms,
    eta,
    exactly,
    guest,
    pause_if_suspended_now,
    predict,
    progress,
    sighting,
)
from whimbrel_lab.truth.recording import LINK_BYTES_PER_SECOND
from whimbrel_lab.truth.scenes import Means, Split
from whimbrel_lab.truth.trial import Trial

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
ALLOWED_DOWNTIME_S = 0.3
"""QEMU's own limit, which KubeVirt leaves as it is."""
CRITICAL = 0.15
"""So near to one, the ratio of dirtying and copying makes the length of a copy a lottery."""
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
        """Whether it converged as was said; None where no answer was given."""
        if self.said.convergence is Convergence.UNCERTAIN:
            return None
        return (self.said.convergence is Convergence.CONVERGES) == self.trial.converged


def slowdown_seen(trials: Iterable[Trial]) -> Spread:
    """How much longer than memory ÷ cap the copies of idle guests took, by the half that may be fitted to: p50 and p90."""
    seen = sorted(
        trial.duration_s / trial.scene.pass_s
        for trial in trials
        if trial.scene.split is Split.FIT
        and trial.converged
        and trial.scene.dirty_bytes_per_second == 0
        and not trial.scene.changes_after_s
    )
    if not seen:
        return exactly(1.0)
    return Spread(max(1.0, median(seen)), max(1.0, seen[min(len(seen) - 1, round(0.9 * (len(seen) - 1)))]))


def judge(trial: Trial, slowdown: Spread) -> Judgement:
    """What would have been said of a trial, and how far that is from what came."""
    scene = trial.scene
    known = _known(trial)
    path = Path(LINK_BYTES_PER_SECOND, scene.cap_bytes_per_second, slowdown=slowdown)
    terms = Terms(may_throttle=scene.means is Means.AUTO_CONVERGE)
    said = predict(known, path, terms, start_up=AT_ONCE)
    critical = _is_critical(trial)
    downtime = _within_bound(trial, known, path, said)
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
        eta_error=_eta_error(trial, known, path, terms),
    )


def judge_all(trials: Sequence[Trial]) -> tuple[Judgement, ...]:
    """All trials that ended as guests should: one that was harmed is a defect of the lab and says nothing of a forecast."""
    slowdown = slowdown_seen(trials)
    return tuple(judge(trial, slowdown) for trial in trials if trial.intact)


def _known(trial: Trial) -> Guest:
    scene, sampled = trial.scene, trial.sampled_dirty_bytes_per_second
    return guest(
        scene.memory_bytes,
        BEGAN,
        in_use=Reading(float(scene.touched_bytes), BEGAN),
        dirty_sample=None if sampled is None else Reading(float(sampled), BEGAN),
    )


def _is_critical(trial: Trial) -> bool:
    """By what the guest truly dirties in the time that a switch-over may take, over what goes over in it."""
    scene = trial.scene
    rates = {scene.dirty_bytes_per_second, scene.later_dirty_bytes_per_second or scene.dirty_bytes_per_second}
    over = scene.cap_bytes_per_second * ALLOWED_DOWNTIME_S
    ratios = [min(scene.working_set_bytes, rate * ALLOWED_DOWNTIME_S) / over for rate in rates]
    near = any(abs(ratio - 1) < CRITICAL for ratio in ratios)
    return near or min(ratios) < 1 < max(ratios)


def _within_bound(trial: Trial, known: Guest, path: Path, said: Prediction) -> bool | None:
    """Of a stun, whether the guest stood still no longer than the bound named when it began; else than was said beforehand."""
    if trial.suspended_at_s is None:
        return trial.downtime_ms <= said.downtime_bound_ms if trial.converged else None
    if trial.failure or trial.remaining_at_suspension_bytes is None:
        return None
    pause = pause_if_suspended_now(known, path, trial.remaining_at_suspension_bytes, trial.suspended_at_s, None)
    return trial.downtime_ms <= pause.bound_ms


def _eta_error(trial: Trial, known: Guest, path: Path, terms: Terms) -> float | None:
    samples = [
        MigrationSample(
            BEGAN + timedelta(seconds=sample.at_s),
            sample.total_bytes,
            sample.processed_bytes,
            sample.remaining_bytes,
            sample.transfer_bytes_per_second,
            sample.dirty_bytes_per_second,
        )
        for sample in trial.samples
    ]
    for number in range(1, len(samples) + 1):
        seen = sighting(samples[:number], BEGAN, known)
        if seen is None:
            continue
        left = eta(known, path, terms, seen)
        if left.p50_s is not None and progress(seen.sent_bytes, left.will_send_bytes) >= 0.25:
            return abs(seen.elapsed_s + left.p50_s - trial.duration_s) / trial.duration_s
    return None
