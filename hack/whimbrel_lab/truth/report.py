"""The tables of a recording: one line per figure, of the held-out half beside the other, with the goal of each. Pure."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from whimbrel.forecast import Convergence
from whimbrel_lab.bench.figures import quantile
from whimbrel_lab.truth.bargain import Bargain
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
        "15 %",
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
    """All rows, aligned: of guests that never moved and of those that moved once before, each held out and fit."""
    columns = [
        [each for each in judged if each.trial.scene.split is split and (each.trial.earlier is not None) is moved]
        for moved in (False, True)
        for split in (Split.HELD_OUT, Split.FIT)
    ]
    head = ("", "goal", "never moved: held out", "fit", "moved once: held out", "fit")
    return _aligned([head, *((row.title, row.goal, *(row.of(some) for some in columns)) for row in ROWS)])


def bargain_table(tested: Sequence[Bargain]) -> str:
    """What came of prices named after one attempt that failed."""
    open_ = sorted(each.high_bytes_per_second / each.low_bytes_per_second for each in tested)
    return _aligned(
        [
            ("price of a refusal, after one attempt", "goal", ""),
            ("the higher price does", "90 %", _share(each.did_at_high for each in tested)),
            ("15 % less than the lower does not", "80 %", _share(not each.did_below_low for each in tested)),
            ("15 % less than the higher does not", "", _share(not each.did_below_high for each in tested)),
            ("the higher ÷ the lower, median / p90", "", f"{quantile(open_, 0.5):.2f} / {quantile(open_, 0.9):.2f}"),
        ]
    )


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "   ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
