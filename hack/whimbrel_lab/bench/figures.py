"""What a bench finds: figures with their goals, the record of the figures before, and the table that shows both.

Only figures that do not depend on the machine's mood hold a promise (`holds`); the others are shown beside their goal.
"""

import json
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

RECORD = Path(__file__).with_name("before.json")
_CALIBRATION_OBJECTS = 2_000
_CALIBRATION_RUNS = 5


@dataclass(frozen=True, slots=True)
class Figure:
    """One number. `limit` is the goal as a number, or None where there is nothing to reach."""

    key: str
    """What the record knows it by."""
    title: str
    value: float
    unit: str = ""
    goal: str = ""
    limit: float | None = None
    holds: bool = False
    """Whether the bench fails where the promise is broken."""
    bound: float | None = None
    """With `holds`: what must never be exceeded, where that is more generous than the goal."""

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None where there is none."""
        return None if self.limit is None else self.value <= self.limit

    @property
    def broken(self) -> bool:
        """Whether the bench must fail for it."""
        bound = self.limit if self.bound is None else self.bound
        return self.holds and bound is not None and self.value > bound


@dataclass(frozen=True, slots=True)
class Record:
    """Figures as they were, and what the machine could do then."""

    figures: Mapping[str, float] = field(default_factory=dict)
    machine: Mapping[str, float] = field(default_factory=dict)


def read_record(path: Path = RECORD) -> Record:
    """The recorded figures; none where nothing was recorded. Raises ValueError where the file is no such record."""
    if not path.is_file():
        return Record()
    document = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(document, dict):
        raise ValueError(f"{path.name} is no record of figures; write it anew with --record")
    return Record(document.get("figures") or {}, document.get("machine") or {})


def write_record(figures: Iterable[Figure], machine: Mapping[str, float], path: Path = RECORD) -> None:
    """Keeps these figures as the ones before; figures that were not taken this time stay as they are."""
    kept = {**read_record(path).figures, **{figure.key: round(figure.value, 4) for figure in figures}}
    document = {"machine": dict(machine), "figures": dict(sorted(kept.items()))}
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def calibration() -> float:
    """Objects like a VirtualMachineInstance that this machine parses per second: the yardstick of its speed."""
    text = json.dumps(
        {
            "metadata": {"name": "vm", "labels": {f"example.com/label-{n}": f"value-{n}" for n in range(20)}},
            "spec": {"volumes": [{"name": f"disk-{n}", "size": n, "shared": True} for n in range(60)]},
            "status": {"conditions": [{"type": f"Kind{n}", "status": "True", "reason": "x" * 40} for n in range(30)]},
        }
    )
    rates = []
    for _ in range(_CALIBRATION_RUNS):
        began = time.process_time()
        for _ in range(_CALIBRATION_OBJECTS):
            json.loads(text)
        rates.append(_CALIBRATION_OBJECTS / (time.process_time() - began))
    return statistics.median(rates)


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed. Raises ValueError for none."""
    if not values:
        raise ValueError("there are no values to take a quantile of")
    ordered = sorted(values)
    return ordered[max(0, -(-round(share * 1000) * len(ordered) // 1000) - 1)]


def table(figures: Sequence[Figure], before: Mapping[str, float]) -> str:
    """Lines for a terminal."""
    rows = [("figure", "now", "before", "goal", "met?")]
    for figure in figures:
        was = before.get(figure.key)
        verdict = {None: "", True: "yes", False: "NO"}[figure.met]
        rows.append(
            (
                figure.title,
                shown(figure.value, figure.unit),
                "–" if was is None else shown(was, figure.unit),
                figure.goal or "–",
                verdict + (" – BROKEN" if figure.broken else ""),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), row[1].rjust(widths[1]), row[2].rjust(widths[2]), row[3].ljust(widths[3])]
        lines.append("  ".join([*cells, row[4]]).rstrip())
    lines.insert(1, "─" * (sum(widths) + 8))
    return "\n".join(lines)


def shown(value: float, unit: str) -> str:
    """A number with three significant digits or so, and its unit."""
    text = f"{value:.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
    return f"{text} {unit}".rstrip()
