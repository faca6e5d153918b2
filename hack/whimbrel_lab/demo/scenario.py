"""The demo's story from the first line to the exit code.

A lab starts, the operator starts as a process of its own, a HostProfile and a MigrationPlan are applied, the quote is
shown and approved, virtual machines move, and the report holds what was said against what the guests felt.
"""

import argparse
import asyncio
import logging
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from rich.text import Text

from whimbrel.domain.records import Key
from whimbrel.domain.resources import HOST_PROFILES, MIGRATION_PLANS
from whimbrel.kube.api import KubeApi
from whimbrel.kube.client import connect
from whimbrel.kube.telemetry import Telemetry
from whimbrel_lab.demo import report, table, view
from whimbrel_lab.demo.data_centre import BUSY, CHARACTERS, HOSTS, NAMESPACE, SOURCE, STUCK
from whimbrel_lab.demo.onlooker import Onlooker, Sight
from whimbrel_lab.demo.report import Witness
from whimbrel_lab.demo.show import Show, console
from whimbrel_lab.demo.spectator import Spectator
from whimbrel_lab.demo.stage import DemoFailed, choose, operator, topology
from whimbrel_lab.hypervisor import GuestState
from whimbrel_lab.lab import Lab

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "demo"
QUOTE_S = 40.0
METRICS_S = 25.0
"""Without metrics the quote is shown all the same: it is wider then."""
MOVES_S = 150.0
SWEEPS_S = 30.0
LOOK_EVERY_S = 0.25
INTERRUPTED = 130
"""What shells say of a program that SIGINT ended."""
NAMESPACE_OF_OPERATOR = "whimbrel-system"
CONTROL_PLANES = {
    "embedded": "Kubernetes: an API server inside this process; KubeVirt: a stand-in that keeps its contract",
    "real": "Kubernetes: a real API server, scheduler and controllers; KubeVirt: a stand-in that keeps its contract",
}
READING_S = 4.0
"""Time for a person to read the quote before it is approved; only where there is a person."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The demo's options."""
    parser.add_argument("--hypervisor", choices=("auto", "libvirt", "model"), default="auto", help="default: auto")
    parser.add_argument("--control-plane", choices=("embedded", "real"), default="embedded", help="default: embedded")
    parser.add_argument("--record", type=Path, metavar="FILE", help="write the outcome as an SVG picture too")
    parser.add_argument("--no-pause", action="store_true", help="leave no time to read the quote")


async def run(arguments: argparse.Namespace) -> int:
    """Tells the story; returns 0 if all of it was true, 1 if not, 130 where it was interrupted."""
    logging.getLogger("whimbrel_lab.controlplane").setLevel(logging.ERROR)
    with Show(console()) as show:
        telling = asyncio.ensure_future(_tell(show, arguments))
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, _interrupt, telling)
        try:
            return await telling
        except DemoFailed as problem:
            show.settle()
            show.page(Text(f"The demo stopped: {problem}", "bold red"))
            return 1
        except asyncio.CancelledError:
            show.settle()
            show.note("Interrupted; everything that the demo started has been taken down.")
            return INTERRUPTED


def _interrupt(telling: asyncio.Future[int]) -> None:
    """Once: a second Ctrl-C must not interrupt the taking down."""
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, lambda: None)
    telling.cancel()


async def _tell(show: Show, arguments: argparse.Namespace) -> int:
    choice, began = choose(arguments.hypervisor), time.monotonic()
    show.page(Text(choice.first_line, "bold"))
    profile, plan = document("host-profile.yaml"), document("plan.yaml")
    name = Key(NAMESPACE, plan["metadata"]["name"])
    show.page(Text(CONTROL_PLANES[arguments.control_plane], "bold"))
    async with Lab(topology(), hypervisor=choice.hypervisor, control_plane=arguments.control_plane) as lab:
        show.note(f"{len(CHARACTERS)} virtual machines run on {SOURCE} ({time.monotonic() - began:.1f} s)")
        log = lab.folder / "operator.log"
        async with operator(await lab.install_operator(NAMESPACE_OF_OPERATOR), NAMESPACE_OF_OPERATOR, log):
            show.note(f"the operator is ready ({time.monotonic() - began:.1f} s)")
            connection = await connect(str(lab.kubeconfig))
            async with KubeApi(connection.configuration, Telemetry()) as api:
                await lab.cordon(SOURCE)
                show.page(Text(f"$ kubectl cordon {SOURCE}", "dim"))
                await api.create(HOST_PROFILES, "", profile)
                await api.create(MIGRATION_PLANS, NAMESPACE, plan)
                show.page(Text("$ kubectl apply -f examples/demo", "dim"))
                onlooker = Onlooker(api, lab.clock, name)
                await _quote(show, onlooker, name)
                if show.has_person and not arguments.no_pause:
                    await asyncio.sleep(READING_S)
                for character in CHARACTERS:
                    await choice.hypervisor.reset_beats(character.name)
                await _approve(show, name, lab.kubeconfig)
                sight = await _watch(show, onlooker, choice.hypervisor)
                show.settle()
                witnesses = await _question(choice.hypervisor, sight)
    checks = (
        *report.checks(sight.moves, witnesses, sight.plan.spec.migration.disruption.max_downtime_ms or 0),
        *report.story_checks(sight.moves, BUSY, STUCK),
    )
    show.page(Text(), table.receipts(sight.plan, sight.moves, witnesses), Text(), table.verdict(checks))
    if arguments.record is not None:
        show.record(arguments.record, "make demo")
    return int(not all(check.holds for check in checks))


