"""A small part of the bench of real migrations, with wide bounds: a calm guest, moved twice, and one that cannot be."""

import pytest

from whimbrel.api.forecast import Convergence
from whimbrel_lab.truth import recording
from whimbrel_lab.truth.judging import judge_all
from whimbrel_lab.truth.scenes import scene

pytestmark = pytest.mark.libvirt

CALM, HOPELESS = 7, 78
"""Seeds of the bench, none of them near the band in which nobody can tell."""
WIDE = 0.5
"""Of a second and a half, on a machine that does other things too; the bench has the figures."""


async def test_guests_are_moved_as_foretold() -> None:
    trials = [trial async for trial in recording.record([scene(seed) for seed in (CALM, HOPELESS)], at_once=1)]

    judged = judge_all(trials)

    assert all(trial.intact for trial in trials)
    assert {each.trial.scene.seed for each in judged} == {CALM, HOPELESS}
    assert all(each.right is not False for each in judged)
    said = {each.trial.scene.seed: each.said.convergence for each in judged}
    assert said[CALM] is Convergence.CONVERGES
    assert said[HOPELESS] is not Convergence.CONVERGES
    assert all(each.time_error is None or each.time_error < WIDE for each in judged)
    assert all(each.eta_error is None or each.eta_error < WIDE for each in judged)
