"""The demo's story from the first line to the exit code.

A lab starts, the operator starts as a process of its own, a HostProfile and a MigrationPlan are applied, the quote is
shown and approved, virtual machines move, and the report holds what was said against what the guests felt.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from rich.text import Text
from whimbrel.api import HostProfile
from whimbrel.api.migration_plan import Approval
from whimbrel.domain.records import Key
from whimbrel.domain.resources import HOST_PROFILES, MIGRATION_PLANS
from whimbrel.kube.api import KubeApi
from whimbrel.kube.client import connect
from whimbrel.kube.telemetry import Telemetry

from whimbrel_lab.demo import report, table, view
from whimbrel_lab.demo.data_centre import BUSY, CHARACTERS, HOSTS, NAMESPACE, SOURCE, STUCK
from whimbrel_lab.demo.onlooker import Onlooker, Sight
from whimbrel_lab.demo.report import Check, Witness
from whimbrel_lab.demo.show import Show, console
from whimbrel_lab.hypervisor import GuestState, Hypervisor
from whimbrel_lab.processes import ChildProcess, ProcessKeeper

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "demo"
READY_S = 30.0
QUOTE_S = 30.0
MOVES_S = 120.0
SWEEPS_S = 20.0
LOOK_EVERY_S = 0.25
READING_S = 4.0
"""Time for a person to read the quote before it is approved; only where there is a person."""


class DemoFailed(Exception):
    """The demo cannot go on; the text says why."""


async def run(arguments: argparse.Namespace) -> int:
    """Tells the story; returns 0 if all of it was true, else 1."""
    with Show(console()) as show:
        try:
            return await _tell(show, arguments)
        except DemoFailed as problem:
            show.settle()
            show.page(Text(f"The demo stopped: {problem}", "bold red"))
            return 1


async def _tell(show: Show, arguments: argparse.Namespace) -> int:
    began = time.monotonic()
    async with data_centre(arguments, show) as lab, ProcessKeeper() as keeper:
        show.note(f"{len(HOSTS)} hosts and {len(CHARACTERS)} guests run, all on {SOURCE} ({time.monotonic() - began:.0f} s)")
        connection = await connect(str(lab.kubeconfig))
        async with KubeApi(connection.configuration, Telemetry()) as api:
            await _start_operator(keeper, lab.kubeconfig, lab.workdir / "operator.log")
            profile, plan = document("host-profile.yaml"), document("plan.yaml")
            await api.create(HOST_PROFILES, "", profile)
            await api.create(MIGRATION_PLANS, NAMESPACE, plan)
            name = Key(NAMESPACE, plan["metadata"]["name"])
            show.note(f"applied examples/demo: HostProfile {profile['metadata']['name']}, MigrationPlan {name}")
            onlooker = Onlooker(api, lab.clock, name)
            await _quote(show, onlooker, name, lab.kubeconfig, arguments)
            for character in CHARACTERS:
                await lab.hypervisor.reset_beats(character.name)
            sight = await _watch(show, onlooker)
            show.settle()
            witnesses = await _question(lab.hypervisor, sight)
    budget_ms = sight.plan.spec.migration.disruption.max_downtime_ms or 0
    checks = (
        *report.checks(sight.moves, witnesses, budget_ms),
        *report.story_checks(sight.moves, BUSY, STUCK),
    )
    show.page(table.receipts(sight.moves, witnesses), Text(), table.verdict(checks))
    if arguments.record:
        show.record(Path(arguments.record), "make demo")
    return int(not all(check.holds for check in checks))


def document(name: str) -> dict[str, Any]:
    """One of the demo's manifests."""
    found: dict[str, Any] = yaml.safe_load((EXAMPLES / name).read_text())
    return found


