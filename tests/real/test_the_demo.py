"""The demo on a real API server is the same demo, to the same receipt."""

import asyncio
import re
import sys

import pytest

pytestmark = [pytest.mark.control_plane, pytest.mark.slow, pytest.mark.timeout(300)]

RECEIPT = re.compile(
    r"^ (?P<vm>\S+) +node-\w(?: → node-\w)? +"
    r"(?P<outcome>Succeeded|Skipped|Failed|Unverified)\b.*?"
    r"(?P<tries>\d(?: \(\w+\))?)? *$"
)


async def told(control_plane: str) -> str:
    """What the demo prints, with a model of the hypervisor."""
    command = [sys.executable, "-m", "whimbrel_lab", "demo", "--control-plane", control_plane]
    process = await asyncio.create_subprocess_exec(
        *command,
        "--hypervisor",
        "model",
        "--no-pause",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    return said.decode()


def verdicts(said: str) -> list[str]:
    return [line for line in said.splitlines() if line.startswith(("✔", "✘"))]


def receipts(said: str) -> dict[str, tuple[str, str]]:
    """Outcome and tries of each virtual machine, as the receipts' table shows them."""
    *_, table = said.partition("The receipts")
    found = (RECEIPT.match(line) for line in table.splitlines())
    return {match["vm"]: (match["outcome"], match["tries"] or "") for match in found if match}


async def test_the_demo_ends_alike_on_both_control_planes() -> None:
    embedded, real = await told("embedded"), await told("real")

    assert "a real API server" in real
    assert verdicts(real) == verdicts(embedded)
    assert len(receipts(real)) == 7
    assert receipts(real) == receipts(embedded)
