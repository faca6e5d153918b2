"""Commands as a person types them, against a cluster of the test's own: kubectl and helm of the releases that we build."""

import asyncio
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from support.definitions import ROOT
from whimbrel_lab.controlplane.plane import write_kubeconfig
from whimbrel_lab.controlplane.real import binaries
from whimbrel_lab.controlplane.real.server import Endpoint

WITHIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended and all that it said."""

    code: int
    out: str
    problems: str


class Shell:
    """Runs commands in the repository; `folder` is the home of whoever types them."""

    def __init__(self, endpoint: Endpoint, folder: Path) -> None:
        kubeconfig = write_kubeconfig(folder / "kubeconfig", endpoint.access())
        programs = [str(binaries.find(name).parent) for name in ("kubectl", "helm")]
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("HELM_", "KUBE"))}
        path = os.pathsep.join([*programs, os.environ["PATH"]])
        self._environment = {**clean, "PATH": path, "HOME": str(folder), "KUBECONFIG": str(kubeconfig)}

    async def __call__(self, script: str, given: str = "") -> str:
        """What lines of bash print; an AssertionError with their words where one fails."""
        said = await self.attempt(script, given)
        assert said.code == 0, f"exit {said.code}: {said.problems}\n{said.out}"
        return said.out

    async def attempt(self, script: str, given: str = "") -> Said:
        """Run lines of bash, which end at the first that fails."""
        process = await asyncio.create_subprocess_exec(
            "bash", "-euo", "pipefail", "-c", script, cwd=ROOT, env=self._environment,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # so that what bash has started ends with it
        )  # fmt: skip
        try:
            async with asyncio.timeout(WITHIN_S):
                out, problems = await process.communicate(given.encode())
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        return Said(process.returncode or 0, out.decode(), problems.decode())


def commands(page: Path, heading: str) -> str:
    """The commands that stand in a page under a heading, in its fenced blocks of no language."""
    out: list[str] = []
    here = ""
    fence: str | None = None
    for line in page.read_text().splitlines():
        if line.startswith("```"):
            fence = line if fence is None else None
        elif fence is None and line.startswith("#"):
            here = line.lstrip("# ")
        elif fence == "```" and here == heading:
            out.append(line)
    assert out, f"{page.name} has no commands under {heading}"
    return "\n".join(out)
