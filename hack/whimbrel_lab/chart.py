"""The chart as Helm renders it: `rendered` for objects to load, `helm` for any other command.

So that a lab grants the operator exactly what an installation grants it. Called by labs on a real API server and by the tests.
"""

import asyncio
import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from whimbrel_lab.controlplane.plane import Object
from whimbrel_lab.controlplane.real import binaries
from whimbrel_lab.errors import LabError

CHART = Path(__file__).resolve().parents[2] / "charts" / "whimbrel"
RELEASE = "whimbrel"
SOMEBODYS = ("HELM_", "KUBE")
"""Beginnings of environment variables that would lead Helm to a cluster, or to a configuration, of whoever runs this."""


class HelmFailed(LabError):
    """Helm ended with an error; the text is what it said."""


async def helm(*arguments: str | Path, values: Mapping[str, Any] | None = None, kubeconfig: Path | None = None) -> str:
    """What a Helm command prints. Raises HelmFailed, BinariesMissing. `values` are those of the chart that differ."""
    command = [*map(str, arguments), *(("--values", "-") if values is not None else ())]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(SOMEBODYS)}
    # An absent kubeconfig rather than the default one, which may be somebody's cluster.
    environment["KUBECONFIG"] = str(kubeconfig or os.devnull)
    process = await asyncio.create_subprocess_exec(
        binaries.find("helm"), *command, env=environment,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        said, problem = await process.communicate(json.dumps(values).encode() if values is not None else b"")
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode:
        raise HelmFailed(f"helm {' '.join(command)}: {problem.decode(errors='replace').strip()}")
    return said.decode()


async def rendered(namespace: str, values: Mapping[str, Any] | None = None, release: str = RELEASE) -> list[Object]:
    """The objects of a release, in the order in which Helm installs them; the namespaces must exist already."""
    text = await helm("template", release, CHART, "--namespace", namespace, values=values or {})
    return [document for document in yaml.safe_load_all(text) if document]