async def _start_operator(keeper: ProcessKeeper, kubeconfig: Path, log: Path) -> ChildProcess:
    """The operator as it ships, in a process of its own; returns when it says that it is ready."""
    port = free_port()
    command = [sys.executable, "-m", "whimbrel", "--kubeconfig", str(kubeconfig), "--health-port", str(port)]
    operator = await keeper.spawn(command, log=log)
    said = "nothing yet"
    deadline = time.monotonic() + READY_S
    async with aiohttp.ClientSession() as session:
        while time.monotonic() < deadline and operator.exit_code is None:
            try:
                async with session.get(f"http://127.0.0.1:{port}/readyz") as answer:
                    said = await answer.text()
                    if answer.status == 200:
                        return operator
            except aiohttp.ClientError as problem:
                said = str(problem)
            await asyncio.sleep(0.1)
    ended = f" It ended with exit code {operator.exit_code}." if operator.exit_code is not None else ""
    raise DemoFailed(f"the operator is not ready after {READY_S:.0f} s: {said}.{ended} Its last words:\n{tail(log)}")


async def _quote(show: Show, onlooker: Onlooker, name: Key, kubeconfig: Path, arguments: argparse.Namespace) -> None:
    """Shows the quote and approves it with the plugin, as a person would."""
    deadline = time.monotonic() + QUOTE_S
    sight = await onlooker.look()
    while sight.plan.status.quote is None or len(sight.moves) < len(CHARACTERS):
        if time.monotonic() > deadline:
            raise DemoFailed(f"no quote after {QUOTE_S:.0f} s: {sight.plan.status.phase} {sight.plan.status.message}")
        await asyncio.sleep(LOOK_EVERY_S)
        sight = await onlooker.look()
    show.page(Text(), table.quote(str(name), sight.plan.status.quote, sight.moves))
    if sys.stdout.isatty() and not arguments.no_pause:
        await asyncio.sleep(READING_S)
    command = [sys.executable, "-m", "whimbrel.cli.main", "approve", name.name, "-n", name.namespace, "--yes"]
    approving = await asyncio.create_subprocess_exec(
        *command, "--kubeconfig", str(kubeconfig), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    _, problem = await approving.communicate()
    if approving.returncode:
        raise DemoFailed(f"the quote could not be approved: {problem.decode().strip()}")
    show.page(Text(f"$ kubectl whimbrel approve {name.name} -n {name.namespace} --yes\n", "dim"))


async def _watch(show: Show, onlooker: Onlooker) -> Sight:
    """Shows the moves until the operator says that the plan has finished, or time is up."""
    began = time.monotonic()
    before: Mapping[str, view.Row] = {}
    while True:
        sight = await onlooker.look()
        elapsed_s = time.monotonic() - began
        before = show.rows(elapsed_s, view.rows(sight.moves, sight.glimpses, before))
        if sight.finished or elapsed_s > MOVES_S:
            return sight
        await asyncio.sleep(LOOK_EVERY_S)


async def _question(hypervisor: Hypervisor, sight: Sight) -> tuple[Witness, ...]:
    """Asks every guest, after it had time to look at all of its memory once more, and every host."""
    first = {character.name: await hypervisor.beats(character.name) for character in CHARACTERS}
    deadline = time.monotonic() + SWEEPS_S
    waiting = set(first)
    while waiting and time.monotonic() < deadline:
        await asyncio.sleep(LOOK_EVERY_S)
        for name in sorted(waiting):
            now = await hypervisor.beats(name)
            # The sweep in progress may have passed a page before it was copied; the one after it sees them all.
            if now.sweeps >= first[name].sweeps + 2:
                waiting.discard(name)
    witnesses = []
    for character in CHARACTERS:
        found = []
        for host in HOSTS:
            if await hypervisor.guest_state(host.name, character.name) is not GuestState.ABSENT:
                found.append(host.name)
        beats = await hypervisor.beats(character.name)
        witnesses.append(
            Witness(
                name=character.name,
                started_on=SOURCE,
                runs_on=tuple(found),
                instance_uid=sight.instance_uids.get(character.name, ""),
                beats=beats,
                beats_on=beats.beats > first[character.name].beats,
                memory_seen=character.name not in waiting,
            )
        )
    return tuple(witnesses)
