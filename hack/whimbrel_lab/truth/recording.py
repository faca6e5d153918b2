"""A recording: a folder of lines of JSON, in the order of their seeds, so that what was once seen can be asked again."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from whimbrel.domain.quantities import MIB
from whimbrel_lab.hypervisor import HostSpec
from whimbrel_lab.hypervisor.libvirt import LibvirtHypervisor
from whimbrel_lab.truth.scenes import Scene
from whimbrel_lab.truth.trial import Trial, carry_out

MOVES, PRICES = "moves.jsonl", "prices.jsonl"
"""Files of a recording."""
LINK_BYTES_PER_SECOND = 1024 * MIB
"""So fast that the cap of each migration is what counts."""


@asynccontextmanager
async def lab(pairs: int) -> AsyncIterator[LibvirtHypervisor]:
    """Two hosts for each migration that goes on at once."""
    hosts = [HostSpec(f"truth-{number}", LINK_BYTES_PER_SECOND) for number in range(2 * pairs)]
    started = LibvirtHypervisor(hosts)
    await started.start()
    try:
        yield started
    finally:
        await started.stop()


async def record(scenes: Sequence[Scene], at_once: int) -> AsyncIterator[Trial]:
    """Carries scenes out, so many at once, and tells of each move as its guest is gone; a guest is made for each scene."""
    waiting: asyncio.Queue[Scene] = asyncio.Queue()
    for each in scenes:
        waiting.put_nowait(each)
    told: asyncio.Queue[tuple[Trial, ...] | BaseException] = asyncio.Queue()

    async def play(started: LibvirtHypervisor, pair: int) -> None:
        try:
            while not waiting.empty():
                scene = waiting.get_nowait()
                told.put_nowait(await carry_out(started, scene, f"truth-{2 * pair}", f"truth-{2 * pair + 1}"))
        except BaseException as problem:
            told.put_nowait(problem)
            raise

    async with lab(at_once) as started:
        players = [asyncio.create_task(play(started, pair)) for pair in range(at_once)]
        try:
            for _ in scenes:
                found = await told.get()
                if isinstance(found, BaseException):
                    raise found
                for trial in found:
                    yield trial
        finally:
            for player in players:
                player.cancel()
            await asyncio.gather(*players, return_exceptions=True)


def write(trials: Iterable[Trial], path: Path) -> None:
    """One line each, sorted by seed, first moves first."""
    ordered = sorted(trials, key=lambda trial: (trial.scene.seed, trial.earlier is not None))
    write_lines((trial.document() for trial in ordered), path)


def read(path: Path) -> tuple[Trial, ...]:
    """All trials of a recording."""
    return tuple(Trial.of(document) for document in read_lines(path))


def write_lines(documents: Iterable[Mapping[str, Any]], path: Path) -> None:
    """A document a line."""
    path.write_text("".join(json.dumps(document, separators=(",", ":")) + "\n" for document in documents))


def read_lines(path: Path) -> list[dict[str, Any]]:
    """What was written so."""
    return [json.loads(line) for line in path.read_text().splitlines() if line]
