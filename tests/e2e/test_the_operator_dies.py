"""The operator is killed again and again in the middle of a plan, and nobody can tell afterwards."""

import os
from pathlib import Path

import pytest

from support.lab_storms import killed_again_and_again

pytestmark = pytest.mark.lab

SEED = int(os.environ.get("WHIMBREL_SEED", "20260105"))


async def test_killed_at_ten_random_instants_it_moves_ten_virtual_machines_as_if_nothing_had_happened(
    tmp_path: Path,
) -> None:
    await killed_again_and_again(tmp_path, SEED)
