"""The API server loses answers, throttles, errs and cuts watches; the plan takes longer and ends the same."""

from pathlib import Path

import pytest

from support.lab_storms import sick
from whimbrel_lab.controlplane.embedded import Fault

pytestmark = pytest.mark.lab

MIGRATIONS = "virtualmachineinstancemigrations.kubevirt.io"
INSTANCES = "virtualmachineinstances.kubevirt.io"
MOVES = "virtualmachinemoves.whimbrel.dev"
PLANS = "migrationplans.whimbrel.dev"


async def test_lost_answers_throttling_errors_and_cut_watches_change_nothing_about_the_end(tmp_path: Path) -> None:
    faults = (
        Fault(verb="create", resource=MOVES, status=429, retry_after_s=1),
        Fault(verb="create", resource=MOVES, reset="after"),
        Fault(verb="patch", resource=INSTANCES, reset="after", times=2),
        Fault(verb="patch", resource=INSTANCES, status=503, skip=3),
        Fault(verb="create", resource=MIGRATIONS, reset="after", times=2),
        Fault(verb="update", resource=MOVES, subresource="status", reset="after", skip=1, times=2),
        Fault(verb="update", resource=MOVES, subresource="status", status=409, skip=2),
        Fault(verb="update", resource=PLANS, subresource="status", reset="after", skip=1),
        Fault(verb="get", resource=INSTANCES, status=500),
        Fault(verb="watch", resource=INSTANCES, watch="close", times=3),
        Fault(verb="watch", resource=MIGRATIONS, watch="gone"),
        Fault(verb="watch", resource=MOVES, watch="close", times=2),
        Fault(verb="watch", resource=INSTANCES, duplicate_events=True, times=3),
    )
    await sick(tmp_path, faults)
