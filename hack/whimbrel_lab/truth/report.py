"""The table of a recording: one line per figure, of the held-out half beside the other, with the goal of each. Pure."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from whimbrel.forecast import Convergence
from whimbrel_lab.bench.figures import quantile
from whimbrel_lab.truth.judging import Judgement
from whimbrel_lab.truth.scenes import Split


@dataclass(frozen=True, slots=True)
class Row:
    """One figure."""

    title: str
    goal: str
    of: Callable[[Sequence[Judgement]], str]


def _errors(values: Iterable[float | None]) -> str:
    found = sorted(value for value in values if value is not None)
    if not found:
        return "–"
    return f"{100 * quantile(found, 0.5):.1f} / {100 * quantile(found, 0.9):.1f} % of {len(found)}"


def _share(values: Iterable[bool | None]) -> str:
    found = [value for value in values if value is not None]
    return f"{100 * sum(found) / len(found):.0f} % of {len(found)}" if found else "–"


ROWS = (
    Row("migrations, of them critical", "", lambda some: f"{len(some)}, {sum(each.critical for each in some)}"),
    Row("error of total time, median / p90", "5 / 15 %", lambda some: _errors(j.time_error for j in some)),
    Row("error of bytes, median / p90", "5 %", lambda some: _errors(j.bytes_error for j in some)),
    Row("converges or not, right", "95 %", lambda some: _share(j.right for j in some if not j.critical)),
    Row(
        "not answered outside the critical band",
        "",
        lambda some: _share(j.said.convergence is Convergence.UNCERTAIN for j in some if not j.critical),
    ),
    Row(
        "not answered inside it",
        "100 %",
        lambda some: _share(j.said.convergence is Convergence.UNCERTAIN for j in some if j.critical),
    ),
    Row("no longer than p90", "80–97 %", lambda some: _share(j.within_p90 for j in some)),
    Row("stood still no longer than the bound", "95 %", lambda some: _share(j.downtime_within_bound for j in some)),
    Row("arrival at a quarter of the progress", "10 %", lambda some: _errors(j.eta_error for j in some)),
)


def table(judged: Sequence[Judgement]) -> str:
    """All rows, aligned."""
    halves = [[each for each in judged if each.trial.scene.split is split] for split in (Split.HELD_OUT, Split.FIT)]
    lines = [
        ("", "goal", "held out", "fit"),
        *((row.title, row.goal, *(row.of(half) for half in halves)) for row in ROWS),
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    return "\n".join(
        "   ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
