"""The command line of the benches: runs them one after the other, prints one table, fails where a promise is broken."""

import argparse
import asyncio
import logging
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from whimbrel.runtime.memory import set_up
from whimbrel_lab.bench import (
    bargaining,
    deciding,
    forecasting,
    hosts,
    laddering,
    memory,
    moving,
    overruling,
    preflight,
    real,
)
from whimbrel_lab.bench.figures import Figure, calibration, read_record, table, write_record
from whimbrel_lab.bench.operator_process import BenchFailed
from whimbrel_lab.controlplane.real.binaries import BinariesMissing
from whimbrel_lab.lab import LabError

Bench = Callable[..., Awaitable[Sequence[Figure]]]
BENCHES: Mapping[str, Bench] = {
    "moving": moving.measure,
    "overruled": overruling.measure,
    "memory": memory.measure,
    "deciding": deciding.measure,
    "hosts": hosts.measure,
    "preflight": preflight.measure,
    "forecast": forecasting.measure,
    "ladder": laddering.measure,
    "price": bargaining.measure,
    "real": real.measure,
}


def parser() -> argparse.ArgumentParser:
    """All options."""
    options = argparse.ArgumentParser(prog="whimbrel_lab.bench", description="Whimbrel's figures, now and before.")
    options.add_argument("--only", choices=sorted(BENCHES), action="append", help="this bench alone; may be repeated")
    options.add_argument("--quick", action="store_true", help="smaller sizes, within a minute")
    options.add_argument("--record", action="store_true", help="keep the figures as those before; not with --quick")
    return options


async def run(names: Sequence[str], figures: list[Figure], *, quick: bool) -> None:
    """Adds the figures of these benches, in order; what was measured before one fails stays measured."""
    for name in names:
        began = time.monotonic()
        print(f"{name} …", end=" ", flush=True)
        figures += await BENCHES[name](quick=quick)
        print(f"{time.monotonic() - began:.0f} s", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """0: no promise is broken; 1: one is; 2: something could not be measured."""
    options = parser().parse_args(arguments)
    if options.record and options.quick:
        print("bench: --quick takes other sizes; record whole figures, without it", file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
    set_up()  # decisions are timed with the collector as the operator sets it
    before = read_record()
    machine = {"cores": float(os.cpu_count() or 1), "json_objects_per_second": round(calibration())}
    print(f"This machine: {describe(machine)}. Before: {describe(before.machine)}.")
    figures: list[Figure] = []
    failed = ""
    try:
        asyncio.run(run(options.only or tuple(BENCHES), figures, quick=options.quick))
    except (BenchFailed, LabError, BinariesMissing) as problem:
        failed = str(problem)
    if figures:
        print("\n" + table(figures, before.figures))
    if failed:
        print(f"\nbench: {failed}", file=sys.stderr)
        return 2
    if options.record:
        write_record(figures, machine)
    broken = [figure.title for figure in figures if figure.broken]
    for title in broken:
        print(f"bench: broken: {title}", file=sys.stderr)
    return 1 if broken else 0


def describe(machine: Mapping[str, float]) -> str:
    """What a machine can do, in words."""
    if not machine:
        return "nothing is recorded"
    return f"{machine['cores']:g} cores, parses {machine['json_objects_per_second']:g} objects of JSON a second"


if __name__ == "__main__":
    sys.exit(main())
