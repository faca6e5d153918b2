"""Carries out migrations of real guests, keeps what was seen, and holds forecasts and prices against it."""

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from whimbrel_lab.hypervisor import HypervisorError
from whimbrel_lab.truth import recording
from whimbrel_lab.truth.bargain import Bargain, bargains
from whimbrel_lab.truth.judging import judge_all
from whimbrel_lab.truth.learning import Learnt, learn
from whimbrel_lab.truth.picture import picture
from whimbrel_lab.truth.report import bargain_table, table
from whimbrel_lab.truth.scenes import scene
from whimbrel_lab.truth.trial import Trial


def parser() -> argparse.ArgumentParser:
    """All options."""
    options = argparse.ArgumentParser(prog="whimbrel_lab.truth", description="Forecasts against real migrations.")
    options.add_argument("--seeds", default="0:90", help="first and last but one, as 0:90; odd ones are held out")
    options.add_argument("--at-once", type=int, default=1, help="migrations at once; more than one disturb each other")
    options.add_argument("--refusals", type=int, default=0, help="how many refusals to test the price of")
    options.add_argument("--record", type=Path, help="folder to keep what was seen in")
    options.add_argument(
        "--judge", type=Path, help="migrations from this folder instead of new ones; prices too, if told none"
    )
    options.add_argument("--picture", type=Path, help="file for a picture of forecast against fact (SVG)")
    return options


def line(trial: Trial) -> str:
    """A trial in short."""
    scene = trial.scene
    end = "converged" if trial.converged else trial.failure or "moved by a stun"
    changing = " changing" if scene.changes_after_s else ""
    return (
        f"{scene.seed:4} {'again' if trial.earlier else scene.means:13} {scene.split:8} memory "
        f"{scene.touched_bytes >> 20:4} MiB, set {scene.working_set_bytes >> 20:4} MiB at {scene.ratio:4.2f} of "
        f"{scene.cap_bytes_per_second >> 20:3} MiB/s, {scene.allowed_downtime_ms:4} ms{changing}: {end} in "
        f"{trial.duration_s:.1f} s, {trial.downtime_ms:.0f} ms still"
    )


def bargain_line(bargain: Bargain) -> str:
    """A tested price in short."""
    scene = bargain.attempt.scene
    return (
        f"{scene.seed:4} refused, set {scene.working_set_bytes >> 20:3} MiB at {scene.ratio:4.2f} of "
        f"{scene.cap_bytes_per_second >> 20} MiB/s; prices {bargain.low_bytes_per_second >> 20} and "
        f"{bargain.high_bytes_per_second >> 20} MiB/s: the higher {'does' if bargain.did_at_high else 'does not'}, "
        f"15 % less {'does' if bargain.did_below_high else 'does not'}"
        f"{', than the lower too' if bargain.did_below_low else ''}"
    )


async def run(seeds: range, at_once: int, folder: Path | None) -> list[Trial]:
    """Tells of each as it ends; what was seen before something fails is kept."""
    seen: list[Trial] = []
    try:
        async for trial in recording.record([scene(seed) for seed in seeds], at_once):
            seen.append(trial)
            print(line(trial), flush=True)
    finally:
        if folder is not None:
            recording.write(seen, folder / recording.MOVES)
    return seen


async def run_bargains(refusals: int, learnt: Learnt, folder: Path | None) -> list[Bargain]:
    """The same of refusals."""
    seen: list[Bargain] = []
    try:
        async for bargain in bargains(refusals, learnt):
            seen.append(bargain)
            print(bargain_line(bargain), flush=True)
    finally:
        if folder is not None:
            recording.write_lines((bargain.document() for bargain in seen), folder / recording.PRICES)
    return seen


def main() -> int:
    """0: all were carried out; 2: one could not be."""
    arguments = parser().parse_args()
    first, _, end = arguments.seeds.partition(":")
    began = time.monotonic()
    if arguments.record is not None:
        arguments.record.mkdir(parents=True, exist_ok=True)
    try:
        if arguments.judge is not None:
            trials: Sequence[Trial] = recording.read(arguments.judge / recording.MOVES)
        else:
            print(f"Scenes of seeds {int(first)} to {int(end) - 1}; the odd ones are held out.", flush=True)
            trials = asyncio.run(run(range(int(first), int(end)), arguments.at_once, arguments.record))
        tested: Sequence[Bargain] = ()
        kept = None if arguments.judge is None else arguments.judge / recording.PRICES
        if arguments.refusals:
            tested = asyncio.run(run_bargains(arguments.refusals, learn(trials), arguments.record))
        elif kept is not None and kept.exists():
            tested = [Bargain.of(document) for document in recording.read_lines(kept)]
    except HypervisorError as problem:
        print(f"truth: {problem}", file=sys.stderr)
        return 2
    judged = judge_all(trials)
    print("\n" + table(judged))
    if tested:
        print("\n" + bargain_table(tested))
    if arguments.picture is not None:
        arguments.picture.write_text(picture(judged), encoding="utf-8")
    print(f"\n{time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