def document(name: str) -> dict[str, Any]:
    """One of the demo's manifests."""
    found: dict[str, Any] = yaml.safe_load((EXAMPLES / name).read_text())
    return found


async def _quote(show: Show, onlooker: Onlooker, name: Key) -> None:
    """Shows the quote as soon as it is complete, and what metrics tell of the guests is in it."""
    began = time.monotonic()
    deadline = began + QUOTE_S
    while True:
        sight = await onlooker.look()
        quote = sight.plan.status.quote
        told = sight.foretold or time.monotonic() - began > METRICS_S
        if quote is not None and sight.awaits_approval and told:
            show.page(Text(), table.quote(str(name), sight.plan, quote, sight.moves))
            return
        if time.monotonic() > deadline:
            status = sight.plan.status
            raise DemoFailed(f"no quote after {QUOTE_S:.0f} s; the plan is {status.phase}: {status.message}")
        await asyncio.sleep(LOOK_EVERY_S)


async def _approve(show: Show, name: Key, kubeconfig: Path) -> None:
    """Says yes with the plugin, as a person would."""
    command = [sys.executable, "-m", "whimbrel.cli.main", "approve", name.name, "-n", name.namespace, "--yes"]
    approving = await asyncio.create_subprocess_exec(
        *command, "--kubeconfig", str(kubeconfig), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    _, said = await approving.communicate()
    if approving.returncode:
        raise DemoFailed(f"the quote could not be approved: {said.decode(errors='replace').strip()}")
    show.page(Text(f"$ kubectl whimbrel approve {name.name} -n {name.namespace} --yes\n", "dim"))


async def _watch(show: Show, onlooker: Onlooker, hypervisor: Spectator) -> Sight:
    """Shows the moves until the operator says that the plan has finished, or time is up."""
    began = time.monotonic()
    before: Mapping[str, view.Row] = {}
    while True:
        sight = await onlooker.look()
        percents = await hypervisor.percents()
        glimpses = {
            name: replace(glimpse, percent=percents.get(name, glimpse.percent))
            for name, glimpse in sight.glimpses.items()
        }
        elapsed_s = time.monotonic() - began
        rows = view.rows(sight.moves, glimpses, before)
        before = show.rows(elapsed_s, rows, table.waiting_for(sight.plan.status.waits))
        if sight.finished or elapsed_s > MOVES_S:
            return sight
        await asyncio.sleep(LOOK_EVERY_S)


async def _question(hypervisor: Spectator, sight: Sight) -> tuple[Witness, ...]:
    """Asks every guest, after it had time to look at all of its memory once more, and every host."""
    first = {character.name: await hypervisor.beats(character.name) for character in CHARACTERS}
    deadline = time.monotonic() + SWEEPS_S
    waiting = set(first)
    while waiting and time.monotonic() < deadline:
        await asyncio.sleep(LOOK_EVERY_S)
        for name in sorted(waiting):
            # A sweep in progress may have passed a page before it was copied; the one after it sees them all.
            if (await hypervisor.beats(name)).sweeps >= first[name].sweeps + 2:
                waiting.discard(name)
    return tuple([await _witness(hypervisor, sight, name, first[name].beats, name not in waiting) for name in first])


async def _witness(hypervisor: Spectator, sight: Sight, name: str, beats_before: int, memory_seen: bool) -> Witness:
    beats = await hypervisor.beats(name)
    states = {host.name: await hypervisor.guest_state(host.name, name) for host in HOSTS}
    return Witness(
        name=name,
        started_on=SOURCE,
        runs_on=tuple(host for host, state in states.items() if state is not GuestState.ABSENT),
        instance_uid=sight.instance_uids.get(name, ""),
        beats=beats,
        beats_on=beats.beats > beats_before,
        memory_seen=memory_seen,
        sent_bytes=hypervisor.sent_bytes(name),
    )
