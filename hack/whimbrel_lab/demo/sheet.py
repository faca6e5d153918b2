"""A table that leaves out its less important columns where the terminal is narrow, rather than cut names short.

Rich narrows all columns alike when they do not fit; which ones matter least only the one who writes them knows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table

_UNBOUNDED_COLUMNS = 10_000


@dataclass(frozen=True, slots=True)
class Sheet:
    """Headers and rows, and what may be left out of them. All rows are as long as `headers`."""

    headers: Sequence[str]
    rows: Sequence[Sequence[RenderableType]]
    dispensable: Sequence[int] = ()
    """Places of the columns that may be left out, the least important first."""
    title: str = ""
    whole_from: int = 0
    """Below this width every dispensable column goes, so that a table that changes does not change its columns too."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self.fitting(console, options)

    def fitting(self, console: Console, options: ConsoleOptions) -> Table:
        """The fullest table that fits; the one of indispensable columns if none does."""
        first = 0 if options.max_width >= self.whole_from else len(self.dispensable)
        for count in range(first, len(self.dispensable)):
            table = self._without(self.dispensable[:count])
            if console.measure(table, options=options.update(width=_UNBOUNDED_COLUMNS)).maximum <= options.max_width:
                return table
        return self._without(self.dispensable)

    def _without(self, left_out: Sequence[int]) -> Table:
        kept = [place for place in range(len(self.headers)) if place not in left_out]
        table = Table(
            title=self.title or None,
            title_justify="left",
            title_style="bold",
            box=box.SIMPLE_HEAD,
            pad_edge=False,
            collapse_padding=bool(left_out),
        )
        for place in kept:
            table.add_column(self.headers[place], no_wrap=True, overflow="ellipsis")
        for row in self.rows:
            table.add_row(*(row[place] for place in kept))
        return table
