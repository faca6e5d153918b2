"""Migrations whose creation fails for good wait a while before they are tried again, and are the first attempt still."""

from pathlib import Path

import pytest

from support.lab_storms import sick
from whimbrel_lab.controlplane.embedded import Fault

pytestmark = [pytest.mark.lab, pytest.mark.slow]

MIGRATIONS = "virtualmachineinstancemigrations.kubevirt.io"


async def test_a_migration_that_could_not_be_created_is_created_later_under_the_same_name(tmp_path: Path) -> None:
    faults = (
        Fault(verb="create", resource=MIGRATIONS, reset="before"),
        Fault(verb="create", resource=MIGRATIONS, status=500),
        Fault(verb="create", resource=MIGRATIONS, status=403, skip=1),
    )
    await sick(tmp_path, faults)
