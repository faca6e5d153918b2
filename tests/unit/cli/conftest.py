"""What tests of the plugin share: a server to ask, and a kubeconfig that names it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from support.plugin_server import Server, serving, write_kubeconfig


@pytest.fixture
def serve() -> Iterator[Callable[[Mapping[str, Any]], Server]]:
    """Starts a server that answers with these objects by path; all end with the test."""
    with ExitStack() as running:
        yield lambda objects: running.enter_context(serving(objects))


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Callable[[Server], list[str]]:
    """Options of the plugin that lead to a server."""
    return lambda server: write_kubeconfig(tmp_path / "kubeconfig", server)
