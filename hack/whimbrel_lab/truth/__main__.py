"""Carries out migrations of real guests, keeps what was seen, and holds forecasts against it."""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from whimbrel_lab.hypervisor import HypervisorError
from whimbrel_lab.truth import recording
from whimbrel_lab.truth.judging import judge_all
from whimbrel_lab.truth.report import table
from whimbrel_lab.truth.scenes import scene
from whimbrel_lab.truth.trial import Trial


def parser() -> argparse.ArgumentParser:
    """All options."""
    options = argparse.ArgumentParser(prog="whimbrel_lab.truth", description="Real migrations, seen and kept.")
    options.add_argument("--seeds", default="0:90", help="first and last but one, as 0:90")
    options.add_argument("--at-once", type=int, default=1, help="migrations at once; more than one disturb each other")
    options.add_argument("--record", type=Path, help="file to keep them in")
    options.add_argument("--judge", type=Path, help="carry nothing out; judge what this file keeps")
    return options


def line(trial: Trial) -> str:
    """A trial in short."""
    scene = trial.scene
    end = "converged" if trial.converged else trial.failure or "moved by a stun"
    return (
        f"{scene.seed:4} {scene.means:13} {scene.split:8} memory {scene.touched_bytes >> 20:4} MiB, set "
        f"{scene.working_set_bytes >> 20:4} MiB at {scene.ratio:4.2f} of {scene.cap_bytes_per_second >> 20:3} MiB/s"
        f"{' changing' if scene.changes_after_s else ''}: {end} in {trial.duration_s:.1f} s, {trial.downtime_ms:.0f} ms still"
    )


async def run(seeds: range, at_once: int, path: Path | None) -> list[Trial]:
    """Tells of each as it ends; what was seen before something fails is kept."""
    seen: list[Trial] = []
    try:
        async for trial in recording.record([scene(seed) for seed in seeds], at_once):
            seen.append(trial)
            print(line(trial), flush=True)
    finally:
        if path is not None:
            recording.write(seen, path)
    return seen


def main() -> int:
    """0: all were carried out; 2: one could not be."""
    arguments = parser().parse_args()
    first, _, end = arguments.seeds.partition(":")
    try:
        if arguments.judge is not None:
            trials: Sequence[Trial] = recording.read(arguments.judge)
        else:
            trials = asyncio.run(run(range(int(first), int(end)), arguments.at_once, arguments.record))
    except HypervisorError as problem:
        print(f"truth: {problem}", file=sys.stderr)
        return 2
    print("\n" + table(judge_all(trials)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
