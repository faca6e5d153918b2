"""The operator is killed at other instants than in the quick tests."""

from pathlib import Path

import pytest

from support.lab_storms import killed_again_and_again

pytestmark = [pytest.mark.lab, pytest.mark.slow]


@pytest.mark.parametrize("seed", range(1, 6))
async def test_whenever_it_is_killed_ten_virtual_machines_move_as_if_nothing_had_happened(
    tmp_path: Path, seed: int
) -> None:
    await killed_again_and_again(tmp_path, seed)
