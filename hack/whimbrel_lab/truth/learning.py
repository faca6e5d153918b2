"""What an operator learns of a hypervisor from its own finished moves: how fast a copy really is, and what comes on top of it.

Only from the half of the seeds that constants may be fitted to. Pure.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from whimbrel.forecast import Path, Spread, Terms, exactly
from whimbrel_lab.truth.recording import LINK_BYTES_PER_SECOND
from whimbrel_lab.truth.scenes import USUAL_DOWNTIME_MS, Means, Scene, Split
from whimbrel_lab.truth.trial import Trial

LEAST_SPAN_S = 2.0
"""A rate seen over less says little: QEMU sends in bursts of a tenth of a second."""
CALM = 1.02
"""A guest that sent no more than so many times what it had in use sent hardly anything while it stood still, uncapped."""
SHORTEST_S = 1e-3
AS_CAPPED = exactly(1.0)


@dataclass(frozen=True, slots=True)
class Learnt:
    """Facts of a hypervisor and its hosts."""

    slowdown: Spread = AS_CAPPED
    """How much longer than bytes ÷ cap a copy takes while it goes on."""
    hand_over: Spread | None = None
    """From the last byte until the move is over, the devices' state apart."""
    device_state_s: float = Terms().device_state_s
    """The longest that guests stood still which ended by themselves, nineteen of twenty."""

    def path(self, scene: Scene) -> Path:
        """What carries this scene's migration."""
        return Path(LINK_BYTES_PER_SECOND, scene.cap_bytes_per_second, slowdown=self.slowdown, hand_over=self.hand_over)

    def terms(self, scene: Scene) -> Terms:
        """What it may do."""
        return Terms(
            may_throttle=scene.means is Means.AUTO_CONVERGE,
            allowed_downtime_s=scene.allowed_downtime_s,
            device_state_s=self.device_state_s,
        )


def learn(trials: Iterable[Trial]) -> Learnt:
    """From those that ended by themselves; what none of them tells stays as it is for a hypervisor never seen."""
    finished = [trial for trial in trials if trial.scene.split is Split.FIT and trial.converged and trial.intact]
    if not finished:
        return Learnt()
    slowdowns = sorted(one for trial in finished if (one := _slowdown(trial)) is not None)
    slowdown = _spread(slowdowns) if slowdowns else AS_CAPPED
    # Allowed more than usual, guests stand still for what is left, and not for their devices' state alone.
    usual = [trial for trial in finished if trial.scene.allowed_downtime_ms <= USUAL_DOWNTIME_MS]
    stood_still_s = sorted(trial.downtime_ms / 1000 for trial in usual)
    device_state_s = max(Terms().device_state_s, _part(stood_still_s, 0.95)) if usual else Terms().device_state_s
    left_over_s = sorted(
        max(SHORTEST_S, trial.duration_s - device_state_s - slowdown.p50 * sent / trial.scene.cap_bytes_per_second)
        for trial in usual
        if (sent := trial.sent_bytes) is not None and sent <= CALM * trial.scene.in_use_bytes
    )
    return Learnt(slowdown, _spread(left_over_s) if left_over_s else None, device_state_s)


def _slowdown(trial: Trial) -> float | None:
    """Cap ÷ rate, by the first and the last sample."""
    marks = [(one.at_s, one.processed_bytes) for one in trial.samples if one.processed_bytes is not None]
    if not marks or marks[-1][0] - marks[0][0] < LEAST_SPAN_S:
        return None
    (from_s, before), (to_s, after) = marks[0], marks[-1]
    return trial.scene.cap_bytes_per_second * (to_s - from_s) / (after - before) if after > before else None


def _spread(ordered: Sequence[float]) -> Spread:
    return Spread(median(ordered), max(median(ordered), _part(ordered, 0.9)))


def _part(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]
