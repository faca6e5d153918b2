"""A folder with a short path for the lab's sockets; gone after each test, with a failure if anything was left in it."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def workdir() -> Iterator[Path]:
    """Temporary folders of pytest's own are too long for unix sockets, and closed to the daemons' user."""
    folder = Path(tempfile.mkdtemp(prefix="wt-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    left = sorted(str(path) for path in folder.rglob("*"))
    shutil.rmtree(folder)
    assert left == []
