"""Where the demo is shown: a live table in a terminal, plain lines elsewhere, and a recorded picture on demand."""

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from whimbrel.api.virtual_machine_move import MovePhase
from whimbrel_lab.demo import table
from whimbrel_lab.demo.view import Row

PICTURE_COLUMNS = 124
PICTURE_FONTS = "ui-monospace, Menlo, Consolas, DejaVu Sans Mono, monospace"


class Show:
    """`page` prints something that stays, `rows` the moving table; use it as a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        self._pages: list[RenderableType] = []
        self._before: dict[str, Row] = {}
        self._moment: tuple[int, str, Sequence[Row]] | None = None
        self._moment_at = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.settle()

    @property
    def has_person(self) -> bool:
        """Whether somebody watches at a terminal."""
        return self._console.is_terminal

    def page(self, *pages: RenderableType) -> None:
        """Print what stays; it will be in the picture too."""
        self._pages += pages
        self._console.print(*pages, sep="\n")

    def note(self, text: str) -> None:
        """A dim line that passes; it will not be in the picture."""
        self._console.print(Text(text, "dim"))

    def rows(self, elapsed_s: float, rows: Sequence[Row], waiting: str = "") -> dict[str, Row]:
        """Show the rows of this moment, and why some wait; returns the rows by name."""
        if self._console.is_terminal:
            if self._live is None:
                self._live = Live(console=self._console, refresh_per_second=8, transient=True)
                self._live.start()
            self._live.update(table.live(f"Moving, {elapsed_s:.0f} s{waiting}", rows))
        else:
            for line in table.changed_lines(elapsed_s, rows, self._before):
                self._console.out(line, highlight=False)
        self._remember(f"After {elapsed_s:.0f} s{waiting}", rows)
        self._before = {row.virtual_machine: row for row in rows}
        return self._before

    def _remember(self, title: str, rows: Sequence[Row]) -> None:
        """Keep the most telling moment for the picture: a guest is stunned, else most different things happen."""
        phases = {row.phase for row in rows}
        telling = len(phases) + (len(MovePhase) if MovePhase.STUNNED in phases else 0)
        if self._moment is None:
            self._moment_at = len(self._pages)
        if self._moment is None or telling > self._moment[0]:
            self._moment = telling, title, rows

    def settle(self) -> None:
        """The moving table stands still and goes, to be replaced by what stays."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def record(self, path: Path, title: str) -> None:
        """Write the pages as an SVG picture, with the most telling moment of the moving table in its place."""
        pages = list(self._pages)
        if self._moment is not None:
            _, caption, rows = self._moment
            pages.insert(self._moment_at, table.live(caption, rows))
        recorder = Console(record=True, width=PICTURE_COLUMNS, file=io.StringIO(), force_terminal=True)
        recorder.print(*pages, sep="\n")
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = recorder.export_svg(title=title)
        # The picture must load nothing from anywhere: not the fonts that rich would fetch either.
        picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
        path.write_text(picture.replace("Fira Code, monospace", PICTURE_FONTS), encoding="utf-8")


def console() -> Console:
    """The terminal, or standard output with a width at which no cell is cut off."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=PICTURE_COLUMNS)
